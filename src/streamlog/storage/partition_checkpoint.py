"""What STATE remembers of one partition: where recovery starts, and what it need not read again."""

from __future__ import annotations

from typing import Any, NamedTuple

from streamlog.errors import CorruptLogError

SYNC_FAILED = 1
HAS_PRODUCERS = 2
HAS_TRANSACTIONS = 4


class PartitionCheckpoint(NamedTuple):
    """The durable evidence of one log: everything before it was on the disk when it was written.

    Source: Kafka's ``recovery-point-offset-checkpoint``, ``log-start-offset-checkpoint`` and ``leader-epoch-checkpoint``, in one.
    """

    log_start_offset: int
    #: Every record below survives; recovery starts here.
    recovery_offset: int
    #: The segment that recovery_offset falls into, and its position there.
    segment_base_offset: int
    segment_position: int
    leader_epoch: int
    #: Timestamps of the active segment up to segment_position (-1 without records), and the batch that brought the greatest.
    first_timestamp_ms: int
    max_timestamp_ms: int
    max_timestamp_offset: int
    #: A truncation under way: recovery repeats it. -1 = none.
    truncating_to_offset: int = -1
    #: What holds of the log, of the bits below.
    flags: int = 0
    #: The segments from the one that holds the log start up to, not including, the one of recovery_offset: how many, and the
    #: CRC-32C of their base offsets (``log_segments.fingerprint``).
    sealed_count: int = 0
    sealed_crc: int = 0
    #: Below it, compaction has been. (From here on not in a STATE of before there was any.)
    first_dirty_offset: int = 0
    #: A swap of compaction under way: recovery finishes it. The file ``.cleaned`` of the first offset is to stand in the place of all
    #: segments from there up to, not including, the second; the checksum above counts it as one. -1 = none.
    swapping_from_offset: int = -1
    swapping_to_offset: int = -1
    #: Leader epochs and the offsets at which they begin, in turn (``LeaderEpochs.pack``).
    epochs: tuple[int, ...] = ()

    @property
    def sync_failed(self) -> bool:
        """Whether a sync failed: the system may have dropped any page behind recovery_offset."""
        return bool(self.flags & SYNC_FAILED)

    @property
    def has_producers(self) -> bool:
        """Whether a producer with an id ever wrote: without one there is nothing to find out."""
        return bool(self.flags & HAS_PRODUCERS)

    @property
    def has_transactions(self) -> bool:
        """Whether a batch of a transaction was ever stored."""
        return bool(self.flags & HAS_TRANSACTIONS)

    def pack(self) -> list[int]:
        """Return the fields in order, the epochs last, for msgpack."""
        fixed: Any = self[:_FIXED]
        return [*fixed, *self.epochs]

    @classmethod
    def unpack(cls, fields: Any, name: str) -> PartitionCheckpoint:
        """Return the checkpoint in *fields*; raises CorruptLogError, naming the log *name*, when they are not one."""
        fixed = _FIXED
        if type(fields) is list and len(fields) % 2 == _FIXED_BEFORE % 2:
            fixed = _FIXED_BEFORE
        if (
            type(fields) is not list
            or len(fields) < fixed
            or (len(fields) - fixed) % 2
            or set(map(type, fields)) != _ONLY_INT
        ):
            raise CorruptLogError(
                f"STATE: checkpoint of {name}: expected {_FIXED} integers and pairs of them, found {fields!r:.100}",
                file="STATE",
            )
        return cls._make(fields[:fixed] + _NEW[fixed:] + [tuple(fields[fixed:])])


_FIXED = len(PartitionCheckpoint._fields) - 1

#: So many there were before there was compaction. With pairs behind them, an even number tells these from today's.
_FIXED_BEFORE = 12
_NEW = [0] * _FIXED_BEFORE + [0, -1, -1]
_ONLY_INT = {int}
