from __future__ import annotations

from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.client.record_slice import (
    Part,
    RecordSlice,
    as_slice,
    records_of,
    split_part,
)
from streamlog.errors import RecordDecodeError
from streamlog.record import BatchView, build_batch, split_batches
from streamlog.record.serialization import resolve_deserializer
from streamlog.runtime import VirtualClock
from streamlog.structs import ConsumerRecord, TimestampType, TopicPartition
from tests.support.consuming import NOW_MS, T0, append
from tests.support.sparse import Kept, append_cleaned


@pytest.fixture
def topic(broker: Broker) -> Broker:
    broker.create_topic("t")
    return broker


def stored(broker: Broker, offset: int = 0) -> BatchView:
    return split_batches(broker.partition("t", 0).read(offset, 1))[0]


def records(part: Part) -> list[ConsumerRecord]:
    return list(records_of(T0, part))


def test_rec_1_record_carries_everything_that_was_stored(topic: Broker) -> None:
    append(topic, [b"skip"])
    append(
        topic,
        [b"v", None, b""],
        keys=[None, b"key", b""],
        headers=[(("h", b"1"), ("h", None)), (), (("", b""),)],
        timestamps_ms=[NOW_MS + 5, NOW_MS, NOW_MS + 9],
    )
    create = TimestampType.CREATE_TIME
    assert records(stored(topic, 1)) == [
        ConsumerRecord(
            "t", 0, 1, NOW_MS + 5, create, None, b"v", (("h", b"1"), ("h", None)), 0, -1, 1
        ),
        ConsumerRecord("t", 0, 2, NOW_MS, create, b"key", None, (), 0, 3, -1),
        ConsumerRecord("t", 0, 3, NOW_MS + 9, create, b"", b"", (("", b""),), 0, 0, 0),
    ]


def test_plain_batch_gives_the_same_records_by_the_short_way(topic: Broker) -> None:
    append(topic, [b"a", b"bc", None])
    view = stored(topic)
    assert view.has_values_only
    assert [
        (r.offset, r.timestamp_ms, r.key, r.value, r.headers, r.leader_epoch,
         r.serialized_key_size, r.serialized_value_size)
        for r in records(view)
    ] == [
        (0, NOW_MS, None, b"a", (), 0, -1, 1),
        (1, NOW_MS, None, b"bc", (), 0, -1, 2),
        (2, NOW_MS, None, None, (), 0, -1, -1),
    ]  # fmt: skip


def test_trap_12_headers_and_types_are_real_record_objects(topic: Broker) -> None:
    append(topic, [b"a"], headers=[(("x", b"1"),)])
    (record,) = records(stored(topic))
    assert type(record) is ConsumerRecord
    assert record.headers == (("x", b"1"),)
    assert record._replace(value=b"b").value == b"b"


def test_rec_4_log_append_time_is_on_every_record(clock: VirtualClock) -> None:
    with Broker(clock=clock) as broker:
        broker.create_topic("t", configs={"message_timestamp_type": "LogAppendTime"})
        for keys in (None, [b"k", b"k"]):
            offset = append(broker, [b"a", b"b"], timestamps_ms=[5, 7], keys=keys)
            for record in records(stored(broker, offset)):
                assert record.timestamp_type is TimestampType.LOG_APPEND_TIME
                assert record.timestamp_ms == clock.time_ms()


def test_parts_of_a_batch_are_what_the_whole_is(topic: Broker) -> None:
    append(
        topic,
        [b"%d" % n for n in range(6)],
        keys=[b"k%d" % n for n in range(6)],
        headers=[(("n", b"%d" % n),) for n in range(6)],
        timestamps_ms=[NOW_MS + n for n in range(6)],
    )
    complete = stored(topic)
    first, rest = split_part(complete, 2)
    middle, last = rest.split(3)
    assert [part.record_count for part in (first, middle, last)] == [2, 3, 1]
    assert [part.next_offset for part in (first, middle, last)] == [2, 5, 6]
    parts = (first, middle, last)
    assert [r for part in parts for r in records(part)] == records(complete)
    assert [v for part in parts for v in part.values()] == complete.values()
    assert first.columns is middle.columns is last.columns, "decoded once for all of them"


def test_parts_of_a_plain_batch_are_what_the_whole_is(topic: Broker) -> None:
    append(topic, [b"0", b"1", b"2"])
    complete = stored(topic)
    first, rest = split_part(complete, 1)
    assert records(first) + records(rest) == records(complete)
    assert [*first.values(), *rest.values()] == [b"0", b"1", b"2"]


def test_whole_batch_as_a_slice_is_what_it_is_without(topic: Broker) -> None:
    append(topic, [b"0", b"1", b"2"], keys=[b"k", None, b"l"])
    view = stored(topic)
    part = as_slice(view)
    assert as_slice(part) is part
    assert records(part) == records(view)
    assert (part.record_count, part.next_offset, part.leader_epoch) == (3, 3, 0)
    assert part.values() == view.values()


def deserialized(part: RecordSlice, key: Any = None, value: Any = None) -> RecordDecodeError | None:
    return part.deserialize(
        T0, resolve_deserializer(key, "t", "key"), resolve_deserializer(value, "t", "value")
    )


def test_deserialized_parts_keep_null_and_the_serialized_sizes(topic: Broker) -> None:
    append(topic, [b"[1]", None, b"{}"], keys=[b"5", b"6", None])
    part = as_slice(stored(topic))
    assert deserialized(part, key=int, value="json") is None
    assert part.values() == [[1], None, {}]
    assert [
        (r.key, r.value, r.serialized_key_size, r.serialized_value_size) for r in records(part)
    ] == [(5, [1], 1, 3), (6, None, 1, -1), (None, {}, -1, 2)]


def test_key_deserializer_alone_leaves_values_as_they_are(topic: Broker) -> None:
    append(topic, [b"a"], keys=[b"5"])
    part = as_slice(stored(topic))
    assert deserialized(part, key=int) is None
    assert [(r.key, r.value) for r in records(part)] == [(5, b"a")]


def test_absent_keys_are_not_deserialized(topic: Broker) -> None:
    append(topic, [b"a"])
    part = as_slice(stored(topic))
    assert deserialized(part, key=int) is None
    assert [r.key for r in records(part)] == [None]


@pytest.mark.parametrize(("key", "value"), [(None, int), (int, None), (int, int)])
def test_slice_ends_before_the_first_record_that_cannot_be_decoded(
    topic: Broker, key: Any, value: Any
) -> None:
    bad_key = b"oops" if key is not None else b"3"
    bad_value = b"oops" if key is None else b"3"
    append(topic, [b"1", b"2", bad_value, b"4"], keys=[b"1", b"2", bad_key, b"4"])
    part = as_slice(stored(topic))
    error = deserialized(part, key=key, value=value)
    assert error is not None
    assert (error.topic_partition, error.offset) == (T0, 2)
    assert error.origin == ("key" if key is not None else "value")
    assert isinstance(error.__cause__, ValueError)
    assert "t-0 at offset 2" in str(error)
    assert (part.record_count, part.next_offset) == (2, 2)
    assert [r.offset for r in records(part)] == [0, 1]
    assert len(part.values()) == 2


def test_bad_first_record_leaves_an_empty_slice(topic: Broker) -> None:
    append(topic, [b"oops", b"2"])
    part = as_slice(stored(topic))
    error = deserialized(part, value=int)
    assert error is not None
    assert error.offset == 0
    assert (part.record_count, part.next_offset, part.values()) == (0, 0, [])


def test_records_are_named_after_the_partition_they_were_read_from(topic: Broker) -> None:
    append(topic, [b"a", b"b"])
    part = RecordSlice(stored(topic), 1, 2, 2)
    named = records_of(TopicPartition("x", 9), part)
    assert [(r.topic, r.partition, r.offset) for r in named] == [("x", 9, 1)]


@pytest.mark.parametrize("value", [b"", b"x", b"x" * 255, b"x" * 256, b"x" * 70_000, None])
@pytest.mark.parametrize("key", [None, b"", b"k"])
def test_single_record_is_the_same_by_the_shortest_way(
    topic: Broker, value: bytes | None, key: bytes | None
) -> None:
    append(topic, [value], keys=[key])
    view = stored(topic)
    assert records(view) == records(as_slice(view))
    assert view.values() == [value]
    is_plain = key is None and value is not None and len(value) < 256
    assert view.plain_value == (value if is_plain else None)


def test_body_of_a_newer_encoding_is_not_taken_for_a_plain_one(topic: Broker) -> None:
    batch = build_batch([b"x"], NOW_MS)
    batch.body_encoding = 9
    topic.partition("t", 0).append(batch)
    view = stored(topic)
    assert (view.plain_value, view.has_values_only) == (None, False)
    with pytest.raises(RecordDecodeError, match="written by a newer version"):
        records(view)


# ---- compacted


def test_log_8_slices_of_a_batch_with_gaps_have_the_offsets_that_are_left(topic: Broker) -> None:
    append_cleaned(topic.partition("t", 0), [Kept(n, b"%d" % n) for n in (1, 4, 5, 8)], 10)
    first, rest = split_part(stored(topic), 1)
    middle, last = rest.split(2)
    assert [list(part.offsets) for part in (first, middle, last)] == [[1], [4, 5], [8]]
    assert [part.next_offset for part in (first, middle, last)] == [2, 6, 10]
    assert [record.offset for part in (first, middle, last) for record in records(part)] == [
        1,
        4,
        5,
        8,
    ]
    assert [record.value for record in records(stored(topic))] == [b"1", b"4", b"5", b"8"]


def test_bad_record_behind_a_gap_is_named_by_its_offset(topic: Broker) -> None:
    append_cleaned(topic.partition("t", 0), [Kept(1, b"1"), Kept(6, b"x")], 10)
    part = as_slice(stored(topic))
    error = part.deserialize(T0, None, resolve_deserializer("json", "t", "value"))
    assert error is not None
    assert (error.offset, part.next_offset, part.values()) == (6, 6, [1])
