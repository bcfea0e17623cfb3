"""The ways to name partitions in a call."""

from __future__ import annotations

from collections.abc import Iterable

from streamlog.structs import TopicPartition


def to_partition(value: object) -> TopicPartition:
    """Return *value*, a `TopicPartition` or a plain pair like one.

    Raises TypeError for anything else, ValueError for an empty topic or a negative number.
    """
    if not isinstance(value, tuple) or len(value) != 2:
        raise TypeError(f"expected a TopicPartition, found {value!r}")
    topic, number = value
    if not isinstance(topic, str) or not isinstance(number, int) or isinstance(number, bool):
        raise TypeError(f"expected a TopicPartition of text and int, found {value!r}")
    if not topic.strip() or number < 0:
        raise ValueError(f"expected a topic name and a partition of 0 or greater, found {value!r}")
    return value if isinstance(value, TopicPartition) else TopicPartition(topic, number)


def to_partitions(values: Iterable[object]) -> list[TopicPartition]:
    """Return each of *values* once, in their order. A single `TopicPartition` stands for itself."""
    if isinstance(values, TopicPartition):
        return [values]
    if isinstance(values, str):
        raise TypeError(f"expected partitions, found the text {values!r}")
    if not isinstance(values, Iterable):
        raise TypeError(f"expected partitions, found {values!r:.80}")
    return list(dict.fromkeys(map(to_partition, values)))


def from_arguments(arguments: tuple[object, ...]) -> list[TopicPartition]:
    """Return the partitions of ``call(tp, tp)`` as well as of ``call([tp, tp])``."""
    if len(arguments) == 1 and not isinstance(arguments[0], tuple):
        only = arguments[0]
        if not isinstance(only, Iterable):
            raise TypeError(f"expected partitions, found {only!r}")
        return to_partitions(only)
    return to_partitions(arguments)


def some_from_arguments(call: str, arguments: tuple[object, ...]) -> list[TopicPartition]:
    """Return the partitions as `from_arguments` does; raise TypeError for a call without any argument.

    An empty list may be given: whoever computes one means it.
    """
    if not arguments:
        raise TypeError(f"{call}: expected partitions, or a list of them, found no argument")
    return from_arguments(arguments)
