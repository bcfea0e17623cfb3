"""Configuration as ``Admin`` shows and changes it."""

from __future__ import annotations

from enum import Enum
from typing import Any, NamedTuple

import attrs


class ConfigResourceType(Enum):
    """What kind of thing is configured. Source: Kafka ``ConfigResource.Type``."""

    TOPIC = "topic"
    BROKER = "broker"


class ConfigResource(NamedTuple):
    """One configured thing: a topic by its name, the broker by its number. Source: Kafka class of this
    name.
    """

    type: ConfigResourceType
    name: str

    def __str__(self) -> str:
        return f"{self.type.value} {self.name!r}"


class ConfigSource(Enum):
    """Where a value comes from. Source: Kafka ``ConfigEntry.ConfigSource``."""

    DYNAMIC_TOPIC_CONFIG = "topic"
    """Set for this topic."""
    STATIC_BROKER_CONFIG = "broker"
    """The broker was opened with it."""
    DEFAULT_CONFIG = "default"
    """Nobody set it."""


@attrs.frozen
class ConfigEntry:
    """One key with the value in force. Source: Kafka ``ConfigEntry``."""

    name: str
    value: Any
    """A plain Python value where Kafka gives text."""
    source: ConfigSource

    @property
    def is_default(self) -> bool:
        """Whether nobody set it."""
        return self.source is ConfigSource.DEFAULT_CONFIG


class OpType(Enum):
    """How a value changes. Source: Kafka ``AlterConfigOp.OpType``."""

    SET = "set"
    DELETE = "delete"
    """Back to the broker's default."""
    APPEND = "append"
    """Add to a list, such as ``cleanup_policy``."""
    SUBTRACT = "subtract"
    """Take out of a list."""


@attrs.frozen
class AlterConfigOp:
    """One change, for ``Admin.incremental_alter_configs``. *value* is not used by DELETE."""

    name: str
    value: object = None
    op: OpType = OpType.SET
