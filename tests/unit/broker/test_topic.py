from __future__ import annotations

import pytest

from streamlog.broker.broker import Broker
from streamlog.errors import UnknownTopicOrPartitionError


def test_partition_is_found_by_number_and_a_negative_one_is_no_number(broker: Broker) -> None:
    broker.create_topic("orders", partitions=2)
    topic = broker.topic("orders")
    assert [topic.partition(number).number for number in (0, 1)] == [0, 1]
    for number in (2, -1, -2):
        with pytest.raises(UnknownTopicOrPartitionError, match=f"orders-{number} does not exist"):
            topic.partition(number)
    assert "'orders' with 2 partition(s)" in repr(topic)


def test_description_is_a_snapshot(broker: Broker) -> None:
    broker.create_topic("orders", configs={"retention_ms": 5})
    before = broker.topic("orders").describe(broker_id=1)
    broker.create_partitions("orders", 2)
    broker.alter_topic_configs("orders", {"retention_ms": 6})
    assert len(before.partitions) == 1
    assert before.configs["retention_ms"] == 5
    after = broker.topic("orders").describe(broker_id=1)
    assert (len(after.partitions), after.configs["retention_ms"]) == (2, 6)
    assert set(after.configs) >= {"segment_bytes", "cleanup_policy", "flush_ms"}
