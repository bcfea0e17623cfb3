"""Which log is cleaned first, and which not at all yet."""

from __future__ import annotations

from typing import Any, cast

import pytest

from streamlog.broker.cleaning_choice import Candidate, compaction_delay_ms, dirtiest, is_due
from streamlog.broker.partition import Partition
from streamlog.config import TopicConfig
from streamlog.storage.compaction.cleanable_range import CleanableRange

NOW_MS = 1_000_000


def candidate(
    clean: int, cleanable: int, *, oldest_ms: int = NOW_MS, name: str = "t", **configs: Any
) -> Candidate:
    config = TopicConfig(cleanup_policy=("compact",), **configs)
    found = CleanableRange(0, 5, 9, clean, cleanable, oldest_ms)
    return Candidate(cast("Partition", name), config, found)


@pytest.mark.parametrize(
    ("clean", "cleanable", "ratio", "expected"),
    [
        (50, 50, 0.5, False),  # greater, not equal
        (50, 51, 0.5, True),
        (0, 1, 0.5, True),
        (0, 1, 1, False),
        (99, 1, 0, True),
        (100, 0, 0, False),
        (0, 0, 0, False),
    ],
)
def test_cmp_1_log_is_due_when_more_than_the_ratio_is_dirty(
    clean: int, cleanable: int, ratio: float, expected: bool
) -> None:
    assert is_due(candidate(clean, cleanable, min_cleanable_dirty_ratio=ratio), NOW_MS) is expected


@pytest.mark.parametrize(("age_ms", "expected"), [(1000, False), (1001, True)])
def test_cmp_1_log_is_due_when_its_oldest_dirty_record_is_older_than_the_largest_lag(
    age_ms: int, expected: bool
) -> None:
    one = candidate(100, 1, oldest_ms=NOW_MS - age_ms, max_compaction_lag_ms=1000)
    assert is_due(one, NOW_MS) is expected
    assert compaction_delay_ms(one, NOW_MS) == (1 if expected else 0)


def test_records_without_a_time_are_never_too_old() -> None:
    assert compaction_delay_ms(candidate(1, 1, oldest_ms=-1, max_compaction_lag_ms=1), NOW_MS) == 0


def test_nothing_to_clean_is_never_due() -> None:
    assert not is_due(candidate(1, 0, oldest_ms=0, max_compaction_lag_ms=1), NOW_MS)


def test_cmp_1_dirtiest_log_comes_first() -> None:
    logs = [
        candidate(10, 30, name="three quarters"),
        candidate(100, 1_000, name="ten elevenths"),
        candidate(0, 9, name="all", min_cleanable_dirty_ratio=1),  # which is never enough
        candidate(100, 1_000, name="as much"),
    ]
    chosen = dirtiest(logs, NOW_MS)
    assert chosen is logs[1]
    assert dirtiest(logs[2:3], NOW_MS) is None
    assert dirtiest([], NOW_MS) is None
