"""Snapshot files: written, found, not believed when damaged, deleted with what they tell of."""

from __future__ import annotations

import logging

import pytest

from streamlog.storage.producer_snapshots import ProducerSnapshots
from streamlog.storage.producer_state import ProducerStates
from streamlog.structs import TopicPartition
from tests.support.storage import Disk

T0 = 1_700_000_000_000


def states_of(*producer_ids: int) -> ProducerStates:
    states = ProducerStates(TopicPartition("t", 0))
    for offset, producer_id in enumerate(producer_ids):
        states.appended(producer_id, 3, 10, 2, 0, offset, T0)
    return states


def snapshots_of(disk: Disk, offsets: list[int] | None = None) -> ProducerSnapshots:
    return ProducerSnapshots(disk.filesystem, disk.root, offsets or [])


def name(offset: int) -> str:
    return f"{offset:020d}.snap"


def loaded(disk: Disk, offsets: list[int]) -> tuple[int | None, list[list[int]]]:
    found = states_of()
    offset = snapshots_of(disk, offsets).load(found)
    return offset, found.pack()


def test_latest_snapshot_is_found_as_it_was_written(disk: Disk) -> None:
    snapshots = snapshots_of(disk)
    assert snapshots.latest_offset == -1
    snapshots.write(5, states_of(1), [0])
    snapshots.write(9, states_of(1, 2), [0])
    assert snapshots.latest_offset == 9
    assert disk.filesystem.list_dir(disk.root) == [name(5), name(9)]
    assert loaded(disk, [5, 9]) == (9, states_of(1, 2).pack())
    assert loaded(disk, []) == (None, [])


def test_two_are_kept_and_those_where_a_segment_begins(disk: Disk) -> None:
    snapshots = snapshots_of(disk)
    for offset in (5, 6, 7, 8, 9):
        snapshots.write(offset, states_of(1), [0, 6])
    assert disk.filesystem.list_dir(disk.root) == [name(6), name(8), name(9)]
    assert snapshots.offsets == [6, 8, 9]


def test_what_was_left_under_the_name_is_replaced(disk: Disk) -> None:
    disk.write(disk.path(name(5)), b"x" * 10_000)
    snapshots_of(disk).write(5, states_of(1), [0])
    assert loaded(disk, [5]) == (5, states_of(1).pack())


def test_damaged_snapshot_is_passed_over(disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    snapshots = snapshots_of(disk)
    snapshots.write(5, states_of(1), [0])
    snapshots.write(9, states_of(1, 2), [0])
    good = disk.read(disk.path(name(9)))
    for position in range(len(good)):
        disk.write(disk.path(name(9)), good)
        disk.flip(disk.path(name(9)), position, 0x04)
        assert loaded(disk, [5, 9])[0] == 5, position
    for size in range(len(good)):
        disk.write(disk.path(name(9)), good[:size])
        assert loaded(disk, [5, 9])[0] == 5, size
    assert "not used, the log is read instead" in caplog.text
    assert caplog.records[0].levelno == logging.WARNING


def test_missing_snapshot_is_passed_over(disk: Disk) -> None:
    snapshots_of(disk).write(5, states_of(1), [0])
    assert loaded(disk, [5, 7])[0] == 5
    disk.filesystem.unlink(disk.path(name(5)))
    assert loaded(disk, [5, 7]) == (None, [])


def test_snapshot_of_another_offset_or_log_is_passed_over(disk: Disk) -> None:
    snapshots_of(disk).write(5, states_of(1), [0])
    disk.write(disk.path(name(7)), disk.read(disk.path(name(5))))
    disk.filesystem.make_dir(disk.path("u-0"))
    disk.write(disk.path(f"u-0/{name(5)}"), disk.read(disk.path(name(5))))
    assert loaded(disk, [5, 7])[0] == 5
    other = ProducerSnapshots(disk.filesystem, disk.path("u-0"), [5])
    assert other.load(states_of()) is None


def test_those_behind_the_end_and_before_the_beginning_are_deleted(disk: Disk) -> None:
    snapshots = snapshots_of(disk)
    for offset in (2, 5, 7, 9):
        snapshots.write(offset, states_of(1), [2, 5, 7, 9])
    assert not snapshots.delete_above(9)
    assert snapshots.delete_above(6)
    assert snapshots.delete_below(5)
    assert not snapshots.delete_below(5)
    assert disk.filesystem.list_dir(disk.root) == [name(5)]
    disk.filesystem.unlink(disk.path(name(5)))
    assert snapshots.delete_below(6)
    assert snapshots.offsets == []


def test_snapshot_that_was_not_written_whole_goes_with_the_others(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C, or a full disk: what is left under the name must not outlive a cut of the log."""
    snapshots = snapshots_of(disk)
    snapshots.write(5, states_of(1), [0])

    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(disk.filesystem), "open", interrupted)
    with pytest.raises(KeyboardInterrupt):
        snapshots.write(9, states_of(1, 2), [0])
    monkeypatch.undo()
    disk.write(disk.path(name(9)), b"torn")
    assert snapshots.load(states_of()) == 5
    assert snapshots.delete_above(7)
    assert disk.filesystem.list_dir(disk.root) == [name(5)]
