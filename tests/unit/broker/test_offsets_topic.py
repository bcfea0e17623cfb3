from __future__ import annotations

import logging
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.broker.broker import Broker
from streamlog.broker.group_records import (
    GroupEpoch,
    GroupTombstone,
    GroupType,
    OffsetCommit,
    OffsetTombstone,
    StoredRecord,
)
from streamlog.broker.offsets_topic import (
    OFFSETS_TOPIC,
    decode_record,
    encode_record,
    read_records,
)
from streamlog.errors import CorruptLogError, UnsupportedFormatError
from streamlog.record import build_batch
from streamlog.structs import TopicPartition

ORDERS = TopicPartition("orders", 3)
COMMIT = OffsetCommit("g", ORDERS, 42, 7, "note", 1_700_000_000_000, "ab12")

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.integers(0, 2**63 - 1)
partitions = st.builds(TopicPartition, texts, st.integers(0, 2**31 - 1))
stored_records = (
    st.builds(
        OffsetCommit,
        texts,
        partitions,
        numbers,
        st.none() | st.integers(0, 2**31 - 1),
        texts,
        st.integers(-1, 2**63 - 1),
        texts,
    )
    | st.builds(OffsetTombstone, texts, partitions)
    | st.builds(
        GroupEpoch,
        texts,
        st.integers(0, 2**31 - 1),
        st.none() | numbers,
        st.sampled_from(GroupType),
        texts,
    )
    | st.builds(
        GroupEpoch,
        texts,
        st.integers(0, 2**31 - 1),
        st.none() | numbers,
        st.none(),
        st.just(""),
    )
    | st.builds(GroupTombstone, texts)
)


@given(stored_records)
def test_what_was_encoded_is_decoded(record: StoredRecord) -> None:
    assert decode_record(*encode_record(record)) == record


def test_layout_is_the_documented_one() -> None:
    key, value = encode_record(COMMIT)
    assert msgpack.unpackb(key) == [1, "g", "orders", 3]
    assert value is not None
    assert msgpack.unpackb(value) == [1, 42, 7, "note", 1_700_000_000_000, "ab12"]
    key, value = encode_record(GroupEpoch("g", 9, 1_700_000_000_000, GroupType.CLASSIC, "connect"))
    assert msgpack.unpackb(key) == [3, "g"]
    assert value is not None
    assert msgpack.unpackb(value) == [3, 9, 1_700_000_000_000, "classic", "connect"]
    _, value = encode_record(GroupEpoch("g", 9, None, GroupType.CONSUMER))
    assert value is not None
    assert msgpack.unpackb(value) == [3, 9, None, "consumer", ""]
    assert encode_record(OffsetTombstone("g", ORDERS))[1] is None
    assert encode_record(GroupTombstone("g")) == (key, None)


def test_group_epochs_of_older_versions_do_not_say_since_when_it_is_empty_and_what_it_is() -> None:
    key, value = encode_record(GroupEpoch("g", 9, 7))
    assert value is not None
    assert msgpack.unpackb(value) == [2, 9, 7], "what is not known is not made up"
    assert decode_record(key, value) == GroupEpoch("g", 9, 7, None, "")
    assert decode_record(key, msgpack.packb([1, 9])) == GroupEpoch("g", 9, None, None, "")
    with pytest.raises(UnsupportedFormatError, match="expected value version 3, found 4"):
        decode_record(key, msgpack.packb([4, 9, None, "something else"]))


def test_group_of_a_type_that_there_is_none_of_is_damage() -> None:
    key, _ = encode_record(GroupEpoch("g", 9))
    with pytest.raises(ValueError, match="'share' is not a valid GroupType"):
        decode_record(key, msgpack.packb([3, 9, None, "share", ""]))


def test_key_of_a_kind_from_a_newer_version_is_not_known() -> None:
    assert decode_record(msgpack.packb([99, "whatever"]), b"any bytes") is None


def test_newer_value_layout_is_unsupported_and_not_guessed_at() -> None:
    key, _ = encode_record(COMMIT)
    with pytest.raises(UnsupportedFormatError, match="expected value version 1, found 2"):
        decode_record(key, msgpack.packb([2, 42, "something else"]))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (None, None),
        (b"", b""),
        (b"\xc1", None),
        (msgpack.packb({"a": 1}), None),
        (msgpack.packb([]), None),
        (msgpack.packb(["text"]), None),
        (msgpack.packb([1, "g", "t"]), None),
        (msgpack.packb([1, "g", "t", "0"]), None),
        (msgpack.packb([1, "g", "t", 0]), b"junk"),
        (msgpack.packb([1, "g", "t", 0]), msgpack.packb([1, -5, None, "", 0, ""])),
        (msgpack.packb([1, "g", "t", -1]), msgpack.packb([1, 5, None, "", 0, ""])),
        (msgpack.packb([1, "g", "t", 0]), msgpack.packb([1, "5", None, "", 0, ""])),
        (msgpack.packb([3, "g"]), msgpack.packb([1])),
        (msgpack.packb([3, "g"]), msgpack.packb([])),
        (msgpack.packb([3, "g"]), msgpack.packb([0, 9])),
        (msgpack.packb([3, "g"]), msgpack.packb([True, 9])),
        (msgpack.packb([3, "g"]), msgpack.packb([1, 9, None])),
        (msgpack.packb([3, "g"]), msgpack.packb([2, 9, "noon"])),
        (msgpack.packb([1] + [[]] * 1000), None),
    ],
)
def test_damaged_record_is_a_value_error(key: bytes | None, value: bytes | None) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_record(key, value)


@given(st.binary(max_size=40) | st.none(), st.binary(max_size=40) | st.none())
def test_any_bytes_are_decoded_skipped_or_refused(key: bytes | None, value: bytes | None) -> None:
    try:
        decode_record(key, value)
    except (ValueError, UnsupportedFormatError):
        pass


def offsets_partition(broker: Broker) -> Any:
    broker.create_topic(OFFSETS_TOPIC, partitions=1, configs={"cleanup_policy": "compact"})
    return broker.partition(OFFSETS_TOPIC, 0)


def append(partition: Any, *records: tuple[bytes, bytes | None]) -> None:
    keys, values = zip(*records, strict=True)
    partition.append(build_batch(values, 1_700_000_000_000, keys))


def test_records_are_read_in_order_over_many_batches(broker: Broker) -> None:
    partition = offsets_partition(broker)
    expected = [COMMIT._replace(offset=n) for n in range(30)]
    for start in range(0, 30, 3):
        append(partition, *map(encode_record, expected[start : start + 3]))
    assert list(read_records(partition)) == expected


def test_records_below_the_log_start_are_not_read(broker: Broker) -> None:
    partition = offsets_partition(broker)
    append(partition, *(encode_record(COMMIT._replace(offset=n)) for n in range(4)))
    partition.log.advance_log_start(2)
    assert [record.offset for record in read_records(partition)] == [2, 3]


def test_record_of_a_newer_kind_is_skipped_with_a_warning(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    partition = offsets_partition(broker)
    append(partition, (msgpack.packb([99]), b"new"), encode_record(COMMIT))
    with caplog.at_level(logging.WARNING, "streamlog"):
        assert list(read_records(partition)) == [COMMIT]
    assert "skipped the record at offset 0" in caplog.text


def test_record_that_is_no_group_record_is_damage_named_by_partition_and_offset(
    broker: Broker,
) -> None:
    partition = offsets_partition(broker)
    append(partition, encode_record(COMMIT))
    append(partition, (b"not ours", b""))
    append(partition, encode_record(COMMIT))
    with pytest.raises(CorruptLogError, match=r"__consumer_offsets-0: .*offset 1: not a") as caught:
        list(read_records(partition))
    segment = partition.log.segments[0]
    assert caught.value.first_bad_offset == 1
    assert caught.value.next_good_offset == 2
    assert (caught.value.file, caught.value.position) == (segment.path, segment.position_of(1)[0])
    assert caught.value.topic_partition == (OFFSETS_TOPIC, 0)
