"""The tree of a broker: ZooKeeper's paths, Kafka's fields, the broker's state of the moment."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from streamlog import Consumer, Producer
from streamlog.broker.broker import Broker
from streamlog.errors import ClosedError
from streamlog.record import split_batches
from streamlog.structs import OffsetAndMetadata, TopicPartition

if TYPE_CHECKING:
    from pathlib import Path

    from streamlog.runtime import VirtualClock

# What the shell answered to `ls /`, `get /brokers/ids/1` and `get /controller` in the chapter on ZooKeeper.
ROOT = [
    "admin",
    "brokers",
    "cluster",
    "config",
    "consumers",
    "controller",
    "controller_epoch",
    "feature",
    "isr_change_notification",
    "latest_producer_id_block",
    "log_dir_event_notification",
    "zookeeper",
]
BROKER = (
    '{"features":{},"listener_security_protocol_map":{"PLAINTEXT":"PLAINTEXT"},'
    '"endpoints":["PLAINTEXT://172.17.19.25:19092"],"jmx_port":-1,"port":19092,'
    '"host":"172.17.19.25","version":5,"timestamp":"1650935071371"}'
)
CONTROLLER = '{"version":1,"brokerid":1,"timestamp":"1650935071544"}'


def value(broker: Broker, path: str) -> Any:
    text = broker.metadata.get(path)
    assert text is not None
    return json.loads(text)


def test_the_root_has_exactly_what_the_shell_showed(broker: Broker) -> None:
    assert broker.metadata.ls("/") == ROOT


def test_a_broker_has_the_fields_of_the_shell_in_their_order(
    broker: Broker, clock: VirtualClock
) -> None:
    opened_ms = clock.time_ms()
    clock.advance(5_000)
    shown, found = json.loads(BROKER), value(broker, "/brokers/ids/1")
    assert list(found) == list(shown)
    # It listens nowhere: Kafka has these values for that.
    assert found == {
        **shown,
        "listener_security_protocol_map": {},
        "endpoints": [],
        "port": -1,
        "host": None,
        "timestamp": str(opened_ms),
    }


def test_a_broker_that_listens_says_where_until_it_does_not(broker: Broker) -> None:
    shown = json.loads(BROKER)
    with broker.listen(advertised="172.17.19.25:19092"):
        assert value(broker, "/brokers/ids/1") == {
            **shown,
            "timestamp": value(broker, "/brokers/ids/1")["timestamp"],
        }
    assert value(broker, "/brokers/ids/1")["endpoints"] == []


def test_the_controller_is_the_broker_since_it_was_opened(
    broker: Broker, clock: VirtualClock
) -> None:
    found = value(broker, "/controller")
    assert list(found) == list(json.loads(CONTROLLER))
    assert found == {"version": 1, "brokerid": 1, "timestamp": str(clock.time_ms())}


def test_topics_are_listed_with_the_internal_ones(broker: Broker) -> None:
    broker.create_topic("a_Topic1")
    assert broker.metadata.ls("/brokers/topics") == ["a_Topic1"]
    commit(broker, "billing", "a_Topic1", 0, 3)
    assert broker.metadata.ls("/brokers/topics") == ["__consumer_offsets", "a_Topic1"]
    broker.delete_topic("a_Topic1")
    assert not broker.metadata.exists("/brokers/topics/a_Topic1")


def test_a_topic_names_its_partitions_and_their_replicas(broker: Broker) -> None:
    description = broker.create_topic("orders", partitions=2)
    assert value(broker, "/brokers/topics/orders") == {
        "removing_replicas": {},
        "partitions": {"0": [1], "1": [1]},
        "topic_id": description.topic_id,
        "adding_replicas": {},
        "version": 3,
    }
    assert broker.metadata.ls("/brokers/topics/orders/partitions") == ["0", "1"]
    broker.create_partitions("orders", 3)
    assert broker.metadata.ls("/brokers/topics/orders/partitions") == ["0", "1", "2"]


def test_the_state_of_a_partition_is_led_by_the_broker(broker: Broker) -> None:
    broker.create_topic("orders")
    path = "/brokers/topics/orders/partitions/0/state"
    epoch = int(broker.metadata.get("/controller_epoch") or "")
    assert value(broker, path) == {
        "controller_epoch": epoch,
        "leader": 1,
        "version": 1,
        "leader_epoch": broker.partition("orders", 0).leader_epoch,
        "isr": [1],
    }


def test_configs_are_what_was_set_by_kafkas_names_as_text(broker: Broker) -> None:
    broker.create_topic("plain")
    broker.create_topic("kept", configs={"retention_ms": 1000, "cleanup_policy": "delete"})
    assert value(broker, "/config/topics/plain") == {"version": 1, "config": {}}
    assert value(broker, "/config/topics/kept") == {
        "version": 1,
        "config": {"cleanup.policy": "delete", "retention.ms": "1000"},
    }


def test_committed_offsets_are_where_the_old_consumers_had_them(broker: Broker) -> None:
    broker.create_topic("orders", partitions=2)
    assert broker.metadata.ls("/consumers") == []
    commit(broker, "billing", "orders", 1, 42)
    tree = broker.metadata
    assert tree.ls("/consumers") == ["billing"]
    assert tree.ls("/consumers/billing/offsets") == ["orders"]
    assert tree.ls("/consumers/billing/offsets/orders") == ["1"]
    assert tree.get("/consumers/billing/offsets/orders/1") == "42"


def test_a_group_with_a_slash_in_its_name_is_one_node(broker: Broker) -> None:
    broker.create_topic("orders")
    commit(broker, "a/b", "orders", 0, 1)
    assert broker.metadata.ls("/consumers") == ["a%2Fb"]
    assert broker.metadata.get("/consumers/a%2Fb/offsets/orders/0") == "1"


def test_producer_ids_come_from_the_block_that_is_shown(broker: Broker) -> None:
    block = value(broker, "/latest_producer_id_block")
    assert list(block) == ["version", "broker", "block_start", "block_end"]
    with Producer(broker, enable_idempotence=True) as producer:
        producer.send("orders", b"x").result()
    found = broker.partition("orders", 0).read(0, 1000)
    (batch,) = split_batches(found)
    assert int(block["block_start"]) <= batch.producer_id <= int(block["block_end"])


@pytest.mark.parametrize(
    "path",
    [
        "/admin/delete_topics",
        "/config/brokers",
        "/isr_change_notification",
        "/log_dir_event_notification",
        "/zookeeper",
    ],
)
def test_what_a_single_broker_does_not_have_is_empty(broker: Broker, path: str) -> None:
    assert broker.metadata.ls(path) == []
    assert broker.metadata.get(path) is None


def test_each_opening_is_an_election(tmp_path: Path) -> None:
    epochs, ids = [], set()
    for _ in range(2):
        with Broker(tmp_path) as broker:
            epochs.append(int(broker.metadata.get("/controller_epoch") or ""))
            ids.add(broker.metadata.get("/cluster/id"))
    assert epochs[1] == epochs[0] + 1
    assert len(ids) == 1


def test_a_closed_broker_has_no_tree() -> None:
    broker = Broker()
    tree = broker.metadata
    broker.close()
    with pytest.raises(ClosedError):
        tree.ls("/")
    with pytest.raises(ClosedError):
        _ = broker.metadata


def commit(broker: Broker, group: str, topic: str, partition: int, offset: int) -> None:
    with Consumer(broker, group_id=group) as consumer:
        topic_partition = TopicPartition(topic, partition)
        consumer.assign([topic_partition])
        consumer.commit({topic_partition: OffsetAndMetadata(offset)})


def test_one_that_only_reads_shows_since_when_its_owner_has_the_directory(tmp_path: Path) -> None:
    with Broker(tmp_path) as owner:
        owner.create_topic("orders")
        shown = []
        for _ in range(2):
            with Broker(tmp_path, read_only=True) as reader:
                shown.append(value(reader, "/controller")["timestamp"])
                assert list(reader.metadata.walk()) == list(owner.metadata.walk())
        since = (tmp_path / "LOCK").read_text().splitlines()[1].removeprefix("since=")
    expected = datetime.fromisoformat(since).timestamp() * 1000
    assert shown == [str(round(expected))] * 2
