"""The newest value of each key of a topic, up to some offset of each partition, read by whole batches."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from streamlog.client.aborted_filter import empty_aborted
from streamlog.errors import CorruptRecordError, OffsetOutOfRangeError, RecordDecodeError
from streamlog.record.layout import CONTROL_BIT
from streamlog.structs import Isolation

if TYPE_CHECKING:
    from streamlog.broker.partition import Partition
    from streamlog.record import BatchView
    from streamlog.record.serialization import Deserializer
    from streamlog.runtime import Clock

_READ_BYTES = 256 * 1024

Value = bytes | None
RecordChange = Callable[[Any, Value, Value], None]
"""Called with key, value before and value after; None stands for no value."""


class PartitionPosition:
    """How far one partition has been applied."""

    __slots__ = ("offset", "partition")

    def __init__(self, partition: Partition) -> None:
        self.partition = partition
        self.offset = partition.log_start_offset
        """The next offset to apply."""


class TableContents:
    """A dict of keys and values, and how far each partition is in it. Threads: one at a time.

    Values stay bytes: most are never looked at, and who does gets an object of his own. A batch is
    applied column by column, in C, unless somebody wants to know of each change.
    """

    def __init__(
        self,
        partitions: Iterable[Partition],
        isolation: Isolation,
        key_deserializer: Deserializer | None,
        clock: Clock,
    ) -> None:
        self._isolation = isolation
        self._clock = clock
        self._decode_key = key_deserializer
        self.table: dict[Any, Value] = {}
        """What there is. A value is None only for an instant, within `apply`: others take it for absent."""
        self.positions = [PartitionPosition(partition) for partition in partitions]
        """In partition order."""
        self.skipped_records = 0
        """Records without a key, which name nothing that a value could belong to."""
        self.applied_ms: int | None = None
        """When `apply` was last called that came to the end, or at all (wall clock); None: the next one asks for no tombstones."""

    def add(self, partition: Partition) -> None:
        """Read *partition* as well, from its log start on."""
        self.positions.append(PartitionPosition(partition))

    def apply(self, record_change: RecordChange | None) -> None:
        """Apply what is visible now and was not applied yet, one partition after another.

        Raises `OffsetOutOfRangeError` when the log start has passed the position, or compaction may have
        removed tombstones behind it (CMP-9); `CorruptLogError` for damage and `RecordDecodeError` for a key that cannot be deserialized: all before it is applied
        then, in that partition and those before it. Interrupted, it goes on by the next call.
        """
        now_ms = self._clock.time_ms()
        # Without a time before, nothing was read that a tombstone could have been for, or somebody chose to go on (`TableView.skip`).
        idle_ms = None if self.applied_ms is None else now_ms - self.applied_ms
        if idle_ms is None:
            self.applied_ms = now_ms
        for position in self.positions:
            end = position.partition.end_offset(self._isolation)
            if position.offset < end and idle_ms is not None:
                self._check_tombstones(position, idle_ms)
            while position.offset < end:
                for view in self._read(position, end):
                    self._apply(position, view, record_change)
                    position.offset = view.next_offset
        self.applied_ms = now_ms

    def _check_tombstones(self, position: PartitionPosition, idle_ms: int) -> None:
        """Raise `OffsetOutOfRangeError` if a key may have been removed of which nothing tells any more."""
        partition = position.partition
        if partition.may_lack_tombstones(position.offset, idle_ms):
            raise OffsetOutOfRangeError(
                f"{partition.topic_partition}: expected the tombstones since offset {position.offset}, found that they may be "
                f"gone: nothing was read for {idle_ms} ms (delete_retention_ms)",
                offsets={partition.topic_partition: position.offset},
            )

    def _read(self, position: PartitionPosition, end: int) -> list[BatchView]:
        partition = position.partition
        batches = partition.read_batches(position.offset, _READ_BYTES, end)
        if not batches:
            raise OffsetOutOfRangeError(
                f"{partition.topic_partition}: expected records from offset {position.offset} to {end}, found none",
                offsets={partition.topic_partition: position.offset},
            )
        if self._isolation is Isolation.READ_COMMITTED and partition.has_transactions:
            aborted = partition.aborted_transactions(
                batches[0].base_offset, batches[-1].next_offset
            )
            if aborted:
                empty_aborted(batches, aborted)
        return batches

    def _apply(
        self, position: PartitionPosition, view: BatchView, record_change: RecordChange | None
    ) -> None:
        is_control = view.attributes & CONTROL_BIT
        if view.record_count == 0 or (is_control and self._isolation is Isolation.READ_UNCOMMITTED):
            return
        try:
            view.check()
            if is_control:
                return  # its word was taken for what is committed
            keys, values = view.keys(), view.values()
        except CorruptRecordError as error:
            raise position.partition.damage_at(view.base_offset, str(error)) from error
        except RecordDecodeError as error:
            raise self._located(position, view.base_offset, error) from error
        # A read begins at the start of the batch that holds the position (LOG-7).
        first = 0
        if position.offset > view.base_offset:
            first = bisect_left(view.offsets(), position.offset)
            values = values[first:]
        if keys is None:
            self.skipped_records += len(values)
            return
        if first:
            keys = keys[first:]
        offsets = view.offsets()[first:]
        if self._decode_key is not None:
            keys, wrong = self._decoded(position, offsets, keys)
            if wrong is not None:
                self._apply_columns(keys, values[: len(keys)], record_change)
                position.offset = offsets[len(keys)]
                raise wrong
        self._apply_columns(keys, values, record_change)

    def _decoded(
        self, position: PartitionPosition, offsets: Sequence[int], keys: list[Value]
    ) -> tuple[list[Any], RecordDecodeError | None]:
        """Return *keys* deserialized, up to the first that cannot be, and what is wrong with that one."""
        decode = self._decode_key
        assert decode is not None
        try:
            decoded = list(map(decode, keys))
            set(
                decoded
            )  # whether all are hashable: no half of a batch must be in the table before it is known
        except (RecordDecodeError, TypeError):
            decoded = []
        else:
            return decoded, None
        for offset, key in zip(offsets, keys, strict=True):
            try:
                found = decode(key)
                hash(found)
            except RecordDecodeError as error:
                return decoded, self._located(position, offset, error)
            except TypeError as error:
                wrong = RecordDecodeError(f"expected a key that is hashable: {error}", origin="key")
                return decoded, self._located(position, offset, wrong)
            decoded.append(found)
        return decoded, None

    def _apply_columns(
        self, keys: list[Any], values: list[Value], record_change: RecordChange | None
    ) -> None:
        table = self.table
        if None in keys:
            self.skipped_records += keys.count(None)
        if record_change is not None:
            for key, value in zip(keys, values, strict=True):
                before = table.get(key)
                if key is None or value == before:
                    continue
                # First: after Ctrl-C in between it is told once more, and not never.
                record_change(key, before, value)
                if value is None:
                    del table[key]
                else:
                    table[key] = value
            return
        table.update(zip(keys, values, strict=True))
        table.pop(None, None)
        if None in values:
            # The last record of a key counts, so only now is it known which keys are gone.
            for key, value in zip(keys, values, strict=True):
                if value is None and table.get(key) is None:
                    table.pop(key, None)

    @staticmethod
    def _located(
        position: PartitionPosition, offset: int, error: RecordDecodeError
    ) -> RecordDecodeError:
        """Return *error* with the place of the record, or of the batch, that could not be read."""
        topic_partition = position.partition.topic_partition
        located = RecordDecodeError(
            f"{topic_partition} at offset {offset}: {error}",
            topic_partition=topic_partition,
            offset=offset,
            origin=error.origin,
        )
        located.__cause__ = error.__cause__ or error
        return located
