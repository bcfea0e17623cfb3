"""A log of several segments: what is missing between two, what opening will cut, what compaction is about to swap, what is derived."""

from __future__ import annotations

import pytest

from streamlog.record import build_batch
from streamlog.record.codec import Codec
from streamlog.record.compression import Compressor
from streamlog.storage.compaction.cleaned_file import cleaned_path
from streamlog.storage.log_segments import fingerprint
from streamlog.storage.partition_checkpoint import SYNC_FAILED, PartitionCheckpoint
from streamlog.storage.verification import Finding, LogVerification, Severity, log_verification
from tests.support.storage import Store
from tests.unit.storage.conftest import memory_disk_of
from tests.unit.storage.verification.conftest import StoredLog


def only(findings: list[Finding], severity: Severity) -> list[Finding]:
    return [found for found in findings if found.severity is severity]


def test_a_log_as_it_was_closed_has_no_findings_and_every_byte_was_checked(
    stored: StoredLog,
) -> None:
    checked: list[int] = []
    verification = stored.verification(on_bytes=checked.append)
    assert verification.run() == []
    assert verification.records == stored.end_offset
    assert sum(checked) == sum(map(len, stored.content().values()))
    assert stored.findings(is_closed=False) == []


def test_progress_is_told_by_the_mebibyte() -> None:
    store = Store(memory_disk_of())
    for _ in range(5):
        store.append(b"v" * 600_000)
    store.close()
    checked: list[int] = []
    verification = LogVerification(
        store.disk.filesystem,
        store.log_path,
        store.log.topic_partition,
        None,
        is_closed=True,
        on_bytes=checked.append,
    )
    assert verification.run() == []
    assert sum(checked) == store.disk.filesystem.file_size(store.segment_path())
    assert len(checked) > 2


# ---- files that are missing, or end too early


def test_a_missing_segment_is_a_gap_and_not_the_one_that_state_counted(stored: StoredLog) -> None:
    stored.filesystem.unlink(stored.path(1))
    found = stored.findings()
    first, second, third = stored.base_offsets[:3]
    counted, gap, *_ = found
    assert counted.message.startswith(f"expected {len(stored.base_offsets) - 1} segment files")
    short = (
        f"expected batches up to offset {third - 1}, found the end of the file at offset {second}"
    )
    assert (gap.path, gap.offset, gap.message) == (stored.path(0), second, short)
    assert {f.severity for f in found} == {Severity.DAMAGE}
    assert first == 0


def test_a_segment_that_lost_its_last_batches_is_damage_once(stored: StoredLog) -> None:
    path, second = stored.path(0), stored.base_offsets[1]
    stored.store.disk.cut(path, stored.last_position(0))
    (found,) = stored.findings()
    assert found.message == (
        f"expected batches up to offset {second - 1}, found the end of the file at offset {second - 1}"
    )
    stored.store.disk.cut(path, stored.size(0) - 30)
    (found,) = stored.findings()
    assert found.message.endswith("found damaged bytes; nothing readable follows")


def test_an_earlier_damage_does_not_hide_that_the_end_is_missing(stored: StoredLog) -> None:
    path = stored.path(0)
    stored.store.disk.flip(path, 85)
    stored.store.disk.cut(path, stored.last_position(0))
    checksum, end = stored.findings()
    assert checksum.message == "batch at offset 0: the checksum of its body is wrong"
    assert end.message.startswith("expected batches up to offset")


def test_the_first_segment_may_begin_behind_what_is_expected_only_without_a_state(
    stored: StoredLog,
) -> None:
    stored.filesystem.unlink(stored.path(0))
    (found,) = stored.findings()
    second = stored.base_offsets[1]
    assert found.message == (
        f"the log starts at offset 0: expected a segment for it, found {second} first"
    )
    verification = LogVerification(
        stored.filesystem,
        stored.store.log_path,
        stored.store.log.topic_partition,
        None,
        is_closed=True,
    )
    assert verification.run() == []


def test_an_empty_segment_before_another_lost_all_of_its_batches(stored: StoredLog) -> None:
    second = stored.base_offsets[1]
    stored.store.disk.write(stored.path(0), b"")
    (found,) = stored.findings()
    assert (found.severity, found.offset, found.message) == (
        Severity.DAMAGE,
        0,
        f"expected batches up to offset {second - 1}, found the end of the file at offset 0",
    )


def test_a_segment_under_another_name_is_damage(stored: StoredLog) -> None:
    stored.filesystem.rename(stored.path(-1), stored.store.segment_path(stored.end_offset + 9))
    assert any("expected the batch of offset" in f.message for f in stored.findings())


def test_the_segment_of_the_recovery_point_has_to_be_there(stored: StoredLog) -> None:
    checkpoint = stored.checkpoint
    stored.filesystem.unlink(stored.path(-1))
    found = stored.findings()
    assert found[0].message == "expected the segment of the recovery point, found none"
    assert found[0].path == stored.path(-1)
    nothing_said = checkpoint._replace(recovery_offset=0)
    assert only(stored.findings(nothing_said), Severity.DAMAGE) == []


# ---- bytes that are bad


def test_bad_bytes_say_where_it_can_be_read_again(stored: StoredLog) -> None:
    stored.store.disk.flip(stored.path(0), 12)
    (found,) = stored.findings()
    assert found.message == (
        "expected the batch of offset 0, found damaged bytes; readable again from offset 1, byte 104"
    )
    assert (found.offset, found.position, found.severity) == (0, 0, Severity.DAMAGE)


def test_room_behind_the_last_batch_is_nothing(stored: StoredLog) -> None:
    path = stored.path(-1)
    stored.store.disk.cut(path, stored.size(-1) + 4096)
    assert stored.findings() == []


def test_a_batch_that_is_being_written_is_a_note(stored: StoredLog) -> None:
    path, checkpoint = stored.path(-1), stored.checkpoint
    position = stored.size(-1)
    stored.store.disk.write(path, stored.store.disk.read(path) + bytes(8) + b"SLB\x01" + bytes(84))
    (found,) = stored.findings(is_closed=False)
    assert (found.severity, found.position, found.offset) == (
        Severity.NOTE,
        position,
        stored.end_offset,
    )
    assert "is not finished" in found.message
    assert only(stored.findings(), Severity.DAMAGE), "nobody has it open"
    durable = checkpoint._replace(segment_position=position + 96)
    assert only(stored.findings(durable, is_closed=False), Severity.DAMAGE), "it was on the disk"
    elsewhere = checkpoint._replace(
        segment_base_offset=0, sealed_count=0, sealed_crc=0, recovery_offset=0
    )
    (found,) = stored.findings(elsewhere, is_closed=False)
    assert found.severity is Severity.NOTE


# ---- what opening cuts


@pytest.mark.parametrize("why", ["power", "sync", "truncation"])
def test_what_is_bad_behind_the_recovery_point_is_a_note_where_opening_cuts_it(
    stored: StoredLog, why: str
) -> None:
    second = stored.base_offsets[1]
    checkpoint = stored.checkpoint._replace(
        recovery_offset=second, segment_base_offset=second, segment_position=0
    )
    count, crc = fingerprint(stored.base_offsets, 0, second)
    checkpoint = checkpoint._replace(sealed_count=count, sealed_crc=crc)
    if why == "sync":
        checkpoint = checkpoint._replace(flags=checkpoint.flags | SYNC_FAILED)
    elif why == "truncation":
        checkpoint = checkpoint._replace(truncating_to_offset=second)
    has_failed = why == "power"
    for number in (1, 2):
        stored.store.disk.flip(stored.path(number), 85)
    (found,) = stored.findings(checkpoint, is_closed=False, power_failed=has_failed)
    assert (found.severity, found.path) == (Severity.NOTE, stored.path(1))
    assert found.message.startswith("was not on the disk for certain, and the next open cuts")
    stored.store.disk.flip(stored.path(0), 85)
    damage, note = stored.findings(checkpoint, is_closed=False, power_failed=has_failed)
    assert (damage.severity, damage.path) == (Severity.DAMAGE, stored.path(0))
    assert note == found


def test_without_a_failure_nothing_is_cut(stored: StoredLog) -> None:
    checkpoint = PartitionCheckpoint(0, 0, 0, 0, 0, 0, 0, 0)
    stored.store.disk.flip(stored.path(1), 85)
    (found,) = stored.findings(checkpoint, is_closed=False)
    assert found.severity is Severity.DAMAGE


def test_a_log_of_which_nothing_was_on_the_disk_may_have_lost_its_files(stored: StoredLog) -> None:
    stored.filesystem.unlink(stored.path(0))
    checkpoint = PartitionCheckpoint(0, 0, 0, 0, 0, 0, 0, 0)
    (found,) = stored.findings(checkpoint, is_closed=False, power_failed=True)
    assert (found.severity, found.path) == (Severity.NOTE, stored.store.log_path)
    durable = checkpoint._replace(recovery_offset=5)
    found, *_ = stored.findings(durable, is_closed=False, power_failed=True)
    assert found.severity is Severity.DAMAGE


# ---- a swap under way


def swapping(stored: StoredLog) -> PartitionCheckpoint:
    """Put a cleaned file beside the first two segments, and return the STATE that says so."""
    content = stored.store.disk.read(stored.path(0)) + stored.store.disk.read(stored.path(1))
    stored.store.disk.write(cleaned_path(stored.store.log_path, 0), content)
    third, last = stored.base_offsets[2], stored.base_offsets[-1]
    left = [0, *stored.base_offsets[2:]]
    count, crc = fingerprint(left, 0, last)
    return stored.checkpoint._replace(
        swapping_from_offset=0,
        swapping_to_offset=third,
        first_dirty_offset=third,
        sealed_count=count,
        sealed_crc=crc,
    )


def test_a_swap_under_way_is_checked_as_it_will_end(stored: StoredLog) -> None:
    checkpoint = swapping(stored)
    checked: list[int] = []
    assert stored.verification(checkpoint, on_bytes=checked.append).run() == []
    assert sum(checked) == sum(map(len, stored.content().values()))
    stored.store.disk.flip(cleaned_path(stored.store.log_path, 0), 85)
    (found,) = stored.findings(checkpoint)
    assert (found.severity, found.path) == (
        Severity.DAMAGE,
        cleaned_path(stored.store.log_path, 0),
    )
    (found,) = stored.findings(checkpoint, power_failed=True)
    assert found.severity is Severity.DAMAGE, "it was on the disk before STATE named it"


def test_what_is_replaced_is_not_looked_at_any_more(stored: StoredLog) -> None:
    checkpoint = swapping(stored)
    for number in (0, 1):
        stored.store.disk.flip(stored.path(number), 85)
    assert stored.findings(checkpoint) == []


def test_a_swap_of_which_the_file_has_its_name_already_is_checked_under_that(
    stored: StoredLog,
) -> None:
    checkpoint = swapping(stored)
    for suffix in (".idx", ".tix", ".txn"):
        stored.filesystem.unlink(stored.path(0, suffix))
    stored.filesystem.rename(cleaned_path(stored.store.log_path, 0), stored.path(0))
    assert stored.findings(checkpoint) == []
    stored.store.disk.flip(stored.path(0), 85)
    (found,) = stored.findings(checkpoint)
    assert found.path == stored.path(0)


def test_a_cleaned_file_that_stands_for_the_whole_log_ends_it(stored: StoredLog) -> None:
    checkpoint = swapping(stored)
    for name in stored.store.names():
        offset = int(name.split(".", maxsplit=1)[0])
        if offset >= stored.base_offsets[2] or name.endswith(".snap"):
            stored.filesystem.unlink(f"{stored.store.log_path}/{name}")
    third = stored.base_offsets[2]
    checkpoint = checkpoint._replace(segment_base_offset=third, recovery_offset=0)
    verification = stored.verification(checkpoint)
    assert verification.run() == []
    assert verification.records == third


# ---- what is derived, and what cannot be looked into


def test_an_index_that_does_not_agree_is_derived(stored: StoredLog) -> None:
    for suffix in (".idx", ".tix", ".txn"):
        stored.store.disk.flip(stored.path(0, suffix), 20)
        (found,) = stored.findings()
        assert (found.severity, found.path) == (Severity.DERIVED, stored.path(0, suffix))
        assert [f.path for f in stored.findings(is_closed=False)] == [found.path]
        stored.store.disk.flip(stored.path(0, suffix), 20)


def test_those_of_the_active_segment_may_be_torn_while_it_is_open(stored: StoredLog) -> None:
    for suffix in (".idx", ".tix", ".txn"):
        stored.store.disk.flip(stored.path(-1, suffix), 20)
    assert len(only(stored.findings(), Severity.DERIVED)) == 3
    assert stored.findings(is_closed=False) == []


def test_aborted_transactions_are_not_held_against_a_damaged_log(stored: StoredLog) -> None:
    stored.store.disk.flip(stored.path(0), 85)
    stored.store.disk.flip(stored.path(1, ".txn"), 20)
    assert [f.path for f in stored.findings()] == [stored.path(0)]


def test_a_snapshot_that_cannot_be_read_is_derived(stored: StoredLog) -> None:
    path = stored.store.segment_path(stored.end_offset, ".snap")
    stored.store.disk.flip(path, 30)
    (found,) = stored.findings()
    assert (found.severity, found.path) == (Severity.DERIVED, path)


def test_compressed_batches_are_counted_where_their_library_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Store(memory_disk_of())
    for _ in range(2):
        batch = build_batch([b"v" * 500], 1_000)
        Compressor(Codec.LZ4).apply(batch)
        assert batch.attributes
        store.log.append(batch)
    store.close()

    def findings() -> list[Finding]:
        verification = LogVerification(
            store.disk.filesystem,
            store.log_path,
            store.log.topic_partition,
            None,
            is_closed=True,
        )
        return verification.run()

    assert findings() == []
    monkeypatch.setattr(log_verification, "can_decompress", lambda: False)
    (found,) = findings()
    assert (found.severity, found.path) == (Severity.NOTE, store.log_path)
    assert found.message.startswith("2 compressed batches were not looked into")
