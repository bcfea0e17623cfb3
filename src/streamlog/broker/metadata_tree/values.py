"""The values of the nodes: JSON with Kafka's fields, in the order in which ZooKeeper's shell showed them.

Times are milliseconds in a string, as there. What a broker inside a program does not have says so with the value that Kafka has for it:
without a listener no endpoint, host null and port -1. Source: Kafka ``ZkData.scala``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

_BROKER_VERSION = 5
_CONTROLLER_VERSION = 1
_TOPIC_VERSION = 3
_PARTITION_STATE_VERSION = 1
_CONFIG_VERSION = 1
_FEATURE_VERSION = 1
_PRODUCER_ID_BLOCK_VERSION = 1
_FEATURES_ENABLED = 1
_NONE = -1
#: The listeners are of one kind: there is no TLS and no SASL.
_PLAINTEXT = "PLAINTEXT"


def broker_value(registered_ms: int, addresses: Sequence[str] = ()) -> str:
    """Return ``/brokers/ids/<id>``; *addresses* are those of its listeners, ``host:port``. Source: Kafka ``BrokerIdZNode``."""
    host, _, port = addresses[0].rpartition(":") if addresses else ("", "", "")
    return _json(
        {
            "features": {},
            "listener_security_protocol_map": {_PLAINTEXT: _PLAINTEXT} if addresses else {},
            "endpoints": [f"{_PLAINTEXT}://{address}" for address in addresses],
            "jmx_port": _NONE,
            "port": int(port) if port else _NONE,
            "host": host or None,
            "version": _BROKER_VERSION,
            "timestamp": str(registered_ms),
        }
    )


def controller_value(broker_id: int, elected_ms: int) -> str:
    """Return ``/controller``. Source: Kafka ``ControllerZNode``."""
    return _json(
        {"version": _CONTROLLER_VERSION, "brokerid": broker_id, "timestamp": str(elected_ms)}
    )


def topic_value(topic_id: str, replicas: Sequence[Iterable[int]]) -> str:
    """Return ``/brokers/topics/<topic>``; *replicas* of each partition, in order. Source: Kafka ``TopicZNode``."""
    return _json(
        {
            "removing_replicas": {},
            "partitions": {str(number): list(ids) for number, ids in enumerate(replicas)},
            "topic_id": topic_id,
            "adding_replicas": {},
            "version": _TOPIC_VERSION,
        }
    )


def partition_state_value(
    controller_epoch: int, leader: int, leader_epoch: int, in_sync_replicas: Iterable[int]
) -> str:
    """Return ``.../partitions/<partition>/state``. Source: Kafka ``TopicPartitionStateZNode``."""
    return _json(
        {
            "controller_epoch": controller_epoch,
            "leader": leader,
            "version": _PARTITION_STATE_VERSION,
            "leader_epoch": leader_epoch,
            "isr": list(in_sync_replicas),
        }
    )


def cluster_id_value(cluster_id: str) -> str:
    """Return ``/cluster/id``, the one whose version is a string. Source: Kafka ``ClusterIdZNode``."""
    return _json({"version": "1", "id": cluster_id})


def config_value(overrides: Mapping[str, object]) -> str:
    """Return ``/config/topics/<topic>``: what was set, by Kafka's names, as text. Source: Kafka ``ConfigEntityZNode``."""
    config = {key.replace("_", "."): _text(value) for key, value in sorted(overrides.items())}
    return _json({"version": _CONFIG_VERSION, "config": config})


def feature_value() -> str:
    """Return ``/feature`` of a cluster without finalized features. Source: Kafka ``FeatureZNode``."""
    return _json({"features": {}, "version": _FEATURE_VERSION, "status": _FEATURES_ENABLED})


def producer_id_block_value(broker_id: int, first_id: int, last_id: int) -> str:
    """Return ``/latest_producer_id_block``. Source: Kafka ``ProducerIdBlockZNode``."""
    return _json(
        {
            "version": _PRODUCER_ID_BLOCK_VERSION,
            "broker": broker_id,
            "block_start": str(first_id),
            "block_end": str(last_id),
        }
    )


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple, set, frozenset)):
        return ",".join(sorted(map(str, value)))
    return str(value)


def _json(value: Mapping[str, object]) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
