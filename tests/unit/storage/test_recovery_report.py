"""What opening a directory found."""

from __future__ import annotations

from streamlog.storage import PartitionRecovery, RecoveryOutcome, RecoveryReport
from streamlog.structs import TopicPartition


def test_a_report_sums_up_and_shows_what_is_remarkable() -> None:
    fine = PartitionRecovery(TopicPartition("fine", 0), scanned_bytes=10)
    torn = PartitionRecovery(TopicPartition("torn", 0), RecoveryOutcome.TORN_TAIL, scanned_bytes=5)
    bad = PartitionRecovery(TopicPartition("bad", 0), RecoveryOutcome.DAMAGED)
    gone = PartitionRecovery(TopicPartition("gone", 0), RecoveryOutcome.DATA_LOSS)
    report = RecoveryReport(partitions=[fine, torn, bad, gone])
    assert report.scanned_bytes == 15
    assert report.damaged_partitions == [bad, gone]
    text = repr(report)
    assert "4, not clean" in text
    assert "'torn'" in text
    assert "'fine'" not in text
