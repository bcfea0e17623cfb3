"""What STATE says of one log, and what has happened to the files when it says something else."""

from __future__ import annotations

from typing import NamedTuple

from streamlog.storage.partition_checkpoint import PartitionCheckpoint


class LogState(NamedTuple):
    """What STATE says of one log."""

    #: None where STATE cannot be read: then nothing is known.
    checkpoint: PartitionCheckpoint | None
    #: Whether pages may have been lost: then the log ends before the first batch that is not whole.
    power_failed: bool
    #: Another value means that somebody else has opened the directory since, and may have cut what was torn.
    session: tuple[int, str, bool]

    def was_cut_since(self, known: LogState) -> bool:
        """Whether the end may be another one than *known* was read with, apart from growth."""
        return self[1:] != known[1:] or _end(self.checkpoint) != _end(known.checkpoint)

    def was_cleaned_since(self, known: LogState) -> bool:
        """Whether compaction has put other files in the place of some since *known*."""
        before, after = known.checkpoint, self.checkpoint
        if before is None or after is None:
            return False
        return _cleaning(before) != _cleaning(after) or (
            _sealed(before)[:2] == _sealed(after)[:2] and _sealed(before) != _sealed(after)
        )


def _end(point: PartitionCheckpoint | None) -> tuple[int, int] | None:
    return None if point is None else (point.truncating_to_offset, point.leader_epoch)


def _cleaning(point: PartitionCheckpoint) -> tuple[int, int, int]:
    return point.first_dirty_offset, point.swapping_from_offset, point.swapping_to_offset


def _sealed(point: PartitionCheckpoint) -> tuple[int, int, int, int]:
    """Return between which offsets the sealed segments are, and how they are told from others there."""
    return point.log_start_offset, point.segment_base_offset, point.sealed_count, point.sealed_crc
