"""What ``send`` returns: the promise of one record, or of one run of records."""

from __future__ import annotations

import copy
import logging
from typing import TYPE_CHECKING, Any

from streamlog.errors import StreamlogTimeoutError
from streamlog.runtime import Lock
from streamlog.structs import Durability, RecordMetadata

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.client.partition_queue import PartitionQueue
    from streamlog.client.producer_batch import ProducerBatch

_logger = logging.getLogger("streamlog")


class RecordFuture:
    """The result of one ``send``, with the surface of `concurrent.futures.Future`.

    * wait: `result`, `exception`; look: `done`
    * be told: `add_done_callback`

    It is no subclass of that, which costs too much for one in each record: ``asyncio.wrap_future`` and
    ``concurrent.futures.wait`` do not take it. In a coroutine ``await asyncio.to_thread(future.result)``
    waits for it; a program that is all coroutines has the producer of ``streamlog.aio``.

    It is done once the record was appended (and synced, where the topic asks for that), or failed for
    good; with ``linger_ms=0`` as a rule before ``send`` returns. Dropping it changes nothing. Records
    that went out in one batch share all there is to know, so a future holds its batch and its place
    in it, and metadata is made when asked for. Threads: any. Source: Kafka ``FutureRecordMetadata``.
    """

    # No __init__: `send` stores the attributes itself, which is what makes a future affordable per
    # record. While the record waits, `_owner` is its PartitionQueue and `_slot` the value; once it
    # is in a batch, `_owner` is the batch and `_slot` the index. The sealing thread stores `_slot`
    # first, so whoever sees a batch in `_owner` finds an index in `_slot`.
    __slots__ = ("_key", "_owner", "_size", "_slot")

    _owner: PartitionQueue | ProducerBatch
    _slot: Any
    _size: int
    _key: bytes | None

    def done(self) -> bool:
        """Return whether the record was appended or failed for good."""
        return self._owner.done

    def result(self, timeout: float | None = None) -> RecordMetadata:
        """Return where the record went; wait up to *timeout* seconds, None without a limit.

        Waiting does not make the batch go earlier: with ``linger_ms=5`` it takes up to that. Raises
        what the record failed with; StreamlogTimeoutError, a TimeoutError, when it is not known in
        time, and then asking again is fine.
        """
        batch = self._settled(timeout)
        if batch.error is not None:
            raise _to_raise(batch.error)
        return batch.metadata(self._slot, self.key_size, self._size)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what the record failed with, None if it was appended; wait as `result` does."""
        return self._settled(timeout).error

    def add_done_callback(self, fn: Callable[[RecordFuture], object]) -> None:
        """Call ``fn(future)`` once done, at once if it is already; callbacks of one partition run in
        the order in which its batches were appended, with no lock held.

        What *fn* raises is logged and ignored. Raises TypeError when it cannot be called.
        """
        _check_callable(fn)
        if self.done() or not self._owner.queue.add_done_callback(self, fn):
            call_back(fn, self)

    def cancel(self) -> bool:
        """Return False: a record that was sent cannot be taken back."""
        return False

    def cancelled(self) -> bool:
        """Return False, see `cancel`."""
        return False

    def running(self) -> bool:
        """Return whether the record is still on its way."""
        return not self.done()

    @property
    def key_size(self) -> int:
        """Bytes of the serialized key, -1 for a null key. Internal."""
        try:
            key = self._key
        except AttributeError:  # `send` without a key does not store it
            return -1
        return -1 if key is None else len(key)

    def placeholder(self) -> RecordMetadata:
        """Return the metadata of a record that failed: its partition, and -1 for the rest. Internal."""
        queue = self._owner.queue
        return RecordMetadata(queue.topic, queue.number, -1, -1, durability=Durability.NONE)

    def _settled(self, timeout: float | None) -> ProducerBatch:
        """Return the batch once it is done. A split moves the future to another batch meanwhile."""
        owner = self._owner
        if not owner.done:
            if not owner.queue.wait_until(self.done, _milliseconds(timeout)):
                raise StreamlogTimeoutError(
                    f"{owner.queue.topic_partition}: the record was not acknowledged within"
                    f" {timeout} s"
                )
            owner = self._owner
        return owner  # type: ignore[return-value]  # only a batch is ever done

    def __repr__(self) -> str:
        if not self.done():
            return f"<RecordFuture for {self._owner.queue.topic_partition}: pending>"
        error = self.exception()
        if error is not None:
            return f"<RecordFuture: {type(error).__name__}>"
        return f"<RecordFuture: {self.result()}>"


class AppendedRecordFuture(RecordFuture):
    """The future of a record that ``send`` appended itself: done from the start. Internal."""

    # `_owner` is the queue, `_slot` the offset.
    __slots__ = ("_timestamp_ms",)

    _timestamp_ms: int

    def done(self) -> bool:
        """Return True."""
        return True

    def result(self, timeout: float | None = None) -> RecordMetadata:
        """Return where the record went."""
        queue = self._owner.queue
        return RecordMetadata(
            queue.topic,
            queue.number,
            self._slot,
            self._timestamp_ms,
            self.key_size,
            self._size,
            queue.partition.ack_durability(),
        )

    def exception(self, timeout: float | None = None) -> None:
        """Return None: it was appended."""
        return


class FailedRecordFuture(RecordFuture):
    """The future of a record that never came into a queue: done from the start. Internal."""

    __slots__ = ("_error", "_number", "_topic")

    _error: BaseException
    _topic: str
    _number: int

    def done(self) -> bool:
        """Return True."""
        return True

    def result(self, timeout: float | None = None) -> RecordMetadata:
        """Raise what the record failed with."""
        raise _to_raise(self._error)

    def exception(self, timeout: float | None = None) -> BaseException:
        """Return what the record failed with."""
        return self._error

    def placeholder(self) -> RecordMetadata:
        """Return the topic, the partition if one was given, and -1 for the rest."""
        return RecordMetadata(self._topic, self._number, -1, -1, durability=Durability.NONE)


class RunFuture(RecordFuture):
    """The result of one ``send_many``: done when every record of the run is.

    `result` gives the metadata of the run's last record, `metadata` one for each batch of the run.
    What is raised is what the first failed batch failed with; the others may have been appended.
    Threads: any.
    """

    # `_slot` is the future of the run's last record. A batch that is split gets a second future, put
    # before its own.
    __slots__ = ("_parts", "_topic")

    _parts: list[RecordFuture]
    _topic: str

    @classmethod
    def of(cls, topic: str, parts: list[RecordFuture]) -> RunFuture:
        """Return the future of a run; *parts* may still grow. Internal."""
        future = cls()
        future._topic = topic
        future._parts = parts
        future._slot = parts[-1] if parts else None
        return future

    def done(self) -> bool:
        """Return whether every record of the run was appended or failed for good."""
        return all(part.done() for part in list(self._parts))

    def result(self, timeout: float | None = None) -> RecordMetadata:
        """Return the metadata of the last record of the run; wait as a record's future does.

        A run of no records gives partition and offset -1, and promises nothing (`Durability.NONE`).
        """
        error = self.exception(timeout)
        if error is not None:
            raise _to_raise(error)
        if not self._parts:
            return RecordMetadata(self._topic, -1, -1, -1, durability=Durability.NONE)
        last: RecordFuture = self._slot
        return last.result()

    def metadata(self, timeout: float | None = None) -> list[RecordMetadata]:
        """Return the metadata of the last record of every batch, in the order of the run, by
        partition where keys spread it over several; wait and raise as `result` does.
        """
        error = self.exception(timeout)
        if error is not None:
            raise _to_raise(error)
        return [part.result() for part in self._parts]

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what the first failed batch failed with, None if all was appended; wait as `result`."""
        deadline_ms: float | None = None
        timeout_ms = _milliseconds(timeout)
        for part in list(self._parts):
            if part.done():
                continue
            queue = part._owner.queue
            left_ms = None
            if timeout_ms is not None:
                now_ms = queue.monotonic_ms()
                deadline_ms = deadline_ms or now_ms + timeout_ms
                left_ms = deadline_ms - now_ms
            if not queue.wait_until(part.done, left_ms):
                raise StreamlogTimeoutError(
                    f"{queue.topic_partition}: the run was not acknowledged within {timeout} s"
                )
        # One that was split off meanwhile is done as well: it was in front of one that is.
        for part in list(self._parts):
            error = part.exception()
            if error is not None:
                return error
        return None

    def add_done_callback(self, fn: Callable[[RecordFuture], object]) -> None:
        """Call ``fn(future)`` once the whole run is done, at once if it is already."""
        _check_callable(fn)
        parts = list(self._parts)
        waiting = [len(parts)]
        lock = Lock()

        def one_done(_: RecordFuture) -> None:
            with lock:
                waiting[0] -= 1
                left = waiting[0]
            if left == 0:
                call_back(fn, self)

        if not parts:
            call_back(fn, self)
        for part in parts:
            part.add_done_callback(one_done)

    def __repr__(self) -> str:
        state = "done" if self.done() else "pending"
        return f"<RunFuture of {len(self._parts)} batches: {state}>"


def call_back(fn: Callable[[RecordFuture], object], future: RecordFuture) -> None:
    """Call a done callback; log what it raises."""
    try:
        fn(future)
    except Exception:
        _logger.exception("Done callback %r failed", fn)


def _milliseconds(timeout: float | None) -> float | None:
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(f"timeout: expected a number of seconds or None, found {timeout!r:.80}")
    return timeout * 1000


def _check_callable(fn: object) -> None:
    if not callable(fn):
        raise TypeError(f"add_done_callback: expected a callable, found {type(fn).__name__}")


def _to_raise(error: BaseException) -> BaseException:
    """Return a copy to raise: one error fails many records, and their tracebacks must not mix."""
    fresh = copy.copy(error)
    fresh.__cause__ = error.__cause__
    return fresh
