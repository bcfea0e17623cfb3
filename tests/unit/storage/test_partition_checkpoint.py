"""What STATE remembers of one log."""

from __future__ import annotations

import pytest

from streamlog.errors import CorruptLogError
from streamlog.storage.partition_checkpoint import (
    HAS_PRODUCERS,
    HAS_TRANSACTIONS,
    SYNC_FAILED,
    PartitionCheckpoint,
)


@pytest.mark.parametrize("epochs", [(), (0, 3), (0, 3, 2, 9)])
def test_it_is_packed_as_integers_in_order(epochs: tuple[int, ...]) -> None:
    numbers = list(range(1, 16))
    checkpoint = PartitionCheckpoint(*numbers, epochs)
    assert checkpoint.pack() == [*numbers, *epochs]
    assert PartitionCheckpoint.unpack(checkpoint.pack(), "k") == checkpoint
    assert PartitionCheckpoint(1, 2, 3, 4, 5, 6, 7, 8).truncating_to_offset == -1


@pytest.mark.parametrize("epochs", [(), (0, 3), (0, 3, 2, 9)])
def test_one_of_before_there_was_compaction_has_nothing_compacted(epochs: tuple[int, ...]) -> None:
    old = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, *epochs]
    found = PartitionCheckpoint.unpack(old, "k")
    assert found == PartitionCheckpoint(*old[:12], 0, -1, -1, epochs)
    assert PartitionCheckpoint.unpack(found.pack(), "k") == found


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (0, (False, False, False)),
        (SYNC_FAILED, (True, False, False)),
        (HAS_PRODUCERS, (False, True, False)),
        (HAS_TRANSACTIONS | HAS_PRODUCERS, (False, True, True)),
    ],
)
def test_flags_say_what_holds_of_the_log(flags: int, expected: tuple[bool, ...]) -> None:
    """A sync that failed is what the number meant before it had other bits, and still means."""
    found = PartitionCheckpoint(1, 2, 3, 4, 5, 6, 7, 8, flags=flags)
    assert (found.sync_failed, found.has_producers, found.has_transactions) == expected
    assert SYNC_FAILED == 1


@pytest.mark.parametrize(
    "fields",
    [
        *(None, 5, "text", {}, [], [1] * 10, [1] * 11, [1] * 13),
        *([1] * 11 + ["1"], [1] * 11 + [True], [1.0] * 12, [1] * 14 + ["1"], [1.0] * 15),
    ],
)
def test_anything_else_is_refused_naming_the_log(fields: object) -> None:
    with pytest.raises(CorruptLogError, match="checkpoint of topic-id/3: expected 15 integers"):
        PartitionCheckpoint.unpack(fields, "topic-id/3")
