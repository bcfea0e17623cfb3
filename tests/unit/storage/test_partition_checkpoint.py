"""What STATE remembers of one log."""

from __future__ import annotations

import pytest

from streamlog.errors import CorruptLogError
from streamlog.storage.partition_checkpoint import PartitionCheckpoint


@pytest.mark.parametrize("epochs", [(), (0, 3), (0, 3, 2, 9)])
def test_it_is_packed_as_integers_in_order(epochs: tuple[int, ...]) -> None:
    checkpoint = PartitionCheckpoint(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, epochs)
    assert checkpoint.pack() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, *epochs]
    assert PartitionCheckpoint.unpack(checkpoint.pack(), "k") == checkpoint
    assert PartitionCheckpoint(1, 2, 3, 4, 5, 6, 7, 8).truncating_to_offset == -1


@pytest.mark.parametrize(
    "fields",
    [None, 5, "text", {}, [], [1] * 11, [1] * 13, [1] * 11 + ["1"], [1] * 11 + [True], [1.0] * 12],
)  # fmt: skip
def test_anything_else_is_refused_naming_the_log(fields: object) -> None:
    with pytest.raises(CorruptLogError, match="checkpoint of topic-id/3: expected 12 integers"):
        PartitionCheckpoint.unpack(fields, "topic-id/3")
