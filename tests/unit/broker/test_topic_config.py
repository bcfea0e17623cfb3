from __future__ import annotations

import msgpack
import pytest

from streamlog.broker.topic_config import topic_config, topic_config_names, topic_overrides
from streamlog.config import TopicConfig
from streamlog.errors import InvalidConfigurationError


def test_overrides_are_canonical_and_can_be_stored() -> None:
    overrides = topic_overrides({"retention.ms": "5", "cleanup_policy": "delete"})
    assert overrides == {"retention_ms": 5, "cleanup_policy": ("delete",)}
    stored = msgpack.unpackb(msgpack.packb(overrides))
    assert topic_config("t", TopicConfig(), stored) == topic_config("t", TopicConfig(), overrides)


def test_overrides_beat_the_defaults_and_the_defaults_remain() -> None:
    config = topic_config("t", TopicConfig(retention_ms=1, segment_bytes=300), {"retention_ms": 2})
    assert (config.retention_ms, config.segment_bytes) == (2, 300)


def test_unknown_key_names_the_nearest_one() -> None:
    with pytest.raises(InvalidConfigurationError, match="retention_ms"):
        topic_overrides({"retension.ms": 1})
    with pytest.raises(InvalidConfigurationError, match="retention_ms"):
        topic_config_names(["retension_ms"])
    assert topic_config_names(["retention.ms", "flush_ms"]) == {"retention_ms", "flush_ms"}


@pytest.mark.parametrize(
    ("policy", "stored"),
    [("compact", ("compact",)), ("compact,delete", ("compact", "delete")), ("", ())],
)
@pytest.mark.parametrize("name", ["orders", "__consumer_offsets"])
def test_ret_8_every_cleanup_policy_can_be_had(
    name: str, policy: str, stored: tuple[str, ...]
) -> None:
    assert topic_config(name, TopicConfig(), {"cleanup_policy": policy}).cleanup_policy == stored
