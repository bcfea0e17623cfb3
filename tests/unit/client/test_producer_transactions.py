"""Transactions of a producer, from its first call to what readers see: TXN-3, TXN-5 to TXN-7, TXN-9 to
TXN-12, TXN-16.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.client.accumulator import RecordAccumulator
from streamlog.client.consumer import Consumer
from streamlog.client.producer import Producer
from streamlog.client.transaction_state import TransactionState
from streamlog.client.transactional_identity import TransactionalIdentity
from streamlog.errors import (
    ClosedError,
    CommitFailedError,
    DiskFullError,
    IllegalStateError,
    InvalidGroupIdError,
    InvalidProducerIdMappingError,
    InvalidTxnTimeoutError,
    ProducerFencedError,
    RecordTooLargeError,
    SerializationError,
    StreamlogError,
    StreamlogTimeoutError,
    TransactionAbortableError,
    TransactionAbortedError,
    UnknownTopicOrPartitionError,
)
from streamlog.runtime import VirtualClock
from streamlog.structs import (
    ConsumerGroupMetadata,
    OffsetAndMetadata,
    ProducerRecord,
    TopicPartition,
)
from tests.support.producing import Failures, failing_partitions

T0 = TopicPartition("t", 0)
LINGERS = pytest.mark.parametrize("linger_ms", [0, 5])

Make = Callable[..., Producer]


@pytest.fixture
def make(broker: Broker) -> Make:
    """Make transactional producers that took their id; ``t`` has one partition, ``t3`` three."""
    broker.create_topic("t")
    broker.create_topic("t3", partitions=3)

    def make(name: str = "tx", *, init: bool = True, **config: Any) -> Producer:
        producer = Producer(broker, transactional_id=name, **config)
        if init:
            producer.init_transactions()
        return producer

    return make


@pytest.fixture
def failures() -> Iterator[Failures]:
    with failing_partitions() as failures:
        yield failures


def read(broker: Broker, topic: str = "t", *, isolation: str = "read_committed") -> list[bytes]:
    """All values that a reader sees, by partition."""
    count = len(broker.describe_topic(topic).partitions)
    with Consumer(broker, isolation_level=isolation, auto_offset_reset="earliest") as consumer:
        consumer.assign(TopicPartition(topic, number) for number in range(count))
        values: list[bytes] = []
        while records := consumer.poll(100):
            values += records.values()
        return sorted(values)


def state(producer: Producer) -> TransactionState:
    assert producer._transactions is not None
    return producer._transactions.state


class Onlooker:
    """An interceptor that changes nothing, and so has every record go the long way."""

    def on_send(self, record: ProducerRecord) -> ProducerRecord:
        return record

    def on_acknowledgement(self, metadata: object, error: BaseException | None) -> None:
        pass


WAYS: dict[str, Callable[[Producer, str, bytes], object]] = {
    "value": lambda producer, topic, value: producer.send(topic, value),
    "keyed": lambda producer, topic, value: producer.send(topic, value, key=b"k"),
    "stamped": lambda producer, topic, value: producer.send(topic, value, timestamp_ms=1),
    "record": lambda producer, topic, value: producer.send(ProducerRecord(topic, value)),
    "told": lambda producer, topic, value: producer.send(
        topic, value, on_delivery=lambda metadata, error: None
    ),
    "many": lambda producer, topic, value: producer.send_many(topic, [value]),
    "writer": lambda producer, topic, value: producer.writer(topic)(value),
    "keyed writer": lambda producer, topic, value: producer.writer(topic)(value, b"k"),
    "fixed writer": lambda producer, topic, value: producer.writer(topic, 0)(value),
}


# ---- commit and abort


@LINGERS
@pytest.mark.parametrize("way", WAYS)
def test_a_committed_record_is_seen_from_the_commit_on(
    broker: Broker, make: Make, way: str, linger_ms: int
) -> None:
    """TXN-6: by whatever call it was sent, and not before."""
    producer = make(linger_ms=linger_ms)
    for number in range(3):
        before = read(broker)
        producer.begin_transaction()
        WAYS[way](producer, "t", b"%d" % number)
        producer.flush()
        assert read(broker) == before
        producer.commit_transaction()
        assert read(broker) == [*before, b"%d" % number]


@LINGERS
@pytest.mark.parametrize("way", WAYS)
def test_an_aborted_record_is_never_seen(
    broker: Broker, make: Make, way: str, linger_ms: int
) -> None:
    producer = make(linger_ms=linger_ms)
    for number in range(3):
        producer.begin_transaction()
        WAYS[way](producer, "t", b"no")
        producer.flush()
        producer.abort_transaction()
        producer.begin_transaction()
        WAYS[way](producer, "t", b"%d" % number)
        producer.commit_transaction()
    assert read(broker) == [b"0", b"1", b"2"]
    assert read(broker, isolation="read_uncommitted") == [b"0", b"1", b"2", b"no", b"no", b"no"]


@LINGERS
def test_all_partitions_of_a_transaction_are_seen_or_none(
    broker: Broker, make: Make, linger_ms: int
) -> None:
    producer = make(linger_ms=linger_ms)
    for commit in (False, True):
        producer.begin_transaction()
        for number in range(3):
            producer.send("t3", b"%s %d" % (str(commit).encode(), number), partition=number)
        producer.send("t", b"%s" % str(commit).encode())
        (producer.commit_transaction if commit else producer.abort_transaction)()
    assert read(broker, "t3") == [b"True 0", b"True 1", b"True 2"]
    assert read(broker) == [b"True"]


def test_a_commit_sends_what_lingers(broker: Broker, make: Make) -> None:
    """TXN-6: it flushes first."""
    producer = make(linger_ms=60_000)
    producer.begin_transaction()
    future = producer.send("t", b"v")
    assert not future.done()
    producer.commit_transaction()
    assert future.result(0).offset == 0
    assert read(broker) == [b"v"]


def test_an_abort_discards_what_lingers(broker: Broker, make: Make) -> None:
    """TXN-6: what was not sent is not sent, and its futures and callbacks say so."""
    told: list[BaseException | None] = []
    producer = make(linger_ms=60_000)
    producer.begin_transaction()
    futures = [
        producer.send("t", b"v"),
        producer.send("t", b"w", on_delivery=lambda metadata, error: told.append(error)),
        producer.send_many("t3", [b"x"], partition=1),
    ]
    producer.abort_transaction()
    for future in futures[:2]:
        assert isinstance(future.exception(0), TransactionAbortedError)
    assert [type(error) for error in told] == [TransactionAbortedError]
    assert read(broker, isolation="read_uncommitted") == []
    producer.begin_transaction()
    producer.send("t", b"next")
    producer.commit_transaction()
    assert read(broker) == [b"next"]


def test_a_transaction_without_records_ends_either_way(broker: Broker, make: Make) -> None:
    producer = make()
    for end in (producer.commit_transaction, producer.abort_transaction) * 2:
        producer.begin_transaction()
        end()
    assert state(producer) is TransactionState.READY


def test_each_transaction_has_the_next_epoch(broker: Broker, make: Make) -> None:
    """TXN-11: one that wrote nothing needs none."""
    producer = make()
    epochs = []
    for writes in (True, True, False, True):
        producer.begin_transaction()
        if writes:
            producer.send("t", b"v").result()
        manager = producer._transactions
        assert manager is not None
        assert manager.identity is not None
        epochs.append(manager.identity.producer_epoch)
        producer.commit_transaction()
    assert epochs == [0, 1, 2, 2]


def test_a_topic_made_in_a_transaction_belongs_to_it(broker: Broker, make: Make) -> None:
    producer = make()
    producer.begin_transaction()
    producer.send("new", b"v").result()
    assert read(broker, "new") == []
    producer.commit_transaction()
    assert read(broker, "new") == [b"v"]


def test_many_transactions_of_many_batches(broker: Broker, make: Make) -> None:
    producer = make(linger_ms=5, batch_size=200)
    expected = []
    for number in range(20):
        producer.begin_transaction()
        values = [b"%02d-%02d" % (number, index) for index in range(50)]
        for value in values:
            producer.send("t3", value, key=value)
        if number % 3:
            producer.commit_transaction()
            expected += values
        else:
            producer.abort_transaction()
    assert read(broker, "t3") == expected


@pytest.mark.parametrize(
    ("topic", "config"),
    [
        ({"message_timestamp_type": "LogAppendTime"}, {}),
        ({"compression_type": "gzip"}, {"linger_ms": 5}),
        ({}, {"compression_type": "gzip"}),
        ({"max_message_bytes": 300}, {"linger_ms": 5, "batch_size": 2000}),
        ({"flush_messages": 1}, {}),
        ({}, {"interceptors": [Onlooker()]}),
        ({}, {"partitioner": "round_robin", "batch_size": 100}),
    ],
)
def test_transactions_go_with_whatever_else_is_configured(
    broker: Broker, make: Make, topic: dict[str, Any], config: dict[str, Any]
) -> None:
    """Stamped times, codecs, batches split by REC-6, group commit, interceptors, partitioners."""
    broker.create_topic("u", partitions=2, configs=topic)
    producer = make(**config)
    expected: list[bytes] = []
    for number in range(4):
        values = [b"%d-%02d" % (number, index) for index in range(40)]
        producer.begin_transaction()
        for value in values[:20]:
            producer.send("u", value, key=b"k" if number % 2 else None)
        producer.send_many("u", values[20:])
        if number == 2:
            producer.abort_transaction()
        else:
            producer.commit_transaction()
            expected += values
    assert read(broker, "u") == expected


# ---- outside of a transaction


@LINGERS
@pytest.mark.parametrize("way", WAYS)
def test_a_record_outside_of_a_transaction_is_refused(
    broker: Broker, make: Make, way: str, linger_ms: int
) -> None:
    """TXN-5: before init, before begin, after either end; and there is no cost per record for it."""
    producer = make(init=False, linger_ms=linger_ms)
    send = WAYS[way]

    def refused() -> None:
        assert not producer._plain
        assert not producer._keyed
        with pytest.raises(IllegalStateError, match="begin_transaction"):
            send(producer, "t", b"no")

    refused()
    producer.init_transactions()
    refused()
    for end in (producer.commit_transaction, producer.abort_transaction):
        producer.begin_transaction()
        send(producer, "t", b"v")
        producer.flush()
        end()
        refused()
    assert read(broker, isolation="read_uncommitted") == [b"v", b"v"]


@LINGERS
@pytest.mark.parametrize("key", [None, b"k"])
def test_a_writer_goes_from_transaction_to_transaction(
    broker: Broker, make: Make, linger_ms: int, key: bytes | None
) -> None:
    producer = make(linger_ms=linger_ms)
    producer.begin_transaction()
    write = producer.writer("t")
    for number in range(3):
        for index in range(3):
            write(b"%d-%d" % (number, index), key)
        producer.commit_transaction()
        for _ in range(3):
            with pytest.raises(IllegalStateError):
                write(b"no", key)
        producer.begin_transaction()
    assert len(read(broker)) == 9
    write(b"last", key)
    producer.abort_transaction()
    assert b"last" not in read(broker)


def test_calls_without_a_transactional_id_are_refused(broker: Broker) -> None:
    with Producer(broker) as producer:
        for call in (
            producer.init_transactions,
            producer.begin_transaction,
            producer.commit_transaction,
            producer.abort_transaction,
            producer.transaction,
            lambda: producer.send_offsets_to_transaction({}, "g"),
        ):
            with pytest.raises(IllegalStateError, match="transactional_id"):
                call()


def test_calls_in_the_wrong_order_are_refused(broker: Broker, make: Make) -> None:
    """TXN-5; every pair of call and state is tested where the manager is."""
    producer = make(init=False)
    for call in (
        producer.begin_transaction,
        producer.commit_transaction,
        producer.abort_transaction,
    ):
        with pytest.raises(IllegalStateError):
            call()
    producer.init_transactions()
    with pytest.raises(IllegalStateError):
        producer.init_transactions()
    with pytest.raises(IllegalStateError):
        producer.commit_transaction()
    producer.begin_transaction()
    with pytest.raises(IllegalStateError):
        producer.begin_transaction()
    producer.abort_transaction()
    with pytest.raises(IllegalStateError):
        producer.abort_transaction()


def test_an_end_inside_a_callback_is_refused(broker: Broker, make: Make) -> None:
    """PRD-9: it would wait for that callback."""
    refused: list[BaseException] = []
    producer = make(linger_ms=5)

    def on_delivery(metadata: object, error: BaseException | None) -> None:
        for end in (producer.commit_transaction, producer.abort_transaction):
            with pytest.raises(IllegalStateError, match="callback") as caught:
                end()
            refused.append(caught.value)

    producer.begin_transaction()
    producer.send("t", b"v", on_delivery=on_delivery)
    producer.commit_transaction()
    assert len(refused) == 2
    assert read(broker) == [b"v"]


# ---- failures


def test_a_lost_record_lets_the_transaction_only_be_aborted(broker: Broker, make: Make) -> None:
    """TXN-5, TXN-6: every other call says why."""
    producer = make(max_request_size=1000)
    producer.begin_transaction()
    producer.send("t", b"v").result()
    lost = producer.send("t", b"x" * 2000)
    assert isinstance(lost.exception(0), RecordTooLargeError)
    for way in WAYS.values():
        with pytest.raises(TransactionAbortableError) as caught:
            way(producer, "t", b"no")
        assert isinstance(caught.value.__cause__, RecordTooLargeError)
    with pytest.raises(TransactionAbortableError):
        producer.commit_transaction()
    with pytest.raises(TransactionAbortableError):
        producer.send_offsets_to_transaction({T0: 1}, "g")
    producer.abort_transaction()
    with producer.transaction():
        producer.send("t", b"w")
    assert read(broker) == [b"w"]


@pytest.mark.parametrize("way", ["value", "writer", "many"])
def test_a_record_lost_before_any_other_leaves_a_producer_that_can_go_on(
    broker: Broker, make: Make, way: str
) -> None:
    """The coordinator has not heard of the transaction, and takes no EndTxn (TXN-9)."""
    producer = make(max_request_size=1000)
    producer.begin_transaction()
    WAYS[way](producer, "t", b"x" * 2000)
    with pytest.raises(TransactionAbortableError):
        producer.commit_transaction()
    producer.abort_transaction()
    with producer.transaction():
        producer.send("t", b"w")
    assert read(broker) == [b"w"]


@pytest.mark.parametrize("interceptors", [[], [Onlooker()]])
def test_a_record_that_a_serializer_refused_is_no_part_of_the_transaction(
    broker: Broker, make: Make, interceptors: list[Onlooker]
) -> None:
    """Interceptors hear of it, and the transaction does not."""
    producer = make(interceptors=interceptors)
    producer.begin_transaction()
    with pytest.raises(SerializationError):
        producer.send("t", 5)
    producer.commit_transaction()
    with producer.transaction():
        with pytest.raises(SerializationError):
            producer.send("t", 5)
        producer.send("t", b"v")
    assert read(broker) == [b"v"]


@LINGERS
def test_a_full_disk_during_a_transaction_is_waited_out(
    broker: Broker, make: Make, failures: Failures, linger_ms: int
) -> None:
    producer = make(linger_ms=linger_ms)
    producer.begin_transaction()
    failures.next = [DiskFullError("no room")] * 3
    producer.send("t", b"v")
    producer.commit_transaction()
    assert read(broker) == [b"v"]


@LINGERS
def test_a_commit_that_waits_too_long_for_its_records_can_be_called_again(
    broker: Broker, make: Make, failures: Failures, linger_ms: int
) -> None:
    """TXN-6: the same call only."""
    producer = make(linger_ms=linger_ms, max_block_ms=1000)
    producer.begin_transaction()
    producer.send("t3", b"u", partition=0).result()
    failures.next = [DiskFullError("no room")] * 8
    producer.send("t", b"v")
    with pytest.raises(StreamlogTimeoutError):
        producer.commit_transaction()
    with pytest.raises(IllegalStateError, match="commit_transaction is not finished"):
        producer.abort_transaction()
    with pytest.raises(IllegalStateError, match="commit_transaction is not finished"):
        producer.send("t", b"no")
    producer.commit_transaction(timeout_ms=60_000)
    assert read(broker) == [b"v"]
    assert read(broker, "t3") == [b"u"]


@LINGERS
def test_a_record_given_up_makes_the_commit_raise(
    broker: Broker, make: Make, failures: Failures, linger_ms: int
) -> None:
    """TXN-6."""
    producer = make(linger_ms=linger_ms, retries=2)
    producer.begin_transaction()
    producer.send("t3", b"u", partition=0).result()
    failures.forever = lambda: DiskFullError("no room")
    future = producer.send("t", b"v")
    with pytest.raises(TransactionAbortableError) as caught:
        producer.commit_transaction()
    failures.forever = None
    assert caught.value.__cause__ is not None
    assert isinstance(future.exception(0), DiskFullError)
    producer.abort_transaction()
    assert read(broker, "t3") == []
    with producer.transaction():
        producer.send("t", b"w")
    assert read(broker) == [b"w"]


@LINGERS
def test_an_abort_does_not_wait_for_a_full_disk(
    broker: Broker, make: Make, failures: Failures, clock: VirtualClock, linger_ms: int
) -> None:
    producer = make(linger_ms=linger_ms)
    producer.begin_transaction()
    producer.send("t3", b"u", partition=0).result()
    failures.forever = lambda: DiskFullError("no room")
    futures = [producer.send("t", b"v") for _ in range(3)]
    clock.advance(150)
    failures.forever = None
    start_ms = clock.monotonic_ms()
    producer.abort_transaction()
    assert clock.monotonic_ms() == start_ms
    for future in futures:
        assert isinstance(future.exception(0), TransactionAbortedError)
    with producer.transaction():
        producer.send("t", b"w")
    assert read(broker) == [b"w"]
    assert read(broker, isolation="read_uncommitted") == [b"w"]


def test_a_topic_deleted_in_a_transaction_does_not_keep_it_from_its_end(
    broker: Broker, make: Make
) -> None:
    producer = make()
    producer.begin_transaction()
    producer.send("t", b"v").result()
    producer.send("t3", b"w", partition=2).result()
    broker.delete_topic("t")
    broker.create_topic("t")
    producer.commit_transaction()
    assert read(broker, "t3") == [b"w"]
    with producer.transaction():
        producer.send("t", b"again")
    assert read(broker) == [b"again"]


@LINGERS
@pytest.mark.parametrize("size", [10, 2000])
def test_a_writers_records_that_an_abort_took_back_are_no_error_of_the_next_flush(
    broker: Broker, make: Make, linger_ms: int, size: int
) -> None:
    """Whoever aborted knows, and the next transaction has nothing to do with it."""
    producer = make(linger_ms=linger_ms, max_request_size=1000)
    producer.begin_transaction()
    producer.writer("t")(b"x" * size)
    producer.abort_transaction()
    with producer.transaction():
        producer.writer("t")(b"v")
        producer.flush()
    producer.close()
    assert read(broker) == [b"v"]


def test_a_begin_that_ctrl_c_cut_short_can_be_aborted(
    broker: Broker, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was sent yet, though the stamps of the last transaction say that something was."""
    producer = make()
    with producer.transaction():
        producer.send("t", b"v")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TransactionalIdentity, "take", interrupt)
        with pytest.raises(KeyboardInterrupt):
            producer.begin_transaction()
    with pytest.raises(IllegalStateError):
        producer.send("t", b"no")
    producer.abort_transaction()
    with producer.transaction():
        producer.send("t", b"w")
    assert read(broker) == [b"v", b"w"]


def test_an_end_that_ctrl_c_cut_short_still_gives_the_next_one_its_stamps(
    broker: Broker, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records went on with the epoch of the last transaction, and were refused."""
    producer = make()
    producer.begin_transaction()
    producer.send("t", b"v")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RecordAccumulator, "refuse", interrupt)
        with pytest.raises(KeyboardInterrupt):
            producer.commit_transaction()
    producer.abort_transaction()
    with pytest.raises(IllegalStateError):
        producer.send("t", b"no")
    with producer.transaction():
        producer.send("t", b"w")
    assert read(broker) == [b"w"]


# ---- the with block


def test_the_with_block_commits_at_its_end_and_gives_the_producer(
    broker: Broker, make: Make
) -> None:
    producer = make()
    with producer.transaction() as inside:
        assert inside is producer
        inside.send("t", b"v")
    assert read(broker) == [b"v"]


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt(), SystemExit(2)])
def test_the_with_block_aborts_on_any_exception_and_lets_it_go_on(
    broker: Broker, make: Make, error: BaseException
) -> None:
    producer = make()
    with pytest.raises(type(error)) as caught, producer.transaction():
        producer.send("t", b"v")
        raise error
    assert caught.value is error
    assert read(broker) == []
    with producer.transaction():
        producer.send("t", b"w")
    assert read(broker) == [b"w"]


def test_the_with_block_whose_commit_fails_aborts(broker: Broker, make: Make) -> None:
    producer = make(max_request_size=1000)
    with pytest.raises(TransactionAbortableError) as caught, producer.transaction():
        producer.send("t", b"v")
        producer.send("t", b"x" * 2000)
    assert state(producer) is TransactionState.READY
    assert read(broker) == []
    cause = caught.value.__cause__
    assert isinstance(cause, RecordTooLargeError)
    assert str(caught.value) == f"the transaction of 'tx' was aborted: {cause}"


def test_an_abortable_error_inside_the_with_block_does_not_ask_for_an_abort(
    make: Make,
) -> None:
    """It said `call abort_transaction`, which the block had done: that call was an IllegalStateError."""
    producer = make(max_request_size=1000)
    with (
        pytest.raises(TransactionAbortableError, match="'tx' was aborted: ") as caught,
        producer.transaction(),
    ):
        producer.send("t", b"x" * 2000)
        producer.commit_transaction()
    assert "abort_transaction" not in str(caught.value)
    other = make("other", max_request_size=1000)
    with pytest.raises(TransactionAbortableError, match="call abort_transaction"):
        with producer.transaction():
            other.begin_transaction()
            other.send("t", b"x" * 2000)
            other.commit_transaction()
    assert state(other) is TransactionState.ABORTABLE_ERROR, "that block was another producer's"


@pytest.mark.parametrize("commit", [True, False])
def test_the_with_block_whose_transaction_was_ended_inside_says_so(
    broker: Broker, make: Make, commit: bool
) -> None:
    producer = make()
    with (
        pytest.raises(IllegalStateError, match="'tx': .* was called inside the block"),
        producer.transaction(),
    ):
        producer.send("t", b"v")
        if commit:
            producer.commit_transaction()
        else:
            producer.abort_transaction()
    assert read(broker) == ([b"v"] if commit else [])
    with producer.transaction():
        producer.send("t", b"w")
    assert read(broker)[-1] == b"w"


def test_the_with_block_whose_commit_times_out_can_still_be_committed(
    broker: Broker, make: Make, failures: Failures
) -> None:
    producer = make(max_block_ms=1000)
    with pytest.raises(StreamlogTimeoutError), producer.transaction():
        failures.next = [DiskFullError("no room")] * 8
        producer.send("t", b"v")
    producer.commit_transaction(60_000)
    assert read(broker) == [b"v"]


def test_the_with_block_of_a_fenced_producer_lets_the_reason_through(
    broker: Broker, make: Make
) -> None:
    producer = make()
    with pytest.raises(ValueError, match="mine"), producer.transaction():
        producer.send("t", b"v")
        make()
        raise ValueError("mine")
    with pytest.raises(ProducerFencedError):
        producer.begin_transaction()


# ---- two producers with one id, and the clock


def test_the_newer_producer_of_an_id_wins(broker: Broker, make: Make) -> None:
    """TXN-3, TXN-16: the older one's transaction is aborted, and its next coordinator call is refused."""
    older = make()
    older.begin_transaction()
    older.send("t", b"older").result()
    newer = make()
    with pytest.raises(ProducerFencedError):
        older.commit_transaction()
    for call in (
        older.begin_transaction,
        older.abort_transaction,
        older.init_transactions,
        lambda: older.send("t", b"no"),
        lambda: older.send_many("t", [b"no"]),
    ):
        with pytest.raises(ProducerFencedError):
            call()
    with newer.transaction():
        newer.send("t", b"newer")
    assert read(broker) == [b"newer"]
    older.close()


def test_a_fenced_producer_that_only_sends_cannot_get_into_another_transaction(
    broker: Broker, make: Make
) -> None:
    """TXN-10: the partition reports an old epoch, which is abortable; the coordinator then fences."""
    older = make()
    older.begin_transaction()
    older.send("t", b"older").result()
    newer = make()
    newer.begin_transaction()
    newer.send("t", b"newer").result()
    late = older.send("t", b"late")
    assert isinstance(late.exception(0), StreamlogError)
    with pytest.raises(ProducerFencedError):
        older.abort_transaction()
    newer.commit_transaction()
    assert read(broker) == [b"newer"]


def test_a_zombie_is_fenced_by_the_clock(broker: Broker, make: Make, clock: VirtualClock) -> None:
    """TXN-12: the transaction is aborted when it times out, and its producer cannot go on."""
    zombie = make(transaction_timeout_ms=30_000)
    zombie.begin_transaction()
    zombie.send("t", b"zombie").result()
    clock.advance(30_000 + 10_000)
    with make("other").transaction() as other:
        other.send("t", b"other")
    assert read(broker) == [b"other"]
    with pytest.raises((ProducerFencedError, TransactionAbortableError)):
        zombie.commit_transaction()
    zombie.close()
    with make().transaction() as successor:
        successor.send("t", b"successor")
    assert read(broker) == [b"other", b"successor"]


def test_a_producer_whose_id_expired_gets_another(
    broker: Broker, make: Make, clock: VirtualClock
) -> None:
    """TXN-10, TXN-12: abortable, since it can go on with a new producer id."""
    producer = make()
    manager = producer._transactions
    assert manager is not None
    assert manager.identity is not None
    before = manager.identity
    clock.advance(8 * 86_400_000)
    producer.begin_transaction()
    lost = producer.send("t", b"lost")
    assert isinstance(lost.exception(0), InvalidProducerIdMappingError)
    with pytest.raises(TransactionAbortableError):
        producer.commit_transaction()
    producer.abort_transaction()
    with producer.transaction():
        producer.send("t", b"v")
    assert read(broker) == [b"v"]
    assert manager.identity.producer_id != before.producer_id


def test_a_producer_whose_id_expired_and_was_taken_is_fenced(
    broker: Broker, make: Make, clock: VirtualClock
) -> None:
    """TXN-4: whoever has it now is the newer one."""
    producer = make()
    clock.advance(8 * 86_400_000)
    make()
    producer.begin_transaction()
    assert producer.send("t", b"lost").exception(0) is not None
    with pytest.raises(ProducerFencedError):
        producer.abort_transaction()


def test_a_timeout_above_the_brokers_is_refused(clock: VirtualClock) -> None:
    """TXN-3."""
    with (
        Broker(clock=clock, transaction_max_timeout_ms=10_000) as broker,
        Producer(broker, transactional_id="tx", transaction_timeout_ms=10_001) as producer,
        pytest.raises(InvalidTxnTimeoutError),
    ):
        producer.init_transactions()


@pytest.mark.parametrize("topic", ["t", "t3"])
def test_a_record_of_a_fenced_producer_says_why_it_was_refused(make: Make, topic: str) -> None:
    """TXN-10: refused by the partition that knows the producer, or by the coordinator for another."""
    producer = make()
    producer.begin_transaction()
    producer.send("t", b"v").result()
    make()
    error = producer.send(topic, b"w").exception()
    assert "a newer producer has the id, or the transaction timed out" in str(error)


def test_a_block_that_a_newer_producer_ended_says_so_without_a_traceback(
    broker: Broker, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """TXN-16: it was logged as an abort that failed, though the transaction is aborted."""
    producer = make()
    with pytest.raises(TransactionAbortableError), producer.transaction():
        producer.send("t", b"old")
        make()
        producer.send("t", b"refused")
    (logged,) = (one for one in caplog.records if "transaction was over" in one.message)
    assert logged.exc_info is None
    assert "a newer producer has the id" in logged.message
    assert f"<Producer {producer._config.transactional_id!r} of" in logged.message
    producer.close()
    with pytest.raises(ClosedError, match=f"producer {producer._config.transactional_id!r} is"):
        producer.begin_transaction()


# ---- offsets


def committed(broker: Broker, group_id: str = "g") -> OffsetAndMetadata | None:
    return broker.group_coordinator.fetch_offsets(group_id, [T0])[T0]


def test_offsets_count_from_the_commit_on(broker: Broker, make: Make) -> None:
    """TXN-7."""
    producer = make()
    producer.begin_transaction()
    producer.send("t", b"v")
    producer.send_offsets_to_transaction({T0: 5}, "g")
    assert committed(broker) is None
    producer.commit_transaction()
    found = committed(broker)
    assert found is not None
    assert found.offset == 5
    with pytest.raises(ValueError, match="mine"), producer.transaction():
        producer.send_offsets_to_transaction({T0: OffsetAndMetadata(7)}, "g")
        raise ValueError("mine")
    assert committed(broker) == found


def test_offsets_of_a_member_that_was_replaced_are_refused(broker: Broker, make: Make) -> None:
    """TXN-7: abortable, as a commit of its own would be refused."""
    producer = make()
    with Consumer(broker, "t", group_id="g", enable_auto_commit=False) as consumer:
        consumer.poll()
        metadata = consumer.group_metadata()
        with producer.transaction():
            producer.send_offsets_to_transaction({T0: 1}, metadata)
        assert committed(broker) == OffsetAndMetadata(1)
        stale = ConsumerGroupMetadata("g", metadata.generation_id, "nobody")
        with pytest.raises(CommitFailedError), producer.transaction():
            producer.send_offsets_to_transaction({T0: 2}, stale)
        late = ConsumerGroupMetadata("g", metadata.generation_id + 1, metadata.member_id)
        with pytest.raises((CommitFailedError, StreamlogError)), producer.transaction():
            producer.send_offsets_to_transaction({T0: 2}, late)
        assert state(producer) is TransactionState.READY
    assert committed(broker) == OffsetAndMetadata(1)


def test_a_bare_group_id_is_taken_while_the_group_has_members(broker: Broker, make: Make) -> None:
    """TXN-7: it checks nothing, as in Kafka."""
    producer = make()
    with Consumer(broker, "t", group_id="g", enable_auto_commit=False) as consumer:
        consumer.poll()
        with producer.transaction():
            producer.send_offsets_to_transaction({T0: 4}, "g")
    assert committed(broker) == OffsetAndMetadata(4)


def test_offsets_of_a_topic_that_does_not_exist_are_refused(broker: Broker, make: Make) -> None:
    producer = make()
    with pytest.raises(UnknownTopicOrPartitionError), producer.transaction():
        producer.send_offsets_to_transaction({TopicPartition("nothing", 0): 1}, "g")
    assert state(producer) is TransactionState.READY


@pytest.mark.parametrize(
    ("group", "error"),
    [
        (None, TypeError),
        (5, TypeError),
        (ConsumerGroupMetadata("g", 3), ValueError),
        ("", InvalidGroupIdError),
        ("\ud800", InvalidGroupIdError),
        ("x" * 32_768, InvalidGroupIdError),
        (ConsumerGroupMetadata(""), InvalidGroupIdError),
    ],
)
def test_group_metadata_that_cannot_be_right_is_refused(
    broker: Broker, make: Make, group: Any, error: type[Exception]
) -> None:
    producer = make()
    with producer.transaction():
        with pytest.raises(error, match="group"):
            producer.send_offsets_to_transaction({T0: 1}, group)
        producer.send_offsets_to_transaction({T0: 2}, "g")
    assert committed(broker) == OffsetAndMetadata(2)


# ---- the end of the producer


@LINGERS
def test_close_aborts_an_open_transaction(broker: Broker, make: Make, linger_ms: int) -> None:
    """As Kafka's sender does: its id is free at once, and no reader waits for the timeout."""
    producer = make(linger_ms=linger_ms)
    producer.begin_transaction()
    producer.send("t", b"v")
    producer.send("t", b"w")
    producer.close()
    with make("other").transaction() as other:
        other.send("t", b"other")
    assert read(broker) == [b"other"]
    with pytest.raises(ClosedError):
        producer.begin_transaction()


def test_close_goes_on_with_a_commit_that_timed_out(
    broker: Broker, make: Make, failures: Failures
) -> None:
    producer = make(max_block_ms=1000)
    producer.begin_transaction()
    failures.next = [DiskFullError("no room")] * 8
    producer.send("t", b"v")
    with pytest.raises(StreamlogTimeoutError):
        producer.commit_transaction()
    producer.close()
    assert read(broker) == [b"v"]


def test_close_at_once_leaves_the_transaction_to_its_timeout(
    broker: Broker, make: Make, clock: VirtualClock
) -> None:
    producer = make(transaction_timeout_ms=30_000)
    producer.begin_transaction()
    producer.send("t", b"v").result()
    producer.close(0)
    with make("other").transaction() as other:
        other.send("t", b"other")
    assert read(broker) == []
    clock.advance(40_000)
    assert read(broker) == [b"other"]


def test_close_of_a_fenced_producer_says_nothing(
    broker: Broker, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    older = make()
    older.begin_transaction()
    older.send("t", b"v").result()
    make()
    older.close()
    assert "closed in state 'fatal error'" in caplog.text


def test_close_of_a_fenced_producer_does_not_raise_what_its_writer_lost(
    broker: Broker, make: Make, clock: VirtualClock
) -> None:
    """The records were of a transaction that is aborted: there is nothing left to do about them."""
    older = make(linger_ms=5)
    older.begin_transaction()
    older.writer("t")(b"v")
    older.flush()
    older.writer("t")(b"w")
    make()
    clock.advance(10)
    older.close()
    assert read(broker) == []


def test_the_broker_closes_with_a_transaction_open(clock: VirtualClock) -> None:
    with Broker(clock=clock) as broker:
        producer = Producer(broker, transactional_id="tx")
        producer.init_transactions()
        producer.begin_transaction()
        producer.send("t", b"v").result()
    with pytest.raises(ClosedError):
        producer.commit_transaction()
