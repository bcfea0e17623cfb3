"""Snapshots of producers held against the batches that they tell of (IDM-7)."""

from __future__ import annotations

import pytest

from streamlog.storage.batch_scan import headers_from
from streamlog.storage.checkpoint_file import encode_checkpoint
from streamlog.storage.producer_state import ProducerStates
from streamlog.storage.verification import snapshot_check
from streamlog.storage.verification.file_bytes import FileBytes
from streamlog.storage.verification.snapshot_check import SnapshotCheck, read_snapshot
from tests.unit.storage.verification.conftest import PRODUCER_ID, StoredLog


def snapshot_of(stored: StoredLog) -> str:
    """Return the path of the snapshot that closing wrote."""
    return stored.store.segment_path(stored.end_offset, ".snap")


def problems(
    stored: StoredLog,
    log_start: int = 0,
    *,
    may_have_gaps: bool = False,
    may_be_ahead: bool = False,
    unseen: int = -1,
) -> list[str]:
    """Return what is found about the last snapshot, the log being read without the batch at offset *unseen*."""
    name = snapshot_of(stored).rsplit("/", 1)[-1]
    check = SnapshotCheck(stored.filesystem, stored.store.log_path, [name, "other", "gone.snap"])
    end = 0
    for number in range(len(stored.base_offsets)):
        content = FileBytes.open(stored.filesystem, stored.path(number))
        for _, header in headers_from(content.mapping, 0, len(content)):
            if header.base_offset != unseen and (unseen < 0 or header.base_offset < unseen):
                check.see(header)
                end = header.next_offset
    found = check.problems(log_start, end, may_have_gaps=may_have_gaps, may_be_ahead=may_be_ahead)
    assert {path for path, _ in found} <= {snapshot_of(stored)}
    return [message for _, message in found]


def rewrite(stored: StoredLog, states: ProducerStates, place: str | None = None) -> None:
    path = snapshot_of(stored)
    place = place or "/".join(path.split("/")[-2:])
    data = encode_checkpoint("SNAPSHOT", {"place": place, "producers": states.pack()})
    stored.store.disk.write(path, data)


def test_a_snapshot_as_it_was_written_agrees(stored: StoredLog) -> None:
    assert problems(stored) == []
    assert list(read_snapshot(stored.filesystem, snapshot_of(stored)).entries) == [PRODUCER_ID]


def test_a_snapshot_that_may_not_be_read_is_no_damage(
    stored: StoredLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(snapshot_check, "read_snapshot", refused)
    with pytest.raises(PermissionError):
        problems(stored)


@pytest.mark.parametrize("by", [(1, 1, 0), (0, 0, 1)], ids=["sequences", "timestamp"])
def test_a_batch_that_is_told_otherwise_is_named(
    stored: StoredLog, by: tuple[int, int, int]
) -> None:
    states = read_snapshot(stored.filesystem, snapshot_of(stored))
    recent = states.entries[PRODUCER_ID].recent
    first, last, base_offset, timestamp_ms = recent.pop()
    found = first + by[0], last + by[1], timestamp_ms + by[2]
    recent.append((*found[:2], base_offset, found[2]))
    rewrite(stored, states)
    assert problems(stored) == [
        (
            f"batch at offset {base_offset} of producer {PRODUCER_ID}: "
            f"expected sequences and timestamp {(first, last, timestamp_ms)}, found {found}"
        )
    ]


def test_a_batch_that_is_not_in_the_log_is_named_unless_it_may_have_gone(
    stored: StoredLog,
) -> None:
    states = read_snapshot(stored.filesystem, snapshot_of(stored))
    recent = states.entries[PRODUCER_ID].recent
    first, last, base_offset, timestamp_ms = recent.pop()
    recent.append((first, last, base_offset + 2, timestamp_ms))  # a plain batch is there
    rewrite(stored, states)
    expected = f"expected a batch of producer {PRODUCER_ID} at offset {base_offset + 2}, found none"
    assert problems(stored) == [expected]
    assert problems(stored, may_be_ahead=True) == [expected], "the log is behind that"
    assert problems(stored, may_have_gaps=True) == []
    assert problems(stored, log_start=base_offset + 3) == []


def test_a_snapshot_behind_the_end_is_named_once_the_log_was_closed(stored: StoredLog) -> None:
    end = stored.end_offset - 3  # the last record of the last transaction
    assert problems(stored, unseen=end) == [
        f"expected a batch of producer {PRODUCER_ID} at offset {end}, found none",
        f"expected an offset up to the end, {end}",
    ]
    assert problems(stored, unseen=end, may_be_ahead=True) == []


@pytest.mark.parametrize("position", [0, 5, 25])
def test_a_damaged_snapshot_is_named(stored: StoredLog, position: int) -> None:
    stored.store.disk.flip(snapshot_of(stored), position)
    (message,) = problems(stored)
    assert snapshot_of(stored) not in message, "the path is said beside it"


def test_the_snapshot_of_another_log_is_not_believed(stored: StoredLog) -> None:
    states = read_snapshot(stored.filesystem, snapshot_of(stored))
    rewrite(stored, states, "other-0/" + snapshot_of(stored).rsplit("/", 1)[-1])
    (message,) = problems(stored)
    assert "expected the snapshot of t-0/" in message
    assert "found that of 'other-0/" in message


def test_a_snapshot_that_is_gone_by_now_is_no_problem(stored: StoredLog) -> None:
    stored.filesystem.unlink(snapshot_of(stored))
    assert problems(stored) == []
