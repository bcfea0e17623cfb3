"""Reading a log that compaction went over: gaps, batches without records, delete horizons (LOG-8)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from streamlog import (
    Admin,
    Broker,
    Consumer,
    ListedOffset,
    OffsetAndMetadata,
    OffsetAndTimestamp,
    OffsetSpec,
    RecordDecodeError,
    TopicPartition,
    WakeupError,
)
from streamlog.aio import AsyncConsumer
from streamlog.record import Codec, ControlType, ProducerStamp, build_batch, build_marker
from streamlog.record.layout import TRANSACTIONAL_BIT
from streamlog.runtime import VirtualClock
from tests.support.consuming import NOW_MS, T0, append, drain
from tests.support.sparse import Kept, append_cleaned

T1 = TopicPartition("t", 1)


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker(clock=VirtualClock()) as broker:
        broker.create_topic("t", partitions=2)
        yield broker


def reader(broker: Broker, *partitions: TopicPartition, **options: Any) -> Consumer:
    consumer = Consumer(broker, **{"auto_offset_reset": "earliest", **options})
    consumer.assign(partitions or [T0])
    return consumer


def kept(*deltas: int) -> list[Kept]:
    return [Kept(delta, b"%d" % delta) for delta in deltas]


def offsets(consumer: Consumer, **options: Any) -> list[int]:
    found = []
    while records := consumer.poll(0, **options):
        found += [record.offset for record in records]
    return found


# ---- gaps


@pytest.mark.parametrize("codec", Codec, ids=lambda codec: codec.label)
def test_log_8_what_is_left_is_read_at_its_offsets(broker: Broker, codec: Codec) -> None:
    rows = [
        Kept(2, b"a", b"k", NOW_MS + 5, (("h", b"x"), ("h", None))),
        Kept(7, None, b"l", NOW_MS, ()),
    ]
    append(broker, [b"before"])
    append_cleaned(broker.partition(*T0), rows, 10, codec=codec)
    append(broker, [b"behind"])
    records = list(reader(broker).poll())
    assert [(one.offset, one.key, one.value, one.timestamp_ms, one.headers) for one in records] == [
        (0, None, b"before", NOW_MS, ()),
        (3, b"k", b"a", NOW_MS + 5, (("h", b"x"), ("h", None))),
        (8, b"l", None, NOW_MS, ()),
        (11, None, b"behind", NOW_MS, ()),
    ]


def test_log_8_values_alone_are_those_that_are_left(broker: Broker) -> None:
    append_cleaned(broker.partition(*T0), kept(1, 5), 9)
    append(broker, [b"behind"])
    assert reader(broker).poll().values() == [b"1", b"5", b"behind"]


def test_one_value_that_is_left_keeps_its_offset(broker: Broker) -> None:
    append_cleaned(broker.partition(*T0), kept(4), 9)
    (record,) = reader(broker).poll()
    assert (record.offset, record.value) == (4, b"4")


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 100])
def test_max_poll_records_counts_records_and_not_offsets(broker: Broker, limit: int) -> None:
    append_cleaned(broker.partition(*T0), kept(1, 5, 6), 9)
    append_cleaned(broker.partition(*T0), kept(0, 8), 9)
    consumer = reader(broker, max_poll_records=limit)
    lengths = []
    while records := consumer.poll():
        lengths.append(len(records))
    assert sum(lengths) == 5
    assert set(lengths[:-1]) <= {limit}
    consumer.seek_to_beginning()
    assert offsets(consumer) == [1, 5, 6, 9, 17]


def test_log_8_position_is_behind_the_batch_when_its_last_record_was_returned(
    broker: Broker,
) -> None:
    append_cleaned(broker.partition(*T0), kept(1, 5), 9)
    consumer = reader(broker)
    first = consumer.poll(max_records=1)
    assert (consumer.position(T0), consumer.current_lag(T0)) == (2, 7)
    assert first.next_offsets == {T0: OffsetAndMetadata(2, leader_epoch=0)}
    rest = consumer.poll()
    assert [record.offset for record in rest] == [5]
    assert (consumer.position(T0), consumer.current_lag(T0)) == (9, 0)
    assert rest.next_offsets == {T0: OffsetAndMetadata(9, leader_epoch=0)}


def test_log_8_iterating_ends_behind_the_gap_as_well(broker: Broker) -> None:
    append_cleaned(broker.partition(*T0), kept(1, 5), 9)
    consumer = reader(broker)
    for offset in (1, 5):
        assert next(consumer).offset == offset
        assert consumer.position(T0) == offset + 1
    consumer.wakeup()
    with pytest.raises(WakeupError):
        next(consumer)
    assert consumer.position(T0) == 9


@pytest.mark.parametrize(
    ("sought", "expected"),
    [(0, 1), (1, 1), (2, 5), (5, 5), (6, 9), (8, 9), (9, 9)],
)
def test_log_8_seek_to_an_offset_that_was_removed_goes_on_at_the_next_one(
    broker: Broker, sought: int, expected: int
) -> None:
    append_cleaned(broker.partition(*T0), kept(1, 5), 9)
    append(broker, [b"behind"])
    consumer = reader(broker)
    consumer.seek(T0, sought)
    assert consumer.position(T0) == sought
    (record,) = consumer.poll(max_records=1)
    assert record.offset == expected


def test_seek_into_the_last_gap_waits_for_what_comes(broker: Broker) -> None:
    append_cleaned(broker.partition(*T0), kept(1, 5), 9)
    consumer = reader(broker)
    consumer.seek(T0, 7)
    assert not consumer.poll()
    assert consumer.position(T0) == 9
    append(broker, [b"new"])
    assert consumer.poll().values() == [b"new"]


def test_a_group_goes_on_from_a_commit_inside_of_a_gap(broker: Broker) -> None:
    append_cleaned(broker.partition(*T0), kept(1, 5), 9)
    with Consumer(broker, group_id="g") as committing:
        committing.assign([T0])
        committing.commit({T0: OffsetAndMetadata(3)})
    consumer = reader(broker, group_id="g")
    assert offsets(consumer) == [5]
    consumer.commit()
    committed = consumer.committed(T0)
    assert committed is not None
    assert committed.offset == 9


def test_records_below_a_log_start_inside_of_a_batch_are_not_returned(broker: Broker) -> None:
    append_cleaned(broker.partition(*T0), kept(1, 5), 9)
    broker.partition(*T0).delete_records(3)
    assert offsets(reader(broker)) == [5]


def test_deserializers_see_what_is_left_and_an_error_names_its_offset(broker: Broker) -> None:
    append_cleaned(broker.partition(*T0), [Kept(2, b"1"), Kept(4, b"x"), Kept(6, b"3")], 9)
    consumer = reader(broker, value_deserializer="json")
    (record,) = consumer.poll()
    assert (record.offset, record.value) == (2, 1)
    assert consumer.position(T0) == 4, (
        "at the bad one: nothing of the gap before it is left to read"
    )
    with pytest.raises(RecordDecodeError, match="t-0 at offset 4: ") as caught:
        consumer.poll()
    assert caught.value.offset == 4
    consumer.seek(T0, 5)
    assert [(one.offset, one.value) for one in consumer.poll()] == [(6, 3)]


def test_a_sparse_body_that_cannot_be_read_is_skipped_by_a_seek_and_by_nothing_else(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    partition = broker.partition(*T0)
    append(broker, [b"before"])
    with monkeypatch.context() as patch:
        patch.setattr("tests.support.sparse.encode_sparse_columns", lambda *_: b"\xff" * 30)
        append_cleaned(partition, kept(1, 5), 9)
    append(broker, [b"behind"])
    consumer = reader(broker)
    assert consumer.poll().values() == [b"before"]
    for _ in range(2):
        with pytest.raises(RecordDecodeError, match="seek past offset 9") as caught:
            consumer.poll()
        assert caught.value.offset == consumer.position(T0) == 1
    consumer.seek(T0, 10)
    assert consumer.poll().values() == [b"behind"]


def test_reading_asynchronously_meets_the_same_gaps(broker: Broker) -> None:
    append_cleaned(broker.partition(*T0), [], 3)
    append_cleaned(broker.partition(*T0), kept(1, 5), 9)
    append_cleaned(broker.partition(*T0), [], 2)
    append(broker, [b"behind"])

    async def main() -> None:
        async with AsyncConsumer(broker, auto_offset_reset="earliest") as consumer:
            consumer.assign([T0])
            found = [record.offset for record in await consumer.poll()]
            assert found == [4, 8, 14]
            assert await consumer.position(T0) == 15

    asyncio.run(main())


# ---- batches without records


@pytest.mark.parametrize("empty", [1, 2, 200])
def test_batches_without_records_do_not_end_a_poll(broker: Broker, empty: int) -> None:
    append(broker, [b"before"])
    for _ in range(empty):
        append_cleaned(broker.partition(*T0), [], 3)
    append(broker, [b"behind"])
    consumer = reader(broker)
    assert consumer.poll(0).values() == [b"before", b"behind"]
    consumer.seek(T0, 1)
    assert consumer.poll(0).values() == [b"behind"]
    consumer.seek(T0, 2)
    assert consumer.poll(0, max_records=1).values() == [b"behind"]


def test_a_poll_comes_behind_more_empty_batches_than_it_may_read(broker: Broker) -> None:
    for _ in range(100):
        append_cleaned(broker.partition(*T0), [], 1)
    append(broker, [b"behind"])
    consumer = reader(broker, max_partition_fetch_bytes=1000, fetch_max_bytes=1000)
    assert consumer.poll(10).values() == [b"behind"]


def test_batches_without_records_at_the_end_are_read_once(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(broker, [b"before"])
    append_cleaned(broker.partition(*T0), [], 3)
    consumer = reader(broker)
    assert consumer.poll().values() == [b"before"]
    assert not consumer.poll()
    assert (consumer.position(T0), consumer.current_lag(T0)) == (4, 0)
    monkeypatch.setattr(
        type(broker.partition(*T0)), "read_batches", lambda *_: pytest.fail("read again")
    )
    assert not consumer.poll(1000), "waits, and does not spin"


def test_a_log_without_a_record_is_at_its_end_after_a_poll(broker: Broker) -> None:
    append_cleaned(broker.partition(*T0), [], 5)
    append_cleaned(broker.partition(*T0), [], 5)
    consumer = reader(broker)
    assert not consumer.poll(1000)
    assert consumer.position(T0) == 10


def test_fetch_min_bytes_does_not_wait_for_records_that_were_removed(broker: Broker) -> None:
    append_cleaned(broker.partition(*T0), [], 5)
    append(broker, [b"behind"])
    consumer = reader(broker, fetch_min_bytes=100, fetch_max_wait_ms=100)
    assert consumer.poll(0).values() == [b"behind"]


def test_con_16_batches_without_records_do_not_cost_the_other_partition_its_turn(
    broker: Broker,
) -> None:
    for partition in (T0, T1):
        append_cleaned(broker.partition(*partition), [], 5)
        append(broker, [b"%d" % partition.partition], partition)
    assert sorted(reader(broker, T0, T1).poll(0).values()) == [b"0", b"1"]


# ---- transactions and horizons


def test_txn_14_what_is_left_of_an_aborted_transaction_is_not_delivered(broker: Broker) -> None:
    log = broker.partition(*T0).log
    stamps = [
        ProducerStamp(7, 0, is_transactional=True),
        ProducerStamp(8, 0, is_transactional=True),
    ]
    for stamp in stamps:
        batch = build_batch([b"first"], 0)
        batch.stamp = stamp
        log.append(batch)
    for producer_id in (7, 8):
        append_cleaned(log, kept(2), 4, producer=(producer_id, 0, 1), attributes=TRANSACTIONAL_BIT)
        append_cleaned(log, [], 4, producer=(producer_id, 0, 5), attributes=TRANSACTIONAL_BIT)
    log.append(build_marker(ControlType.ABORT, 7, 1, 0, 0))
    log.append(build_marker(ControlType.COMMIT, 8, 1, 0, 0))
    append(broker, [b"plain"])
    committed = reader(broker, isolation_level="read_committed")
    assert offsets(committed) == [1, 12, 20]
    assert committed.position(T0) == 21
    assert offsets(reader(broker)) == [0, 1, 4, 12, 20]


def test_cmp_5_a_delete_horizon_changes_no_timestamp(broker: Broker) -> None:
    rows = [Kept(1, None, b"k", NOW_MS + 3), Kept(4, b"v", b"l", NOW_MS)]
    append_cleaned(broker.partition(*T0), rows, 6, delete_horizon_ms=NOW_MS + 86_400_000)
    append_cleaned(broker.partition(*T0), kept(2), 6, delete_horizon_ms=NOW_MS + 86_400_000)
    found = [record.timestamp_ms for record in reader(broker).poll()]
    assert found == [NOW_MS + 3, NOW_MS, NOW_MS]


# ---- by time


def test_tim_1_the_first_record_from_a_time_on_is_one_that_is_left(broker: Broker) -> None:
    partition = broker.partition(*T0)
    append_cleaned(partition, [Kept(3, timestamp_ms=NOW_MS + 10)], 5)
    append_cleaned(partition, [], 5)
    append_cleaned(
        partition,
        [Kept(1, timestamp_ms=NOW_MS + 20), Kept(4, timestamp_ms=NOW_MS + 30)],
        9,
        delete_horizon_ms=NOW_MS + 1_000_000,
    )
    consumer = reader(broker)
    found = {
        time: consumer.offsets_for_times({T0: NOW_MS + time})[T0] for time in (0, 10, 11, 25, 31)
    }
    assert found == {
        0: OffsetAndTimestamp(3, NOW_MS + 10, 0),
        10: OffsetAndTimestamp(3, NOW_MS + 10, 0),
        11: OffsetAndTimestamp(11, NOW_MS + 20, 0),
        25: OffsetAndTimestamp(14, NOW_MS + 30, 0),
        31: None,
    }


def test_tim_2_the_record_with_the_greatest_timestamp_is_one_that_is_left(broker: Broker) -> None:
    partition = broker.partition(*T0)
    append_cleaned(
        partition, [Kept(2, timestamp_ms=NOW_MS + 9), Kept(4, timestamp_ms=NOW_MS + 9)], 5
    )
    append_cleaned(partition, [], 5, delete_horizon_ms=NOW_MS + 1_000_000)
    with Admin(broker) as admin:
        found = admin.list_offsets({T0: OffsetSpec.MAX_TIMESTAMP})
    assert found == {T0: ListedOffset(2, NOW_MS + 9, 0)}
    assert drain(reader(broker)) == [b"v", b"v"]
