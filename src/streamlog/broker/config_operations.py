"""From configurations to entries, and from changes to configurations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from streamlog.broker.config_entry import ConfigEntry, ConfigSource, OpType
from streamlog.config import BrokerConfig, TopicConfig
from streamlog.errors import InvalidConfigurationError, InvalidRequestError

if TYPE_CHECKING:
    from streamlog.broker.config_entry import AlterConfigOp
    from streamlog.broker.topic import Topic

#: From a topic as it is to the keys to set with their values, and the keys to give back to the default.
ConfigChange = Callable[["Topic"], tuple["Mapping[str, object] | None", "Iterable[str]"]]

_LIST_KEYS = frozenset(
    description.key for description in TopicConfig.describe() if description.type.startswith("list")
)


def topic_entries(topic: Topic, broker_config: BrokerConfig) -> dict[str, ConfigEntry]:
    """Return what is in force for *topic*, by key, in the order of the reference."""
    broker_values = broker_config.topic_defaults().as_dict()
    defaults = TopicConfig().as_dict()
    entries = {}
    for key, value in topic.config.as_dict().items():
        if key in topic.overrides:
            source = ConfigSource.DYNAMIC_TOPIC_CONFIG
        elif broker_values[key] != defaults[key]:
            source = ConfigSource.STATIC_BROKER_CONFIG
        else:
            source = ConfigSource.DEFAULT_CONFIG
        entries[key] = ConfigEntry(key, value, source)
    return entries


def broker_entries(config: BrokerConfig) -> dict[str, ConfigEntry]:
    """Return what is in force for the broker, by key, in the order of the reference."""
    defaults = BrokerConfig().as_dict()
    return {
        key: ConfigEntry(
            key,
            value,
            ConfigSource.DEFAULT_CONFIG
            if value == defaults[key]
            else ConfigSource.STATIC_BROKER_CONFIG,
        )
        for key, value in config.as_dict().items()
    }


def replaced_topic_configs(
    topic: Topic, configs: Mapping[str, Any]
) -> tuple[Mapping[str, Any], set[str]]:
    """Return *configs*, and the keys of *topic* that are not among them: they go back to the default."""
    return configs, set(topic.overrides) - {key.replace(".", "_") for key in configs}


def altered_topic_configs(
    topic: Topic, operations: Iterable[AlterConfigOp]
) -> tuple[dict[str, Any], list[str]]:
    """Return the keys to set with their values, and the keys to give back to the default.

    Raises `InvalidRequestError` for a key named twice, `InvalidConfigurationError` for APPEND or
    SUBTRACT on a key that is no list.
    """
    configs: dict[str, Any] = {}
    removed: list[str] = []
    for operation in operations:
        key = operation.name.replace(".", "_")
        if key in configs or key in removed:
            raise InvalidRequestError(f"topic {topic.name!r}: {key} is changed more than once")
        if operation.op is OpType.DELETE:
            removed.append(key)
        elif operation.op is OpType.SET:
            configs[key] = operation.value
        else:
            configs[key] = _changed_list(topic, key, operation)
    return configs, removed


def _changed_list(topic: Topic, key: str, operation: AlterConfigOp) -> list[str]:
    if key not in _LIST_KEYS:
        TopicConfig.parse_options({key: operation.value}, {})  # an unknown key is the better reason
        raise InvalidConfigurationError(
            f"topic {topic.name!r}: {key} is no list: expected op SET or DELETE, "
            f"found {operation.op.name}"
        )
    given = TopicConfig.parse_options({key: operation.value}, {})[key]
    assert isinstance(given, tuple)
    present: tuple[str, ...] = getattr(topic.config, key)
    if operation.op is OpType.APPEND:
        return sorted({*present, *given})
    return [word for word in present if word not in given]
