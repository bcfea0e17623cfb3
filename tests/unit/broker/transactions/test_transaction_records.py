from __future__ import annotations

import logging
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.broker.broker import Broker
from streamlog.broker.topic_name import TRANSACTION_STATE_TOPIC
from streamlog.broker.transactions.records import (
    CommitMarker,
    LogEnd,
    StoredTransaction,
    TransactionRecord,
    TransactionTombstone,
    decode_transaction,
    encode_transaction,
    read_transactions,
)
from streamlog.broker.transactions.state import TransactionState
from streamlog.errors import CorruptLogError, UnsupportedFormatError
from streamlog.record import build_batch
from streamlog.structs import ProducerIdAndEpoch, TopicPartition

ORDERS = TopicPartition("orders", 3)
RECORD = TransactionRecord(
    "payments",
    TransactionState.PREPARE_COMMIT,
    ProducerIdAndEpoch(7, 5),
    ProducerIdAndEpoch(7, 4),
    60_000,
    1_700_000_000_000,
    (ORDERS, TopicPartition("orders", 4), TopicPartition("refunds", 0)),
    (LogEnd("id1", 10), LogEnd("id1", 0), None),
)

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
producers = st.builds(ProducerIdAndEpoch, st.integers(0, 2**63 - 1), st.integers(0, 32_767))
stored_states = st.sampled_from(
    [
        state
        for state in TransactionState
        if state
        not in (
            TransactionState.ONGOING,
            TransactionState.DEAD,
            TransactionState.PREPARE_EPOCH_FENCE,
        )
    ]
)
log_ends = st.none() | st.builds(LogEnd, texts, st.integers(0, 2**63 - 1))
touched = st.lists(
    st.tuples(st.builds(TopicPartition, texts, st.integers(0, 2**31 - 1)), log_ends), max_size=40
)


def _record(
    fields: tuple[Any, ...],
    touched: list[tuple[TopicPartition, LogEnd | None]],
    flags: tuple[bool, bool],
    owed: list[tuple[TopicPartition, CommitMarker]],
) -> TransactionRecord:
    ends = tuple(end for _, end in touched)
    partitions = tuple(one for one, _ in touched)
    return TransactionRecord(*fields, partitions, ends if any(ends) else (), *flags, tuple(owed))


stored_records = st.builds(TransactionTombstone, texts) | st.builds(
    _record,
    st.tuples(
        texts,
        stored_states,
        producers,
        st.none() | producers,
        st.integers(1, 2**31 - 1),
        st.integers(0, 2**63 - 1),
    ),
    touched,
    st.tuples(st.booleans(), st.booleans()),
    st.lists(
        st.tuples(
            st.builds(TopicPartition, texts, st.integers(0, 2**31 - 1)),
            st.builds(CommitMarker, producers, log_ends),
        ),
        max_size=3,
    ),
)


@given(stored_records)
def test_what_was_encoded_is_decoded(record: StoredTransaction) -> None:
    assert decode_transaction(*encode_transaction(record)) == record


def test_layout_is_the_documented_one() -> None:
    key, value = encode_transaction(RECORD)
    assert msgpack.unpackb(key) == [0, "payments"]
    assert value is not None
    assert msgpack.unpackb(value) == [
        *(2, 2, 7, 5, 7, 4, 60_000, 1_700_000_000_000, 0),
        *("orders", "id1", 3, 10, 4, 0, "refunds", None, 0, -1),
    ]
    fenced = RECORD._replace(
        ended=None,
        state=TransactionState.PREPARE_ABORT,
        partitions=(),
        ends=(),
        announces=True,
        has_begun=True,
    )
    _, value = encode_transaction(fenced)
    assert value is not None
    assert msgpack.unpackb(value) == [2, 3, 7, 5, None, None, 60_000, 1_700_000_000_000, 3]
    assert encode_transaction(TransactionTombstone("payments")) == (key, None)


def test_layout_of_a_record_that_owes_markers_is_the_documented_one() -> None:
    owing = RECORD._replace(
        partitions=(ORDERS,),
        ends=(LogEnd("id1", 10),),
        owed=(
            (
                TopicPartition("refunds", 1),
                CommitMarker(ProducerIdAndEpoch(7, 2), LogEnd("id2", 3)),
            ),
            (TopicPartition("audit", 0), CommitMarker(ProducerIdAndEpoch(6, 9), None)),
        ),
    )
    _, value = encode_transaction(owing)
    assert value is not None
    assert msgpack.unpackb(value) == [
        *(3, 2, 7, 5, 7, 4, 60_000, 1_700_000_000_000, 0),
        *(2, "refunds", "id2", 1, 3, 7, 2, "audit", None, 0, -1, 6, 9),
        *("orders", "id1", 3, 10),
    ]


def test_key_of_a_kind_from_a_newer_version_is_not_known() -> None:
    assert decode_transaction(msgpack.packb([99, "whatever"]), b"any bytes") is None


def test_newer_value_layout_is_unsupported_and_not_guessed_at() -> None:
    key, _ = encode_transaction(RECORD)
    with pytest.raises(UnsupportedFormatError, match="expected value version 3, found 4"):
        decode_transaction(key, msgpack.packb([4, "something else"]))


def test_record_of_version_1_is_read_as_one_of_which_less_is_known() -> None:
    key, _ = encode_transaction(RECORD)
    fields = [1, 2, 7, 5, 7, 4, 60_000, 1_700_000_000_000, "orders", 3, 4, "refunds", 0]
    assert decode_transaction(key, msgpack.packb(fields)) == RECORD._replace(ends=())


def test_whatever_version_1_says_can_be_said_in_version_2() -> None:
    key, _ = encode_transaction(RECORD)
    record = decode_transaction(key, msgpack.packb([*VALUE, "", 0]))
    assert record is not None
    assert decode_transaction(*encode_transaction(record)) == record


VALUE: list[Any] = [1, 2, 7, 5, 7, 4, 60_000, 0]
VALUE_2: list[Any] = [2, *VALUE[1:], 0]
VALUE_3: list[Any] = [3, *VALUE_2[1:]]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (None, None),
        (b"", None),
        (msgpack.packb([]), None),
        (msgpack.packb([False, "t"]), None),
        (msgpack.packb([0]), None),
        (msgpack.packb([0, 1]), None),
        (msgpack.packb([0, "t"]), b""),
        (msgpack.packb([0, "t"]), msgpack.packb(VALUE[:-1])),
        (msgpack.packb([0, "t"]), msgpack.packb([*VALUE, 3])),
        (msgpack.packb([0, "t"]), msgpack.packb([*VALUE, "orders", -1])),
        (msgpack.packb([0, "t"]), msgpack.packb([*VALUE, "orders", None])),
        (msgpack.packb([0, "t"]), msgpack.packb([*VALUE, "orders", [1]])),
        (msgpack.packb([0, "t"]), msgpack.packb([1, 1, *VALUE[2:]])),
        (msgpack.packb([0, "t"]), msgpack.packb([1, 2, 7, 5, None, 4, 60_000, 0])),
        (msgpack.packb([0, "t"]), msgpack.packb(VALUE_2[:-1])),
        (msgpack.packb([0, "t"]), msgpack.packb([*VALUE_2[:-1], 4])),
        (msgpack.packb([0, "t"]), msgpack.packb([*VALUE_2, 3, 4])),
        (msgpack.packb([0, "t"]), msgpack.packb([*VALUE_2, "orders"])),
        (msgpack.packb([0, "t"]), msgpack.packb([*VALUE_2, "orders", "id1", 3])),
        (msgpack.packb([0, "t"]), msgpack.packb([*VALUE_2, "orders", "id1", 3, -1])),
        (msgpack.packb([0, "t"]), msgpack.packb([*VALUE_2, "orders", None, 3, 4])),
        (msgpack.packb([0, "t"]), msgpack.packb([*VALUE_2, "orders", "id1", -1, 4])),
        (msgpack.packb([0, "t"]), msgpack.packb([*VALUE_2, "orders", 3])),
        (msgpack.packb([0, "t"]), msgpack.packb([*VALUE_2, "orders", "id1", 3, "id2"])),
        (msgpack.packb([0, "t"]), msgpack.packb(VALUE_3)),
        (msgpack.packb([0, "t"]), msgpack.packb([*VALUE_3, 0])),
        (msgpack.packb([0, "t"]), msgpack.packb([*VALUE_3, 2, "orders", "id1", 3, 4, 7, 2])),
        (msgpack.packb([0, "t"]), msgpack.packb([*VALUE_3, 1, "orders", "id1", -3, 4, 7, 2])),
        (msgpack.packb([0, "t"]), msgpack.packb([*VALUE_3, 1, "orders", "id1", 3, -1, 7, 2])),
        (msgpack.packb([0, "t"]), msgpack.packb([*VALUE_3, 1, "orders", None, 3, 4, 7, 2])),
        (msgpack.packb([0, "t"]), msgpack.packb([*VALUE_3, 1, "orders", "id1", 3, 4, None, 2])),
    ],
)
def test_damaged_record_is_a_value_error(key: bytes | None, value: bytes | None) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_transaction(key, value)


@given(st.binary(max_size=40) | st.none(), st.binary(max_size=40) | st.none())
def test_any_bytes_are_decoded_skipped_or_refused(key: bytes | None, value: bytes | None) -> None:
    try:
        decode_transaction(key, value)
    except (ValueError, UnsupportedFormatError):
        pass


def state_partition(broker: Broker) -> Any:
    broker.create_topic(
        TRANSACTION_STATE_TOPIC, partitions=1, configs={"cleanup_policy": "compact"}
    )
    return broker.partition(TRANSACTION_STATE_TOPIC, 0)


def append(partition: Any, *records: tuple[bytes, bytes | None]) -> None:
    keys, values = zip(*records, strict=True)
    partition.append(build_batch(values, 1_700_000_000_000, keys))


def test_records_are_read_in_order_with_the_leader_epoch_of_each(broker: Broker) -> None:
    partition = state_partition(broker)
    append(partition, encode_transaction(RECORD))
    partition.log.leader_epoch = 3
    append(partition, encode_transaction(TransactionTombstone("payments")))
    assert list(read_transactions(partition)) == [
        (0, RECORD),
        (3, TransactionTombstone("payments")),
    ]


def test_record_of_a_newer_kind_is_skipped_with_a_warning(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    partition = state_partition(broker)
    append(partition, (msgpack.packb([99]), b"new"), encode_transaction(RECORD))
    with caplog.at_level(logging.WARNING, "streamlog"):
        assert [record for _, record in read_transactions(partition)] == [RECORD]
    assert "skipped the record at offset 0" in caplog.text


def test_record_that_is_no_transaction_is_damage_named_by_partition_and_offset(
    broker: Broker,
) -> None:
    partition = state_partition(broker)
    append(partition, encode_transaction(RECORD))
    append(partition, (b"not ours", b""))
    with pytest.raises(
        CorruptLogError, match=r"__transaction_state-0: .*offset 1: not a record of"
    ):
        list(read_transactions(partition))
