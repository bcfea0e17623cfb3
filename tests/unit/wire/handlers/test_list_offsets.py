"""ListOffsets, OffsetForLeaderEpoch and DeleteRecords; TIM-1, TIM-2, RET-9, REP-6."""

from __future__ import annotations

from threading import get_ident
from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.broker.partition import Partition
from streamlog.record import Codec
from streamlog.runtime import VirtualClock
from tests.support.kafka_batches import as_kafka
from tests.support.transaction_writer import new_writer
from tests.support.wire import RawClient

OUT_OF_RANGE, UNKNOWN_PARTITION, UNSUPPORTED_VERSION, POLICY_VIOLATION = 1, 3, 35, 44
INVALID_REQUEST = 42
FENCED_EPOCH, UNKNOWN_EPOCH = 74, 75
LATEST, EARLIEST, MAX_TIMESTAMP, EARLIEST_LOCAL, LATEST_TIERED = -1, -2, -3, -4, -5
NOTHING = (0, -1, -1)


@pytest.fixture
def records(broker: Broker, clock: VirtualClock) -> list[int]:
    """Three records whose times are not in order; returns them."""
    now = int(clock.time_ms())
    times = [now, now + 20, now + 10]
    for time in times:
        broker.partition("t", 0).append_value(b"x", time)
    return times


def look_up(
    client: RawClient, *wanted: dict[str, Any], version: int = 7, **fields: Any
) -> list[tuple[int, int, int]]:
    """Return error, offset and time of each partition, one asked for after the other."""
    found = []
    for one in wanted:
        partitions = [{"partition_index": 0, **one}]
        response = client.request(
            "ListOffsets", version, topics=[{"name": "t", "partitions": partitions}], **fields
        )
        (answer,) = response.topics[0].partitions
        found.append((answer.error_code, answer.offset, answer.timestamp))
    return found


def test_tim_2_special_times_and_those_of_records(client: RawClient, records: list[int]) -> None:
    first, highest, _ = records
    found = look_up(
        client,
        {"timestamp": LATEST},
        {"timestamp": EARLIEST},
        {"timestamp": MAX_TIMESTAMP},
        {"timestamp": first},
        {"timestamp": first + 1},
        {"timestamp": highest},
        {"timestamp": highest + 1},
        {"timestamp": 0},
    )
    assert found == [
        (0, 3, -1),
        (0, 0, -1),
        (0, 1, highest),
        (0, 0, first),
        (0, 1, highest),
        (0, 1, highest),
        NOTHING,
        (0, 0, first),
    ]


def test_empty_partition_has_bounds_and_no_time(client: RawClient) -> None:
    wanted = [{"timestamp": time} for time in (LATEST, EARLIEST, MAX_TIMESTAMP, 0)]
    assert look_up(client, *wanted) == [(0, 0, -1), (0, 0, -1), NOTHING, NOTHING]


@pytest.mark.parametrize("version", [1, 2, 5, 6, 7])
def test_time_that_comes_with_a_later_version_is_unsupported(
    client: RawClient, records: list[int], version: int
) -> None:
    """KIP-734, KIP-405, KIP-1005: -3 was served too early, and the others had another error."""
    times = (MAX_TIMESTAMP, EARLIEST_LOCAL, LATEST_TIERED, -6)
    codes = [
        one[0] for one in look_up(client, *({"timestamp": one} for one in times), version=version)
    ]
    newest = 0 if version == 7 else UNSUPPORTED_VERSION
    assert codes == [newest, *[UNSUPPORTED_VERSION] * 3]


@pytest.mark.parametrize("version", [1, 2, 3, 4, 5, 6, 7])
def test_what_is_wrong_with_one_partition_leaves_the_others(
    client: RawClient, records: list[int], version: int
) -> None:
    wanted = [{"partition_index": index, "timestamp": LATEST} for index in (9, 0)]
    topics = [{"name": "t", "partitions": wanted}]
    found = client.request("ListOffsets", version, topics=topics).topics[0].partitions
    assert [(one.error_code, one.offset) for one in found] == [(UNKNOWN_PARTITION, -1), (0, 3)]


@pytest.mark.parametrize("time", [LATEST, 0])
def test_partition_that_is_named_twice_is_an_invalid_request(
    client: RawClient, records: list[int], time: int
) -> None:
    """Each was answered. Kafka ``ListOffsetsRequest.duplicatePartitions``."""
    first = [{"partition_index": index, "timestamp": EARLIEST} for index in (0, 1)]
    again = [{"partition_index": 0, "timestamp": time}]
    topics = [{"name": "t", "partitions": first}, {"name": "t", "partitions": again}]
    found = client.request("ListOffsets", 7, topics=topics).topics
    assert [
        (one.partition_index, one.error_code, one.offset)
        for topic in found
        for one in topic.partitions
    ] == [(0, INVALID_REQUEST, -1), (1, 0, 0), (0, INVALID_REQUEST, -1)]


def test_rep_6_leader_epoch_that_is_not_the_present_one_is_refused(
    client: RawClient, records: list[int]
) -> None:
    found = look_up(
        client,
        {"timestamp": LATEST, "current_leader_epoch": 1},
        {"timestamp": LATEST, "current_leader_epoch": 0},
    )
    assert found == [(UNKNOWN_EPOCH, -1, -1), (0, 3, -1)]


def test_tim_3_end_is_the_last_stable_offset_for_who_reads_what_is_committed(
    client: RawClient, broker: Broker, records: list[int]
) -> None:
    writer = new_writer(broker)
    writer.write("t")
    broker.partition("t", 0).append_value(b"behind", records[1] + 100)
    wanted = {"timestamp": LATEST}, {"timestamp": records[1] + 100}
    assert [one[1] for one in look_up(client, *wanted)] == [5, 4]
    assert [one[1] for one in look_up(client, *wanted, isolation_level=1)] == [3, -1]


@pytest.mark.parametrize("codec", [Codec.GZIP, Codec.ZSTD])
def test_time_is_found_inside_a_compressed_batch_of_a_client(
    client: RawClient, broker: Broker, clock: VirtualClock, codec: Codec
) -> None:
    now = int(clock.time_ms())
    batch = as_kafka([b"a", b"b", b"c"], [now, now + 5, now + 3], None, None, codec)
    broker.partition("t", 0).append(batch)
    times = (now + 1, now + 5, now + 6, MAX_TIMESTAMP)
    found = look_up(client, *({"timestamp": one} for one in times))
    assert found == [(0, 1, now + 5), (0, 1, now + 5), NOTHING, (0, 1, now + 5)]


def test_looking_for_a_time_keeps_nobody_else_waiting(
    client: RawClient, records: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads batches, and decompresses them; the ends are known."""
    threads: dict[str, int] = {}
    for name in ("end_offset", "offset_for_timestamp"):
        original = getattr(Partition, name)

        def noted(
            partition: Partition, *arguments: Any, name: str = name, original: Any = original
        ) -> Any:
            threads[name] = get_ident()
            return original(partition, *arguments)

        monkeypatch.setattr(Partition, name, noted)
    look_up(client, {"timestamp": LATEST})
    loop = threads["end_offset"]
    look_up(client, {"timestamp": records[0]})
    assert threads["offset_for_timestamp"] != loop


# ---- epochs


def test_rep_4_epoch_of_an_offset_is_that_of_its_record(client: RawClient, broker: Broker) -> None:
    """It was the one that is now, whatever was found."""
    partition = broker.partition("t", 0)
    for time, epoch in ((1000, 0), (3000, 2), (2000, 4)):
        partition.log.leader_epoch = epoch
        partition.append_value(b"x", time)

    def found(timestamp: int) -> tuple[int, int]:
        wanted = [{"partition_index": 0, "timestamp": timestamp}]
        response = client.request("ListOffsets", 7, topics=[{"name": "t", "partitions": wanted}])
        (one,) = response.topics[0].partitions
        return one.offset, one.leader_epoch

    wanted = (EARLIEST, 1000, 2500, MAX_TIMESTAMP, LATEST, 3001)
    assert [found(one) for one in wanted] == [(0, 0), (0, 0), (1, 2), (1, 2), (3, 4), (-1, -1)]
    partition.delete_records(1)
    assert found(EARLIEST) == (1, 2)
    partition.delete_records(3)
    assert found(EARLIEST) == (3, 4)


def test_rep_4_end_of_an_epoch_is_told(client: RawClient, records: list[int]) -> None:
    wanted = [
        {"partition": 0, "leader_epoch": 0},
        {"partition": 0, "leader_epoch": 5},
        {"partition": 0, "leader_epoch": 0, "current_leader_epoch": 5},
        {"partition": 9, "leader_epoch": 0},
    ]
    for version in (2, 3, 4):
        topics = [{"topic": "t", "partitions": wanted}]
        (topic,) = client.request("OffsetForLeaderEpoch", version, topics=topics).topics
        assert [(one.error_code, one.leader_epoch, one.end_offset) for one in topic.partitions] == [
            (0, 0, 3),
            NOTHING,
            (UNKNOWN_EPOCH, -1, -1),
            (UNKNOWN_PARTITION, -1, -1),
        ]


# ---- deleting


def delete(client: RawClient, *offsets: int, topic: str = "t", partition: int = 0) -> list[Any]:
    found = []
    for offset in offsets:
        partitions = [{"partition_index": partition, "offset": offset}]
        topics = [{"name": topic, "partitions": partitions}]
        response = client.request("DeleteRecords", 2, topics=topics, timeout_ms=1000)
        (one,) = response.topics[0].partitions
        found.append((one.error_code, one.low_watermark))
    return found


def test_ret_9_records_below_an_offset_are_deleted(client: RawClient, records: list[int]) -> None:
    assert delete(client, 1) == [(0, 1)]
    assert look_up(client, {"timestamp": EARLIEST}) == [(0, 1, -1)]
    # What is gone already stays gone, and is no error.
    assert delete(client, 0, 4, -2, -1) == [(0, 1), (OUT_OF_RANGE, -1), (OUT_OF_RANGE, -1), (0, 3)]
    assert look_up(client, {"timestamp": EARLIEST}, {"timestamp": 0}) == [(0, 3, -1), NOTHING]


def test_ret_9_compacted_topics_and_those_of_the_broker_keep_their_records(
    client: RawClient, broker: Broker
) -> None:
    broker.create_topic("c", configs={"cleanup_policy": "compact"})
    new_writer(broker)
    assert delete(client, -1, topic="c") == [(POLICY_VIOLATION, -1)]
    assert delete(client, -1, topic="__transaction_state") == [(POLICY_VIOLATION, -1)]
    assert delete(client, -1, partition=9) == [(UNKNOWN_PARTITION, -1)]
