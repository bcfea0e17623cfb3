"""Reading ahead from the assigned partitions, in turn, and handing out so many records at a time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from streamlog.client.aborted_filter import empty_aborted
from streamlog.client.assigned_partition import AssignedPartition
from streamlog.client.min_bytes_gate import NEVER, MinBytesGate
from streamlog.client.record_slice import Part, RecordSlice, as_slice, split_part
from streamlog.errors import (
    CorruptRecordError,
    OffsetOutOfRangeError,
    RecordDecodeError,
    StreamlogError,
    UnknownTopicOrPartitionError,
)
from streamlog.record.layout import CONTROL_BIT, HEADER_SIZE
from streamlog.record.serialization import Deserializer, resolve_deserializer
from streamlog.structs import Isolation, TopicPartition

if TYPE_CHECKING:
    from streamlog.broker.partition import Partition
    from streamlog.config import ConsumerConfig
    from streamlog.record import BatchView
    from streamlog.runtime import Signal

_READ_BYTES = 128 * 1024
"""The most that one read of the log asks for: what the processor's cache can hold until it is decoded.
A read is a copy out of a map, so that larger ones would save nothing. After a seek it takes three reads
to get there, which halves the time of reading one record somewhere."""
_READ_GROWTH = 4

Group = tuple[TopicPartition, list[Part]]
"""Records of one partition, at least one, in offset order."""

ResetHandler = Callable[[AssignedPartition, OffsetOutOfRangeError], None]


class Fetcher:
    """The buffers of all assigned partitions. Threads: the consumer's.

    `collect` goes round the partitions and starts each time where it stopped, so that a busy one
    never keeps the others waiting (CON-16). While nothing was appended since all was read it costs
    one look at the signal, however many partitions there are.

    Source: Kafka ``FetchCollector``, ``FetchBuffer``.
    """

    def __init__(
        self, config: ConsumerConfig, signal: Signal, on_out_of_range: ResetHandler
    ) -> None:
        self._isolation = config.isolation_level
        self._sees_uncommitted = config.isolation_level is Isolation.READ_UNCOMMITTED
        self._check_crcs = config.check_crcs
        self._max_bytes = config.fetch_max_bytes
        self._max_partition_bytes = config.max_partition_fetch_bytes
        self._specs = config.key_deserializer, config.value_deserializer
        self._deserializes = any(resolve_deserializer(spec) for spec in self._specs)
        self._deserializers: dict[str, tuple[Deserializer | None, Deserializer | None]] = {}
        self._signal = signal
        self._signal_is_set = signal.is_set
        self._signal_clear = signal.clear
        self._on_out_of_range = on_out_of_range
        self._gate = MinBytesGate(config) if config.fetch_min_bytes > 1 else None
        self._partitions: list[AssignedPartition] = []
        self._turn = 0
        # Whether there may be records that no signal will announce.
        self._may_have_more = False
        self.taken_from: list[AssignedPartition] = []
        """The partitions that the last `collect` took records from; none once `deliver` gave them all to the user."""
        self._taken_count = 0
        self.delivered_count = 0
        """Records that were returned to the user, in all."""
        self.read_bytes = 0
        """Bytes of batches that were read for that, in all, headers left out."""
        # What the present call may still read, in all, and whether that kept it from reading.
        self._budget_bytes = 0
        self._is_cut = False
        # The visible end of the partition that was read last.
        self._end_offset = -1

    # ---- what to read from

    def assign(self, partitions: Iterable[AssignedPartition]) -> None:
        """Read from *partitions* and no others; those that left are no longer waited for."""
        assigned = list(partitions)
        kept = set(map(id, assigned))
        for left in self._partitions:
            if id(left) not in kept:
                self.detach(left)
        self._partitions = assigned
        self._turn = 0
        self.look_again()

    def attach(self, assigned: AssignedPartition, partition: Partition) -> None:
        """Let *assigned* read from *partition*, whose appends set the signal from now on."""
        self.detach(assigned)
        partition.add_waiter(self._signal)
        assigned.partition = partition
        self.look_again()

    def detach(self, assigned: AssignedPartition) -> None:
        """Stop reading from and waiting for the partition behind *assigned*."""
        if assigned.partition is not None:
            assigned.partition.remove_waiter(self._signal)
            assigned.partition = None

    def look_again(self) -> None:
        """A position or a pause changed: look at every partition next time."""
        self._may_have_more = True

    # ---- reading

    def has_work(self, now_ms: float) -> bool:
        """Return whether `collect` would return records or raise, or `due_ms` has become sooner.
        Changes nothing the user can see.
        """
        if self._gate is not None:
            due_ms = self._gate.due_ms
            # A first byte gives the wait an end, for which whoever waits has to look at the clock again.
            return self._gate.is_open(self._partitions, now_ms) or self._gate.due_ms < due_ms
        isolation = self._isolation
        for assigned in self._partitions:
            partition = assigned.partition
            if partition is not None and assigned.position is not None and not assigned.paused:
                try:
                    end_offset, taken = partition.end_offset(isolation), assigned.taken
                    # Not only above: a position beyond the end is out of range (CON-5). But one between the
                    # last stable offset and the high watermark waits for transactions to end.
                    if end_offset != taken and not end_offset < taken <= partition.high_watermark:
                        return True
                except StreamlogError:
                    return True
        return False

    @property
    def due_ms(self) -> float:
        """When waiting for ``fetch_min_bytes`` ends; infinity when nobody waits for that."""
        return NEVER if self._gate is None else self._gate.due_ms

    def collect(self, limit: int, now_ms: float) -> list[Group]:
        """Take up to *limit* records out of the buffers, reading as needed; none gives an empty list.

        The positions stay where they are: `deliver` moves them once the records are on their way to
        the user. What is wrong with one partition (`CorruptLogError`, `RecordDecodeError`,
        `OffsetOutOfRangeError`, an error of the disk) is raised when the records before it were
        returned; the other partitions are returned by the next calls.
        """
        # What was taken and not delivered (an iteration that was left, Ctrl-C) is to be taken again.
        if not self._may_have_more and not self.taken_from and not self._signal_is_set():
            return []
        # Cleared before looking: an append from here on raises it again.
        self._signal_clear()
        self._may_have_more = True
        gate = self._gate
        if gate is not None and not gate.is_open(self._partitions, now_ms):
            return []
        groups: list[Group] = []
        self.taken_from = []
        self._taken_count = 0
        self._budget_bytes = self._max_bytes
        self._is_cut = False
        partitions = self._partitions
        for _ in range(len(partitions)):
            assigned = partitions[self._turn]
            following = self._turn + 1 if self._turn + 1 < len(partitions) else 0
            try:
                limit -= self._take(assigned, limit, groups)
            except (StreamlogError, OSError):
                assigned.drop_buffer()
                if groups:
                    return groups  # the next call starts here and meets the error first
                self._turn = following
                raise
            self._turn = following
            if not limit:
                return groups
        self._may_have_more = self._is_cut
        return groups

    def deliver(self) -> None:
        """Move the positions past what `collect` took (CON-4)."""
        self.delivered_count += self._taken_count
        for assigned in self.taken_from:
            assigned.deliver()
        self.taken_from = []

    def _check(self) -> None:
        """Assert what holds while no call is under way. For tests."""
        assert 0 <= self._turn < max(len(self._partitions), 1)
        for assigned in self._partitions:
            if assigned.partition is not None:
                waiters = assigned.partition._waiters
                assert [signal is self._signal for signal in waiters].count(True) == 1

    def _take(self, assigned: AssignedPartition, limit: int, groups: list[Group]) -> int:
        """Add up to *limit* records of one partition to *groups*, also those before one that raises;
        return how many.
        """
        if assigned.partition is None or assigned.position is None or assigned.paused:
            return 0
        if assigned.taken != assigned.position:
            assigned.rewind()  # taken by a call that did not get as far as returning it
        parts: list[Part] = []
        left = limit
        seen_end = -1
        budget_bytes = self._max_partition_bytes
        try:
            while left:
                if assigned.taken == seen_end:
                    break  # what was appended since then has set the signal
                part = assigned.rest or self._next_part(assigned)
                if part is None:
                    read_bytes = self._read(assigned, budget_bytes)
                    if not read_bytes:
                        break
                    seen_end = self._end_offset
                    budget_bytes -= read_bytes
                    continue
                assigned.rest = None
                if part.record_count > left:
                    part, assigned.rest = split_part(part, left)
                if self._deserializes:
                    part = self._deserialize(assigned, part, parts)
                parts.append(part)
                left -= part.record_count
                assigned.taken = part.next_offset
        finally:
            if parts:
                last = parts[-1]
                assigned.taken_epoch = last.leader_epoch
                if last.next_offset < assigned.taken:
                    last.next_offset = (
                        assigned.taken
                    )  # what is not returned comes with what was before it
                groups.append((assigned.topic_partition, parts))
                self.taken_from.append(assigned)
                self._taken_count += limit - left
        if left == limit:
            assigned.deliver()  # nothing but control records, if anything
        return limit - left

    def _next_part(self, assigned: AssignedPartition) -> Part | None:
        """Return what is to be returned of the next batch that has any of it; None when the buffer is
        empty. Batches without move the position (LOG-8).
        """
        pending = assigned.pending
        while pending:
            view = pending.pop()
            if view.attributes & CONTROL_BIT or view.record_count == 0:
                if view.attributes & CONTROL_BIT and not self._sees_uncommitted:
                    # Whoever takes its word for what is committed has to know that it is damaged.
                    self._check_crc(assigned, view)
                assigned.taken = max(assigned.taken, view.next_offset)
                continue
            if self._check_crcs:
                self._check_crc(assigned, view)
            if not view.is_plain:
                _read_columns(assigned.topic_partition, view)
            if view.base_offset >= assigned.taken:
                return view
            # A read begins at the start of the batch that holds the position (LOG-7).
            start = bisect_left(view.offsets(), assigned.taken)
            if start < view.record_count:
                return RecordSlice(view, start, view.record_count, view.next_offset)
            assigned.taken = max(assigned.taken, view.next_offset)
        return None

    def _check_crc(self, assigned: AssignedPartition, view: BatchView) -> None:
        if not self._check_crcs:
            return
        try:
            view.check()
        except CorruptRecordError as error:
            partition = assigned.partition
            assert partition is not None, "whose batches these are"
            # As what it is here: damage on the disk, which reading again does not cure.
            raise partition.damage_at(view.base_offset, str(error)) from error

    def _read(self, assigned: AssignedPartition, budget_bytes: int) -> int:
        """Fill the empty buffer of *assigned*; return how many bytes that took, 0 for nothing."""
        partition = assigned.partition
        if partition is None:
            return 0
        try:
            # The property is a call less than end_offset(), and this is asked at each poll.
            end_offset = self._end_offset = (
                partition.high_watermark if self._sees_uncommitted else partition.last_stable_offset
            )
            if end_offset == assigned.read_ahead:
                return 0
            size = assigned.read_size_bytes
            if size > budget_bytes or size > self._budget_bytes:
                size = min(budget_bytes, self._budget_bytes)
            if size <= 0 and self._budget_bytes != self._max_bytes:
                self._is_cut = True
                return 0
            batches = partition.read_batches(assigned.read_ahead, size, end_offset)
            if not batches:
                return 0
            # With the headers: there may be nothing else, once compaction removed all records (LOG-8).
            read_bytes = batches[0].header[0]
            if len(batches) > 1:
                read_bytes = sum([view.header[0] for view in batches])
            if not self._sees_uncommitted and partition.has_transactions:
                start, end = batches[0].base_offset, batches[-1].next_offset
                aborted = partition.aborted_transactions(start, end)
                if aborted:
                    empty_aborted(batches, aborted)
        except OffsetOutOfRangeError as error:
            self._on_out_of_range(assigned, error)
            return 1
        except UnknownTopicOrPartitionError:
            self.detach(assigned)  # deleted; whoever refreshes the topics sees it as well
            return 0
        assigned.read_ahead = batches[-1].next_offset
        batches.reverse()
        assigned.pending = batches
        if assigned.read_size_bytes < _READ_BYTES:
            assigned.read_size_bytes = min(assigned.read_size_bytes * _READ_GROWTH, _READ_BYTES)
        self._budget_bytes -= read_bytes
        self.read_bytes += read_bytes - HEADER_SIZE * len(batches)
        return read_bytes

    def _deserialize(
        self, assigned: AssignedPartition, part: Part, parts: list[Part]
    ) -> RecordSlice:
        """Return *part* decoded; at a record that cannot be, add what precedes it and raise."""
        topic = assigned.topic_partition.topic
        found = self._deserializers.get(topic)
        if found is None:
            key_spec, value_spec = self._specs
            found = self._deserializers[topic] = (
                resolve_deserializer(key_spec, topic, "key"),
                resolve_deserializer(value_spec, topic, "value"),
            )
        decoded = as_slice(part)
        error = decoded.deserialize(assigned.topic_partition, *found)
        if error is not None:
            assigned.taken = decoded.next_offset
            if decoded.record_count:
                parts.append(decoded)
            raise error
        return decoded


def _read_columns(topic_partition: TopicPartition, view: BatchView) -> None:
    """Decompress a batch, and find its gaps, before the position moves past it: what that raises must not cost a record."""
    try:
        _ = view.columns
    except RecordDecodeError as error:
        raise RecordDecodeError(
            f"{topic_partition}: {error}; seek past offset {view.last_offset} to go on without the batch",
            topic_partition=topic_partition,
            offset=view.base_offset,
        ) from error
