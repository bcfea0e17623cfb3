from __future__ import annotations

import pytest

from streamlog.broker.topic_checks import (
    check_name_is_free,
    check_partition_count,
    check_replication_factor,
)
from streamlog.errors import (
    InvalidPartitionsError,
    InvalidReplicationFactorError,
    InvalidTopicError,
    PolicyViolationError,
    TopicAlreadyExistsError,
)


def test_rec_11_name_that_exists_raises_topic_already_exists() -> None:
    with pytest.raises(TopicAlreadyExistsError, match="'a'") as caught:
        check_name_is_free("a", ["b", "a"])
    assert caught.value.code == 36


@pytest.mark.parametrize(("name", "other"), [("a.b", "a_b"), ("a_b", "a.b"), ("Orders", "orders")])
def test_rec_5_name_that_collides_raises_invalid_topic_naming_the_other(
    name: str, other: str
) -> None:
    with pytest.raises(InvalidTopicError, match=f"'{name}' collides with topic '{other}'"):
        check_name_is_free(name, [other])
    check_name_is_free("ab", [other])


@pytest.mark.parametrize("count", [0, -1, True, 1.0, "3", None])
def test_rec_11_partition_count_below_one_or_no_number_is_refused(count: object) -> None:
    with pytest.raises(InvalidPartitionsError, match="expected 1 partition or more") as caught:
        check_partition_count("a", count, present=0)
    assert caught.value.code == 37


@pytest.mark.parametrize("count", [1, 2, 3])
def test_rec_11_partition_count_may_only_grow(count: int) -> None:
    with pytest.raises(
        InvalidPartitionsError, match=f"more partitions than the 3 it has, found {count}"
    ):
        check_partition_count("a", count, present=3)
    check_partition_count("a", 4, present=3)


@pytest.mark.parametrize("total", ["4", 4.0, True])
def test_rec_11_partition_total_is_an_int(total: object) -> None:
    with pytest.raises(InvalidPartitionsError, match=r"than the 3 it has \(an int\), found "):
        check_partition_count("a", total, present=3)


def test_ten_thousand_new_partitions_at_once_are_enough() -> None:
    check_partition_count("a", 10_000, present=0)
    check_partition_count("a", 10_001, present=1)
    with pytest.raises(PolicyViolationError, match="found 10001"):
        check_partition_count("a", 10_001, present=0)


@pytest.mark.parametrize("factor", [0, -1, 2, True, "1"])
def test_rec_11_replication_factor_is_limited_by_the_live_brokers(factor: object) -> None:
    with pytest.raises(InvalidReplicationFactorError, match="live brokers, 1, found") as caught:
        check_replication_factor("a", factor, live_brokers=1)
    assert caught.value.code == 38
    check_replication_factor("a", 1, live_brokers=1)
