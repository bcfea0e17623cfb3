"""The tree of one broker, made of what the broker knows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

from streamlog.broker.metadata_tree import values
from streamlog.broker.metadata_tree.node import Node, folder
from streamlog.broker.metadata_tree.tree import MetadataTree
from streamlog.errors import StreamlogError
from streamlog.runtime import LOCK_FILE_NAME

if TYPE_CHECKING:
    from streamlog.broker.broker import Broker
    from streamlog.broker.partition import Partition
    from streamlog.broker.topic import Topic
    from streamlog.storage.data_directory import DataDirectory
    from streamlog.structs import TopicPartition


def metadata_tree(broker: Broker, directory: DataDirectory, opened_ms: int) -> MetadataTree:
    """Return the tree of *broker*, which has *directory* since *opened_ms* and is its own controller.

    One that only reads shows the broker that writes, or wrote last.
    The broker's epoch as a controller is the generation of its directory: both grow by one with each election, which opening is here.
    """
    return MetadataTree(folder(partial(_root, broker, directory, opened_ms)))


def _root(broker: Broker, directory: DataDirectory, opened_ms: int) -> dict[str, Node]:
    broker.check_open()
    registered_ms = (_lock_ms(broker, directory) if broker.read_only else None) or opened_ms
    # Those of one that only reads are not the writer's, which it shows.
    addresses = () if broker.read_only else broker.listener_addresses
    broker_id = broker.config.broker_id
    return {
        "admin": folder({"delete_topics": Node()}),
        "brokers": folder(
            {
                "ids": folder(
                    {str(broker_id): Node(values.broker_value(registered_ms, addresses))}
                ),
                "seqid": Node(),
                "topics": folder(partial(_topics, broker, directory)),
            }
        ),
        "cluster": folder({"id": Node(values.cluster_id_value(directory.directory_id))}),
        "config": folder(
            {
                "brokers": Node(),
                "changes": Node(),
                "clients": Node(),
                "ips": Node(),
                "topics": folder(partial(_topic_configs, broker)),
                "users": Node(),
            }
        ),
        "consumers": folder(partial(_consumers, broker)),
        "controller": Node(values.controller_value(broker_id, registered_ms)),
        "controller_epoch": Node(str(directory.generation)),
        "feature": Node(values.feature_value()),
        "isr_change_notification": Node(),
        "latest_producer_id_block": Node(
            values.producer_id_block_value(broker_id, *broker.producer_ids.block)
        ),
        "log_dir_event_notification": Node(),
        "zookeeper": Node(),
    }


def _lock_ms(broker: Broker, directory: DataDirectory) -> int | None:
    """Return since when the directory is, or last was, open for writing; None when that cannot be read."""
    try:
        path = f"{directory.path}/{LOCK_FILE_NAME}"
        noted = broker.runtime.filesystem.read_file(path, 4096).decode("ascii", "replace")
        since = dict(line.partition("=")[::2] for line in noted.splitlines())["since"]
        return round(datetime.fromisoformat(since).timestamp() * 1000)
    except (OSError, KeyError, ValueError, StreamlogError):
        return None


def _all_topics(broker: Broker) -> dict[str, Topic]:
    return {topic.name: topic for topic in broker.topic_registry.topics()}


def _topics(broker: Broker, directory: DataDirectory) -> dict[str, Node]:
    replicas = (broker.config.broker_id,)
    return {
        name: Node(
            values.topic_value(topic.topic_id, [replicas for _ in topic.partitions]),
            partial(_topic, broker, directory, topic),
        )
        for name, topic in _all_topics(broker).items()
    }


def _topic(broker: Broker, directory: DataDirectory, topic: Topic) -> Mapping[str, Node]:
    if not topic.partitions:
        return {}
    numbers = {
        str(partition.number): folder(partial(_partition, broker, directory, partition))
        for partition in topic.partitions
    }
    return {"partitions": folder(numbers)}


def _partition(broker: Broker, directory: DataDirectory, partition: Partition) -> dict[str, Node]:
    broker_id = broker.config.broker_id
    try:
        state = values.partition_state_value(
            directory.generation, broker_id, partition.leader_epoch, (broker_id,)
        )
    except StreamlogError:
        return {}  # its log was refused as a whole: nobody leads it
    return {"state": Node(state)}


def _topic_configs(broker: Broker) -> dict[str, Node]:
    topics = _all_topics(broker)
    return {name: Node(values.config_value(topic.overrides)) for name, topic in topics.items()}


def _consumers(broker: Broker) -> dict[str, Node]:
    return {
        listing.group_id.replace("/", "%2F"): folder(partial(_consumer, broker, listing.group_id))
        for listing in broker.group_coordinator.list_groups()
        if listing.group_id
    }


def _consumer(broker: Broker, group_id: str) -> Mapping[str, Node]:
    return {"offsets": folder(partial(_offsets, broker, group_id))}


def _offsets(broker: Broker, group_id: str) -> dict[str, Node]:
    committed = broker.group_coordinator.fetch_all_offsets(group_id)

    def topic_of(topic_partition: TopicPartition) -> str:
        return topic_partition.topic

    found: dict[str, Node] = {}
    for topic, group in groupby(sorted(committed), key=topic_of):
        found[topic] = folder({str(tp.partition): Node(str(committed[tp].offset)) for tp in group})
    return found
