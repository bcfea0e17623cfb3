from __future__ import annotations

import click
import pytest

from streamlog import TopicPartition
from streamlog.cli.arguments import (
    config_pair,
    config_pairs,
    exactly_one,
    names,
    numbers,
    partition_offset,
    topic_and_partitions,
)


def test_config_pairs_are_split_at_commas_outside_of_brackets() -> None:
    assert config_pairs("a=1, b=[c,d],e=,f=x=y") == {"a": "1", "b": "c,d", "e": "", "f": "x=y"}


def test_a_config_pair_keeps_its_commas() -> None:
    assert config_pair("cleanup.policy=compact,delete") == ("cleanup.policy", "compact,delete")


@pytest.mark.parametrize("text", ["a", "=1", "a=1,b", ""])
def test_a_config_without_a_name_or_a_value_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="expected key=value"):
        config_pairs(text)
    if "," not in text:
        with pytest.raises(click.BadParameter, match="expected key=value"):
            config_pair(text)


def test_names_and_numbers_are_split_at_commas() -> None:
    assert names("a, b") == ["a", "b"]
    assert numbers("0, 2") == [0, 2]
    for wrong in ("", "a,", "-1", "1-2"):
        with pytest.raises(click.BadParameter):
            numbers(wrong)
    with pytest.raises(click.BadParameter):
        names("a,,b")


def test_a_topic_stands_for_itself_or_for_some_of_its_partitions() -> None:
    assert topic_and_partitions("orders") == ["orders"]
    assert topic_and_partitions("orders:0,2") == [
        TopicPartition("orders", 0),
        TopicPartition("orders", 2),
    ]
    for wrong in ("", ":0", "orders:", "orders:x"):
        with pytest.raises(click.BadParameter):
            topic_and_partitions(wrong)


def test_a_partition_and_its_offset() -> None:
    assert partition_offset("orders:1:25") == (TopicPartition("orders", 1), 25)
    assert partition_offset("orders:1:-1") == (TopicPartition("orders", 1), -1)


@pytest.mark.parametrize(
    "text", ["", "orders", "orders:1", "orders:1:-2", "o:1:2:3", ":1:2", "o:x:1"]
)
def test_what_is_no_partition_with_an_offset_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="expected topic:partition:offset"):
        partition_offset(text)


def test_exactly_one_of_several_options_has_to_be_given() -> None:
    assert exactly_one([("--a", False), ("--b", True)]) == "--b"
    with pytest.raises(click.UsageError, match="expected one of --a, --b; found none"):
        exactly_one([("--a", False), ("--b", False)])
    with pytest.raises(click.UsageError, match="found --a and --b"):
        exactly_one([("--a", True), ("--b", True)])
