"""Storage: one directory is one partition log, and a data directory holds many.

Bottom up: ``segment.py`` (one mapped file), ``partition_log.py`` (a log of segments), ``data_directory.py`` (all logs of a broker,
their manifest and checkpoints), ``recovery.py`` (what opening does after a crash).
"""

from streamlog.storage.data_directory import DataDirectory
from streamlog.storage.partition_log import PartitionLog
from streamlog.storage.recovery_report import (
    DamagedRange,
    PartitionRecovery,
    RecoveryOutcome,
    RecoveryReport,
)

__all__ = [
    "DamagedRange",
    "DataDirectory",
    "PartitionLog",
    "PartitionRecovery",
    "RecoveryOutcome",
    "RecoveryReport",
]
