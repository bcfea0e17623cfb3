"""What several commands are given: topics, groups, partitions, configs. Functions for an option's ``type``
raise click.BadParameter, which click completes with the option's name.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from streamlog.cli.completion import complete_groups, complete_topics
from streamlog.structs import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Iterable

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

_NUMBER = re.compile(r"\d{1,10}", re.ASCII)


def topic_option(text: str, **attributes: Any) -> Callable[[Decorated], Decorated]:
    """Return the option `--topic` with the help *text*; names are completed from the directory."""
    attributes = {
        "metavar": "TOPIC",
        "type": _name,
        "shell_complete": complete_topics,
        "help": text,
        **attributes,
    }
    return click.option("--topic", **attributes)


def partitions_option(text: str, **attributes: Any) -> Callable[[Decorated], Decorated]:
    """Return the option `--topic` that may be given several times, each time a topic or some of its partitions."""
    return topic_option(
        text, multiple=True, type=topic_and_partitions, metavar="TOPIC[:P,P...]", **attributes
    )


def group_option(text: str, **attributes: Any) -> Callable[[Decorated], Decorated]:
    """Return the option `--group` with the help *text*; ids are completed from the directory."""
    attributes = {"metavar": "GROUP", "shell_complete": complete_groups, "help": text, **attributes}
    return click.option("--group", **attributes)


def _name(text: str) -> str:
    if not text:
        raise click.BadParameter("expected a name, found an empty one")
    return text


def config_pairs(text: str) -> dict[str, str]:
    """Return ``key=value,key=value`` as a mapping; a list is in brackets: ``cleanup.policy=[a,b]``.

    Source: Kafka ``ConfigCommand.parseConfigsToBeAdded``.
    """
    pairs: dict[str, str] = {}
    for part in re.split(r",(?![^\[\]]*\])", text):
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise click.BadParameter(f"expected key=value, found {part!r}")
        if value.startswith("[") and value.endswith("]"):
            value = value[1:-1]
        pairs[key.strip()] = value
    return pairs


def config_pair(text: str) -> tuple[str, str]:
    """Return ``key=value`` as two; all after the first ``=`` is the value, commas too."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise click.BadParameter(f"expected key=value, found {text!r}")
    return key.strip(), value


def names(text: str) -> list[str]:
    """Return the words of ``a,b``."""
    found = [word.strip() for word in text.split(",")]
    if not all(found):
        raise click.BadParameter(f"expected names with commas between them, found {text!r}")
    return found


def numbers(text: str) -> list[int]:
    """Return the partitions of ``0,2``."""
    words = [word.strip() for word in text.split(",")]
    if not all(_NUMBER.fullmatch(word) for word in words):
        raise click.BadParameter(f"expected partitions such as 0 or 0,2, found {text!r}")
    return [int(word) for word in words]


def topic_and_partitions(text: str) -> list[TopicPartition | str]:
    """Return what ``topic`` or ``topic:0,2`` means: the topic's name, or its partitions.

    Source: Kafka ``ConsumerGroupCommand``, `--topic`.
    """
    topic, colon, rest = text.partition(":")
    if not topic:
        raise click.BadParameter(f"expected topic or topic:partitions, found {text!r}")
    if not colon:
        return [topic]
    return [TopicPartition(topic, number) for number in numbers(rest)]


def partition_offset(text: str) -> tuple[TopicPartition, int]:
    """Return ``topic:partition:offset`` as a partition and its offset, which may be -1."""
    topic, partition, offset = [*text.split(":"), "", ""][:3]
    if (
        text.count(":") != 2
        or not topic
        or not _NUMBER.fullmatch(partition)
        or not re.fullmatch(r"-1|\d{1,19}", offset, re.ASCII)
    ):
        raise click.BadParameter(f"expected topic:partition:offset, found {text!r}")
    return TopicPartition(topic, int(partition)), int(offset)


def exactly_one(options: Iterable[tuple[str, bool]]) -> str:
    """Return the one of *options*, names and whether each was given, that was.

    Raises click.UsageError for none and for several.
    """
    options = list(options)
    given = [name for name, is_given in options if is_given]
    if len(given) != 1:
        found = " and ".join(given) or "none"
        wanted = ", ".join(name for name, _ in options)
        raise click.UsageError(f"expected one of {wanted}; found {found}")
    return given[0]
