"""`Producer` for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from streamlog.aio.delegation import at_once, in_thread, run_blocking, run_to_its_end, to_its_end
from streamlog.client.producer import Producer
from streamlog.errors import UnknownTopicOrPartitionError

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Unpack

    from streamlog.broker.broker import Broker
    from streamlog.client.buffer_pool import BufferPool
    from streamlog.client.producer_batch import DeliveryCallback
    from streamlog.client.producer_transactions import Transaction
    from streamlog.client.record_future import RecordFuture, RunFuture
    from streamlog.config import ProducerConfig
    from streamlog.config.options import ProducerOptions
    from streamlog.structs import Header, ProducerRecord, RecordMetadata


class LoopProducer(Producer):
    """A producer that tells what a send would wait for. Internal."""

    __slots__ = ()

    @property
    def config(self) -> ProducerConfig:
        """The configuration in force."""
        return self._config

    @property
    def buffer_pool(self) -> BufferPool:
        """The room for records that wait."""
        return self._accumulator.pool


class AsyncProducer:
    """A `Producer` whose calls are awaited. Use it from one event loop; any number of tasks.

    ``await producer.send(...)`` returns when the record is acknowledged. To have many on the way at a
    time, make tasks of them, ``asyncio.gather(*map(send, ...))``: records of one partition are in the
    order in which their sends began.

    What can wait, for room in ``buffer_memory`` or for the disk (``flush_messages``), does so in a
    worker thread; an ordinary append happens in the loop and takes microseconds. Callbacks and
    interceptors run where the append happens.

    A task that is cancelled in ``commit_transaction``, ``abort_transaction`` or
    ``send_offsets_to_transaction`` waits for the end of the call before CancelledError goes on, whose
    cause is what the call raised, if anything: the transaction may be committed then.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        config: Mapping[str, object] | None = None,
        **options: Unpack[ProducerOptions],
    ) -> None:
        self._client = LoopProducer(broker, config=config, **options)
        self._broker = broker
        self._is_virtual = broker.runtime.clock.is_virtual
        settings = self._client.config
        # With so much room free, no send has to wait for any.
        self._enough_bytes = max(settings.batch_size, settings.max_request_size)

    @property
    def config(self) -> ProducerConfig:
        """The configuration in force."""
        return self._client.config

    def __repr__(self) -> str:
        return f"<Async{repr(self._client)[1:]}"

    # ---- send

    async def send(
        self,
        topic: str | ProducerRecord,
        value: Any = None,
        *,
        key: Any = None,
        headers: Iterable[Header] = (),
        partition: int | None = None,
        timestamp_ms: int | None = None,
        on_delivery: DeliveryCallback | None = None,
    ) -> RecordMetadata:
        """Send one record and return where it went, once it is acknowledged.

        Raises what `Producer.send` raises and what its future has. Cancelled before that, the record
        may go all the same.
        """
        call = partial(
            self._client.send,
            topic,
            value,
            key=key,
            headers=headers,
            partition=partition,
            timestamp_ms=timestamp_ms,
            on_delivery=on_delivery,
        )
        name = topic if isinstance(topic, str) else topic.topic
        future = await self._start(name, call)
        await self._wait_for(future)
        return future.result(0)

    async def send_many(
        self,
        topic: str,
        values: Iterable[Any],
        *,
        keys: Sequence[Any] | None = None,
        partition: int | None = None,
        timestamps_ms: Sequence[int] | None = None,
    ) -> RecordMetadata | None:
        """Send all *values*, in order; return the metadata of the last record, None for no values.

        Runs in a worker thread: a long run would keep the loop busy. See `Producer.send_many`.
        """
        call = partial(
            self._client.send_many,
            topic,
            values,
            keys=keys,
            partition=partition,
            timestamps_ms=timestamps_ms,
        )
        future = await run_blocking(self._is_virtual, call)
        await self._wait_for(future)
        return future.result(0)

    async def _start(self, topic: str, call: partial[RecordFuture]) -> RecordFuture:
        """Return the future of a send, made in the loop unless that could take long."""
        if self._is_virtual or not (self._has_room() and self._is_quick(topic)):
            return await run_blocking(self._is_virtual, call)
        return call()

    def _has_room(self) -> bool:
        pool = self._client.buffer_pool
        return pool.available_bytes >= self._enough_bytes and not pool.waiting

    def _is_quick(self, topic: str) -> bool:
        """Whether an append to *topic* does not wait for the disk."""
        try:
            return not self._broker.topic(topic).config.flush_messages
        except UnknownTopicOrPartitionError:
            return False  # to be created, with syncs of its own
        except TypeError:
            return True  # no name at all: the producer says so

    async def _wait_for(self, future: RecordFuture | RunFuture) -> None:
        """Return when *future* is done; other tasks run meanwhile."""
        if future.done():
            return
        if self._is_virtual:
            # The others first: they may add to the same batch. Then time jumps to the end of linger_ms.
            await asyncio.sleep(0)
            future.exception()
            return
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def wake(_: object) -> None:
            try:
                loop.call_soon_threadsafe(_finish, done)
            except RuntimeError:
                pass  # the loop is closed, and so nobody waits

        future.add_done_callback(wake)
        await done

    # ---- transactions

    init_transactions = in_thread(Producer.init_transactions)
    # To the end, for the next call would meet them still running.
    send_offsets_to_transaction = to_its_end(Producer.send_offsets_to_transaction)
    commit_transaction = to_its_end(Producer.commit_transaction)
    abort_transaction = to_its_end(Producer.abort_transaction)

    async def begin_transaction(self) -> None:
        """Open a transaction; see `Producer.begin_transaction`. Waits for nobody."""
        self._client.begin_transaction()

    def transaction(self) -> AsyncTransaction:
        """Return an ``async with`` block that is a transaction: committed at its end, aborted by an
        exception or when its task is cancelled, which goes on then. See `Producer.transaction`.

        A task that is cancelled while its block commits or aborts waits for the end of that before
        CancelledError goes on: the transaction is over then, and may be committed.
        """
        return AsyncTransaction(self, self._client.transaction(), self._is_virtual)

    # ---- the rest

    flush = in_thread(Producer.flush)
    partitions_for = in_thread(Producer.partitions_for)
    metrics = at_once(Producer.metrics)

    async def close(self, timeout_ms: float | None = None) -> None:
        """Refuse new records, wait for those sent, and give everything back, as `Producer.close`."""
        await run_blocking(self._is_virtual, partial(self._client.close, timeout_ms))

    async def __aenter__(self) -> AsyncProducer:
        self._client.__enter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


class AsyncTransaction:
    """The ``async with`` block of `AsyncProducer.transaction`; gives the producer."""

    __slots__ = ("_block", "_is_virtual", "_producer")

    def __init__(self, producer: AsyncProducer, block: Transaction, is_virtual: bool) -> None:
        self._producer = producer
        self._block = block
        self._is_virtual = is_virtual

    async def __aenter__(self) -> AsyncProducer:
        self._block.__enter__()
        return self._producer

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        call = partial(self._block.__exit__, kind, error, traceback)
        await run_to_its_end(self._is_virtual, call)


def _finish(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)
