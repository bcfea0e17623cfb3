"""The idempotent producer end to end: every record once, in order, whatever goes wrong on the way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.client.producer import Producer
from streamlog.client.producer_identity import MAX_PRODUCER_EPOCH
from streamlog.errors import (
    DiskFullError,
    DuplicateSequenceError,
    DurabilityError,
    InvalidProducerEpochError,
    OutOfOrderSequenceError,
    StreamlogTimeoutError,
)
from streamlog.record import build_batch
from streamlog.runtime import VirtualClock
from streamlog.structs import NO_TIMESTAMP, ProducerIdAndEpoch
from tests.support.producing import (
    Deliveries,
    Failures,
    check_sequences,
    failing_partitions,
    stamps,
    values,
)

NOW_MS = 1_700_000_000_000
LAST_SEQUENCE = 2**31 - 1


@pytest.fixture(autouse=True)
def topic(broker: Broker) -> None:
    broker.create_topic("t")


@pytest.fixture
def failures() -> Iterator[Failures]:
    with failing_partitions() as failures:
        yield failures


def identity_of(producer: Producer) -> ProducerIdAndEpoch:
    identity = producer._accumulator._identity
    assert identity is not None
    return identity.current


def write_as(broker: Broker, epoch: int, sequence: int, *, producer: Producer) -> None:
    """Append a record in the name of *producer*, of which it knows nothing."""
    batch = build_batch([b"foreign"], NOW_MS)
    batch.producer_id = identity_of(producer).producer_id
    batch.producer_epoch, batch.base_sequence = epoch, sequence
    broker.partition("t", 0).append(batch)


# ---- what is sent


@pytest.mark.parametrize("linger_ms", [0, 5])
def test_idm_1_every_way_of_sending_goes_on_with_the_sequence(
    broker: Broker, linger_ms: int
) -> None:
    producer = Producer(broker, linger_ms=linger_ms)
    write, told = producer.writer("t"), Deliveries()
    for turn in range(2):
        producer.send("t", b"plain")
        producer.send("t", b"keyed", key=b"k")
        producer.send("t", b"whole", headers=[("h", b"")], timestamp_ms=NOW_MS)
        producer.send("t", b"told", on_delivery=told)
        producer.send("t", None, partition=0)
        write(b"written")
        write(b"written", b"k", NOW_MS)
        producer.send_many("t", [b"1", b"2", b"3"])
        if turn:
            producer.flush()
    found = stamps(broker)
    check_sequences(found)
    assert {(one.producer_id, one.producer_epoch) for one in found} == {identity_of(producer)}
    assert sum(one.record_count for one in found) == 20
    assert told.offsets == [3, 13]


def test_idm_1_each_partition_has_its_own_sequence_and_each_producer_its_own_id(
    broker: Broker,
) -> None:
    broker.create_partitions("t", 2)
    one, two = Producer(broker), Producer(broker)
    for producer in (one, two, one):
        for number in (0, 1):
            producer.send("t", b"v", partition=number)
    first, second = identity_of(one).producer_id, identity_of(two).producer_id
    assert first != second
    for number in (0, 1):
        assert stamps(broker, "t", number) == [
            (first, 0, 0, 1),
            (second, 0, 0, 1),
            (first, 0, 1, 1),
        ]


@pytest.mark.parametrize("options", [{"enable_idempotence": False}, {"acks": 1}, {"retries": 0}])
def test_prd_2_without_idempotence_nothing_is_stamped(
    broker: Broker, options: dict[str, Any]
) -> None:
    for linger_ms in (0, 5):
        with Producer(broker, linger_ms=linger_ms, **options) as producer:
            producer.send("t", b"plain")
            producer.send("t", b"keyed", key=b"k")
            producer.send_many("t", [b"1", b"2"])
    assert {one[:3] for one in stamps(broker)} == {(-1, -1, -1)}


@pytest.mark.parametrize("linger_ms", [0, 5])
def test_idm_1_the_sequence_goes_from_its_greatest_number_to_0(
    broker: Broker, linger_ms: int
) -> None:
    producer = Producer(broker, linger_ms=linger_ms)
    producer.partitions_for("t")
    (queue,) = producer._accumulator.queues()
    assert queue.stamp is not None
    queue.stamp.next_sequence = LAST_SEQUENCE - 1  # IDM-5: a partition that knows nothing takes any
    for run in ([b"0", b"1", b"2"], [b"3"]):
        assert producer.send_many("t", run).result()
    producer.send("t", b"4").result()
    assert values(broker) == [b"0", b"1", b"2", b"3", b"4"]
    assert [one.base_sequence for one in stamps(broker)] == [LAST_SEQUENCE - 1, 1, 2]


@pytest.mark.stress
def test_idm_1_threads_that_append_by_themselves_and_in_batches_share_one_sequence(
    broker: Broker,
) -> None:
    with Broker() as real:
        real.create_topic("t")
        producer = Producer(real)

        def send(kind: int) -> None:
            write = producer.writer("t")
            for n in range(400):
                if kind == 0:
                    producer.send("t", b"%d" % n)
                elif kind == 1:
                    write(b"%d" % n)
                elif n % 2:
                    producer.send("t", b"%d" % n, key=b"k", on_delivery=lambda *_: None)
                else:
                    producer.send_many("t", [b"a", b"b"])

        threads = [threading.Thread(target=send, args=(n % 3,)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        producer.close()
        found = stamps(real)
        check_sequences(found)
        assert {one.producer_epoch for one in found} == {0}
        assert sum(one.record_count for one in found) == 2 * (400 + 400 + 600)


# ---- what is sent again


@pytest.mark.parametrize("linger_ms", [0, 5])
def test_prd_8_a_retry_that_stored_nothing_takes_the_sequence_that_was_due(
    broker: Broker, failures: Failures, linger_ms: int
) -> None:
    producer = Producer(broker, linger_ms=linger_ms)
    failures.next = [None, DiskFullError("full"), DiskFullError("full"), DiskFullError("full")]
    futures = []
    for n in range(4):
        futures.append(producer.send("t", b"%d" % n))
        producer.send("t", b"%d+" % n, key=b"k")
    assert [future.result().offset for future in futures] == [0, 2, 4, 6]
    assert values(broker) == [b"0", b"0+", b"1", b"1+", b"2", b"2+", b"3", b"3+"]
    check_sequences(stamps(broker))


def test_idm_2_a_batch_that_was_stored_and_is_sent_again_gets_its_first_offset(
    broker: Broker, failures: Failures
) -> None:
    producer = Producer(broker, linger_ms=5)
    deliveries = Deliveries()
    producer.send("t", b"before")
    producer.flush()
    futures = [producer.send("t", b"%d" % n, on_delivery=deliveries) for n in range(3)]
    failures.after = [DiskFullError("the answer was lost")] * 3
    producer.flush()
    assert [future.result(0).offset for future in futures] == [1, 2, 3] == deliveries.offsets
    assert values(broker) == [b"before", b"0", b"1", b"2"]
    assert producer.metrics()["record_retry_total"] == 9
    assert producer.send("t", b"behind").result().offset == 4
    check_sequences(stamps(broker))


def test_idm_2_a_batch_sent_again_has_the_time_of_its_first_append(
    clock: VirtualClock, broker: Broker, failures: Failures
) -> None:
    broker.create_topic("l", configs={"message_timestamp_type": "LogAppendTime"})
    producer = Producer(broker, linger_ms=5)
    future = producer.send("l", b"v")
    failures.after = [DiskFullError("the answer was lost")]
    clock.advance(5)
    first_ms = clock.time_ms()
    metadata = future.result()
    assert clock.time_ms() > first_ms
    assert (metadata.offset, metadata.timestamp_ms) == (0, first_ms)


def test_idm_3_a_duplicate_whose_offset_is_forgotten_succeeds_without_one(
    broker: Broker, failures: Failures
) -> None:
    producer = Producer(broker, linger_ms=5)
    future = producer.send("t", b"v")
    failures.after = [DiskFullError("the answer was lost")]
    failures.next = [None, DuplicateSequenceError("seen, but long ago")]
    producer.flush()
    assert future.result(0).offset == -1
    failures.after = [DiskFullError("the answer was lost")]
    failures.next = [None, OutOfOrderSequenceError("the same, in the words of a log")]
    again = producer.send("t", b"w")
    producer.flush()
    assert again.result(0).offset == -1
    assert values(broker) == [b"v", b"w"]
    assert {one.producer_epoch for one in stamps(broker)} == {0}


@pytest.mark.parametrize("error", [OutOfOrderSequenceError, InvalidProducerEpochError])
def test_txn_10_in_a_transaction_a_stored_batch_that_is_refused_fails(
    broker: Broker, failures: Failures, error: type[Exception]
) -> None:
    """The transaction may be over, and what was stored for it aborted; a mere duplicate is fine."""
    producer = Producer(broker, linger_ms=5, transactional_id="x")
    producer.init_transactions()
    producer.begin_transaction()
    future = producer.send("t", b"v")
    failures.after = [DiskFullError("the answer was lost")]
    failures.next = [None, error("it was ended")]
    assert isinstance(future.exception(), error)
    producer.abort_transaction()
    producer.begin_transaction()
    future = producer.send("t", b"w")
    failures.after = [DiskFullError("the answer was lost")]
    failures.next = [None, DuplicateSequenceError("seen")]
    assert future.result().offset == -1
    producer.commit_transaction()


# ---- another epoch


@pytest.mark.parametrize("linger_ms", [0, 5])
def test_idm_6_a_partition_that_knows_another_sequence_gets_the_next_epoch(
    broker: Broker, linger_ms: int
) -> None:
    producer = Producer(broker, linger_ms=linger_ms)
    producer.send("t", b"0").result()
    write_as(broker, 0, 1, producer=producer)
    futures = [producer.send("t", b"%d" % n) for n in (1, 2, 3)]
    assert [future.result().offset for future in futures] == [2, 3, 4]
    assert values(broker) == [b"0", b"foreign", b"1", b"2", b"3"]
    producer_id = identity_of(producer).producer_id
    assert identity_of(producer).producer_epoch == 1
    found = stamps(broker)
    check_sequences(found)
    assert found[2][:3] == (producer_id, 1, 0)
    producer.send("t", b"4").result()
    assert stamps(broker)[-1][:3] == (producer_id, 1, 3)


@pytest.mark.parametrize("linger_ms", [0, 5])
def test_idm_4_idm_6_a_partition_that_knows_a_later_epoch_gets_one_that_is_later_still(
    broker: Broker, linger_ms: int
) -> None:
    producer = Producer(broker, linger_ms=linger_ms)
    write_as(broker, 3, 0, producer=producer)
    assert producer.send("t", b"0").result().offset == 1
    assert [one.producer_epoch for one in stamps(broker)] == [3, 4]


def test_idm_6_the_other_partitions_go_on_with_what_they_have(broker: Broker) -> None:
    broker.create_partitions("t", 2)
    producer = Producer(broker)
    for number in (0, 1):
        producer.send("t", b"0", partition=number).result()
    write_as(broker, 0, 1, producer=producer)
    for number in (0, 1):
        producer.send("t", b"1", partition=number).result()
    assert [one[1:3] for one in stamps(broker)] == [(0, 0), (0, 1), (1, 0)]
    assert [one[1:3] for one in stamps(broker, "t", 1)] == [(0, 0), (0, 1)]


def test_idm_6_after_the_last_epoch_comes_another_producer_id(broker: Broker) -> None:
    producer = Producer(broker)
    producer_id = identity_of(producer).producer_id
    identity = producer._accumulator._identity
    assert identity is not None
    identity.current = ProducerIdAndEpoch(producer_id, MAX_PRODUCER_EPOCH)
    producer.send("t", b"0").result()
    write_as(broker, MAX_PRODUCER_EPOCH, 1, producer=producer)
    producer.send("t", b"1").result()
    (first, _, last) = stamps(broker)
    assert first[:3] == (producer_id, MAX_PRODUCER_EPOCH, 0)
    assert last[:3] == (identity_of(producer).producer_id, 0, 0)
    assert last.producer_id != producer_id


@pytest.mark.parametrize("error", [OutOfOrderSequenceError, InvalidProducerEpochError])
def test_idm_6_is_a_retry_and_ends_with_the_last_one(
    broker: Broker, failures: Failures, error: type[Exception]
) -> None:
    """PRD-8."""
    producer = Producer(broker, linger_ms=5, retries=2)
    failures.next = [error("1"), error("2"), error("3")]
    future = producer.send("t", b"v")
    with pytest.raises(error, match="3"):
        future.result()
    assert values(broker) == []
    assert producer.send("t", b"w").result().offset == 0


def test_without_another_id_the_record_fails_and_says_why(
    broker: Broker, failures: Failures
) -> None:
    producer = Producer(broker, linger_ms=5)
    identity = producer._accumulator._identity
    assert identity is not None
    identity.current = ProducerIdAndEpoch(identity.current.producer_id, MAX_PRODUCER_EPOCH)

    def none_left() -> int:
        raise DiskFullError("STATE cannot be written")

    identity._new_producer_id = none_left
    failures.next = [OutOfOrderSequenceError("1")]
    error = producer.send("t", b"v").exception()
    assert isinstance(error, OutOfOrderSequenceError)
    assert isinstance(error.__cause__, DiskFullError)


def test_prd_7_a_batch_that_was_stored_and_expired_leaves_its_epoch_behind(
    broker: Broker, failures: Failures
) -> None:
    producer = Producer(broker, linger_ms=5, delivery_timeout_ms=30_010, retry_backoff_ms=40_000,
                        retry_backoff_max_ms=40_000)  # fmt: skip
    failures.after = [DiskFullError("the answer was lost")]
    expired = producer.send("t", b"0")
    with pytest.raises(StreamlogTimeoutError):
        expired.result()
    assert producer.send("t", b"1").result().offset == 1
    assert [one[1:3] for one in stamps(broker)] == [(0, 0), (1, 0)]


def test_prd_7_a_batch_that_expired_and_was_not_stored_changes_nothing(
    broker: Broker, failures: Failures
) -> None:
    producer = Producer(broker, linger_ms=5, delivery_timeout_ms=30_010)
    producer.send("t", b"0").result()
    failures.forever = lambda: DiskFullError("full")
    with pytest.raises(StreamlogTimeoutError):
        producer.send("t", b"lost").result()
    failures.forever = None
    assert producer.send("t", b"1").result().offset == 1
    assert [one[1:3] for one in stamps(broker)] == [(0, 0), (0, 1)]


def test_a_batch_that_was_stored_and_fails_without_another_epoch_is_logged(
    broker: Broker, failures: Failures, caplog: pytest.LogCaptureFixture
) -> None:
    producer = Producer(broker, linger_ms=5)
    identity = producer._accumulator._identity
    assert identity is not None
    identity.current = ProducerIdAndEpoch(identity.current.producer_id, MAX_PRODUCER_EPOCH)

    def none_left() -> int:
        raise DiskFullError("STATE cannot be written")

    identity._new_producer_id = none_left
    failures.after = [DurabilityError("not synced")]
    assert isinstance(producer.send("t", b"v").exception(), DurabilityError)
    assert "t-0: keeps its epoch: STATE cannot be written" in caplog.text
    assert producer.send("t", b"w").result().offset == 1
    check_sequences([one._replace(producer_epoch=0) for one in stamps(broker)])


# ---- splits, topics, time


@pytest.mark.parametrize("linger_ms", [0, 5])
def test_rec_6_a_split_costs_no_retry_and_leaves_no_gap(broker: Broker, linger_ms: int) -> None:
    producer = Producer(broker, linger_ms=linger_ms, retries=1)
    for run in range(2):
        futures = [producer.send("t", bytes(100), key=b"%d" % run) for _ in range(12)]
        many = producer.send_many("t", [bytes(100)] * 12)
        if not run:
            producer.flush()
            broker.alter_topic_configs("t", {"max_message_bytes": 700})
    producer.flush()
    assert many.result(0).offset == 47
    assert futures[-1].result(0).offset == 35
    found = stamps(broker)
    check_sequences(found)
    assert {one.producer_epoch for one in found} == {0}
    assert sum(one.record_count for one in found) == 48
    assert producer.metrics()["record_retry_total"] == 0


def test_rec_6_a_batch_that_was_stored_is_not_split_when_it_is_sent_again(
    broker: Broker, failures: Failures
) -> None:
    """It would be there twice. Nor does it fail: it is there."""
    producer = Producer(broker, linger_ms=5)
    futures = [producer.send("t", bytes(100)) for _ in range(12)]
    failures.after = [DiskFullError("the answer was lost")]
    failures.before_append = lambda: broker.alter_topic_configs(
        "t", {"max_message_bytes": 300 if failures.attempts > 1 else 100_000}
    )
    producer.flush()
    assert {future.result(0).offset for future in futures} == {-1}
    assert len(values(broker)) == 12


@pytest.mark.parametrize("linger_ms", [0, 5])
def test_a_topic_that_was_deleted_and_created_again_gets_a_sequence_of_its_own(
    broker: Broker, linger_ms: int
) -> None:
    producer = Producer(broker, linger_ms=linger_ms)
    for _ in range(3):
        for _ in range(2):
            producer.send("t", b"v").result()
        producer_id, epoch, *_ = stamps(broker)[0]
        assert [one[:3] for one in stamps(broker)] == [
            (producer_id, epoch, 0),
            (producer_id, epoch, 1),
        ]
        broker.delete_topic("t")
        broker.create_topic("t")
    assert epoch == 2


@pytest.mark.parametrize("linger_ms", [0, 5])
def test_idm_5_a_producer_whom_the_partition_forgot_goes_on_where_it_was(
    broker: Broker, linger_ms: int
) -> None:
    producer = Producer(broker, linger_ms=linger_ms)
    producer.send("t", b"0").result()
    assert broker.partition("t", 0).log.expire_producers(2**60, 1) == 1
    producer.send("t", b"1").result()
    producer.send("t", b"2").result()
    check_sequences(stamps(broker))
    assert {one.producer_epoch for one in stamps(broker)} == {0}


# ---- Ctrl-C


@pytest.mark.parametrize("was_stored", [False, True])
@pytest.mark.parametrize("by", ["flush", "timer"])
def test_ctrl_c_in_an_append_leaves_the_batch_to_the_next_one(
    clock: VirtualClock, broker: Broker, failures: Failures, was_stored: bool, by: str
) -> None:
    """It has a sequence if it was stored: neither lost nor there twice."""
    producer = Producer(broker, linger_ms=5)
    future = producer.send("t", b"1")
    (failures.after if was_stored else failures.next).append(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        producer.flush()
    assert not future.done()
    if by == "flush":
        producer.flush()
    else:
        clock.advance(1)
    assert future.result(timeout=0).offset == 0
    assert future.result(timeout=0).timestamp_ms != NO_TIMESTAMP
    assert producer.send("t", b"2").result().offset == 1
    assert values(broker) == [b"1", b"2"]
    check_sequences(stamps(broker))
    assert producer.metrics()["buffer_available_bytes"] == 33_554_432


@pytest.mark.parametrize("was_stored", [False, True])
def test_ctrl_c_with_linger_0_lets_nobody_overtake(
    broker: Broker, failures: Failures, was_stored: bool
) -> None:
    producer = Producer(broker)
    (failures.after if was_stored else failures.next).append(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        producer.send_many("t", [b"1", b"2"])
    producer.send("t", b"3")
    assert producer.send("t", b"4").result().offset == 3
    assert values(broker) == [b"1", b"2", b"3", b"4"]
    check_sequences(stamps(broker))


def test_ctrl_c_in_an_append_fails_the_batch_when_the_producer_is_closed(
    broker: Broker, failures: Failures
) -> None:
    producer = Producer(broker, linger_ms=5)
    future = producer.send("t", b"1")
    failures.next = [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        producer.close()
    assert "closed" in str(future.exception(timeout=0))
    assert values(broker) == []
