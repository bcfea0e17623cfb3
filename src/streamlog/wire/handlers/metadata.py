"""Metadata: brokers, topics and who leads their partitions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamlog.errors import StreamlogError
from streamlog.wire.authorized import CLUSTER, NOT_ASKED, TOPIC
from streamlog.wire.error_codes import code_of
from streamlog.wire.topics import TopicFinder

if TYPE_CHECKING:
    from streamlog.broker.topic import Topic
    from streamlog.wire.call import Call


def handle(call: Call) -> Any:
    """Return this broker, and the topics that were asked for: all of them for None, and for an empty list in version 0."""
    request, settings, make = call.request, call.settings, call.response
    names = request.topics
    if names is None or (not names and call.version == 0):
        topics = [_describe(call, topic) for topic in call.broker.topic_registry.topics()]
    else:
        allow = request.allow_auto_topic_creation if call.version >= 4 else True
        finder = TopicFinder(call, may_create=allow)
        # Each once, as in Kafka: an answer may be a thousand times as long as the name.
        wanted = dict.fromkeys((topic.name, topic.topic_id) for topic in names)
        topics = [_find(call, finder, name, topic_id) for name, topic_id in wanted]
    return make(
        brokers=[
            make.Brokers(
                node_id=settings.node_id,
                host=settings.advertised_host,
                port=settings.advertised_port,
            )
        ],
        cluster_id=call.broker.cluster_id,
        controller_id=settings.node_id,
        topics=topics,
        cluster_authorized_operations=(
            CLUSTER if request.include_cluster_authorized_operations else NOT_ASKED
        ),
    )


def _find(call: Call, finder: TopicFinder, name: str | None, topic_id: bytes) -> Any:
    try:
        return _describe(call, finder.with_id(topic_id) if name is None else finder.named(name))
    except (StreamlogError, OSError) as error:
        return call.response.Topics(error_code=code_of(error), name=name or "", topic_id=topic_id)


def _describe(call: Call, topic: Topic) -> Any:
    make, node_id = call.response.Topics, call.settings.node_id
    is_asked = call.request.include_topic_authorized_operations
    return make(
        name=topic.name,
        topic_id=bytes.fromhex(topic.topic_id),
        is_internal=topic.is_internal,
        partitions=[
            make.Partitions(
                partition_index=partition.number,
                leader_id=node_id,
                leader_epoch=-1 if partition.is_refused else partition.leader_epoch,
                replica_nodes=[node_id],
                isr_nodes=[node_id],
            )
            for partition in topic.partitions
        ],
        topic_authorized_operations=TOPIC if is_asked else NOT_ASKED,
    )
