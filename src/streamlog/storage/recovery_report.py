"""What opening a data directory found: one entry a partition, and the whole."""

from __future__ import annotations

from enum import Enum

import attrs

from streamlog.structs import TopicPartition


class RecoveryOutcome(Enum):
    """What the log of a partition looked like when it was opened, and what was done about it."""

    #: Closed properly: nothing was read.
    CLEAN = "clean"
    #: Not closed properly: everything behind the recovery point was read and is good.
    SCANNED = "scanned"
    #: The last batch was being written when the process or the machine died: cut off. Nothing acknowledged was in it.
    TORN_TAIL = "torn_tail"
    #: A power loss, or a sync that failed, kept some pages and lost earlier ones, behind the last sync: cut to the prefix, the rest
    #: is in quarantine.
    LOST_PAGES = "lost_pages"
    #: Bytes that were safe are damaged. Nothing was cut: reading the range raises CorruptLogError, the rest is readable. Or the log
    #: ends within a transaction that was committed, says the message: what is left of that counts for nothing.
    DAMAGED = "damaged"
    #: Records that were durable are gone with their file, whichever of the log's. The partition cannot be used: DataLossError.
    DATA_LOSS = "data_loss"


@attrs.frozen
class DamagedRange:
    """Offsets that cannot be read: from ``first_bad_offset`` up to, not including, ``next_good_offset`` (None: to the end)."""

    first_bad_offset: int
    next_good_offset: int | None
    file: str
    position: int


@attrs.define
class PartitionRecovery:
    """What opening one partition found."""

    topic_partition: TopicPartition
    outcome: RecoveryOutcome = RecoveryOutcome.CLEAN
    scanned_bytes: int = 0
    scanned_batches: int = 0
    scanned_records: int = 0
    #: Bytes cut off behind the last good batch, and the records that could still be counted in them.
    cut_bytes: int = 0
    cut_records: int = 0
    #: A cut after a power loss or a failed sync cannot tell a lost write from a damaged one: True when that was so.
    ambiguous: bool = False
    damaged_ranges: list[DamagedRange] = attrs.Factory(list)
    #: Where the bytes that were cut have been copied to, or None.
    quarantine_path: str | None = None
    #: What is wrong, in words; empty when nothing is.
    message: str = ""


def _only_remarkable(partitions: list[PartitionRecovery]) -> str:
    """Return what a report shows of its partitions: their number, and those that were not simply clean."""
    remarkable = [p for p in partitions if p.outcome is not RecoveryOutcome.CLEAN]
    return f"<{len(partitions)}, not clean: {remarkable}>"


@attrs.define
class RecoveryReport:
    """What opening a data directory found: ``broker.recovery_report``."""

    #: Whether the broker was closed properly the last time. True for a new directory. Of one that is open for reading: whether nobody
    #: had it open for writing at the last look.
    clean: bool = True
    #: How often the directory was opened for writing, this time included.
    generation: int = 1
    #: Whether it was not, and the machine was restarted since: then a bad batch may be a lost write rather than damage.
    power_may_have_failed: bool = False
    duration_ms: float = 0.0
    #: Opened so far, in the order of opening.
    partitions: list[PartitionRecovery] = attrs.field(factory=list, repr=_only_remarkable)
    #: Directories and files that belong to no known topic. They are left alone.
    ignored_paths: list[str] = attrs.Factory(list)
    #: What else was noticed, such as a STATE file that had to be done without.
    notes: list[str] = attrs.Factory(list)

    @property
    def scanned_bytes(self) -> int:
        """Bytes read to find the ends of the logs; 0 after a clean close."""
        return sum(partition.scanned_bytes for partition in self.partitions)

    @property
    def damaged_partitions(self) -> list[PartitionRecovery]:
        """The partitions with damage or data loss."""
        bad = (RecoveryOutcome.DAMAGED, RecoveryOutcome.DATA_LOSS)
        return [partition for partition in self.partitions if partition.outcome in bad]
