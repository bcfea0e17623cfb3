"""Which segments may go: RET-1 to RET-8, on segments that are nothing but numbers."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.config import TopicConfig
from streamlog.storage.retention import deletable_count
from streamlog.storage.segment import Segment

HOUR_MS = 3_600_000
NOW_MS = 1_700_000_000_000


class FakeSegment:
    """Ten records each."""

    def __init__(self, number: int, size: int, age_ms: int = 0) -> None:
        self.base_offset = number * 10
        self.position = size
        self.next_offset = self.base_offset + (10 if size else 0)
        self.newest_ms = NOW_MS - age_ms

    def largest_timestamp_ms(self) -> int:
        return self.newest_ms

    def ensure_indexes(self) -> None:
        """Its size is known."""


def segments(*sizes: int, ages_ms: tuple[int, ...] | None = None) -> list[Segment]:
    ages_ms = ages_ms or (0,) * len(sizes)
    fakes = [
        FakeSegment(n, size, age) for n, (size, age) in enumerate(zip(sizes, ages_ms, strict=True))
    ]
    return cast("list[Segment]", fakes)


def count(
    candidates: list[Segment],
    *,
    log_start_offset: int = 0,
    high_watermark: int | None = None,
    **config: Any,
) -> int:
    config = {"retention_ms": -1, "retention_bytes": -1, **config}
    return deletable_count(
        candidates,
        TopicConfig.from_options(config),
        now_ms=NOW_MS,
        log_start_offset=log_start_offset,
        high_watermark=candidates[-1].next_offset if high_watermark is None else high_watermark,
    )


def test_ret_1_minus_one_keeps_everything() -> None:
    old = segments(100, 100, ages_ms=(10**12, 10**12))
    assert count(old) == 0
    assert TopicConfig().retention_ms == 604_800_000
    assert TopicConfig().retention_bytes == -1


@pytest.mark.parametrize(
    ("retention_bytes", "expected"), [(250, 0), (240, 1), (140, 2), (40, 3), (39, 3), (0, 4)]
)
def test_ret_4_golden_vector_of_size_retention(retention_bytes: int, expected: int) -> None:
    """Segments 100, 100, 100, active 40: the log never drops below the limit."""
    assert count(segments(100, 100, 100, 40), retention_bytes=retention_bytes) == expected


@pytest.mark.parametrize(("age_ms", "expected"), [(HOUR_MS, 0), (HOUR_MS + 1, 1)])
def test_ret_3_a_segment_goes_when_it_is_older_than_the_limit(age_ms: int, expected: int) -> None:
    assert count(segments(100, 100, ages_ms=(age_ms, 0)), retention_ms=HOUR_MS) == expected


def test_ret_3_one_future_record_pins_its_segment_and_all_later_ones() -> None:
    ages = (2 * HOUR_MS, -5 * HOUR_MS, 2 * HOUR_MS, 0)
    assert count(segments(100, 100, 100, 100, ages_ms=ages), retention_ms=HOUR_MS) == 1


def test_ret_2_log_start_then_size_then_time_always_the_oldest_first() -> None:
    # The first is below the log start, the second too much, the third too old, the fourth none of it.
    ages = (0, 0, 2 * HOUR_MS, 0, 0)
    found = count(
        segments(100, 100, 100, 100, 100, ages_ms=ages),
        log_start_offset=10,
        retention_bytes=300,
        retention_ms=HOUR_MS,
    )
    assert found == 3


def test_ret_2_size_does_not_count_what_the_log_start_takes_anyway() -> None:
    assert count(segments(100, 100, 100), log_start_offset=10, retention_bytes=100) == 2
    assert count(segments(100, 100, 100), log_start_offset=10, retention_bytes=150) == 1


def test_ret_2_a_segment_that_the_log_start_is_inside_of_stays() -> None:
    assert count(segments(100, 100, 100), log_start_offset=9) == 0
    assert count(segments(100, 100, 100), log_start_offset=19) == 1
    assert count(segments(100, 100, 100), log_start_offset=30) == 2, "not the active one"


def test_ret_5_nothing_above_the_high_watermark_goes() -> None:
    old = segments(100, 100, 100, ages_ms=(2 * HOUR_MS,) * 3)
    assert count(old, high_watermark=19, retention_ms=HOUR_MS) == 1
    assert count(old, high_watermark=20, retention_ms=HOUR_MS) == 2
    assert count(old, high_watermark=9, retention_bytes=0) == 0


def test_ret_6_the_active_segment_goes_if_it_holds_records() -> None:
    old = segments(100, 100, ages_ms=(2 * HOUR_MS,) * 2)
    assert count(old, retention_ms=HOUR_MS) == 2
    with_empty_active = segments(100, 0, ages_ms=(2 * HOUR_MS,) * 2)
    assert count(with_empty_active, retention_ms=HOUR_MS) == 1


@pytest.mark.parametrize("policy", ["compact", ""])
def test_ret_8_without_delete_only_what_is_below_the_log_start_goes(policy: str) -> None:
    old = segments(100, 100, 100, ages_ms=(2 * HOUR_MS,) * 3)
    options = {"cleanup_policy": policy, "retention_ms": HOUR_MS, "retention_bytes": 0}
    assert count(old, **options) == 0
    assert count(old, log_start_offset=20, **options) == 2


@given(
    st.lists(st.tuples(st.integers(1, 200), st.integers(0, 100)), min_size=1, max_size=12),
    st.integers(-1, 1500),
    st.integers(-1, 100),
    st.integers(0, 120),
    st.integers(0, 120),
)
def test_what_is_left_obeys_all_rules(
    sizes_and_ages: list[tuple[int, int]],
    retention_bytes: int,
    retention_ms: int,
    log_start_offset: int,
    high_watermark: int,
) -> None:
    sizes, ages = zip(*sizes_and_ages, strict=True)
    candidates = segments(*sizes, ages_ms=ages)
    deleted = count(
        candidates,
        log_start_offset=log_start_offset,
        high_watermark=high_watermark,
        retention_bytes=retention_bytes,
        retention_ms=retention_ms,
    )
    gone, kept = candidates[:deleted], candidates[deleted:]
    below_start = [s for s in gone if s.next_offset <= log_start_offset]
    assert all(s.next_offset <= high_watermark for s in gone[len(below_start) :])
    if kept and kept[0].position and kept[0].next_offset <= high_watermark:
        total = sum(s.position for s in kept)
        assert retention_bytes == -1 or total - retention_bytes < kept[0].position
        assert retention_ms == -1 or NOW_MS - kept[0].largest_timestamp_ms() <= retention_ms
