from __future__ import annotations

import pytest

from streamlog.record.sequence import MAX_SEQUENCE, advance, last_sequence


def test_idm_1_the_greatest_sequence_is_followed_by_0() -> None:
    """The golden vector of semantics.md: last 2147483647, next valid 0."""
    assert MAX_SEQUENCE == 2147483647
    assert advance(2147483647, 1) == 0


@pytest.mark.parametrize(
    ("base", "count", "last", "following"),
    [
        (0, 1, 0, 1),
        (10, 5, 14, 15),
        (MAX_SEQUENCE - 1, 2, MAX_SEQUENCE, 0),
        (MAX_SEQUENCE, 1, MAX_SEQUENCE, 0),
        (MAX_SEQUENCE, 2, 0, 1),
        (MAX_SEQUENCE - 1, 5, 2, 3),
    ],
)
def test_idm_1_sequences_count_records_and_wrap_around(
    base: int, count: int, last: int, following: int
) -> None:
    assert last_sequence(base, count) == last
    assert advance(base, count) == following
