"""Fetch: batches from an offset on, waiting for them if need be."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from streamlog.errors import StreamlogError
from streamlog.structs import Isolation
from streamlog.wire.codec.record_parts import RecordParts
from streamlog.wire.encoded_batches import Allowance, TakesLongError
from streamlog.wire.error_codes import (
    FETCH_SESSION_ID_NOT_FOUND,
    UNSUPPORTED_COMPRESSION_TYPE,
    code_of,
)
from streamlog.wire.handlers.fetch_progress import FetchProgress, PartitionProgress
from streamlog.wire.handlers.list_offsets import epoch_error
from streamlog.wire.parked import Parked, Slow

if TYPE_CHECKING:
    from streamlog.broker.partition import Partition
    from streamlog.wire.call import Call
    from streamlog.wire.parked import WakeSignal

_UNKNOWN_OFFSET = -1
#: An answer has no more than that, and one batch, whatever was asked for. Source: Kafka ``fetch.max.bytes``.
_MAX_BYTES = 55 * 1024 * 1024
#: What a look may cost in the loop, which is everybody's: about a millisecond.
_COST_IN_LOOP = 128 * 1024
_PARTITIONS_IN_LOOP = 200
#: Read in one go: nobody else runs meanwhile.
_READ_BYTES = 2 * 1024 * 1024
#: Before, nobody is given zstd that asked for it by the topic's configuration (KIP-110).
_FIRST_WITH_ZSTD = 10
#: From there on topics are named by their ids (KIP-516).
_FIRST_WITH_IDS = 13


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
        # Else whatever wakes us is an answer; not so the appends of an open transaction.
        self._counts = self._min_bytes > 1 or request.isolation_level == 1
        self._progress: FetchProgress | None = None
        partitions = sum(len(topic.partitions) for topic in request.topics)
        self._takes_long = partitions > _PARTITIONS_IN_LOOP
        #: Of the present look: what it may cost; whether no more can be read behind what it found.
        self._allowance: Allowance | None = None
        self._meets_damage = False
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
        """Return what there is if it is enough, or an error, or late; `Slow` where that takes long."""
        slow = Slow(partial(self._look, is_late, None))
        if self._takes_long:
            return slow
        try:
            return self._look(is_late, Allowance(_COST_IN_LOOP))
        except TakesLongError:
            return slow

    def _look(self, is_late: bool, allowance: Allowance | None) -> Any:
        progress = self._progress
        if (
            progress is not None
            and not is_late
            and not progress.reaches(self._min_bytes, allowance)
        ):
            return None
        self._allowance = allowance
        self._meets_damage = False
        request, make = self._call.request, self._call.response
        # None until all partitions were looked at: a look that takes too long has begun with some of them only.
        self._progress = None
        progress = (
            FetchProgress(self._isolation, self._call.encoded_batches) if self._counts else None
        )
        # Less where many clients have not read their answers yet.
        left = min(self._max_bytes, self._call.response_memory.room_bytes)
        # Never nothing, unless that is what was asked for: who gets that comes again at once.
        enough = min(self._min_bytes, max(left, 1))
        size, is_wrong = 0, False
        topics = []
        for topic in request.topics:
            found = []
            for wanted in topic.partitions:
                answer = self._read(topic, wanted, left, progress, is_first=not size)
                if answer.error_code or answer.diverging_epoch is not None:
                    is_wrong = True
                elif answer.records:
                    size += len(answer.records)
                    left -= len(answer.records)
                found.append(answer)
            topics.append(
                make.Responses(topic=topic.topic, topic_id=topic.topic_id, partitions=found)
            )
        # What did not fit counts as well, as it does at the next look: the two have to agree, or all is read again at each append.
        counted = size if progress is None else progress.size_bytes
        if counted >= enough or is_wrong or is_late or self._meets_damage or not topics:
            return make(responses=topics)
        self._progress = progress
        return None

    def _find(self, topic: Any, number: int) -> Partition:
        """Return the partition, which wakes us from now on: before it is looked at, and again if it is another one than before."""
        call = self._call
        if call.version < _FIRST_WITH_IDS:
            partition = call.broker.partition(topic.topic, number)
        else:
            partition = call.topic_ids.find(topic.topic_id).partition(number)
        if partition not in self._partitions:
            self._partitions[partition] = None
            partition.add_waiter(self._signal)
        return partition

    def _read(
        self, topic: Any, wanted: Any, left: int, progress: FetchProgress | None, *, is_first: bool
    ) -> Any:
        make = self._call.response.Responses.Partitions
        index = wanted.partition
        try:
            partition = self._find(topic, index)
            if code := epoch_error(partition, wanted.current_leader_epoch):
                return self._refused(index, code)
            if (
                self._call.version < _FIRST_WITH_ZSTD
                and self._call.broker.topic(topic.topic).config.compression_type == "zstd"
            ):
                return self._refused(index, UNSUPPORTED_COMPRESSION_TYPE)
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
            count = (
                None
                if progress is None
                else progress.begin(partition, wanted.fetch_offset, wanted.partition_max_bytes)
            )
            if left > 0 or is_first:
                self._add_records(partition, wanted, left, answer, is_first, count)
        except (StreamlogError, OSError) as error:
            return self._refused(index, code_of(error))
        return answer

    def _refused(self, index: int, code: int) -> Any:
        return self._call.response.Responses.Partitions(
            partition_index=index,
            error_code=code,
            high_watermark=_UNKNOWN_OFFSET,
            aborted_transactions=[] if self._is_committed else None,
            records=b"",
        )

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
        self,
        partition: Partition,
        wanted: Any,
        left: int,
        answer: Any,
        is_first: bool,
        count: PartitionProgress | None,
    ) -> None:
        """Put batches into *answer*: the first one of all whatever its size, the others while they fit."""
        end_offset = partition.end_offset(self._isolation)
        limit = min(wanted.partition_max_bytes, left)
        encoded = self._call.encoded_batches
        parts: list[bytes | bytearray] = []
        size = 0
        start = stop = wanted.fetch_offset
        is_full = False
        while not is_full:
            try:
                batches = partition.read_batches(
                    stop, min(max(limit - size, 0), _READ_BYTES), end_offset
                )
                if not batches:
                    break
                each = encoded.each(partition.topic_partition, batches, self._allowance)
                for view, part in zip(batches, each, strict=True):
                    part_bytes = len(part)
                    if count is not None:
                        count.add(part_bytes, view.next_offset)
                    if size + part_bytes > limit and (size or not is_first):
                        is_full = True
                        break
                    parts.append(part)
                    size += part_bytes
                    stop = view.next_offset
            except (StreamlogError, OSError):
                if not size:
                    raise
                # The client first gets what is good, and meets the error when it goes on.
                self._meets_damage = True
                break
            is_full = is_full or stop >= end_offset or size >= limit
        if not size:
            return
        answer.records = RecordParts(parts, size)
        if self._is_committed and partition.has_transactions:
            make = self._call.response.Responses.Partitions.AbortedTransactions
            answer.aborted_transactions = [
                make(producer_id=found.producer_id, first_offset=found.first_offset)
                for found in partition.aborted_transactions(start, stop)
            ]
