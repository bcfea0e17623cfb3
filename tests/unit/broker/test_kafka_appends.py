"""Batches of Kafka's clients in a partition: sequences, transactions, reopening, damage, as for any batch."""

from __future__ import annotations

from typing import Any

import pytest

from streamlog import Broker, Consumer
from streamlog.broker.partition import Partition
from streamlog.broker.verification import DirectoryVerification
from streamlog.errors import (
    CorruptLogError,
    InvalidProducerEpochError,
    InvalidRecordError,
    InvalidTxnStateError,
    OutOfOrderSequenceError,
    RecordDecodeError,
)
from streamlog.record import Codec, ControlType, build_batch, build_marker
from streamlog.record.kafka_batch import pending_from_kafka, to_kafka
from streamlog.record.layout import HEADER_SIZE
from streamlog.runtime import MemoryFileSystem, VirtualClock
from streamlog.structs import Isolation, OffsetAndTimestamp
from tests.crash.damage_data import ROOT, kill, open_broker
from tests.support.consuming import T0
from tests.support.kafka_batches import (
    FIRST_MS,
    GOLDEN,
    GOLDEN_HEADERS,
    GOLDEN_KEYS,
    GOLDEN_TIMESTAMPS_MS,
    GOLDEN_VALUES,
    kafka_batch,
)


@pytest.fixture
def partition(broker: Broker) -> Partition:
    broker.create_topic("t")
    partition = broker.partition("t", 0)
    partition.verify_transaction = lambda *_: None  # the coordinator's part
    return partition


def send(target: Partition, *values: bytes, **fields: Any) -> int:
    return target.append(pending_from_kafka(kafka_batch(list(values), **fields)))


def of_producer(sequence: int, epoch: int = 0, attributes: int = 0) -> dict[str, int]:
    return {
        "producer_id": 7,
        "producer_epoch": epoch,
        "base_sequence": sequence,
        "attributes": attributes,
    }


@pytest.mark.parametrize("codec", list(Codec), ids=lambda codec: codec.label)
def test_what_a_client_sent_is_stored_and_sent_on_as_it_came(
    partition: Partition, broker: Broker, codec: Codec
) -> None:
    partition.append_value(b"of our own", FIRST_MS)
    assert partition.append(pending_from_kafka(GOLDEN[codec])) == 1
    partition.append_marker(build_marker(ControlType.COMMIT, 7, 3, 0, FIRST_MS))
    _, view, _ = partition.read_batches(0, 1 << 20, 5)
    assert view.body == GOLDEN[codec]
    assert bytes(to_kafka(view))[16:] == GOLDEN[codec][16:]
    with Consumer(
        broker, auto_offset_reset="earliest", isolation_level="read_committed"
    ) as consumer:
        consumer.assign([T0])
        _, *records = consumer.poll(1)
    assert [record.offset for record in records] == [1, 2, 3]
    assert [record.key for record in records] == GOLDEN_KEYS
    assert [record.value for record in records] == GOLDEN_VALUES
    assert [record.headers for record in records] == GOLDEN_HEADERS
    assert [record.timestamp_ms for record in records] == GOLDEN_TIMESTAMPS_MS


def test_idm_2_a_batch_that_comes_again_is_stored_once(partition: Partition) -> None:
    assert send(partition, b"a", b"b", **of_producer(0)) == 0
    assert send(partition, b"c", **of_producer(2)) == 2
    assert send(partition, b"a", b"b", **of_producer(0)) == 0
    assert partition.log_end_offset == 3


def test_idm_3_a_gap_between_batches_is_refused(partition: Partition) -> None:
    send(partition, b"a", **of_producer(0))
    with pytest.raises(OutOfOrderSequenceError, match="expected sequence 1, found 5"):
        send(partition, b"b", **of_producer(5))


def test_idm_4_an_old_epoch_is_refused(partition: Partition) -> None:
    send(partition, b"a", **of_producer(0, epoch=1))
    with pytest.raises(InvalidProducerEpochError, match="expected epoch 1 or greater"):
        send(partition, b"b", **of_producer(1))


def test_idm_8_a_batch_outside_of_the_open_transaction_is_refused(partition: Partition) -> None:
    send(partition, b"a", **of_producer(0, attributes=0x10))
    with pytest.raises(InvalidTxnStateError):
        send(partition, b"b", **of_producer(1))


def test_rec_10_a_control_batch_of_a_client_is_refused(partition: Partition) -> None:
    with pytest.raises(InvalidRecordError, match="control batch"):
        send(partition, b"v", attributes=0x20)


def test_rec_10_a_transaction_without_a_producer_is_refused(partition: Partition) -> None:
    with pytest.raises(InvalidRecordError, match="expected a producer id"):
        send(partition, b"v", attributes=0x10)


def test_txn_14_records_of_an_aborted_transaction_are_not_delivered(
    partition: Partition, broker: Broker
) -> None:
    send(partition, b"aborted", b"aborted", **of_producer(0, attributes=0x10))
    assert partition.last_stable_offset == 0
    send(partition, b"plain")
    partition.append_marker(build_marker(ControlType.ABORT, 7, 1, 0, FIRST_MS))
    assert partition.end_offset(Isolation.READ_COMMITTED) == 4
    with Consumer(
        broker, auto_offset_reset="earliest", isolation_level="read_committed"
    ) as consumer:
        consumer.assign([T0])
        assert consumer.poll(1).values() == [b"plain"]


def test_tim_1_records_are_found_by_their_time_inside_a_batch(partition: Partition) -> None:
    data = kafka_batch([b"a", b"b", b"c"], None, [0, 50, 20])
    partition.append(pending_from_kafka(data))
    log = partition.log
    assert log.offset_for_timestamp(FIRST_MS + 21, 3) == OffsetAndTimestamp(1, FIRST_MS + 50, 0)
    assert log.offset_of_max_timestamp(3) == OffsetAndTimestamp(1, FIRST_MS + 50, 0)


def test_a_greatest_timestamp_that_a_client_made_up_costs_a_search_and_nothing_else(
    partition: Partition,
) -> None:
    send(partition, b"a", max_timestamp_ms=FIRST_MS + 1000)
    send(partition, b"b", base_timestamp_ms=FIRST_MS + 10)
    log = partition.log
    assert log.offset_for_timestamp(FIRST_MS + 5, 2) == OffsetAndTimestamp(1, FIRST_MS + 10, 0)
    assert log.offset_for_timestamp(FIRST_MS + 500, 2) is None
    assert log.offset_of_max_timestamp(2) == OffsetAndTimestamp(1, FIRST_MS + 10, 0)


def test_records_that_cannot_be_read_stop_a_reader_at_their_offset(
    partition: Partition, broker: Broker
) -> None:
    """A client whose checksum is right is believed: the bytes are stored, and go out again as they came."""
    send(partition, b"before")
    bad = kafka_batch([b"v", b"w"], records=b"these are no records", max_timestamp_ms=FIRST_MS + 9)
    partition.append(pending_from_kafka(bad))
    send(partition, b"behind")
    view = partition.read_batches(1, 1, 4)[0]
    assert bytes(to_kafka(view))[16:] == bad[16:]
    with Consumer(broker, auto_offset_reset="earliest") as consumer:
        consumer.assign([T0])
        assert consumer.poll(1).values() == [b"before"]
        with pytest.raises(
            RecordDecodeError, match="t-0: .*offset 1: record batch: .*past offset 2"
        ) as caught:
            consumer.poll(1)
        assert (caught.value.topic_partition, caught.value.offset) == (T0, 1)
        consumer.seek(T0, 3)
        assert consumer.poll(1).values() == [b"behind"]
    with pytest.raises(RecordDecodeError, match="record batch: "):
        partition.log.offset_for_timestamp(FIRST_MS + 5, 4)


def test_damage_in_a_stored_batch_is_found_before_its_records_are_read(
    broker: Broker, partition: Partition
) -> None:
    send(partition, b"value")
    segment = partition.log.segments[-1]
    mapping = segment.mapping_for_read()
    at = HEADER_SIZE + 61 + 6
    mapping[at : at + 1] = b"?"
    with Consumer(broker, auto_offset_reset="earliest") as consumer:
        consumer.assign([T0])
        with pytest.raises(CorruptLogError, match="t-0.* body checksum"):
            consumer.poll(1)


@pytest.mark.parametrize("is_killed", [False, True])
def test_producers_and_transactions_are_found_again(is_killed: bool) -> None:
    filesystem, clock = MemoryFileSystem(), VirtualClock()
    filesystem.make_dir(ROOT)
    broker = open_broker(filesystem, clock)
    broker.create_topic("t")
    first = broker.partition("t", 0)
    first.verify_transaction = lambda *_: None
    send(first, b"a", b"b", **of_producer(0, attributes=0x10))
    first.append_marker(build_marker(ControlType.ABORT, 7, 1, 0, FIRST_MS))
    send(first, b"c", **of_producer(0, epoch=1))
    kill(broker) if is_killed else broker.close()
    if not is_killed:  # from the headers, not from a snapshot
        for name in filesystem.list_dir(f"{ROOT}/topics/t-0"):
            if not name.endswith(".log"):
                filesystem.unlink(f"{ROOT}/topics/t-0/{name}")
    broker = open_broker(filesystem, clock)
    try:
        again = broker.partition("t", 0)
        assert [found[:3] for found in again.aborted_transactions(0, 4)] == [(7, 0, 2)]
        assert send(again, b"c", **of_producer(0, epoch=1)) == 3
        assert send(again, b"d", **of_producer(1, epoch=1)) == 4
    finally:
        kill(broker)


def verified(*bodies: bytes) -> list[str]:
    """Return what verification says of a log of these batches."""
    filesystem = MemoryFileSystem()
    filesystem.make_dir(ROOT)
    broker = open_broker(filesystem, VirtualClock())
    broker.create_topic("t")
    target = broker.partition("t", 0)
    target.verify_transaction = lambda *_: None
    target.append(build_batch([b"v"], FIRST_MS))
    for body in bodies:
        target.append(pending_from_kafka(body))
    broker.close()
    return [found.message for found in DirectoryVerification(filesystem, ROOT).run()]


def test_verification_finds_nothing_wrong_with_batches_of_clients() -> None:
    late = kafka_batch([b"a", b"b"], None, [0, 50], max_timestamp_ms=FIRST_MS + 20)
    assert verified(GOLDEN[4], kafka_batch([b"v"]), late) == []


def test_verification_names_records_that_cannot_be_read() -> None:
    (message,) = verified(kafka_batch([b"v"], records=b"no records"))
    assert message.startswith("batch at offset 1: batch at offset 1: record batch: record 0")
