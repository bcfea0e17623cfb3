"""`Consumer` for asyncio: waiting for records costs no thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from streamlog.aio.delegation import OneTask, at_once
from streamlog.aio.loop_signal import LoopSignal
from streamlog.client.consumer import CLOSE_TIMEOUT_MS, Consumer
from streamlog.client.consumer_records import ConsumerRecords
from streamlog.client.record_iteration import RecordIteration
from streamlog.errors import StreamlogTimeoutError
from streamlog.structs import ConsumerRecord, OffsetAndMetadata, TopicPartition

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Unpack

    from streamlog.broker.broker import Broker
    from streamlog.config import ConsumerConfig
    from streamlog.config.options import ConsumerOptions

R = TypeVar("R")

_RETRY_S = 0.1
"""Between two tries of something that failed for the moment, as in the blocking consumer."""


class LoopConsumer(Consumer):
    """A consumer whose signal wakes a task. Internal."""

    _signal_type = LoopSignal

    @property
    def signal(self) -> LoopSignal:
        """Set by whoever has news for this consumer."""
        assert isinstance(self._signal, LoopSignal)
        return self._signal

    @property
    def is_closed(self) -> bool:
        """Whether it can no longer be used."""
        return self._guard.refusal is not None

    def begin_wait(self, deadline_ms: float) -> float | None:
        """As `PollLoop.begin_wait`."""
        return self._loop.begin_wait(deadline_ms)

    def end_wait(self) -> None:
        """As `PollLoop.end_wait`."""
        self._loop.end_wait()

    def has_work(self) -> bool:
        """As `PollLoop.has_work`."""
        return self._loop.has_work()

    def next_fetched(self) -> ConsumerRecord | None:
        """Return the next record of the last fetch; None when there is none left."""
        with self._guard:
            return None if self._iteration is None else self._iteration.next()

    def fetch(self) -> None:
        """Fetch what there is now for `next_fetched`."""
        with self._guard:
            groups = self._loop.poll(0, self._limit)
            if groups:
                records = self._interceptors.on_consume(ConsumerRecords(groups))
                self._iteration = RecordIteration(records, self._fetcher.taken_from)

    def try_auto_commit(self) -> bool:
        """Auto-commit, if enabled; return whether there is nothing left to commit."""
        with self._guard:
            return self._loop.commit_before_revocation()


class AsyncConsumer:
    """A `Consumer` for one task at a time of an event loop.

    * ``await consumer.poll(...)``, or ``async for record in consumer``
    * ``await consumer.commit()``, ``position``, ``close``; ``async with`` closes it
    * everything else as in `Consumer`, without ``await``: it does not wait

    No thread waits behind it: whoever appends wakes the loop. Rebalance listeners, interceptors and
    commit callbacks run in the loop, inside ``poll``. Cancelling a wait loses nothing: a position
    moves when records are returned. A second task that comes while one waits is refused with
    `ConcurrentModificationError`; `wakeup` may be called from any task and thread.

    Under a `VirtualClock` a wait lets other tasks run first, and then time jumps. Do not mix in waits
    for real time, such as ``asyncio.sleep(1)``: while no other task is ready virtual time runs ahead,
    and a wait without a limit ends in a DeadlockError after 10,000 timers in vain.
    """

    def __init__(
        self,
        broker: Broker,
        *topics: str,
        config: Mapping[str, object] | None = None,
        **options: Unpack[ConsumerOptions],
    ) -> None:
        self._client = LoopConsumer(broker, *topics, config=config, **options)
        self._clock = broker.runtime.clock
        self._is_virtual = self._clock.is_virtual
        self._one_task = OneTask()

    @property
    def config(self) -> ConsumerConfig:
        """The configuration in force."""
        return self._client.config

    def __repr__(self) -> str:
        return f"<Async{repr(self._client)[1:]}"

    # ---- without waiting

    subscribe = at_once(Consumer.subscribe)
    unsubscribe = at_once(Consumer.unsubscribe)
    subscription = at_once(Consumer.subscription)
    assign = at_once(Consumer.assign)
    assignment = at_once(Consumer.assignment)
    seek = at_once(Consumer.seek)
    seek_to_beginning = at_once(Consumer.seek_to_beginning)
    seek_to_end = at_once(Consumer.seek_to_end)
    pause = at_once(Consumer.pause)
    resume = at_once(Consumer.resume)
    paused = at_once(Consumer.paused)
    beginning_offsets = at_once(Consumer.beginning_offsets)
    end_offsets = at_once(Consumer.end_offsets)
    offsets_for_times = at_once(Consumer.offsets_for_times)
    current_lag = at_once(Consumer.current_lag)
    commit_async = at_once(Consumer.commit_async)
    partitions_for = at_once(Consumer.partitions_for)
    list_topics = at_once(Consumer.list_topics)
    metrics = at_once(Consumer.metrics)
    group_metadata = at_once(Consumer.group_metadata)
    enforce_rebalance = at_once(Consumer.enforce_rebalance)
    wakeup = at_once(Consumer.wakeup)

    def committed(self, partitions: Any) -> Any:
        """As `Consumer.committed`, but never waits: `StreamlogTimeoutError`, which is retriable, while a
        transaction is about to commit other offsets.
        """
        return self._client.committed(partitions, timeout_ms=0)

    # ---- waiting

    async def poll(self, timeout_ms: float = 0, max_records: int | None = None) -> ConsumerRecords:
        """Return records as soon as there are any, none once *timeout_ms* have passed.

        Everything else as `Consumer.poll`. Other tasks get a turn even when there always are records.
        """
        with self._one_task:
            client = self._client
            await asyncio.sleep(0)
            records = client.poll(0, max_records)
            if records or timeout_ms == 0:
                return records
            deadline_ms = self._clock.monotonic_ms() + timeout_ms
            while True:
                if records:
                    return records
                if not await self._wait(deadline_ms):
                    return client.poll(0, max_records)
                records = client.poll(0, max_records)

    def __aiter__(self) -> AsyncConsumer:
        return self

    async def __anext__(self) -> ConsumerRecord:
        """Return the next record, waiting for it as long as it takes; `wakeup` ends the wait.

        The position moves record by record, as when iterating over a `Consumer`.
        """
        with self._one_task:
            client = self._client
            while True:
                record = client.next_fetched()
                if record is not None:
                    return record
                # Once for each fetch, or a consumer that is far behind would never let others run.
                await asyncio.sleep(0)
                client.fetch()
                record = client.next_fetched()
                if record is not None:
                    return record
                await self._wait(float("inf"))

    async def _wait(self, deadline_ms: float) -> bool:
        """Wait until there may be something to do; return False at *deadline_ms*."""
        client = self._client
        now_ms = self._clock.monotonic_ms()
        if now_ms >= deadline_ms:
            return False
        if self._is_virtual:
            return await self._wait_in_virtual_time(deadline_ms)
        pause_ms = client.begin_wait(deadline_ms)
        try:
            if pause_ms != 0:
                pause_s = None if pause_ms is None else pause_ms / 1000
                await client.signal.wait_in_loop(pause_s)
        finally:
            client.end_wait()
        return True

    async def _wait_in_virtual_time(self, deadline_ms: float) -> bool:
        client = self._client
        for _ in range(100):  # whoever has something to send, and waits for nothing but its turn
            if client.begin_wait(deadline_ms) == 0:
                client.end_wait()
                return True
            await asyncio.sleep(0)
        pause_ms = client.begin_wait(deadline_ms)
        try:
            self._clock.wait_until(client.has_work, client.signal, pause_ms)
        finally:
            client.end_wait()
        return True

    async def commit(
        self,
        offsets: Mapping[TopicPartition, OffsetAndMetadata | int] | None = None,
        *,
        timeout_ms: float | None = None,
    ) -> None:
        """Commit as `Consumer.commit`; between two tries other tasks run."""
        with self._one_task:
            await self._retry(timeout_ms, lambda: self._client.commit(offsets, timeout_ms=0))

    async def position(self, partition: TopicPartition, *, timeout_ms: float | None = None) -> int:
        """Return the offset of the next record, as `Consumer.position`."""
        with self._one_task:
            return await self._retry(
                timeout_ms, lambda: self._client.position(partition, timeout_ms=0)
            )

    async def _retry(self, timeout_ms: float | None, attempt: Callable[[], R]) -> R:
        """Try until it does not fail for lack of time, or *timeout_ms* have passed."""
        if timeout_ms is None:
            timeout_ms = self._client.config.default_api_timeout_ms
        deadline_ms = self._clock.monotonic_ms() + timeout_ms
        while True:
            try:
                return attempt()
            except StreamlogTimeoutError:
                left_ms = deadline_ms - self._clock.monotonic_ms()
                if left_ms <= 0:
                    raise
            await self._pause(min(_RETRY_S, left_ms / 1000))

    async def _pause(self, seconds: float) -> None:
        if self._is_virtual:
            self._clock.wait_until(lambda: False, LoopSignal(), seconds * 1000)
        else:
            await asyncio.sleep(seconds)

    async def close(self, timeout_ms: float = CLOSE_TIMEOUT_MS) -> None:
        """Auto-commit if enabled, give up the partitions and leave the group, as `Consumer.close`.

        A task that waits in this consumer is woken with `ClosedError`. Closing again changes nothing.
        """
        client = self._client
        if not client.is_closed:
            deadline_ms = self._clock.monotonic_ms() + timeout_ms
            while not client.try_auto_commit() and self._clock.monotonic_ms() < deadline_ms:
                await self._pause(_RETRY_S)
        client.close(0)
        client.signal.set()

    async def __aenter__(self) -> AsyncConsumer:
        self._client.__enter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
