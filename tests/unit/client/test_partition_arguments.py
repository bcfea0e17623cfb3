from __future__ import annotations

from typing import Any

import pytest

from streamlog.client.partition_arguments import from_arguments, to_partition, to_partitions
from streamlog.structs import TopicPartition
from tests.support.consuming import T0, T1


def test_plain_pair_becomes_a_partition() -> None:
    assert to_partition(("t", 0)) == T0
    assert isinstance(to_partition(("t", 0)), TopicPartition)


@pytest.mark.parametrize("value", ["t-0", ("t",), ("t", "0"), (0, "t"), ("t", True), None, 5])
def test_anything_else_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError, match="expected a TopicPartition"):
        to_partition(value)


@pytest.mark.parametrize("value", [("", 0), ("  ", 0), ("t", -1)])
def test_rec_2_empty_topic_and_negative_number_are_value_errors(value: Any) -> None:
    with pytest.raises(ValueError, match="expected a topic name"):
        to_partition(value)


def test_each_partition_counts_once_in_the_order_given() -> None:
    assert to_partitions([T1, T0, ("t", 1)]) == [T1, T0]
    assert to_partitions(T0) == [T0], "a partition is itself a pair, not a list of two"
    with pytest.raises(TypeError, match="found the text"):
        to_partitions("t-0")


def test_arguments_one_by_one_or_as_one_iterable() -> None:
    assert from_arguments((T0, T1)) == from_arguments(([T0, T1],)) == [T0, T1]
    assert from_arguments((T0,)) == [T0]
    assert from_arguments(()) == from_arguments(([],)) == []
    with pytest.raises(TypeError, match="expected partitions, found 5"):
        from_arguments((5,))
