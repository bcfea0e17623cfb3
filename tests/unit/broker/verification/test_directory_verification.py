"""A directory that is right gives no findings, open or closed; whatever is wrong is named with its place."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, TypeAlias

import pytest

from streamlog import Producer
from streamlog.broker.verification import DirectoryVerification
from streamlog.errors import NotStreamlogDirectoryError, UnsupportedFormatError
from streamlog.record import build_batch
from streamlog.storage import index_file
from streamlog.storage.checkpoint_file import read_checkpoint, write_checkpoint
from streamlog.storage.verification import Finding, Severity
from streamlog.structs import TopicPartition
from streamlog.testing import FaultPlan, FaultyFileSystem

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog import Broker
    from streamlog.runtime import MemoryFileSystem, VirtualClock

PATH = "/data"
LOG = "/data/topics/orders-0"

Filled: TypeAlias = "Callable[[], Broker]"


def verify(filesystem: MemoryFileSystem) -> list[Finding]:
    return list(DirectoryVerification(filesystem, PATH).run())


def logs(filesystem: MemoryFileSystem, suffix: str = ".log") -> list[str]:
    return [f"{LOG}/{name}" for name in filesystem.list_dir(LOG) if name.endswith(suffix)]


def flip(filesystem: MemoryFileSystem, path: str, position: int) -> None:
    file = filesystem.open(path)
    byte = file.read_at(position, 1)
    file.write_at(position, bytes([byte[0] ^ 1]))


def only(findings: list[Finding]) -> Finding:
    (found,) = findings
    return found


def test_a_directory_that_was_closed_has_no_findings(
    filesystem: MemoryFileSystem, filled: Filled
) -> None:
    sizes: list[int] = []
    verification = DirectoryVerification(filesystem, PATH, sizes.append)
    assert list(verification.run()) == []
    assert len(logs(filesystem)) > 4
    assert verification.records > 1080
    assert verification.logs == 1 + 50 + 50
    assert sum(sizes) == verification.total_bytes() > 0


def test_a_directory_in_use_has_no_findings_and_stays_as_it_is(
    filesystem: MemoryFileSystem, filled: Filled
) -> None:
    with filled() as broker, Producer(broker) as producer:
        producer.send("orders", b"x").result()
        assert verify(filesystem) == []
        producer.send("orders", b"y").result()
        assert verify(filesystem) == []
    assert verify(filesystem) == []


@pytest.mark.parametrize("number", [0, 3, -1])
def test_a_changed_body_is_named_with_its_place(
    filesystem: MemoryFileSystem, filled: Filled, number: int
) -> None:
    path = logs(filesystem)[number]
    flip(filesystem, path, 85)
    found = only(verify(filesystem))
    assert (found.severity, found.path, found.position) == (Severity.DAMAGE, path, 0)
    assert found.topic_partition == TopicPartition("orders", 0)
    assert found.offset == int(path[-24:-4])
    assert "checksum of its body" in found.message


def test_a_changed_header_is_named_with_what_follows(
    filesystem: MemoryFileSystem, filled: Filled
) -> None:
    path = logs(filesystem)[2]
    flip(filesystem, path, 20)
    damage = [f for f in verify(filesystem) if f.severity is Severity.DAMAGE]
    assert damage[0].path == path
    assert damage[0].position == 0
    assert "found damaged bytes; readable again from offset" in damage[0].message


def test_a_segment_that_ends_early_is_damage(filesystem: MemoryFileSystem, filled: Filled) -> None:
    with filled() as broker:
        batch_end = broker.partition("orders", 0).log.segments[0].position_of(1)[0]
    path = logs(filesystem)[0]
    filesystem.open(path).truncate(batch_end)
    messages = [f.message for f in verify(filesystem) if f.severity is Severity.DAMAGE]
    assert len(messages) == 1
    assert messages[0].endswith("found the end of the file at offset 1")


def test_a_last_segment_that_lost_its_end_is_less_than_state_says(
    filesystem: MemoryFileSystem, filled: Filled
) -> None:
    path = logs(filesystem)[-1]
    filesystem.open(path).truncate(0)
    found = [f for f in verify(filesystem) if f.severity is Severity.DAMAGE]
    assert [f.path for f in found] == [path]
    assert "(says STATE)" in found[0].message


@pytest.mark.parametrize(("number", "expected"), [(0, "found"), (4, "segment files before")])
def test_a_segment_that_is_gone_is_damage(
    filesystem: MemoryFileSystem, filled: Filled, number: int, expected: str
) -> None:
    filesystem.unlink(logs(filesystem)[number])
    found = [f for f in verify(filesystem) if f.severity is Severity.DAMAGE]
    assert found
    assert expected in found[0].message


def test_the_directory_of_a_log_that_is_gone_is_damage(
    filesystem: MemoryFileSystem, filled: Filled
) -> None:
    for name in filesystem.list_dir(LOG):
        filesystem.unlink(f"{LOG}/{name}")
    filesystem.remove_dir(LOG)
    found = only(verify(filesystem))
    assert (found.severity, found.path) == (Severity.DAMAGE, LOG)


@pytest.mark.parametrize("suffix", [".idx", ".tix", ".txn", ".snap"])
def test_a_derived_file_that_was_changed_can_be_made_again(
    filesystem: MemoryFileSystem, filled: Filled, suffix: str
) -> None:
    path = next(p for p in logs(filesystem, suffix) if filesystem.file_size(p) > 20)
    flip(filesystem, path, filesystem.file_size(path) // 2)
    found = only(verify(filesystem))
    assert (found.severity, found.path) == (Severity.DERIVED, path)


@pytest.mark.parametrize("suffix", [".idx", ".tix", ".txn", ".snap"])
def test_a_derived_file_that_is_gone_is_no_finding(
    filesystem: MemoryFileSystem, filled: Filled, suffix: str
) -> None:
    for path in logs(filesystem, suffix):
        filesystem.unlink(path)
    assert verify(filesystem) == []


def test_an_index_that_tells_of_other_batches_is_found_by_its_entries(
    filesystem: MemoryFileSystem, filled: Filled
) -> None:
    """The checksums of it are right: it was made for other content under the same name."""
    first = logs(filesystem)[0]
    with filled() as broker:
        segment = broker.partition("orders", 0).log.segments[0]
        segment.ensure_indexes()
        segment.offset_index._relative_offsets[1] += 1
        segment.time_index._timestamps_ms[0] += 1
        segment._rewrite_indexes()
    found = verify(filesystem)
    assert {f.path for f in found} == {first[:-3] + "idx", first[:-3] + "tix"}
    assert all(f.severity is Severity.DERIVED for f in found)
    assert any("entry of byte" in f.message for f in found)


def test_state_that_cannot_be_read_can_be_made_again(
    filesystem: MemoryFileSystem, filled: Filled
) -> None:
    flip(filesystem, "/data/STATE", 30)
    found = only(verify(filesystem))
    assert (found.severity, found.path) == (Severity.DERIVED, "/data/STATE")
    assert "read from its start" in found.message


@pytest.mark.parametrize("name", ["META", "FORMAT"])
def test_meta_and_format_cannot_be_made_again(
    filesystem: MemoryFileSystem, filled: Filled, name: str
) -> None:
    flip(filesystem, f"/data/{name}", 30)
    found = only(verify(filesystem))
    assert (found.severity, found.path) == (Severity.DAMAGE, f"/data/{name}")


def test_a_log_that_meta_does_not_name_is_a_note(
    filesystem: MemoryFileSystem, filled: Filled
) -> None:
    filesystem.make_dir("/data/topics/stray-0")
    found = only(verify(filesystem))
    assert (found.severity, found.path) == (Severity.NOTE, "/data/topics/stray-0")


def test_a_record_of_the_offsets_topic_that_no_group_wrote_is_damage(
    filesystem: MemoryFileSystem, clock: VirtualClock, filled: Filled
) -> None:
    with filled() as broker:
        partition = broker.partition("__consumer_offsets", 3)
        offset = partition.append(build_batch([b"x"], clock.time_ms(), [b"no group wrote this"]))
    damage = only([f for f in verify(filesystem) if f.severity is Severity.DAMAGE])
    assert damage.topic_partition == TopicPartition("__consumer_offsets", 3)
    assert damage.offset == offset


def test_an_end_that_is_not_finished_is_a_note_while_the_directory_is_not_closed(
    filesystem: MemoryFileSystem, filled: Filled
) -> None:
    with filled() as broker:
        with Producer(broker) as producer:
            producer.send("orders", b"x" * 50).result()
        path = logs(filesystem)[-1]
        segment = broker.partition("orders", 0).log.segments[-1]
        last = segment.position_of(broker.partition("orders", 0).log_end_offset - 1)[0]
        filesystem.open(path).write_at(last, bytes(4))  # the length word comes last
        found = only(verify(filesystem))
        assert (found.severity, found.path, found.position) == (Severity.NOTE, path, last)
        broker.abandon(RuntimeError("killed"))  # type: ignore[arg-type]


def test_what_is_no_data_directory_is_refused(filesystem: MemoryFileSystem) -> None:
    filesystem.make_dir(PATH)
    with pytest.raises(NotStreamlogDirectoryError, match="found no FORMAT file"):
        verify(filesystem)
    with pytest.raises(NotStreamlogDirectoryError):
        DirectoryVerification(filesystem, PATH).total_bytes()


def test_a_newer_format_is_refused(filesystem: MemoryFileSystem, filled: Filled) -> None:
    content = {"format_version": 2, "directory_id": "x"}
    write_checkpoint(filesystem, "/data/FORMAT", "FORMAT", content)
    with pytest.raises(UnsupportedFormatError, match="format version 2"):
        verify(filesystem)


def test_an_index_of_aborted_transactions_that_tells_of_others_is_found(
    filesystem: MemoryFileSystem, filled: Filled
) -> None:
    """Its checksums are right, and it forgets the first transaction that was aborted."""
    path = logs(filesystem, ".txn")[0]
    entries = index_file.read_entries(filesystem, path, 1 << 20)
    assert len(entries.entries) >= 64
    index_file.replace_entries(filesystem, path, entries.entries[32:], entries.covers)
    found = only(verify(filesystem))
    assert (found.severity, found.path) == (Severity.DERIVED, path)
    assert "aborted transactions" in found.message


@pytest.mark.parametrize(
    ("column", "more", "expected"),
    [(-4, 1, "expected sequences and timestamp"), (-2, 9999, "expected a batch of producer")],
)
def test_a_snapshot_that_tells_of_other_batches_is_found(
    filesystem: MemoryFileSystem, filled: Filled, column: int, more: int, expected: str
) -> None:
    path = logs(filesystem, ".snap")[0]
    content = read_checkpoint(filesystem, path, "SNAPSHOT")
    content["producers"][0][column] += more
    write_checkpoint(filesystem, path, "SNAPSHOT", content)
    found = verify(filesystem)
    assert {(f.severity, f.path) for f in found} == {(Severity.DERIVED, path)}
    assert any(expected in f.message for f in found)


def test_a_snapshot_of_another_log_is_found(filesystem: MemoryFileSystem, filled: Filled) -> None:
    path = logs(filesystem, ".snap")[0]
    content = read_checkpoint(filesystem, path, "SNAPSHOT")
    write_checkpoint(filesystem, path, "SNAPSHOT", {**content, "place": "other-0/x.snap"})
    assert "expected the snapshot of orders-0/" in only(verify(filesystem)).message


@pytest.mark.parametrize(
    ("call", "name"),
    [("open", "*.log"), ("*", "*.idx"), ("*", "*.txn"), ("*", "*.snap"), ("list_dir", "")],
)
def test_what_may_not_be_read_is_unreadable_and_no_damage(
    filesystem: MemoryFileSystem, filled: Filled, call: str, name: str
) -> None:
    """It was reported as damage, which nobody knows: one who may read it finds nothing."""
    plan = FaultPlan()
    plan.fail(call, errno.EACCES, path=f"{LOG}/{name}" if name else LOG, times=None)
    verification = DirectoryVerification(FaultyFileSystem(filesystem, plan), PATH)
    found = only(list(verification.run()))
    assert (found.severity, found.topic_partition) == (
        Severity.UNREADABLE,
        TopicPartition("orders", 0),
    )
    assert found.path.startswith(LOG)
    assert found.message == "cannot be read, and so the log was not checked: Permission denied"
    assert verification.logs == 50 + 50, "the others were checked"


def test_the_directory_of_a_log_that_may_not_be_entered_is_unreadable(
    filesystem: MemoryFileSystem, filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it is there cannot be seen either."""
    plan = FaultPlan()
    plan.fail("list_dir", errno.EACCES, path=LOG, times=None)
    files = FaultyFileSystem(filesystem, plan)
    monkeypatch.setattr(type(files), "is_dir", lambda self, path: path != LOG)
    found = only(list(DirectoryVerification(files, PATH).run()))
    assert (found.severity, found.path) == (Severity.UNREADABLE, LOG)


def test_want_of_descriptors_is_no_damage(filesystem: MemoryFileSystem, filled: Filled) -> None:
    plan = FaultPlan()
    plan.fail("open", errno.EMFILE, path=f"{LOG}/*.log", times=None)
    found = only(list(DirectoryVerification(FaultyFileSystem(filesystem, plan), PATH).run()))
    assert found.severity is Severity.UNREADABLE


def test_a_file_that_the_disk_cannot_read_is_damage(
    filesystem: MemoryFileSystem, filled: Filled
) -> None:
    plan = FaultPlan()
    plan.fail("read_at", errno.EIO, path=f"{LOG}/*.log", times=None)
    found = only(list(DirectoryVerification(FaultyFileSystem(filesystem, plan), PATH).run()))
    assert (found.severity, found.path) == (Severity.DAMAGE, LOG)


@pytest.mark.parametrize(
    ("call", "name"), [("read_file", "META"), ("read_file", "STATE"), ("list_dir", "topics")]
)
def test_what_says_which_logs_there_are_has_to_be_readable(
    filesystem: MemoryFileSystem, filled: Filled, call: str, name: str
) -> None:
    plan = FaultPlan()
    plan.fail(call, errno.EACCES, path=f"{PATH}/{name}", times=None)
    with pytest.raises(PermissionError):
        list(DirectoryVerification(FaultyFileSystem(filesystem, plan), PATH).run())
