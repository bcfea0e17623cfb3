"""Reading a topic whole, under both isolation levels, as consumers do."""

from __future__ import annotations

from streamlog import Broker, Consumer, TopicPartition
from tests.support.transaction_model import At, Shown, ShownLog

GROUP = "g"


def read_topic(broker: Broker, topic: str, isolation_level: str) -> list[list[At]]:
    """Return offset and value of every record that a consumer is given, for each partition; it must come to the end."""
    count = len(broker.describe_topic(topic).partitions)
    partitions = [TopicPartition(topic, number) for number in range(count)]
    found: list[list[At]] = [[] for _ in partitions]
    with Consumer(
        broker, isolation_level=isolation_level, auto_offset_reset="earliest"
    ) as consumer:
        consumer.assign(partitions)
        ends = consumer.end_offsets(partitions)
        positions = {partition: consumer.position(partition) for partition in partitions}
        while positions != ends:
            # What is skipped is no record, and moves the position all the same (TXN-14).
            for record in consumer.poll(0):
                found[record.partition].append((record.offset, record.value))
            before = positions
            positions = {partition: consumer.position(partition) for partition in partitions}
            assert positions != before, f"{isolation_level}: stuck at {positions} before {ends}"
    return found


def show(broker: Broker, topic: str) -> Shown:
    """Return what *broker* shows of *topic*, and of the group that reads its first partition."""
    committed = read_topic(broker, topic, "read_committed")
    uncommitted = read_topic(broker, topic, "read_uncommitted")
    logs = []
    for number, partition in enumerate(broker.topic(topic).partitions):
        logs.append(
            ShownLog(
                uncommitted[number],
                committed[number],
                partition.last_stable_offset,
                partition.log_end_offset,
            )
        )
    return Shown(logs, group_offset(broker, TopicPartition(topic, 0)))


def group_offset(broker: Broker, partition: TopicPartition) -> int | None:
    """Return the offset that counts for the group, whatever is pending."""
    found = broker.group_coordinator.fetch_offsets(GROUP, [partition])[partition]
    return None if found is None else found.offset
