"""Batches applied to a dict: nulls, records without a key, positions, and what cannot be read."""

from __future__ import annotations

from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.client.table_contents import TableContents
from streamlog.errors import OffsetOutOfRangeError, RecordDecodeError
from streamlog.record.serialization import resolve_deserializer
from streamlog.structs import Isolation
from tests.support.consuming import T0, T1, append

Change = tuple[Any, bytes | None, bytes | None]


@pytest.fixture
def topic(broker: Broker) -> Broker:
    broker.create_topic("t", partitions=2)
    return broker


def contents_of(
    broker: Broker, isolation: Isolation = Isolation.READ_COMMITTED, key: object = None
) -> TableContents:
    return TableContents(
        broker.topic("t").partitions,
        isolation,
        resolve_deserializer(key, "t", "key"),
        broker.runtime.clock,
    )


def changes_of(contents: TableContents) -> list[Change]:
    changes: list[Change] = []
    contents.apply(lambda *change: changes.append(change))
    return changes


def test_the_last_record_of_each_key_counts(topic: Broker) -> None:
    append(topic, [b"1", b"2", b"3"], keys=[b"a", b"b", b"a"])
    append(topic, [b"4"], T1, keys=[b"c"])
    contents = contents_of(topic)
    contents.apply(None)
    assert contents.table == {b"a": b"3", b"b": b"2", b"c": b"4"}
    assert [position.offset for position in contents.positions] == [3, 1]


@pytest.mark.parametrize("values", [[b"1", None], [b"1", None, b"2", None], [None]])
def test_rec_1_null_that_comes_last_removes_the_key(
    topic: Broker, values: list[bytes | None]
) -> None:
    append(topic, [b"kept", b""], keys=[b"other", b"empty"])
    append(topic, values, keys=[b"a"] * len(values))
    contents = contents_of(topic)
    contents.apply(None)
    assert contents.table == {b"other": b"kept", b"empty": b""}


def test_value_after_a_null_of_the_same_batch_stays(topic: Broker) -> None:
    append(topic, [b"1", None, b"2"], keys=[b"a", b"a", b"a"])
    contents = contents_of(topic)
    contents.apply(None)
    assert contents.table == {b"a": b"2"}


def test_records_without_a_key_are_left_out_and_counted(topic: Broker) -> None:
    append(topic, [b"1", b"2"])  # a batch in which no record has one
    append(topic, [b"3", b"4", None], keys=[None, b"", None])
    contents = contents_of(topic)
    contents.apply(None)
    assert contents.table == {b"": b"4"}
    assert contents.skipped_records == 4
    assert changes_of(contents_of(topic)) == [(b"", None, b"4")]


def test_changes_are_told_in_order_and_only_where_something_changes(topic: Broker) -> None:
    append(topic, [b"1", b"1", b"2", None, None, b"3"], keys=[b"a"] * 6)
    append(topic, [None], keys=[b"never there"])
    assert changes_of(contents_of(topic)) == [
        (b"a", None, b"1"),
        (b"a", b"1", b"2"),
        (b"a", b"2", None),
        (b"a", None, b"3"),
    ]


def test_either_way_of_applying_ends_with_the_same_dict(topic: Broker) -> None:
    append(topic, [b"1", None, b"2", b"3", None], keys=[b"a", b"a", b"b", None, b"c"])
    at_once, one_by_one = contents_of(topic), contents_of(topic)
    at_once.apply(None)
    changes_of(one_by_one)
    assert at_once.table == one_by_one.table == {b"b": b"2"}
    assert at_once.skipped_records == one_by_one.skipped_records == 1


def test_rep_5_a_log_start_within_a_batch_cuts_what_is_before_it(topic: Broker) -> None:
    append(topic, [b"1", b"2", b"3"], keys=[b"a", b"b", b"c"])
    topic.partition("t", 0).delete_records(1)
    contents = contents_of(topic)
    contents.apply(None)
    assert contents.table == {b"b": b"2", b"c": b"3"}


def test_log_start_beyond_the_position_is_raised(topic: Broker) -> None:
    append(topic, [b"1"], keys=[b"a"])
    append(topic, [b"2"], keys=[b"b"])
    contents = contents_of(topic)
    topic.partition("t", 0).delete_records(1)
    with pytest.raises(OffsetOutOfRangeError):
        contents.apply(None)


def test_partition_that_is_added_is_read_from_its_start(topic: Broker) -> None:
    contents = contents_of(topic)
    contents.apply(None)
    topic.create_partitions("t", 3)
    append(topic, [b"1"], T0._replace(partition=2), keys=[b"a"])
    contents.add(topic.partition("t", 2))
    contents.apply(None)
    assert contents.table == {b"a": b"1"}


@pytest.mark.parametrize("is_told", [False, True])
def test_key_that_cannot_be_deserialized_is_raised_after_what_precedes_it(
    topic: Broker, is_told: bool
) -> None:
    append(topic, [b"1", b"2", b"3"], keys=[b"a", b"\xff", b"c"])
    contents = contents_of(topic, key="str")
    for _ in range(2):
        with pytest.raises(RecordDecodeError, match=r"t-0 at offset 1: .*the key") as caught:
            contents.apply((lambda *_: None) if is_told else None)
        assert (caught.value.topic_partition, caught.value.offset) == (T0, 1)
        assert caught.value.origin == "key"
        assert contents.table == {"a": b"1"}
    contents.positions[0].offset = 2
    contents.apply(None)
    assert contents.table == {"a": b"1", "c": b"3"}


def test_key_that_is_not_hashable_is_raised_as_one_that_cannot_be_deserialized(
    topic: Broker,
) -> None:
    append(topic, [b"1", b"2"], keys=[b'"a"', b"[1]"])
    contents = contents_of(topic, key="json")
    with pytest.raises(
        RecordDecodeError, match=r"t-0 at offset 1: expected a key that is hashable"
    ):
        contents.apply(None)
    assert contents.table == {"a": b"1"}


def test_key_deserialized_to_none_counts_as_none(topic: Broker) -> None:
    append(topic, [b"1", b"2"], keys=[b"a", b"b"])
    contents = contents_of(topic, key=lambda data: None if data == b"a" else data)
    contents.apply(None)
    assert contents.table == {b"b": b"2"}
    assert contents.skipped_records == 1
