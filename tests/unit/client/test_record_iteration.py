from __future__ import annotations

from typing import Any

from streamlog.broker.broker import Broker
from streamlog.client.assigned_partition import AssignedPartition
from streamlog.client.consumer_records import ConsumerRecords
from streamlog.client.record_iteration import RecordIteration
from streamlog.structs import TopicPartition
from tests.support.consuming import T0, T1, fill


def iteration(
    broker: Broker, *partitions: TopicPartition
) -> tuple[RecordIteration, dict[Any, Any]]:
    groups, assigned = [], {}
    for name in partitions:
        fill(broker, 2, name, per_batch=2)
        (view,) = broker.partition(*name).read_batches(0, 1, 2)
        groups.append((name, [view]))
        one = assigned[name] = AssignedPartition(name)
        one.move_to(0)
        one.taken, one.taken_epoch = 2, 0
    return RecordIteration(ConsumerRecords(groups), assigned.values()), assigned


def test_position_follows_each_record(broker: Broker) -> None:
    broker.create_topic("t", partitions=2)
    turn, assigned = iteration(broker, T0, T1)
    seen = []
    while record := turn.next():
        seen.append((record.partition, record.offset, assigned[T0].position, assigned[T1].position))
    assert seen == [(0, 0, 1, 0), (0, 1, 2, 0), (1, 0, 2, 1), (1, 1, 2, 2)]
    assert assigned[T1].leader_epoch == 0
    assert turn.next() is None


def test_partition_that_moved_meanwhile_is_left_out_and_left_alone(broker: Broker) -> None:
    broker.create_topic("t", partitions=2)
    turn, assigned = iteration(broker, T0, T1)
    assert turn.next()
    assigned[T0].move_to(0)
    record = turn.next()
    assert record is not None
    assert record.partition == 1
    assert turn.next()
    assert turn.next() is None
    assert (assigned[T0].position, assigned[T1].position) == (0, 2)


def test_records_left_out_by_an_interceptor_count_as_read(broker: Broker) -> None:
    broker.create_topic("t")
    _, assigned = iteration(broker, T0)
    turn = RecordIteration(ConsumerRecords(), assigned.values())
    assert turn.next() is None
    assert assigned[T0].position == 2
