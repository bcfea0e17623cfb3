"""What STATE remembers of one log."""

from __future__ import annotations

import pytest

from streamlog.errors import CorruptLogError
from streamlog.storage.partition_checkpoint import PartitionCheckpoint


def test_it_is_packed_as_nine_integers_in_order() -> None:
    checkpoint = PartitionCheckpoint(1, 2, 3, 4, 5, 6, 7, 8, 9)
    assert checkpoint.pack() == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert PartitionCheckpoint.unpack(checkpoint.pack(), "k") == checkpoint
    assert PartitionCheckpoint(1, 2, 3, 4, 5, 6, 7, 8).truncating_to_offset == -1


@pytest.mark.parametrize(
    "fields", [None, 5, "text", {}, [], [1] * 8, [1] * 10, [1] * 8 + ["1"], [1] * 8 + [True], [1.0] * 9]
)  # fmt: skip
def test_anything_else_is_refused_naming_the_log(fields: object) -> None:
    with pytest.raises(CorruptLogError, match="checkpoint of topic-id/3: expected 9 integers"):
        PartitionCheckpoint.unpack(fields, "topic-id/3")
