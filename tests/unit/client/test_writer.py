from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.client.producer import Producer
from streamlog.errors import (
    BufferExhaustedError,
    DiskFullError,
    InvalidTimestampError,
    InvalidTopicError,
    RecordTooLargeError,
    SerializationError,
    UnknownTopicOrPartitionError,
)
from streamlog.runtime import VirtualClock
from streamlog.structs import ProducerRecord
from tests.support.producing import (
    Deliveries,
    Failures,
    failing_partitions,
    stored,
    stored_batches,
    values,
)

Make = Callable[..., Producer]


@pytest.fixture
def make(broker: Broker) -> Make:
    broker.create_topic("t")
    broker.create_topic("t3", partitions=3)

    def make(**config: Any) -> Producer:
        return Producer(broker, **config)

    return make


@pytest.fixture(params=[0, 5], ids=["at-once", "lingering"])
def producer(make: Make, request: pytest.FixtureRequest) -> Producer:
    return make(linger_ms=request.param)


@pytest.fixture
def failures() -> Iterator[Failures]:
    with failing_partitions() as failures:
        yield failures


def test_every_part_of_a_record_arrives(broker: Broker, producer: Producer) -> None:
    """REC-1."""
    write = producer.writer("t")
    rows: list[tuple[Any, ...]] = [
        (b"v",),
        (b"", b""),
        (None, b"k"),
        (b"v", b"k", 5),
        (b"v", None, 7),
        (None, None, 9),
        (b"v", b"k"),
        (b"v", b"k"),
    ]
    for _ in range(3):
        for row in rows:
            assert write(*row) is None
    producer.flush()
    found = stored(broker)
    assert [(r.value, r.key) for r in found] == [(r[0], r[1] if r[1:] else None) for r in rows] * 3
    assert [r.timestamp_ms for r in found if r.timestamp_ms < 10] == [5, 7, 9] * 3


def test_linger_0_has_appended_when_write_returns(broker: Broker, make: Make) -> None:
    producer = make()
    write = producer.writer("t")
    for n in range(3):
        write(b"%d" % n)
        assert len(values(broker)) == n + 1
    assert producer.metrics()["record_send_total"] == 3


def test_records_go_in_full_batches_and_after_linger(
    broker: Broker, clock: VirtualClock, make: Make
) -> None:
    """PRD-5."""
    write = make(linger_ms=5, batch_size=1000).writer("t")
    for n in range(20):
        write(b"%0100d" % n)
    assert [len(batch) for batch in stored_batches(broker)] == [8, 8]
    clock.advance(5)
    assert values(broker) == [b"%0100d" % n for n in range(20)]


def test_records_keep_their_order_among_those_of_send(broker: Broker, producer: Producer) -> None:
    write = producer.writer("t")
    sent = []
    for n in range(300):
        sent.append(b"%d" % n)
        if n % 3 == 0:
            producer.send("t", sent[-1])
        elif n % 7 == 0:
            write(sent[-1], b"key")
        else:
            write(sent[-1])
    producer.flush()
    assert values(broker) == sent


def test_timestamps_are_those_of_the_call(
    broker: Broker, clock: VirtualClock, producer: Producer
) -> None:
    """REC-2."""
    write = producer.writer("t")
    times = []
    for step_ms in (0, 0.5, 0, 0.6, 2, 0):
        clock.advance(step_ms)
        times.append(int(clock.now))
        write(b"v")
    producer.flush()
    assert [record.timestamp_ms for record in stored(broker)] == times


def test_a_given_partition_takes_everything(broker: Broker, producer: Producer) -> None:
    """PRD-11."""
    write = producer.writer("t3", 2)
    for n in range(100):
        write(b"v", b"%d" % (n % 10) if n % 2 else None)
    producer.flush()
    assert len(stored(broker, "t3", 2)) == 100


def test_keys_and_nulls_go_where_send_would_put_them(broker: Broker, make: Make) -> None:
    """PAR-1, PAR-2."""
    producer = make(linger_ms=5, batch_size=500)
    write = producer.writer("t3")
    for n in range(200):
        write(bytes(50), b"%d" % (n % 10))
        write(bytes(50))
    producer.flush()
    where = {
        key: number
        for number in range(3)
        for key in {record.key for record in stored(broker, "t3", number)}
        if key is not None
    }
    assert where == {
        b"%d" % n: producer.send("t3", b"", key=b"%d" % n).result().partition for n in range(10)
    }
    without_key = [
        sum(record.key is None for record in stored(broker, "t3", number)) for number in range(3)
    ]
    assert all(without_key)
    assert sum(without_key) == 200


def test_serializers_and_partitioners_apply(broker: Broker, make: Make) -> None:
    producer = make(
        linger_ms=5,
        key_serializer="str",
        value_serializer="json",
        partitioner=lambda topic, key, value, count: len(value) % count,
    )
    write = producer.writer("t3")
    write([1], "k")
    write([12, 345])
    producer.flush()
    assert [(r.value, r.key) for r in stored(broker, "t3", 0)] == [(b"[1]", b"k")]
    assert [(r.value, r.key) for r in stored(broker, "t3", 2)] == [(b"[12,345]", None)]


def test_interceptors_see_each_record(broker: Broker, make: Make) -> None:
    """PRD-12."""

    class Upper:
        def on_send(self, record: ProducerRecord) -> ProducerRecord:
            return ProducerRecord(record.topic, record.value.upper(), key=record.key)

    producer = make(interceptors=[Upper()])
    producer.writer("t")(b"abc", b"k")
    assert values(broker) == [b"ABC"]


def test_more_partitions_are_used_at_once(broker: Broker, make: Make) -> None:
    """REC-11."""
    producer = make(linger_ms=5, batch_size=300)
    broker.create_topic("grows")
    write = producer.writer("grows")
    for number in range(2):
        for n in range(100):
            write(bytes(50), b"%d" % n)
            write(bytes(50))
        if number == 0:
            broker.create_partitions("grows", 4)
    producer.flush()
    assert all(values(broker, "grows", number) for number in range(4))


@pytest.mark.parametrize("arguments", [("text",), (5,), (b"v", "text"), (b"v", 5)], ids=repr)
def test_prd_4_what_is_not_bytes_raises(producer: Producer, arguments: tuple[Any, ...]) -> None:
    write = producer.writer("t")
    write(b"v")
    with pytest.raises(SerializationError, match="expected bytes or None"):
        write(*arguments)


@pytest.mark.parametrize("timestamp_ms", [-1, 1.5, True, "5"], ids=repr)
def test_rec_2_a_wrong_timestamp_raises(producer: Producer, timestamp_ms: Any) -> None:
    write = producer.writer("t")
    write(b"v", None, 5)
    with pytest.raises((ValueError, TypeError), match="timestamp_ms"):
        write(b"v", None, timestamp_ms)


def test_a_writer_to_nowhere_is_not_made(clock: VirtualClock) -> None:
    with Broker(clock=clock, auto_create_topics_enable=False) as broker:
        broker.create_topic("t")
        producer = Producer(broker)
        with pytest.raises(UnknownTopicOrPartitionError, match="absent"):
            producer.writer("absent")
        with pytest.raises(UnknownTopicOrPartitionError, match="t-1"):
            producer.writer("t", 1)
        with pytest.raises(InvalidTopicError):
            producer.writer("no/slash")
        with pytest.raises(ValueError, match="partition"):
            producer.writer("t", -1)


def test_failures_surface_at_the_next_flush_once(producer: Producer, failures: Failures) -> None:
    write = producer.writer("t")
    failures.next = [InvalidTimestampError("first")]
    write(b"1")
    with pytest.raises(InvalidTimestampError, match="first"):
        producer.flush()
    write(b"2")
    producer.flush()
    failures.next = [OSError("disk")]
    write(b"3", b"k")
    with pytest.raises(OSError, match="disk"):
        producer.close()
    assert producer.metrics()["record_error_total"] == 2


def test_records_that_never_get_into_a_queue_surface_as_well(
    clock: VirtualClock, make: Make, failures: Failures
) -> None:
    producer = make(linger_ms=5, max_request_size=500, buffer_memory=20_000, max_block_ms=50)
    write = producer.writer("t")
    write(bytes(600))
    with pytest.raises(RecordTooLargeError):
        producer.flush()
    write(bytes(300), bytes(300))
    with pytest.raises(RecordTooLargeError):
        producer.flush()
    failures.forever = lambda: DiskFullError("full")
    write(b"v")
    producer.writer("t3", 1)(b"v")
    failures.forever = None
    with pytest.raises(BufferExhaustedError):
        producer.flush()


def test_on_delivery_is_told_of_each_record(producer: Producer, failures: Failures) -> None:
    """PRD-9; and flush raises nothing that was told already."""
    deliveries = Deliveries()
    write = producer.writer("t", on_delivery=deliveries)
    write(b"1")
    producer.flush()
    failures.next = [InvalidTimestampError("no")]
    write(b"2", b"k", 5)
    producer.flush()
    write(b"3")
    producer.flush()
    assert deliveries.offsets == [0, -1, 1]
    assert [type(error) for error in deliveries.errors] == [
        type(None),
        InvalidTimestampError,
        type(None),
    ]


def test_retries_keep_the_order(
    broker: Broker, clock: VirtualClock, producer: Producer, failures: Failures
) -> None:
    """PRD-8."""
    write = producer.writer("t")
    failures.next = [DiskFullError("full")] * 5
    for n in range(10):
        write(b"%d" % n, b"k" if n % 4 == 3 else None)
        clock.advance(10)
    producer.flush()
    assert values(broker) == [b"%d" % n for n in range(10)]
