"""Fetch: batches from an offset on, waiting for them if need be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamlog.errors import StreamlogError
from streamlog.structs import Isolation
from streamlog.wire.error_codes import FETCH_SESSION_ID_NOT_FOUND, code_of
from streamlog.wire.handlers.fetch_progress import FetchProgress
from streamlog.wire.handlers.list_offsets import epoch_error
from streamlog.wire.parked import Parked

if TYPE_CHECKING:
    from streamlog.broker.partition import Partition
    from streamlog.wire.call import Call
    from streamlog.wire.parked import WakeSignal

_UNKNOWN_OFFSET = -1
#: An answer has no more than that, and one batch, whatever was asked for. Source: Kafka ``fetch.max.bytes``.
_MAX_BYTES = 55 * 1024 * 1024


def handle(call: Call) -> Any:
    """Return what there is, or wait for ``min_bytes`` for up to ``max_wait_ms``.

    Sessions (KIP-227) are not kept: session id 0 in the answer tells the client so, and it names all of its partitions each time.
    """
    if call.request.session_id:
        return call.response(error_code=FETCH_SESSION_ID_NOT_FOUND)
    return ParkedFetch(call)


class ParkedFetch(Parked):
    """A fetch that is answered when enough is there."""

    def __init__(self, call: Call) -> None:
        request = call.request
        self._call = call
        #: Those that wake us.
        self._partitions: dict[Partition, None] = {}
        self.timeout_ms = max(request.max_wait_ms, 0)
        self._max_bytes = min(request.max_bytes, _MAX_BYTES)
        # More than fits is never there.
        self._min_bytes = min(request.min_bytes, self._max_bytes)
        self._progress: FetchProgress | None = None
        self._is_committed = request.isolation_level == 1
        self._isolation = (
            Isolation.READ_COMMITTED if self._is_committed else Isolation.READ_UNCOMMITTED
        )

    def start(self, signal: WakeSignal) -> None:
        """Wait for appends, and for transactions to end, in whatever is looked at from now on."""
        self._signal = signal

    def stop(self) -> None:
        """Wait no longer."""
        for partition in self._partitions:
            partition.remove_waiter(self._signal)

    def look(self, is_late: bool) -> Any:
        """Return what there is if it is enough, or an error, or late."""
        progress = self._progress
        if progress is not None and not is_late and not progress.reaches(self._min_bytes):
            return None
        request, make = self._call.request, self._call.response
        if self._min_bytes > 1:
            self._progress = FetchProgress(self._isolation, self._call.encoded_batches)
        left = self._max_bytes
        size, is_wrong = 0, False
        topics = []
        for topic in request.topics:
            found = []
            for wanted in topic.partitions:
                answer = self._read(topic.topic, wanted, left, is_first=not size)
                if answer.error_code or answer.diverging_epoch is not None:
                    is_wrong = True
                elif answer.records:
                    size += len(answer.records)
                    left -= len(answer.records)
                found.append(answer)
            topics.append(make.Responses(topic=topic.topic, partitions=found))
        if size >= self._min_bytes or is_wrong or is_late or not topics:
            return make(responses=topics)
        return None

    def _find(self, topic: str, number: int) -> Partition:
        """Return the partition, which wakes us from now on: before it is looked at, and again if it is another one than before."""
        partition = self._call.broker.partition(topic, number)
        if partition not in self._partitions:
            self._partitions[partition] = None
            partition.add_waiter(self._signal)
        return partition

    def _read(self, topic: str, wanted: Any, left: int, *, is_first: bool) -> Any:
        make = self._call.response.Responses.Partitions
        index = wanted.partition
        try:
            partition = self._find(topic, index)
            if code := epoch_error(partition, wanted.current_leader_epoch):
                return make(
                    partition_index=index,
                    error_code=code,
                    high_watermark=_UNKNOWN_OFFSET,
                    aborted_transactions=[] if self._is_committed else None,
                    records=b"",
                )
            answer = make(
                partition_index=index,
                high_watermark=partition.high_watermark,
                last_stable_offset=partition.last_stable_offset,
                log_start_offset=partition.log_start_offset,
                # None where nobody asked for committed records only.
                aborted_transactions=[] if self._is_committed else None,
                records=b"",
            )
            if wanted.last_fetched_epoch >= 0 and self._diverges(partition, wanted, answer):
                return answer
            if self._progress is not None:
                self._progress.begin(partition, wanted.fetch_offset, wanted.partition_max_bytes)
            if left > 0 or is_first:
                self._add_records(partition, wanted, left, answer, is_first)
        except (StreamlogError, OSError) as error:
            return make(
                partition_index=index,
                error_code=code_of(error),
                high_watermark=_UNKNOWN_OFFSET,
                aborted_transactions=[] if self._is_committed else None,
                records=b"",
            )
        return answer

    def _diverges(self, partition: Partition, wanted: Any, answer: Any) -> bool:
        """Whether what the client read last is not in this log any more (KIP-595, REP-6); it is told where the two part."""
        epoch = wanted.last_fetched_epoch
        found = partition.end_offset_for_epoch(epoch)
        if found is None or (
            found.leader_epoch >= epoch and found.end_offset >= wanted.fetch_offset
        ):
            return False
        answer.diverging_epoch = self._call.response.Responses.Partitions.DivergingEpoch(
            epoch=found.leader_epoch, end_offset=found.end_offset
        )
        return True

    def _add_records(
        self, partition: Partition, wanted: Any, left: int, answer: Any, is_first: bool
    ) -> None:
        """Put batches into *answer*: the first one of all whatever its size, the others while they fit."""
        end_offset = partition.end_offset(self._isolation)
        limit = min(wanted.partition_max_bytes, left)
        batches = partition.read_batches(wanted.fetch_offset, max(limit, 0), end_offset)
        if not batches:
            return
        encoded = self._call.encoded_batches
        parts: list[bytes | bytearray] = []
        size = 0
        for view in batches:
            try:
                part = encoded.get(partition.topic_partition, view)
            except StreamlogError:
                if parts:
                    break  # the client first gets what is good, and meets the error when it goes on
                raise
            size += len(part)
            if size > limit and (parts or not is_first):
                break
            parts.append(part)
        answer.records = parts[0] if len(parts) == 1 else b"".join(parts)
        if self._is_committed and parts and partition.has_transactions:
            make = self._call.response.Responses.Partitions.AbortedTransactions
            start, stop = wanted.fetch_offset, batches[len(parts) - 1].next_offset
            answer.aborted_transactions = [
                make(producer_id=found.producer_id, first_offset=found.first_offset)
                for found in partition.aborted_transactions(start, stop)
            ]
