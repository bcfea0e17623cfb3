"""A partition and its idempotent producers: what a client may not write, and who is asked about a transaction."""

from __future__ import annotations

import pytest

from streamlog.broker.broker import Broker
from streamlog.broker.partition import Partition
from streamlog.errors import (
    ClosedError,
    InvalidProducerEpochError,
    InvalidRecordError,
    InvalidTxnStateError,
    OutOfOrderSequenceError,
    ProducerFencedError,
)
from streamlog.record import ControlType, PendingBatch, ProducerStamp, build_batch, build_marker
from streamlog.record.layout import LOG_APPEND_TIME_BIT, TRANSACTIONAL_BIT
from streamlog.runtime import Signal
from streamlog.structs import Isolation, TopicPartition

NOW_MS = 1_700_000_000_000


@pytest.fixture
def partition(broker: Broker) -> Partition:
    broker.create_topic("orders")
    return broker.partition("orders", 0)


@pytest.fixture
def asked(partition: Partition) -> list[tuple[int, int, TopicPartition]]:
    """What the coordinator was asked, which agrees to everything."""
    calls: list[tuple[int, int, TopicPartition]] = []
    partition.verify_transaction = lambda *call: calls.append(call)
    return calls


def batch_of(stamp: ProducerStamp, *values: bytes) -> PendingBatch:
    batch = build_batch(list(values), NOW_MS)
    batch.stamp = stamp
    return batch


def test_stamped_records_are_stored_once(partition: Partition) -> None:
    """IDM-1, IDM-2."""
    stamp = ProducerStamp(7, 0)
    assert partition.append_value(b"a", NOW_MS, stamp) == 0
    assert partition.append_value(b"b", NOW_MS, stamp) == 1
    batch = batch_of(stamp, b"c", b"d")
    assert partition.append(batch) == 2
    assert partition.append(batch) == 2
    assert partition.append_value(b"e", NOW_MS, stamp) == 4
    assert [(info.producer_id, info.last_sequence) for info in partition.describe_producers()] == [
        (7, 4)
    ]
    with pytest.raises(OutOfOrderSequenceError):
        batch.base_sequence = 40
        partition.append(batch)


def test_rec_10_control_batch_of_a_client_is_refused(partition: Partition) -> None:
    with pytest.raises(InvalidRecordError, match="control batch"):
        partition.append(build_marker(ControlType.COMMIT, 7, 0, 0, NOW_MS))


def test_rec_10_producer_id_without_a_sequence_is_refused(partition: Partition) -> None:
    batch = build_batch([b"v"], NOW_MS)
    batch.producer_id, batch.producer_epoch = 7, 0
    with pytest.raises(InvalidRecordError, match="expected a sequence"):
        partition.append(batch)


def test_transaction_of_nobody_is_refused(partition: Partition) -> None:
    batch = build_batch([b"v"], NOW_MS)
    batch.attributes = TRANSACTIONAL_BIT
    with pytest.raises(InvalidRecordError, match="expected a producer id"):
        partition.append(batch)
    assert partition.log_end_offset == 0


def test_without_a_coordinator_no_transaction_begins(partition: Partition) -> None:
    partition.verify_transaction = Partition(
        partition.topic_partition,
        partition.log,
        partition._gate,
        waiters_lock=partition._waiters_lock,
        promise=partition._promise,
    ).verify_transaction
    with pytest.raises(InvalidTxnStateError, match="found no coordinator"):
        partition.append(batch_of(ProducerStamp(7, 0, is_transactional=True), b"a"))


def test_txn_11_the_coordinator_is_asked_once_for_each_transaction(
    partition: Partition, asked: list[tuple[int, int, TopicPartition]]
) -> None:
    stamp = ProducerStamp(7, 0, is_transactional=True)
    assert partition.append_value(b"a", NOW_MS, stamp) == 0
    assert partition.append_value(b"b", NOW_MS, stamp) == 1
    assert partition.append(batch_of(stamp, b"c")) == 2
    assert asked == [(7, 0, TopicPartition("orders", 0))]
    assert partition.append_marker(build_marker(ControlType.COMMIT, 7, 1, 0, NOW_MS)) == 3
    with pytest.raises(InvalidProducerEpochError):
        partition.append_value(b"late", NOW_MS, stamp)
    partition.append_value(b"d", NOW_MS, ProducerStamp(7, 1, is_transactional=True))
    assert asked[-1] == (7, 1, TopicPartition("orders", 0))


def test_batch_with_a_sequence_of_its_own_is_asked_about_as_well(
    partition: Partition, asked: list[tuple[int, int, TopicPartition]]
) -> None:
    batch = build_batch([b"v"], NOW_MS)
    batch.producer_id, batch.producer_epoch, batch.base_sequence = 9, 2, 0
    batch.attributes = TRANSACTIONAL_BIT
    assert partition.append(batch) == 0
    assert asked == [(9, 2, TopicPartition("orders", 0))]


def test_what_the_coordinator_refuses_is_not_stored(partition: Partition) -> None:
    def refuse(*call: object) -> None:
        raise ProducerFencedError("there is a newer one")

    partition.verify_transaction = refuse
    batch = batch_of(ProducerStamp(7, 0, is_transactional=True), b"a")
    with pytest.raises(ProducerFencedError):
        partition.append(batch)
    assert partition.log_end_offset == 0
    assert batch.base_sequence == -1


def test_txn_13_readers_of_committed_records_end_at_the_oldest_open_transaction(
    partition: Partition, asked: list[tuple[int, int, TopicPartition]]
) -> None:
    partition.append_value(b"plain", NOW_MS)
    partition.append(batch_of(ProducerStamp(7, 0, is_transactional=True), b"a", b"b"))
    partition.append_value(b"plain", NOW_MS)
    assert partition.last_stable_offset == 1
    assert partition.end_offset(Isolation.READ_COMMITTED) == 1
    assert partition.end_offset() == partition.high_watermark == 4
    partition.append_marker(build_marker(ControlType.ABORT, 7, 1, 0, NOW_MS))
    assert partition.end_offset(Isolation.READ_COMMITTED) == 5


def test_marker_wakes_waiting_readers(
    partition: Partition, asked: list[tuple[int, int, TopicPartition]]
) -> None:
    partition.append(batch_of(ProducerStamp(7, 0, is_transactional=True), b"a"))
    signal = Signal()
    partition.add_waiter(signal)
    partition.append_marker(build_marker(ControlType.COMMIT, 7, 1, 0, NOW_MS))
    assert signal.is_set()


def test_idm_2_the_brokers_time_of_a_batch_that_came_twice_is_the_first_one(
    broker: Broker,
) -> None:
    broker.create_topic("stamped", configs={"message_timestamp_type": "LogAppendTime"})
    partition = broker.partition("stamped", 0)
    batch = batch_of(ProducerStamp(7, 0), b"a")
    partition.append(batch)
    first_ms = batch.max_timestamp_ms
    assert batch.attributes == LOG_APPEND_TIME_BIT
    broker.runtime.clock.advance(50)  # type: ignore[attr-defined]
    assert partition.append(batch) == 0
    assert batch.max_timestamp_ms == first_ms


def test_marker_for_a_closed_broker_says_that_it_is_closed(
    broker: Broker, partition: Partition
) -> None:
    broker.close()
    with pytest.raises(ClosedError):
        partition.append_marker(build_marker(ControlType.COMMIT, 7, 1, 0, NOW_MS))
    with pytest.raises(ClosedError):
        partition.describe_producers()
