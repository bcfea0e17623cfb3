"""What callers of `Admin` may give, looked at before anything is changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from streamlog.broker.config_entry import AlterConfigOp, ConfigResource, ConfigResourceType, OpType
from streamlog.broker.group import GroupState
from streamlog.client.argument_checks import check_group_id
from streamlog.client.new_topic import NewTopic
from streamlog.client.partition_arguments import to_partition
from streamlog.errors import InvalidRequestError
from streamlog.structs import Isolation, TopicPartition

K = TypeVar("K")
T = TypeVar("T")
V = TypeVar("V")


def several(names: Iterable[T]) -> Iterable[T]:
    """Return *names*. A bare string would be taken letter by letter, each for a name, and a mapping for
    its keys alone: both are a TypeError, as is what cannot be iterated.
    """
    if isinstance(names, (str, bytes, Mapping)) or not isinstance(names, Iterable):
        raise TypeError(f"expected a list of names, found the {type(names).__name__} {names!r:.80}")
    return names


def mapping(what: str, given: Mapping[K, V]) -> Mapping[K, V]:
    """Return *given*; raise TypeError when it is no mapping. *what* says from what to what it maps."""
    if not isinstance(given, Mapping):
        raise TypeError(f"expected a mapping from {what}, found {type(given).__name__}")
    return given


def numbers_by_partition(what: str, given: Mapping[TopicPartition, int]) -> dict[Any, int]:
    """Return *given* by `TopicPartition`; raise TypeError for a number that is no int."""
    found = {}
    for name, number in mapping(f"TopicPartition to {what}", given).items():
        topic_partition = to_partition(name)
        if isinstance(number, bool) or not isinstance(number, int):
            raise TypeError(f"{topic_partition}: expected {what} (an int), found {number!r:.80}")
        found[topic_partition] = number
    return found


def topic_names(names: Iterable[str]) -> list[str]:
    """Return *names* as a list; raise TypeError for one that is no text."""
    wanted = list(several(names))
    for name in wanted:
        if not isinstance(name, str):
            raise TypeError(f"expected a topic name (a str), found {name!r:.80}")
    return wanted


def isolation(level: object) -> Isolation:
    """Return *level* as an `Isolation`; raise TypeError, or ValueError for text that names none."""
    if not isinstance(level, str):
        raise TypeError(f"isolation_level: expected an Isolation or its value, found {level!r:.80}")
    try:
        return Isolation(level)
    except ValueError:
        known = " or ".join(repr(one.value) for one in Isolation)
        raise ValueError(f"isolation_level: expected {known}, found {level!r:.80}") from None


def groups(group_ids: Iterable[str]) -> list[str]:
    """Return the ids of several groups, each checked as by `check_group_id`."""
    return [check_group_id(group_id) for group_id in several(group_ids)]


def group_states(states: Iterable[GroupState | str]) -> set[GroupState]:
    """Return *states* with text such as ``"stable"`` made into `GroupState`.

    Raises TypeError for anything else, ValueError for text that is the value of none.
    """
    wanted = set()
    for state in several(states):
        if not isinstance(state, (GroupState, str)):
            raise TypeError(f"states: expected a GroupState or its value, found {state!r:.80}")
        try:
            wanted.add(GroupState(state))
        except ValueError:
            known = ", ".join(repr(one.value) for one in GroupState)
            raise ValueError(f"states: expected some of {known}, found {state!r:.80}") from None
    return wanted


def new_topics(topics: Iterable[NewTopic | str]) -> list[NewTopic]:
    """Return *topics* with names made into `NewTopic`.

    Raises TypeError for anything else, `InvalidRequestError` for a name that is there twice.
    """
    wanted = []
    for topic in several(topics):
        if isinstance(topic, str):
            topic = NewTopic(topic)
        if not isinstance(topic, NewTopic):
            raise TypeError(f"expected a topic name or a NewTopic, found {topic!r:.80}")
        wanted.append(topic)
    names = [topic.name for topic in wanted]
    for name in names:
        if names.count(name) > 1:
            raise InvalidRequestError(f"topic {name!r} is named more than once")
    return wanted


def config_resource(resource: ConfigResource | str) -> ConfigResource:
    """Return *resource*, a bare name as a topic."""
    if isinstance(resource, str):
        return ConfigResource(ConfigResourceType.TOPIC, resource)
    if not isinstance(resource, ConfigResource):
        raise TypeError(f"expected a topic name or a ConfigResource, found {resource!r:.80}")
    return resource


def config_changes(resource: ConfigResource, operations: object) -> list[AlterConfigOp]:
    """Return *operations* as a list; raise TypeError when they are not changes as they should be."""
    if isinstance(operations, (str, Mapping)) or not isinstance(operations, Iterable):
        raise TypeError(
            f"{resource}: expected a list of AlterConfigOp, such as"
            f" [AlterConfigOp('retention_ms', 5)], found {operations!r:.80}"
        )
    changes: list[Any] = list(operations)
    for change in changes:
        if not isinstance(change, AlterConfigOp):
            raise TypeError(f"{resource}: expected an AlterConfigOp, found {change!r:.80}")
        name: Any = change.name
        op: Any = change.op
        if not isinstance(name, str) or not isinstance(op, OpType):
            raise TypeError(
                f"{resource}: expected an AlterConfigOp of a key's name, a value and an OpType,"
                f" found {change!r:.160}"
            )
    return changes
