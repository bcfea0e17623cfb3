"""Repair makes again what is derived; the bytes of logs, META and FORMAT stay what they were."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import pytest

from streamlog import Consumer, TopicPartition
from streamlog.broker.verification import DirectoryVerification, repair_directory
from streamlog.errors import AlreadyOpenError
from streamlog.storage.directory_state import DirectoryState
from streamlog.storage.verification import Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog import Broker
    from streamlog.runtime import MemoryFileSystem, VirtualClock

PATH = "/data"
Filled: TypeAlias = "Callable[[], Broker]"


def verify(filesystem: MemoryFileSystem) -> list[Finding]:
    return list(DirectoryVerification(filesystem, PATH).run())


def files(filesystem: MemoryFileSystem) -> list[str]:
    found = []
    for directory in filesystem.list_dir("/data/topics"):
        where = f"/data/topics/{directory}"
        found += [f"{where}/{name}" for name in filesystem.list_dir(where)]
    return found


def data(filesystem: MemoryFileSystem) -> dict[str, bytes]:
    kept = [path for path in files(filesystem) if path.endswith(".log")]
    return {p: filesystem.read_file(p, 1 << 24) for p in [*kept, "/data/META", "/data/FORMAT"]}


def break_all(filesystem: MemoryFileSystem, suffixes: tuple[str, ...]) -> list[str]:
    broken = []
    for path in [*files(filesystem), "/data/STATE"]:
        size = filesystem.file_size(path)
        if path.endswith(suffixes) and size > 20:
            file = filesystem.open(path)
            file.write_at(size // 2, bytes([file.read_at(size // 2, 1)[0] ^ 1]))
            broken.append(path)
    assert broken
    return broken


def committed(reopen: Filled) -> list[bytes | None]:
    with reopen() as broker:
        options = {"isolation_level": "read_committed", "auto_offset_reset": "earliest"}
        with Consumer(broker, config=options) as consumer:
            consumer.assign([TopicPartition("orders", 0)])
            values: list[bytes | None] = []
            while records := consumer.poll(100):
                values += records.values()
            return values


@pytest.mark.parametrize(
    "suffixes",
    [(".idx",), (".tix",), (".txn",), (".snap",), ("STATE",)]
    + [(".idx", ".tix", ".txn", ".snap", "STATE")],
)
def test_what_is_derived_is_made_again_and_the_data_is_not_touched(
    filesystem: MemoryFileSystem, clock: VirtualClock, filled: Filled, suffixes: tuple[str, ...]
) -> None:
    expected = committed(filled)
    assert len(expected) == 6 * 20 + 900
    broken = break_all(filesystem, suffixes)
    before, findings = data(filesystem), verify(filesystem)
    wrong = {f.path for f in findings}
    # Without STATE nothing says that the logs were closed: the index of a last segment may be unfinished.
    assert wrong <= set(broken) if "STATE" in suffixes else wrong == set(broken)
    assert set(repair_directory(filesystem, PATH, clock, findings)) >= wrong
    assert data(filesystem) == before
    assert verify(filesystem) == []
    assert committed(filled) == expected
    assert verify(filesystem) == []


def test_nothing_is_written_where_nothing_is_derived(
    filesystem: MemoryFileSystem, clock: VirtualClock, filled: Filled
) -> None:
    path = next(path for path in files(filesystem) if path.endswith(".log"))
    filesystem.open(path).write_at(85, b"?")
    before = {p: filesystem.read_file(p, 1 << 24) for p in files(filesystem)}
    findings = verify(filesystem)
    assert [f.severity for f in findings] == [Severity.DAMAGE]
    assert repair_directory(filesystem, PATH, clock, findings) == []
    assert {p: filesystem.read_file(p, 1 << 24) for p in files(filesystem)} == before


def test_indexes_are_made_again_around_damage_that_stays(
    filesystem: MemoryFileSystem, clock: VirtualClock, filled: Filled
) -> None:
    path = next(path for path in files(filesystem) if path.endswith(".log"))
    filesystem.open(path).write_at(20, b"?")
    broken = break_all(filesystem, (".idx",))
    before = data(filesystem)
    repair_directory(filesystem, PATH, clock, verify(filesystem))
    assert data(filesystem) == before
    left = verify(filesystem)
    assert [f.severity for f in left] == [Severity.DAMAGE]
    assert all(filesystem.exists(other) for other in broken)


def test_a_new_state_claims_nothing_to_be_on_the_disk(
    filesystem: MemoryFileSystem, clock: VirtualClock, filled: Filled
) -> None:
    old = DirectoryState.read(filesystem, "/data/STATE")
    break_all(filesystem, ("STATE",))
    repair_directory(filesystem, PATH, clock, verify(filesystem))
    new = DirectoryState.read(filesystem, "/data/STATE")
    assert not new.is_clean
    assert not new.is_recovered
    assert new.generation > old.generation
    assert new.checkpoints.keys() == old.checkpoints.keys()
    for key, checkpoint in new.checkpoints.items():
        assert checkpoint.recovery_offset == checkpoint.log_start_offset
        assert checkpoint.has_transactions == old.checkpoints[key].has_transactions
        assert checkpoint.has_producers == old.checkpoints[key].has_producers


def test_a_directory_in_use_is_left_alone(
    filesystem: MemoryFileSystem, clock: VirtualClock, filled: Filled
) -> None:
    break_all(filesystem, (".idx",))
    findings = verify(filesystem)
    with filled(), pytest.raises(AlreadyOpenError):
        repair_directory(filesystem, PATH, clock, findings)
