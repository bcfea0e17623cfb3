"""What STATE remembers of one partition: where recovery starts, and what it need not read again."""

from __future__ import annotations

from typing import Any, NamedTuple

from streamlog.errors import CorruptLogError


class PartitionCheckpoint(NamedTuple):
    """The durable evidence of one log: everything before it was on the disk when it was written.

    Source: Kafka's ``recovery-point-offset-checkpoint`` and ``log-start-offset-checkpoint``, in one.
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

    def pack(self) -> list[int]:
        """Return the fields in order, for msgpack."""
        return list(self)

    @classmethod
    def unpack(cls, fields: Any, name: str) -> PartitionCheckpoint:
        """Return the checkpoint in *fields*; raises CorruptLogError, naming the log *name*, when they are not one."""
        if (
            type(fields) is not list
            or len(fields) != 9
            or not all(type(field) is int for field in fields)
        ):
            raise CorruptLogError(
                f"STATE: checkpoint of {name}: expected 9 integers, found {fields!r:.100}",
                file="STATE",
            )
        return cls(*fields)
