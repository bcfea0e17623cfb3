from __future__ import annotations

import pytest

from streamlog.broker.broker import Broker
from streamlog.client.assigned_partition import EARLIEST, LATEST, AssignedPartition
from streamlog.client.offset_reset import OffsetReset
from streamlog.config import ConsumerConfig
from streamlog.errors import NoOffsetForPartitionError, OffsetOutOfRangeError
from streamlog.runtime import VirtualClock
from tests.support.consuming import T0, append

HOUR_MS = 3_600_000


@pytest.fixture
def topic(broker: Broker, clock: VirtualClock) -> Broker:
    """One record an hour, the last of five just now; the first of them deleted."""
    broker.create_topic("t")
    for age in range(4, -1, -1):
        append(broker, [b"x"], timestamps_ms=clock.time_ms() - age * HOUR_MS)
    broker.partition("t", 0).delete_records(1)
    return broker


def reset(broker: Broker, policy: str) -> OffsetReset:
    config = ConsumerConfig.from_options(auto_offset_reset=policy)
    return OffsetReset(config, broker.runtime.clock)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("earliest", 1),
        ("latest", 5),
        ("by_duration:PT1H", 3),
        ("by_duration:PT90M", 3),
        ("by_duration:PT2H", 2),
        ("by_duration:P30D", 1),
        ("by_duration:PT0S", 4),
    ],
)
def test_con_5_policies_and_where_they_start(topic: Broker, policy: str, expected: int) -> None:
    assert reset(topic, policy).start_of(topic.partition("t", 0)) == expected


def test_con_5_by_duration_without_a_record_that_young_starts_at_the_end(
    topic: Broker, clock: VirtualClock
) -> None:
    clock.advance(HOUR_MS)
    assert reset(topic, "by_duration:PT30M").start_of(topic.partition("t", 0)) == 5


def test_con_5_duration_longer_than_all_time_starts_at_the_beginning(topic: Broker) -> None:
    assert reset(topic, "by_duration:P99999D").start_of(topic.partition("t", 0)) == 1


def test_con_5_policy_none_refuses_to_choose(topic: Broker) -> None:
    with pytest.raises(NoOffsetForPartitionError, match="t-0") as caught:
        reset(topic, "none").start_of(topic.partition("t", 0))
    assert caught.value.partitions == (T0,)


@pytest.mark.parametrize("policy", ["none", "earliest", "latest", "by_duration:PT1H"])
def test_con_6_asking_for_an_end_overrides_the_policy(topic: Broker, policy: str) -> None:
    partition = topic.partition("t", 0)
    assert reset(topic, policy).start_of(partition, EARLIEST) == 1
    assert reset(topic, policy).start_of(partition, LATEST) == 5


def test_con_5_position_out_of_range_moves_or_is_raised(topic: Broker) -> None:
    assigned = AssignedPartition(T0)
    assigned.partition = topic.partition("t", 0)
    error = OffsetOutOfRangeError("t-0: offset 77: expected 1 to 5")
    assigned.move_to(77)
    with pytest.raises(OffsetOutOfRangeError, match="offset 77") as caught:
        reset(topic, "none").recover(assigned, error)
    assert caught.value.offsets == {T0: 77}
    assert assigned.position == 77
    reset(topic, "earliest").recover(assigned, error)
    assert assigned.position == 1
