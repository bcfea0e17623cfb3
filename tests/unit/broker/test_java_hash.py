"""Golden values: the appendix of Kafka's rules, and Java's documentation of String.hashCode."""

from __future__ import annotations

import pytest

from streamlog.broker.java_hash import java_hash, partition_for_group


@pytest.mark.parametrize(
    ("text", "code", "partition"),
    [
        ("my-group", -1906497762, 12),
        ("test", 3556498, 48),
        ("console-consumer-1", 35782224, 24),
        ("tx-1", 3572520, 20),
    ],
)
def test_grp_1_group_has_javas_hash_and_kafkas_partition(
    text: str, code: int, partition: int
) -> None:
    assert java_hash(text) == code
    assert partition_for_group(text, 50) == partition


def test_empty_text_hashes_to_zero() -> None:
    assert java_hash("") == 0


def test_character_outside_the_basic_plane_counts_as_two_units() -> None:
    # U+1F600 is D83D DE00 in UTF-16: 31 * 0xD83D + 0xDE00.
    assert java_hash("\U0001f600") == 31 * 0xD83D + 0xDE00


def test_lone_surrogate_is_hashed_and_does_not_raise() -> None:
    assert java_hash("\ud800") == 0xD800


def test_grp_1_least_integer_has_no_absolute_value_and_goes_to_partition_0() -> None:
    text = "polygenelubricants"  # the well-known string with the hash -2**31
    assert java_hash(text) == -(2**31)
    assert partition_for_group(text, 50) == 0
    assert partition_for_group(text, 7) == 0


@pytest.mark.parametrize("count", [1, 3, 50])
def test_partition_is_always_one_of_those_there_are(count: int) -> None:
    assert all(0 <= partition_for_group(f"group-{n}", count) < count for n in range(200))
