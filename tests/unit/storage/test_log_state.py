from __future__ import annotations

import pytest

from streamlog.storage.log_state import LogState
from streamlog.storage.partition_checkpoint import PartitionCheckpoint

SESSION = 1, "boot", True
POINT = PartitionCheckpoint(0, 9, 5, 80, 1, -1, -1, 0, sealed_count=1, sealed_crc=77)


def state(**changes: int) -> LogState:
    return LogState(POINT._replace(**changes), False, SESSION)


@pytest.mark.parametrize(
    ("changes", "is_cut", "is_cleaned"),
    [
        ({}, False, False),
        ({"recovery_offset": 12, "segment_position": 200}, False, False),
        ({"segment_base_offset": 11, "sealed_count": 2, "sealed_crc": 5}, False, False),
        ({"log_start_offset": 5, "sealed_count": 0, "sealed_crc": 0}, False, False),
        ({"sealed_crc": 5}, False, True),
        ({"first_dirty_offset": 5}, False, True),
        ({"swapping_from_offset": 0, "swapping_to_offset": 5}, False, True),
        ({"truncating_to_offset": 3}, True, False),
        ({"leader_epoch": 2}, True, False),
    ],
)
def test_a_checkpoint_tells_what_became_of_the_files(
    changes: dict[str, int], is_cut: bool, is_cleaned: bool
) -> None:
    assert state(**changes).was_cut_since(state()) is is_cut
    assert state(**changes).was_cleaned_since(state()) is is_cleaned


def test_another_session_or_a_lost_state_may_mean_a_cut() -> None:
    for other in (
        LogState(POINT, True, SESSION),
        LogState(POINT, False, (2, "boot", True)),
        LogState(None, False, SESSION),
    ):
        assert other.was_cut_since(state())
        assert state().was_cut_since(other)
        assert not other.was_cleaned_since(state())
        assert not state().was_cleaned_since(other)
