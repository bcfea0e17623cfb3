"""A topic's configuration: the broker's defaults, and what was set for this topic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamlog.broker.topic_name import is_internal
from streamlog.config import TopicConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def topic_overrides(configs: Mapping[str, object] | None) -> dict[str, Any]:
    """Return *configs* checked, by canonical names, as plain values that can be stored.

    Names may be Kafka's with dots. Raises `InvalidConfigurationError` for an unknown name, naming the
    nearest one, and for a value of the wrong type or out of range.
    """
    return dict(TopicConfig.parse_options(configs, {}))


def topic_config_names(names: Iterable[str]) -> set[str]:
    """Return *names* as canonical names. Raises `InvalidConfigurationError` for an unknown one."""
    if isinstance(names, str):
        raise TypeError(f"expected a list of configuration keys, found the str {names!r}")
    known = {description.key for description in TopicConfig.describe()}
    canonical = {name.replace(".", "_") for name in names}
    for name in sorted(canonical - known):
        TopicConfig.parse_options({name: None}, {})  # raises, naming the nearest one
    return canonical


def topic_config(name: str, defaults: TopicConfig, overrides: Mapping[str, object]) -> TopicConfig:
    """Return what is in force for topic *name*.

    Raises `InvalidConfigurationError` when keys contradict each other.
    """
    if is_internal(name):
        # Small batches, written one by one while somebody waits: there is nothing to win.
        overrides = {"compression_type": "producer", **overrides}
    return defaults.with_overrides(overrides)
