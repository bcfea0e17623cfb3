"""DescribeConfigs, AlterConfigs and IncrementalAlterConfigs: what a topic is like, and how that changes."""

from __future__ import annotations

from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.wire.listener import Listener
from tests.support.wire import RawClient

UNKNOWN_TOPIC, INVALID_TOPIC, INVALID_CONFIG, INVALID_REQUEST = 3, 17, 40, 42
TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP = 2, 4, 8, 16, 32
SET, DELETE, APPEND, SUBTRACT = range(4)
OF_TOPIC, OF_BROKER, DEFAULT = 1, 4, 5


def describe(client: RawClient, name: str = "t", **fields: Any) -> Any:
    """Return what is told of one resource."""
    resource = {"resource_type": TOPIC, "resource_name": name, "configuration_keys": None}
    resource |= {key: fields.pop(key) for key in list(fields) if key in resource}
    (result,) = client.request("DescribeConfigs", 4, resources=[resource], **fields).results
    assert result.resource_name == name
    return result


def change(client: RawClient, *configs: tuple[str, int, str | None], **fields: Any) -> int:
    """Return the error of an incremental change of the topic."""
    resource = {
        "resource_type": TOPIC,
        "resource_name": "t",
        "configs": [
            {"name": name, "config_operation": operation, "value": value}
            for name, operation, value in configs
        ],
    }
    response = client.request("IncrementalAlterConfigs", 1, resources=[resource], **fields)
    return int(response.responses[0].error_code)


def alter(client: RawClient, *configs: tuple[str, str | None], **fields: Any) -> int:
    """Return the error of giving the topic these configurations and no others."""
    resource = {
        "resource_type": TOPIC,
        "resource_name": "t",
        "configs": [{"name": name, "value": value} for name, value in configs],
    }
    response = client.request("AlterConfigs", 2, resources=[resource], **fields)
    return int(response.responses[0].error_code)


def overrides(broker: Broker) -> dict[str, Any]:
    return dict(broker.topic("t").overrides)


# ---- looks


@pytest.mark.parametrize("keys", [None, []])
def test_all_keys_are_described_where_none_are_named(client: RawClient, keys: Any) -> None:
    """An empty list got nothing."""
    names = {one.name for one in describe(client, configuration_keys=keys).configs}
    assert {"retention.ms", "cleanup.policy", "segment.bytes"} <= names


def test_keys_that_are_named_are_described_and_no_others(client: RawClient) -> None:
    found = describe(client, configuration_keys=["retention.ms", "no.such.key"]).configs
    assert [one.name for one in found] == ["retention.ms"]
    (one,) = found
    assert (one.documentation, one.synonyms) == ("", [])
    assert not one.read_only


def test_address_of_the_listener_is_described_where_it_is_asked_for(
    client: RawClient, listener: Listener
) -> None:
    def found(*keys: str) -> dict[str, str]:
        asked = describe(client, "1", resource_type=BROKER, configuration_keys=list(keys))
        return {one.name: one.value for one in asked.configs}

    assert found("listeners") == {"listeners": f"PLAINTEXT://{listener.bootstrap_servers}"}
    assert found("num.partitions") == {"num.partitions": "1"}


def test_synonyms_are_what_would_hold_otherwise_and_documentation_says_what_it_is() -> None:
    """They were the value alone."""
    with Broker(log_retention_ms=70) as broker:
        broker.create_topic("t", configs={"retention_ms": 7, "segment_bytes": 300})
        broker.listen()
        with RawClient(broker.bootstrap_servers) as client:
            asked = {"include_synonyms": True, "include_documentation": True}
            keys = ["retention.ms", "segment.bytes", "retention.bytes"]
            topic = describe(client, configuration_keys=keys, **asked).configs
            of_broker = describe(
                client, "1", resource_type=BROKER, configuration_keys=["log.retention.ms"], **asked
            ).configs
    found = {
        one.name: [(other.value, other.source) for other in one.synonyms]
        for one in (*topic, *of_broker)
    }
    assert found == {
        "retention.ms": [("7", OF_TOPIC), ("70", OF_BROKER), ("604800000", DEFAULT)],
        "segment.bytes": [("300", OF_TOPIC), ("1073741824", DEFAULT)],
        "retention.bytes": [("-1", DEFAULT)],
        "log.retention.ms": [("70", OF_BROKER), ("604800000", DEFAULT)],
    }
    assert all(one.documentation for one in topic)


@pytest.mark.parametrize(
    ("kind", "name", "code"),
    [
        (TOPIC, "no-such", UNKNOWN_TOPIC),
        (TOPIC, "no name for a topic", INVALID_TOPIC),
        (BROKER, "2", INVALID_REQUEST),
        (BROKER, "one", INVALID_REQUEST),
        (BROKER_LOGGER, "1", INVALID_REQUEST),
        (CLIENT_METRICS, "x", INVALID_REQUEST),
        (GROUP, "g", INVALID_REQUEST),
        (77, "t", INVALID_REQUEST),
    ],
)
def test_what_is_not_configured_here_has_an_error_of_its_own(
    client: RawClient, kind: int, name: str, code: int
) -> None:
    resources = [
        {"resource_type": kind, "resource_name": name, "configuration_keys": None},
        {"resource_type": TOPIC, "resource_name": "t", "configuration_keys": None},
    ]
    first, second = client.request("DescribeConfigs", 4, resources=resources).results
    assert (first.error_code, first.configs) == (code, [])
    assert first.error_message
    assert second.error_code == 0


def test_broker_without_a_name_has_what_all_brokers_were_given_which_is_nothing(
    client: RawClient,
) -> None:
    """It had all that this one has."""
    assert describe(client, "", resource_type=BROKER).configs == []
    named = describe(client, "1", resource_type=BROKER).configs
    assert "num.partitions" in {one.name for one in named}


def test_what_is_described_can_be_sent_back(client: RawClient, broker: Broker) -> None:
    """As tools do that edit a whole configuration; no limit is the greatest number."""
    all_of_them = [(one.name, one.value) for one in describe(client).configs]
    assert alter(client, *all_of_them) == 0
    assert len(overrides(broker)) == len(all_of_them)
    assert [(one.name, one.value) for one in describe(client).configs] == all_of_them


# ---- changes


def test_alter_configs_replaces_all_that_was_set(client: RawClient, broker: Broker) -> None:
    assert alter(client, ("retention.ms", "5"), ("segment.bytes", "300")) == 0
    assert alter(client, ("segment.bytes", "400")) == 0
    assert overrides(broker) == {"segment_bytes": 400}
    assert alter(client) == 0
    assert overrides(broker) == {}


def test_incremental_change_leaves_the_other_keys(client: RawClient, broker: Broker) -> None:
    assert change(client, ("retention.ms", SET, "5"), ("segment.bytes", SET, "300")) == 0
    assert change(client, ("retention.ms", DELETE, None)) == 0
    assert overrides(broker) == {"segment_bytes": 300}
    assert change(client, ("cleanup.policy", APPEND, "compact")) == 0
    assert change(client, ("cleanup.policy", APPEND, "compact")) == 0
    assert overrides(broker)["cleanup_policy"] == ("compact", "delete")
    assert change(client, ("cleanup.policy", SUBTRACT, "delete")) == 0
    assert overrides(broker)["cleanup_policy"] == ("compact",)


def test_validate_only_changes_nothing_and_says_what_is_wrong(
    client: RawClient, broker: Broker
) -> None:
    assert change(client, ("retention.ms", SET, "5"), validate_only=True) == 0
    assert alter(client, ("retention.ms", "5"), validate_only=True) == 0
    assert change(client, ("retention.ms", SET, "five"), validate_only=True) == INVALID_CONFIG
    assert alter(client, ("no.such.key", "5"), validate_only=True) == INVALID_CONFIG
    assert overrides(broker) == {}


@pytest.mark.parametrize(
    ("configs", "code"),
    [
        ([("retention.ms", SET, None)], INVALID_REQUEST),
        ([("cleanup.policy", APPEND, None)], INVALID_REQUEST),
        ([("retention.ms", 4, "5")], INVALID_REQUEST),
        ([("retention.ms", -1, "5")], INVALID_REQUEST),
        ([("retention.ms", SET, "5"), ("retention.ms", DELETE, None)], INVALID_REQUEST),
        ([("retention.ms", SET, "5"), ("retention_ms", SET, "6")], INVALID_REQUEST),
        ([("retention.ms", APPEND, "5")], INVALID_CONFIG),
        ([("cleanup.policy", APPEND, "forget")], INVALID_CONFIG),
        ([("no.such.key", SET, "5")], INVALID_CONFIG),
        ([("segment.bytes", SET, "300"), ("retention.ms", SET, "soon")], INVALID_CONFIG),
    ],
)
def test_change_that_cannot_be_made_is_not_made_in_part(
    client: RawClient, broker: Broker, configs: Any, code: int
) -> None:
    assert change(client, *configs) == code
    assert overrides(broker) == {}


def test_key_that_is_sent_twice_is_not_the_last_of_the_two(
    client: RawClient, broker: Broker
) -> None:
    """It was."""
    assert alter(client, ("retention.ms", "5"), ("retention.ms", "6")) == INVALID_REQUEST
    assert alter(client, ("retention.ms", None)) == INVALID_REQUEST
    assert overrides(broker) == {}


@pytest.mark.parametrize("api", ["AlterConfigs", "IncrementalAlterConfigs"])
def test_resource_that_is_sent_twice_is_not_changed(
    client: RawClient, broker: Broker, api: str
) -> None:
    """One change came after the other; Kafka makes neither."""
    broker.create_topic("u")
    resources = [
        {"resource_type": TOPIC, "resource_name": name, "configs": [{"name": key, "value": "300"}]}
        for name, key in (("t", "segment.bytes"), ("u", "retention.ms"), ("t", "retention.ms"))
    ]
    responses = client.request(api, 1, resources=resources).responses
    assert [(one.resource_name, one.error_code) for one in responses] == [
        ("t", INVALID_REQUEST),
        ("u", 0),
        ("t", INVALID_REQUEST),
    ]
    assert overrides(broker) == {}
    assert broker.topic("u").overrides == {"retention_ms": 300}


@pytest.mark.parametrize("kind", [BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP, 77])
def test_nothing_but_topics_can_be_changed(client: RawClient, kind: int) -> None:
    resources = [{"resource_type": kind, "resource_name": "1", "configs": []}]
    for api in ("AlterConfigs", "IncrementalAlterConfigs"):
        (response,) = client.request(api, 1, resources=resources).responses
        assert (response.error_code, response.resource_type) == (INVALID_REQUEST, kind)
