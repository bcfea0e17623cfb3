from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import attrs
import pytest

from streamlog.broker.broker import Broker
from streamlog.client.producer import Producer
from streamlog.errors import (
    BufferExhaustedError,
    ClosedError,
    DiskFullError,
    IllegalStateError,
    InvalidConfigurationError,
    InvalidTimestampError,
    InvalidTopicError,
    MessageTooLargeError,
    RecordTooLargeError,
    SerializationError,
    StreamlogTimeoutError,
    UnknownTopicOrPartitionError,
)
from streamlog.runtime import VirtualClock
from streamlog.structs import Durability, ProducerRecord, RecordMetadata
from tests.support.producing import (
    Deliveries,
    Failures,
    failing_partitions,
    stored,
    stored_batches,
    values,
)

START_MS = 1_700_000_000_000

Make = Callable[..., Producer]


@pytest.fixture
def make(broker: Broker) -> Make:
    """Make producers; the topic ``t`` has one partition, ``t3`` three. The broker closes them."""
    broker.create_topic("t")
    broker.create_topic("t3", partitions=3)

    def make(**config: Any) -> Producer:
        return Producer(broker, **config)

    return make


@pytest.fixture
def failures() -> Iterator[Failures]:
    with failing_partitions() as failures:
        yield failures


@pytest.fixture(params=[0, 5], ids=["at-once", "lingering"])
def producer(make: Make, request: pytest.FixtureRequest) -> Producer:
    return make(linger_ms=request.param)


# ---- one record


def test_linger_0_has_appended_when_send_returns(broker: Broker, make: Make) -> None:
    future = make().send("t", b"v")
    assert future.done()
    assert values(broker) == [b"v"]
    assert future.result() == RecordMetadata("t", 0, 0, START_MS, -1, 1, Durability.NONE)


def test_linger_waits_for_company_and_no_longer(
    broker: Broker, clock: VirtualClock, make: Make
) -> None:
    """PRD-5: a batch goes when ``linger_ms`` have passed since it was opened."""
    producer = make(linger_ms=5)
    futures = [producer.send("t", b"%d" % n) for n in range(3)]
    clock.advance(4.9)
    assert values(broker) == []
    assert not futures[0].done()
    clock.advance(0.2)
    assert [len(batch) for batch in stored_batches(broker)] == [3]
    assert [future.result().offset for future in futures] == [0, 1, 2]


def test_a_batch_opened_while_the_timer_runs_gets_its_own_time(
    broker: Broker, clock: VirtualClock, make: Make
) -> None:
    """PRD-5: one timer serves all batches, and each batch lingers for as long as it should."""
    producer = make(linger_ms=5)
    producer.send("t", b"first")
    clock.advance(3)
    producer.send("t3", b"second", partition=0)
    clock.advance(2)
    assert values(broker) == [b"first"]
    assert values(broker, "t3") == []
    clock.advance(2.9)
    assert values(broker, "t3") == []
    clock.advance(0.1)
    assert values(broker, "t3") == [b"second"]


def test_a_full_batch_goes_in_the_sending_thread(broker: Broker, make: Make) -> None:
    """PRD-5: full means that another record like these would not fit into ``batch_size``."""
    producer = make(linger_ms=1000, batch_size=2000)
    for n in range(100):
        producer.send("t", b"%0100d" % n)
    batches = stored_batches(broker)
    assert len(batches) == 100 // 17
    assert {len(batch) for batch in batches} == {17}
    for batch in batches:
        assert sum(len(record.value or b"") for record in batch) <= 2000
    producer.flush()
    assert values(broker) == [b"%0100d" % n for n in range(100)]


def test_records_of_any_size_keep_batches_within_batch_size(broker: Broker, make: Make) -> None:
    sizes = [10, 500, 30, 1999, 0, 700, 5000, 1, 1, 1, 400, 2500, 90] * 7
    producer = make(linger_ms=1000, batch_size=2048)
    for size in sizes:
        producer.send("t", bytes(size))
    producer.flush()
    assert [len(record.value or b"") for record in stored(broker)] == sizes
    for batch in stored_batches(broker):
        assert len(batch) == 1 or sum(len(r.value or b"") for r in batch) <= 2048
    assert producer.metrics()["buffer_available_bytes"] == 33_554_432


def test_every_part_of_a_record_arrives(broker: Broker, producer: Producer) -> None:
    """REC-1: null and empty are different, headers keep order, duplicates and nulls."""
    headers = [("a", b"1"), ("b", None), ("a", b"")]
    future = producer.send("t", b"", key=b"", headers=headers, timestamp_ms=77)
    producer.send("t", None, key=b"gone")
    producer.send("t", b"plain")
    producer.flush()
    assert [(r.value, r.key, r.headers) for r in stored(broker)] == [
        (b"", b"", (("a", b"1"), ("b", None), ("a", b""))),
        (None, b"gone", ()),
        (b"plain", None, ()),
    ]
    assert stored(broker)[0].timestamp_ms == 77
    metadata = future.result()
    assert metadata.timestamp_ms == 77
    assert (metadata.serialized_key_size, metadata.serialized_value_size) == (0, 0)


def test_rec_3_headers_are_copied_when_sent(broker: Broker, make: Make) -> None:
    producer = make(linger_ms=5)
    headers = [("a", b"1")]
    producer.send("t", b"v", headers=headers)
    headers.append(("b", b"2"))
    producer.flush()
    assert stored(broker)[0].headers == (("a", b"1"),)


def test_a_producer_record_stands_for_all_arguments(broker: Broker, producer: Producer) -> None:
    record = ProducerRecord("t", b"v", key=b"k", headers=[("h", b"1")], partition=0, timestamp_ms=5)
    deliveries = Deliveries()
    producer.send(record, on_delivery=deliveries)
    producer.flush()
    assert stored(broker) == [(0, b"v", b"k", 5, (("h", b"1"),))]
    assert deliveries.offsets == [0]
    with pytest.raises(TypeError, match="ProducerRecord"):
        producer.send(record, b"v")


@pytest.mark.parametrize("lingers", [True, False])
def test_rec_2_a_record_gets_the_clock_of_its_send(
    broker: Broker, clock: VirtualClock, make: Make, lingers: bool
) -> None:
    producer = make(linger_ms=1000 if lingers else 0)
    times = []
    for step_ms in (0, 0, 0.4, 0.7, 0, 1, 30, 0, 0.9, 2):
        clock.advance(step_ms)
        times.append(int(clock.now))
        producer.send("t", b"v")
        times.append(int(clock.now))
        producer.send("t", b"v", key=b"k")
    producer.flush()
    assert [record.timestamp_ms for record in stored(broker)] == times


def test_a_wall_clock_set_back_is_believed_at_once(
    broker: Broker, clock: VirtualClock, make: Make
) -> None:
    """REC-2: also within one batch."""
    producer = make(linger_ms=1000)
    for wall_ms in (5000, 4000, 4000, 6000, 5000):
        clock.set_wall_ms(wall_ms)
        future = producer.send("t", b"v")
        producer.send("t", b"v")
    clock.set_wall_ms(9000)
    producer.flush()
    times = [5000, 5000, 4000, 4000, 4000, 4000, 6000, 6000, 5000, 5000]
    assert [record.timestamp_ms for record in stored(broker)] == times
    assert future.result().timestamp_ms == 5000


def test_log_append_time_is_what_metadata_says(clock: VirtualClock, broker: Broker) -> None:
    """REC-4: RecordMetadata carries the broker's time."""
    broker.create_topic("l", configs={"message_timestamp_type": "LogAppendTime"})
    for linger_ms in (0, 5):
        producer = Producer(broker, linger_ms=linger_ms)
        futures = [producer.send("l", b"v", timestamp_ms=3), producer.send("l", b"v")]
        clock.advance(linger_ms)
        assert {future.result().timestamp_ms for future in futures} == {int(clock.now)}
    assert {record.timestamp_ms for record in stored(broker, "l")} == {START_MS, START_MS + 5}


def test_durability_says_what_was_reached(data_dir: str, clock: VirtualClock) -> None:
    with Broker(data_dir, clock=clock) as broker:
        broker.create_topic("t")
        broker.create_topic("synced", configs={"flush_messages": 1})
        for linger_ms in (0, 5):
            producer = Producer(broker, linger_ms=linger_ms)
            assert producer.send("t", b"v").result().durability is Durability.PROCESS
            assert producer.send("synced", b"v").result().durability is Durability.DISK
        unsafe = Producer(broker, acks=0)
        assert unsafe.send("synced", b"v").result().durability is Durability.NONE


def test_a_keyed_run_keeps_the_keys(broker: Broker, make: Make) -> None:
    """REC-1: keys arrive whether or not the way of plain records is taken, and with records in
    between that have none."""
    producer = make(linger_ms=5, partitioner="sticky")
    sent = [(b"%d" % n, None if n % 3 else b"k%d" % n) for n in range(200)]
    for value, key in sent:
        producer.send("t", value, key=key)
    producer.flush()
    assert [(record.value, record.key) for record in stored(broker)] == sent


def test_long_and_many_keys_arrive(broker: Broker, make: Make) -> None:
    producer = make(linger_ms=5, batch_size=4096)
    keys = [b"%d" % (n % 50) + b"x" * (n * 37 % 300) for n in range(500)]
    for key in keys:
        producer.send("t", b"v", key=key)
    producer.flush()
    assert [record.key for record in stored(broker)] == keys


def test_serializers_are_asked_for_every_part(broker: Broker, make: Make) -> None:
    producer = make(key_serializer="str", value_serializer="json")
    future = producer.send("t", {"a": [1, None]}, key="ü")
    producer.send("t", None, key="k")
    assert [(r.value, r.key) for r in stored(broker)] == [
        (b'{"a":[1,null]}', "ü".encode()),
        (None, b"k"),
    ]
    assert future.result().serialized_key_size == 2


def test_bytes_go_through_a_serializer_as_well(broker: Broker, make: Make) -> None:
    producer = make(linger_ms=5, value_serializer=bytes.upper, key_serializer=bytes.lower)
    for _ in range(3):
        producer.send("t", b"abc", key=b"KEY")
    producer.send("t", b"abc")
    producer.send("t", b"abc")
    producer.flush()
    records = [(r.value, r.key) for r in stored(broker)]
    assert records == [(b"ABC", b"key")] * 3 + [(b"ABC", None)] * 2


# ---- wrong use: raised by send (PRD-4, REC-2)


@pytest.mark.parametrize("value", ["text", 5, ["a"], {}], ids=repr)
def test_prd_4_a_value_that_is_not_bytes_raises(producer: Producer, value: Any) -> None:
    producer.send("t", b"so that the topic is known")
    with pytest.raises(SerializationError, match="topic 't': value: expected bytes or None"):
        producer.send("t", value)


def test_prd_4_a_key_that_is_not_bytes_raises(producer: Producer) -> None:
    producer.send("t", b"so that the topic is known")
    with pytest.raises(SerializationError, match="key"):
        producer.send("t", b"v", key="k")


def test_prd_4_a_serializer_that_fails_raises_and_nothing_is_sent(
    broker: Broker, make: Make
) -> None:
    deliveries = Deliveries()
    producer = make(value_serializer="json")
    with pytest.raises(SerializationError):
        producer.send("t", object(), on_delivery=deliveries)
    assert deliveries.calls == []
    assert values(broker) == []


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        ({"partition": -1}, ValueError, "partition"),
        ({"timestamp_ms": -1}, ValueError, "timestamp_ms"),
        ({"partition": "0"}, TypeError, "partition"),
        ({"partition": True}, TypeError, "partition"),
        ({"timestamp_ms": 1.5}, TypeError, "timestamp_ms"),
        ({"timestamp_ms": 1 << 63}, ValueError, "timestamp_ms"),
        ({"headers": {"a": b"1"}}, SerializationError, "mapping"),
        ({"headers": [("a", "text")]}, SerializationError, "header 'a'"),
        ({"headers": [(b"a", b"1")]}, SerializationError, "name of type str"),
        ({"headers": ["ab", "abc"]}, SerializationError, "expected"),
        ({"headers": 5}, SerializationError, "pairs"),
        ({"headers": [("\ud800", b"")]}, SerializationError, "surrogates"),
    ],
    ids=repr,
)
def test_rec_2_wrong_arguments_raise(
    producer: Producer, arguments: dict[str, Any], error: type[Exception], named: str
) -> None:
    for _ in range(2):
        with pytest.raises(error, match=named):
            producer.send("t", b"v", **arguments)


@pytest.mark.parametrize("topic", [None, b"t", 5, ["t"]], ids=repr)
def test_a_topic_that_is_not_a_string_raises(producer: Producer, topic: Any) -> None:
    with pytest.raises(TypeError, match="topic"):
        producer.send(topic, b"v")
    with pytest.raises(TypeError, match="topic"):
        producer.send_many(topic, [b"v"])
    with pytest.raises(TypeError, match="topic"):
        producer.writer(topic)


def test_configuration_is_checked(broker: Broker) -> None:
    with pytest.raises(InvalidConfigurationError, match="linger_ms"):
        Producer(broker, config={"linger.mss": 5})
    with pytest.raises(InvalidConfigurationError, match="partitioner"):
        Producer(broker, partitioner="nearest")
    Producer(broker, config={"linger.ms": "5"}).close()


# ---- other errors: by the future and the callback (PRD-4)


def test_prd_4_an_invalid_topic_comes_by_future_and_callback(producer: Producer) -> None:
    deliveries = Deliveries()
    future = producer.send("no/slash", b"v", on_delivery=deliveries)
    assert future.done()
    with pytest.raises(InvalidTopicError):
        future.result()
    ((metadata, error),) = deliveries.calls
    assert error is future.exception()
    assert (metadata.topic, metadata.partition, metadata.offset) == ("no/slash", -1, -1)


def test_the_internal_topics_are_not_written_to(producer: Producer) -> None:
    assert isinstance(producer.send("__consumer_offsets", b"v").exception(), InvalidTopicError)


def test_prd_4_a_topic_that_does_not_exist_fails_at_once(clock: VirtualClock) -> None:
    """Where Kafka waits for ``max.block.ms``; the error comes by the future."""
    with Broker(clock=clock, auto_create_topics_enable=False) as broker:
        producer = Producer(broker)
        future = producer.send("absent", b"v")
        with pytest.raises(UnknownTopicOrPartitionError, match="'absent' does not exist"):
            future.result()
        with pytest.raises(UnknownTopicOrPartitionError):
            producer.partitions_for("absent")
        assert clock.now == START_MS
        broker.create_topic("absent")
        assert producer.send("absent", b"v").result().offset == 0


def test_a_partition_that_does_not_exist_fails_at_once(broker: Broker, make: Make) -> None:
    producer = make()
    future = producer.send("t3", b"v", partition=3)
    with pytest.raises(UnknownTopicOrPartitionError, match="t3-3 does not exist: topic 't3' has 3"):
        future.result()
    broker.create_partitions("t3", 5)
    assert producer.send("t3", b"v", partition=4).result().partition == 4


def test_a_topic_is_created_by_its_first_record(broker: Broker) -> None:
    """REC-11: ``auto.create.topics.enable``."""
    producer = Producer(broker)
    producer.send("new", b"v")
    assert broker.topics() == ["new"]
    assert [info.partition for info in producer.partitions_for("other")] == [0]
    assert broker.topics() == ["new", "other"]


def test_rec_6_a_record_above_max_request_size_is_refused(broker: Broker, make: Make) -> None:
    for linger_ms in (0, 5):
        producer = make(linger_ms=linger_ms, max_request_size=1000)
        deliveries = Deliveries()
        futures = [
            producer.send("t", bytes(1001)),
            producer.send("t", b"v", key=bytes(1001)),
            producer.send("t", b"v", headers=[("h", bytes(1001))], on_delivery=deliveries),
        ]
        for future in futures:
            with pytest.raises(RecordTooLargeError, match="max_request_size=1000"):
                future.result()
        assert [type(error) for error in deliveries.errors] == [RecordTooLargeError]
        assert producer.send("t", bytes(850)).result()
    assert len(values(broker)) == 2


def test_rec_6_a_record_above_buffer_memory_is_refused(make: Make) -> None:
    producer = make(linger_ms=5, buffer_memory=1000)
    with pytest.raises(RecordTooLargeError, match="buffer_memory=1000"):
        producer.send("t", bytes(1000)).result()
    assert producer.send("t", bytes(800)).result().offset == 0


def test_rec_6_a_single_record_above_the_topics_limit_fails(broker: Broker, make: Make) -> None:
    broker.create_topic("small", configs={"max_message_bytes": 500})
    for linger_ms in (0, 5):
        producer = make(linger_ms=linger_ms)
        with pytest.raises(MessageTooLargeError, match="small-0"):
            producer.send("small", bytes(500)).result()
        assert producer.send("small", b"v").result()


def test_rec_6_a_batch_above_the_topics_limit_is_split(broker: Broker, make: Make) -> None:
    """A batch of several records is split and sent again, which does not use up a retry; futures and
    callbacks follow their records."""
    broker.create_topic("small", configs={"max_message_bytes": 600})
    producer = make(linger_ms=5, retries=0)
    deliveries = Deliveries()
    futures = []
    for n in range(20):
        futures.append(producer.send("small", b"%0100d" % n, key=b"k%d" % n, timestamp_ms=n))
        futures.append(
            producer.send("small", b"c%d" % n, headers=[("n", b"1")], on_delivery=deliveries)
        )
    write = producer.writer("small")
    write(b"w")
    producer.flush()
    records = stored(broker, "small")
    assert len(records) == 41
    assert [future.result().offset for future in futures] == list(range(40))
    assert deliveries.offsets == list(range(1, 40, 2))
    assert [r.timestamp_ms for r in records[:40:2]] == list(range(20))
    assert [r.key for r in records[:40:2]] == [b"k%d" % n for n in range(20)]
    assert [future.result().timestamp_ms for future in futures[::2]] == list(range(20))
    metrics = producer.metrics()
    assert metrics["batch_split_total"] > 1
    assert metrics["record_retry_total"] == metrics["record_error_total"] == 0
    assert metrics["buffer_available_bytes"] == metrics["buffer_total_bytes"]


def test_batches_larger_than_a_tiny_segment_are_split(broker: Broker, make: Make) -> None:
    broker.create_topic("tiny", configs={"segment_bytes": 512})
    producer = make(linger_ms=5)
    for n in range(100):
        producer.send("tiny", b"%050d" % n)
    producer.flush()
    assert values(broker, "tiny") == [b"%050d" % n for n in range(100)]


def test_one_bad_record_fails_its_whole_batch(broker: Broker, make: Make) -> None:
    """REC-7, REC-8: a batch is all or nothing."""
    producer = make(linger_ms=5)
    good = producer.send("t", b"v")
    bad = producer.send("t", b"v", timestamp_ms=START_MS + 2 * 3_600_000)
    producer.flush()
    for future in (good, bad):
        with pytest.raises(InvalidTimestampError):
            future.result()
    assert values(broker) == []
    assert producer.metrics()["record_error_total"] == 2


def test_each_result_raises_an_error_of_its_own(make: Make) -> None:
    """Tracebacks of several threads must not mix."""
    producer = make(max_request_size=200)
    future = producer.send("t", bytes(300))
    caught = []
    for _ in range(2):
        with pytest.raises(RecordTooLargeError) as info:
            future.result()
        caught.append(info.value)
    assert caught[0] is not caught[1]


def test_a_deleted_topic_fails_what_waits_and_is_created_anew(broker: Broker, make: Make) -> None:
    producer = make(linger_ms=5)
    lost = producer.send("t", b"before")
    broker.delete_topic("t")
    producer.flush()
    with pytest.raises(UnknownTopicOrPartitionError):
        lost.result()
    assert producer.send("t", b"after").result().offset == 0
    assert values(broker) == [b"after"]


def test_a_topic_created_again_is_used_at_once(broker: Broker, make: Make) -> None:
    producer = make()
    producer.send("t", b"1")
    broker.delete_topic("t")
    broker.create_topic("t", partitions=2)
    assert producer.send("t", b"2", partition=1).result().offset == 0
    assert len(producer.partitions_for("t")) == 2


def test_more_partitions_are_used_at_once(broker: Broker, make: Make) -> None:
    """REC-11: where a key goes changes for new records."""
    for linger_ms in (0, 5):
        producer = make(linger_ms=linger_ms)
        topic = f"grows{linger_ms}"
        broker.create_topic(topic, partitions=1)
        for n in range(50):
            producer.send(topic, b"v", key=b"%d" % n)
        broker.create_partitions(topic, 7)
        for n in range(50):
            producer.send(topic, b"v", key=b"%d" % n)
        producer.flush()
        assert all(values(broker, topic, number) for number in range(7))


# ---- partitions (PRD-11, PAR-2)


def test_prd_11_explicit_goes_before_the_partitioner(broker: Broker, make: Make) -> None:
    producer = make(partitioner=lambda topic, key, value, count: 1)
    assert producer.send("t3", b"v", partition=2).result().partition == 2
    assert producer.send("t3", b"v", key=b"k").result().partition == 1


def test_prd_11_a_partitioner_of_ones_own_is_asked_for_each_record(make: Make) -> None:
    seen = []

    def by_length(topic: str, key: bytes | None, value: bytes | None, count: int) -> int:
        seen.append((topic, key, value, count))
        return len(value or b"") % count

    producer = make(linger_ms=5, partitioner=by_length)
    futures = [producer.send("t3", bytes(n), key=b"k") for n in range(6)]
    producer.flush()
    assert [future.result().partition for future in futures] == [0, 1, 2, 0, 1, 2]
    assert seen[4] == ("t3", b"k", bytes(4), 3)


@pytest.mark.parametrize("answer", [-1, 3, "0", None])
def test_prd_11_a_wrong_answer_of_a_partitioner_raises(make: Make, answer: Any) -> None:
    producer = make(partitioner=lambda *_: answer)
    with pytest.raises((ValueError, TypeError), match="partitioner"):
        producer.send("t3", b"v")


def test_prd_11_keys_go_by_murmur2_and_nulls_stick(broker: Broker, producer: Producer) -> None:
    """PAR-1: the golden vectors, of 10 partitions, also the second time, from the table."""
    broker.create_topic("t10", partitions=10)
    golden = {b"21": 0, b"foobar": 6, b"abc": 7, b"kafka": 0, b"": 1}
    for _ in range(2):
        futures = {key: producer.send("t10", b"v", key=key) for key in golden}
        producer.flush()
        assert {key: f.result().partition for key, f in futures.items()} == golden


def test_par_2_null_keys_fill_one_batch_after_the_other(broker: Broker, make: Make) -> None:
    producer = make(linger_ms=5, batch_size=1000)
    partitions = []
    for _ in range(400):
        future = producer.send("t3", bytes(100))
        producer.flush() if len(partitions) % 8 == 7 else None
        partitions.append(future)
    producer.flush()
    found = [future.result().partition for future in partitions]
    assert set(found) == {0, 1, 2}
    switches = sum(a != b for a, b in pairwise(found))
    assert switches <= 400 * 106 // 750, "a partition is kept for about a batch"


def test_par_2_linger_0_moves_on_after_batch_size_bytes(make: Make) -> None:
    producer = make(batch_size=1000)
    found = [producer.send("t3", bytes(100)).result().partition for _ in range(300)]
    assert set(found) == {0, 1, 2}
    runs = [0]
    for before, after in pairwise(found):
        runs[-1] += 1
        if before != after:
            runs.append(0)
    assert all(run % 10 == 0 for run in runs[:-1])


def test_par_4_round_robin_ignores_keys(make: Make) -> None:
    producer = make(partitioner="round_robin", linger_ms=5)
    futures = [producer.send("t3", b"v", key=b"same") for _ in range(6)]
    producer.flush()
    assert [future.result().partition for future in futures] == [0, 1, 2, 0, 1, 2]


def test_the_table_of_keys_is_bounded(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamlog.client.topic_route.MAX_MEMO_KEYS", 10)
    producer = make(linger_ms=5)
    for n in range(105):
        producer.send("t3", b"v", key=b"%d" % n)
    assert len(producer._keyed["t3"]) <= 10


# ---- callbacks (PRD-9)


def test_prd_9_callbacks_run_in_send_order(producer: Producer) -> None:
    deliveries = Deliveries()
    for n in range(500):
        producer.send("t", b"%0100d" % n, on_delivery=deliveries)
    producer.flush()
    assert deliveries.offsets == list(range(500))
    assert set(deliveries.errors) == {None}


def test_prd_9_an_error_in_a_callback_is_logged_and_swallowed(
    producer: Producer, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(metadata: RecordMetadata, error: BaseException | None) -> None:
        raise RuntimeError("mine")

    deliveries = Deliveries()
    producer.send("t", b"1", on_delivery=broken)
    producer.send("t", b"2", on_delivery=deliveries)
    producer.flush()
    assert deliveries.offsets == [1]
    assert "failed for t-0" in caplog.text


def test_prd_9_flush_inside_a_callback_raises(producer: Producer) -> None:
    caught: list[BaseException] = []

    def flushing(metadata: RecordMetadata, error: BaseException | None) -> None:
        with pytest.raises(IllegalStateError, match="flush") as info:
            producer.flush()
        caught.append(info.value)

    producer.send("t", b"v", on_delivery=flushing)
    producer.send("no/slash", b"v", on_delivery=flushing)
    producer.flush()
    assert len(caught) == 2


def test_a_callback_may_send(broker: Broker, producer: Producer) -> None:
    deliveries = Deliveries()

    def again(metadata: RecordMetadata, error: BaseException | None) -> None:
        if metadata.offset < 5:
            producer.send("t", b"%d" % metadata.offset, on_delivery=again)
        deliveries(metadata, error)

    producer.send("t", b"first", on_delivery=again)
    for _ in range(10):
        producer.flush()
    assert deliveries.offsets == [0, 1, 2, 3, 4, 5]
    assert values(broker) == [b"first", b"0", b"1", b"2", b"3", b"4"]


def test_a_callback_holds_no_lock(producer: Producer) -> None:
    """PRD-9: it may look at everything."""
    seen = []

    def looking(metadata: RecordMetadata, error: BaseException | None) -> None:
        seen.append(producer.metrics()["record_send_total"])
        seen.append(len(producer.partitions_for("t")))

    producer.send("t", b"v", on_delivery=looking)
    producer.flush()
    assert seen == [1, 1]


def test_done_callbacks_run_once_done(clock: VirtualClock, make: Make) -> None:
    producer = make(linger_ms=5)
    seen: list[Any] = []
    future = producer.send("t", b"v")
    future.add_done_callback(seen.append)
    assert seen == []
    clock.advance(5)
    assert seen == [future]
    future.add_done_callback(seen.append)
    assert seen == [future, future]


# ---- flush and close


def test_flush_waits_for_what_was_sent_and_lingers_no_longer(
    broker: Broker, clock: VirtualClock, make: Make
) -> None:
    """PRD-5, PRD-9."""
    producer = make(linger_ms=10_000)
    futures = [producer.send("t", b"v"), producer.send("t3", b"v", key=b"k")]
    producer.flush()
    assert all(future.done() for future in futures)
    assert clock.now == START_MS


def test_flush_gives_up_after_its_timeout(
    clock: VirtualClock, make: Make, failures: Failures
) -> None:
    producer = make()
    failures.forever = lambda: DiskFullError("full")
    producer.send("t", b"v")
    with pytest.raises(StreamlogTimeoutError, match="250 ms"):
        producer.flush(timeout_ms=250)
    assert clock.now == START_MS + 250
    failures.forever = None
    producer.flush()


def test_close_delivers_what_was_sent_and_ends_all_use(broker: Broker, producer: Producer) -> None:
    """PRD-9, PRD-4: use after close is an IllegalStateError."""
    future = producer.send("t", b"v")
    write = producer.writer("t")
    write(b"w")
    producer.close()
    assert future.result().offset == 0
    assert values(broker) == [b"v", b"w"]
    for use in (
        lambda: producer.send("t", b"v"),
        lambda: producer.send("t", b"v", key=b"k"),
        lambda: producer.send_many("t", [b"v"]),
        lambda: producer.writer("t"),
        lambda: write(b"w"),
        lambda: write(b"w", b"key"),
        producer.flush,
        lambda: producer.partitions_for("t"),
        producer.__enter__,
    ):
        with pytest.raises(ClosedError):
            use()
    producer.close()
    assert values(broker) == [b"v", b"w"]
    assert "closed" in repr(producer)


def test_prd_9_close_0_fails_what_waits(broker: Broker, make: Make) -> None:
    deliveries = Deliveries()
    producer = make(linger_ms=1000)
    futures = [producer.send("t", b"1"), producer.send("t", b"2", on_delivery=deliveries)]
    producer.close(0)
    for future in futures:
        with pytest.raises(ClosedError):
            future.result()
    assert [type(error) for error in deliveries.errors] == [ClosedError]
    assert values(broker) == []


def test_close_fails_what_its_timeout_leaves(
    clock: VirtualClock, make: Make, failures: Failures
) -> None:
    producer = make()
    failures.forever = lambda: DiskFullError("full")
    future = producer.send("t", b"v")
    producer.close(timeout_ms=500)
    assert clock.now == START_MS + 500
    assert isinstance(future.exception(), ClosedError)
    with pytest.raises(ValueError, match="timeout_ms"):
        make().close(-1)


def test_close_inside_a_callback_does_not_wait(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    producer = make(linger_ms=5)
    producer.send("t", b"v", on_delivery=lambda *_: producer.close())
    other = producer.send("t3", b"v", partition=1)
    producer.flush()
    assert isinstance(other.exception(), ClosedError)
    assert "close inside a callback" in caplog.text


def test_the_broker_closes_its_producers_first(clock: VirtualClock, data_dir: str) -> None:
    with Broker(data_dir, clock=clock) as broker:
        broker.create_topic("t")
        producer = Producer(broker, linger_ms=1000)
        future = producer.send("t", b"v")
    assert future.result().offset == 0
    with pytest.raises(ClosedError):
        producer.send("t", b"v")
    producer.close()
    with Broker(data_dir, clock=clock) as broker:
        assert values(broker) == [b"v"]


def test_a_producer_of_a_closed_broker_raises(broker: Broker) -> None:
    broker.close()
    with pytest.raises(ClosedError):
        Producer(broker)


def test_context_manager_closes_and_reports_only_its_own_errors(
    make: Make, failures: Failures, caplog: pytest.LogCaptureFixture
) -> None:
    failures.forever = lambda: InvalidTimestampError("no")
    with pytest.raises(InvalidTimestampError), make(linger_ms=5) as producer:
        producer.writer("t")(b"v")
    with pytest.raises(KeyError), make(linger_ms=5) as producer:
        producer.writer("t")(b"v")
        raise KeyError
    assert "Closing" in caplog.text
    with pytest.raises(ClosedError):
        producer.flush()


# ---- retries (PRD-7, PRD-8)


def test_prd_8_a_retriable_error_is_tried_again_with_growing_pauses(
    broker: Broker, clock: VirtualClock, make: Make, failures: Failures
) -> None:
    """``retry_backoff_ms`` doubles up to ``retry_backoff_max_ms``; ``send`` does not wait."""
    producer = make()
    failures.next = [DiskFullError("full")] * 8
    future = producer.send("t", b"v")
    assert not future.done()
    assert clock.now == START_MS
    attempted_at = []
    failures.before_append = lambda: attempted_at.append(clock.now - START_MS)
    assert future.result().offset == 0
    # 8 failures: two in `send` itself (by itself, and as a batch), then one for each pause.
    assert attempted_at == [100, 300, 700, 1500, 2500, 3500, 4500]
    assert producer.metrics()["record_retry_total"] == 7
    assert values(broker) == [b"v"]


@pytest.mark.parametrize("linger_ms", [0, 5])
def test_prd_8_nothing_overtakes_a_record_that_waits(
    broker: Broker, clock: VirtualClock, make: Make, failures: Failures, linger_ms: int
) -> None:
    producer = make(linger_ms=linger_ms)
    deliveries = Deliveries()
    failures.forever = lambda: DiskFullError("full")
    sent = []

    def send_some(tag: bytes) -> None:
        for n in range(3):
            sent.append(b"%s%d" % (tag, n))
            producer.send("t", sent[-1])
            sent.append(b"%s%d keyed" % (tag, n))
            producer.send("t", sent[-1], key=b"k", on_delivery=deliveries)

    send_some(b"a")
    clock.advance(50)
    send_some(b"b")
    producer.send_many("t", [b"m0", b"m1"])
    sent.extend([b"m0", b"m1"])
    producer.writer("t")(b"w")
    sent.append(b"w")
    clock.advance(100)
    failures.forever = None
    send_some(b"c")
    assert values(broker) == []
    clock.advance(1000)
    send_some(b"d")
    producer.flush()
    assert values(broker) == sent
    assert deliveries.offsets == sorted(deliveries.offsets)


def test_prd_8_retries_are_counted(make: Make, failures: Failures) -> None:
    producer = make(retries=2)
    failures.forever = lambda: DiskFullError("full")
    future = producer.send("t", b"v")
    with pytest.raises(DiskFullError):
        future.result()
    assert producer.metrics()["record_retry_total"] == 2
    assert producer.metrics()["record_error_total"] == 1


@pytest.mark.parametrize("retries", [0, 1, 3])
@pytest.mark.parametrize(
    "options", [{}, {"key": b"k"}, {"on_delivery": print}, {"headers": [("h", b"")]}]
)
def test_prd_8_retries_bound_the_attempts_of_each_kind_of_record(
    make: Make, failures: Failures, retries: int, options: Any
) -> None:
    """With ``linger_ms=0`` one more: by itself, and as a batch, which is what may be tried again."""
    for linger_ms, others in ((0, 2), (5, 1)):
        producer = make(linger_ms=linger_ms, retries=retries)
        producer.send("t", b"the topic is known").result()
        failures.attempts = 0
        failures.forever = lambda: DiskFullError("full")
        assert isinstance(producer.send("t", b"v", **options).exception(), DiskFullError)
        assert failures.attempts == others + retries
        assert producer.metrics()["record_retry_total"] == retries
        failures.forever = None


@pytest.mark.parametrize("linger_ms", [0, 5])
def test_prd_8_retries_bound_the_attempts_of_a_writer(
    make: Make, failures: Failures, linger_ms: float
) -> None:
    producer = make(linger_ms=linger_ms, retries=3)
    write = producer.writer("t")
    write(b"the topic is known")
    producer.flush()
    failures.attempts = 0
    failures.forever = lambda: DiskFullError("full")
    write(b"v")
    with pytest.raises(DiskFullError):
        producer.flush()
    assert failures.attempts == 3 + (1 if linger_ms else 2)


def test_prd_8_other_errors_are_final(make: Make, failures: Failures) -> None:
    for linger_ms in (0, 5):
        producer = make(linger_ms=linger_ms)
        for error in (InvalidTimestampError("no"), RuntimeError("bug"), OSError("disk")):
            failures.next = [error]
            future = producer.send("t", b"v", headers=[("h", b"")])
            producer.flush()
            with pytest.raises(type(error)):
                future.result()
        assert producer.metrics()["record_retry_total"] == 0


def test_prd_7_delivery_timeout_bounds_all_attempts(
    clock: VirtualClock, make: Make, failures: Failures
) -> None:
    """A record that takes longer fails with a timeout, and later records keep going."""
    producer = make(delivery_timeout_ms=31_000)
    failures.forever = lambda: DiskFullError("no space on vda")
    future = producer.send("t", b"v")
    clock.advance(15_000)
    later = producer.send("t", b"later")
    with pytest.raises(StreamlogTimeoutError, match="delivery_timeout_ms=31000") as caught:
        future.result()
    assert clock.now == START_MS + 31_000
    assert "no space on vda" in str(caught.value)
    assert isinstance(caught.value.__cause__, DiskFullError)
    failures.forever = None
    assert later.result().offset == 0


def test_prd_7_a_batch_behind_expires_with_the_one_ahead(
    clock: VirtualClock, make: Make, failures: Failures
) -> None:
    producer = make(delivery_timeout_ms=31_000, linger_ms=5)
    failures.forever = lambda: DiskFullError("full")
    first = producer.send("t", b"1")
    clock.advance(6)
    second = producer.send("t", b"2", timestamp_ms=5)
    clock.advance(31_000)
    assert isinstance(first.exception(), StreamlogTimeoutError)
    assert isinstance(second.exception(), StreamlogTimeoutError)


def test_prd_10_acks_0_has_no_offset_and_no_retry(
    broker: Broker, make: Make, failures: Failures
) -> None:
    for linger_ms in (0, 5):
        producer = make(acks=0, linger_ms=linger_ms)
        metadata = producer.send("t", b"v").result()
        assert (metadata.offset, metadata.durability) == (-1, Durability.NONE)
        failures.next = [DiskFullError("full")]
        assert isinstance(producer.send("t", b"v").exception(), DiskFullError)
        assert producer.metrics()["record_retry_total"] == 0
    assert len(values(broker)) == 2


@pytest.mark.parametrize("acks", [1, "1", -1, "all"])
@pytest.mark.parametrize("linger_ms", [0, 5])
def test_prd_10_acks_1_and_all_wait_for_the_append_of_the_one_replica(
    data_dir: str, clock: VirtualClock, acks: Any, linger_ms: float
) -> None:
    with failing_partitions() as failures, Broker(data_dir, clock=clock) as broker:
        producer = Producer(broker, acks=acks, linger_ms=linger_ms)
        for offset in range(2):
            metadata = producer.send("t", b"v").result()
            assert (metadata.offset, metadata.durability) == (offset, Durability.PROCESS)
            failures.next = [DiskFullError("full")] * 2
        assert producer.metrics()["record_retry_total"] >= 1, "and what failed is tried again"


# ---- memory (PRD-6)


def test_prd_6_a_full_buffer_blocks_then_raises_by_the_future(
    clock: VirtualClock, make: Make, failures: Failures
) -> None:
    producer = make(buffer_memory=40_000, max_block_ms=700, linger_ms=5)
    failures.forever = lambda: DiskFullError("full")
    deliveries = Deliveries()
    # Two batches of 16,384 bytes fit, for two partitions; a third one does not.
    accepted = [producer.send("t3", bytes(900), partition=n % 2) for n in range(20)]
    assert clock.now == START_MS
    refused = producer.send("t3", b"v", partition=2, on_delivery=deliveries)
    assert clock.now == START_MS + 700
    with pytest.raises(BufferExhaustedError, match="buffer_memory=40000"):
        refused.result()
    assert [type(error) for error in deliveries.errors] == [BufferExhaustedError]
    failures.forever = None
    producer.flush()
    assert all(future.exception() is None for future in accepted)
    assert producer.metrics()["buffer_available_bytes"] == 40_000


def test_prd_6_room_that_is_made_in_time_lets_send_go_on(
    broker: Broker, clock: VirtualClock, make: Make, failures: Failures
) -> None:
    producer = make(buffer_memory=33_000, linger_ms=5, batch_size=16_000)
    failures.next = [DiskFullError("full")] * 4
    futures = [producer.send("t", bytes(7_000)) for _ in range(8)]
    producer.flush()
    assert [future.result().offset for future in futures] == list(range(8))
    assert clock.now > START_MS


def test_prd_5_short_memory_sends_batches_that_linger(
    broker: Broker, clock: VirtualClock, make: Make
) -> None:
    """PRD-5: what lingers goes when somebody needs its memory; nobody waits."""
    broker.create_topic("wide", partitions=10)
    producer = make(buffer_memory=16_384 * 3, linger_ms=1000)
    futures = [producer.send("wide", b"v", partition=n) for n in range(10)]
    assert clock.now == START_MS
    assert sum(future.done() for future in futures) >= 7


# ---- interceptors (PRD-12)


class Tagging:
    """Appends its tag to the value and remembers acknowledgements."""

    def __init__(self, tag: bytes, log: list[Any]) -> None:
        self.tag = tag
        self.log = log

    def on_send(self, record: ProducerRecord) -> ProducerRecord:
        return attrs.evolve(record, value=record.value + self.tag)

    def on_acknowledgement(self, metadata: RecordMetadata, error: BaseException | None) -> None:
        self.log.append((self.tag, metadata.offset, error))


def test_prd_12_interceptors_see_and_replace_each_record(broker: Broker, make: Make) -> None:
    log: list[Any] = []
    for linger_ms in (0, 5):
        producer = make(linger_ms=linger_ms, interceptors=[Tagging(b"1", log), Tagging(b"2", log)])
        producer.send("t", b"v", on_delivery=lambda m, e: log.append(("mine", m.offset, e)))
        producer.send_many("t", [b"m"])
        producer.flush()
    assert values(broker) == [b"v12", b"m12"] * 2
    assert log[:5] == [
        (b"1", 0, None),
        (b"2", 0, None),
        ("mine", 0, None),
        (b"1", 1, None),
        (b"2", 1, None),
    ]


def test_prd_12_interceptors_hear_of_failures(make: Make) -> None:
    log: list[Any] = []
    producer = make(interceptors=[Tagging(b"", log)], max_request_size=200)
    producer.send("t", bytes(500))
    with pytest.raises(SerializationError):
        producer.send("t", b"v", key="text")
    assert [(offset, type(error)) for _, offset, error in log] == [
        (-1, RecordTooLargeError),
        (-1, SerializationError),
    ]


# ---- metrics


def test_metrics_count_batches_and_records(producer: Producer) -> None:
    for n in range(4):
        producer.send("t", b"%0100d" % n)
    producer.flush()
    metrics = producer.metrics()
    assert metrics["record_send_total"] == 4
    assert metrics["request_total"] in (1, 4)
    assert metrics["records_per_request_avg"] == 4 / metrics["request_total"]
    assert metrics["buffer_available_bytes"] == metrics["buffer_total_bytes"] == 33_554_432
    assert metrics["batch_size_avg"] > 100


def test_repr_names_client_and_broker(make: Make) -> None:
    assert repr(make(client_id="mine")).startswith("<Producer 'mine' of <Broker 1")
    assert repr(make()).startswith("<Producer of <Broker 1")


# ---- fork


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_cannot_use_the_producer(run_python: Callable[..., str]) -> None:
    answer = run_python(
        """
        import os, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        from streamlog import Broker, ForkedError
        from streamlog.client.producer import Producer
        broker = Broker()
        producer = Producer(broker, linger_ms=10_000)
        future = producer.send("t", b"v")
        write = producer.writer("t")
        write(b"w")
        pid = os.fork()
        if pid == 0:
            raised = 0
            for use in (lambda: producer.send("t", b"v"), lambda: producer.send("t", b"v", key=b"k"),
                        lambda: write(b"w"), producer.flush, future.result, producer.close):
                try:
                    use()
                except ForkedError:
                    raised += 1
            os._exit(raised)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status))
        producer.flush()
        print(future.result().offset)
        broker.close()
        """
    )
    assert answer.split() == ["5", "0"]


def test_loggers_are_quiet_when_all_goes_well(
    producer: Producer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        producer.send("t", b"v")
        producer.send_many("t", [b"v"])
        producer.writer("t")(b"v")
        producer.close()
    assert caplog.records == []
