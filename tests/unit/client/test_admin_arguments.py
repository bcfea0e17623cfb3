"""Arguments of the admin client: what is meant, or a TypeError that says what was expected."""

from __future__ import annotations

from typing import Any

import pytest

from streamlog.broker.config_entry import AlterConfigOp, ConfigResource, ConfigResourceType
from streamlog.client.admin_arguments import (
    config_changes,
    config_resource,
    isolation,
    mapping,
    new_topics,
    numbers_by_partition,
    several,
    topic_names,
)
from streamlog.client.new_topic import NewTopic
from streamlog.errors import InvalidRequestError
from streamlog.structs import Isolation, TopicPartition

T0 = TopicPartition("t", 0)
TOPIC = ConfigResource(ConfigResourceType.TOPIC, "t")


@pytest.mark.parametrize("wrong", ["t", b"t", {"t": 3}, None, 5, NewTopic("t")])
def test_several_names_are_a_list_or_the_like(wrong: Any) -> None:
    with pytest.raises(TypeError, match="expected a list of names, found the "):
        several(wrong)


@pytest.mark.parametrize("right", [["t"], ("t",), {"t"}, iter("t"), []])
def test_several_names_may_come_in_any_iterable(right: Any) -> None:
    assert several(right) is right


def test_topic_names_are_text() -> None:
    assert topic_names(("t", "u")) == ["t", "u"]
    wrong: Any = ["t", 3]
    with pytest.raises(TypeError, match=r"expected a topic name \(a str\), found 3"):
        topic_names(wrong)


def test_isolation_is_named_as_in_the_configuration() -> None:
    assert isolation("read_committed") is isolation(Isolation.READ_COMMITTED)
    with pytest.raises(
        ValueError,
        match="isolation_level: expected 'read_uncommitted' or 'read_committed', found 'x'",
    ):
        isolation("x")
    with pytest.raises(TypeError, match="isolation_level: expected an Isolation .* found None"):
        isolation(None)


def test_a_mapping_is_a_mapping() -> None:
    assert mapping("a to b", {"a": 1}) == {"a": 1}
    with pytest.raises(TypeError, match="expected a mapping from a to b, found list"):
        mapping("a to b", [("a", 1)])  # type: ignore[arg-type]


def test_numbers_are_found_by_partition_whatever_names_it() -> None:
    plain: Any = {("t", 0): 5}
    (found,) = numbers_by_partition("an offset", plain).items()
    assert found == (T0, 5)
    assert isinstance(found[0], TopicPartition)


@pytest.mark.parametrize("wrong", ["5", 5.0, None, True])
def test_a_number_that_is_none_names_its_partition(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"t-0: expected an offset \(an int\), found "):
        numbers_by_partition("an offset", {T0: wrong})


def test_new_topics_are_named_once_each() -> None:
    assert new_topics(["a", NewTopic("b")]) == [NewTopic("a"), NewTopic("b")]
    with pytest.raises(InvalidRequestError, match="'a' is named more than once"):
        new_topics(["a", NewTopic("a")])
    wrong: Any = [{"name": "a"}]
    with pytest.raises(TypeError, match="expected a topic name or a NewTopic, found {'name': 'a'}"):
        new_topics(wrong)


def test_a_resource_is_a_topic_when_only_named() -> None:
    assert config_resource("t") == TOPIC
    assert config_resource(TOPIC) is TOPIC
    wrong: Any = 5
    with pytest.raises(TypeError, match="expected a topic name or a ConfigResource, found 5"):
        config_resource(wrong)


def test_changes_are_a_list_of_operations() -> None:
    operation = AlterConfigOp("retention_ms", 5)
    assert config_changes(TOPIC, (one for one in [operation])) == [operation]


@pytest.mark.parametrize("wrong", [{"retention_ms": 5}, "retention_ms", None, 5])
def test_changes_that_are_no_list_are_refused_with_an_example(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"topic 't': expected a list of AlterConfigOp, such as \["):
        config_changes(TOPIC, wrong)


@pytest.mark.parametrize(
    "wrong",
    [AlterConfigOp(5, 5), AlterConfigOp("retention_ms", 5, "SET"), ("retention_ms", 5)],  # type: ignore[arg-type]
)
def test_a_change_with_wrong_parts_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="topic 't': expected an AlterConfigOp"):
        config_changes(TOPIC, [wrong])
