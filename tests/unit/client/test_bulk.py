from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.client.bulk import BULK_BATCH_BYTES
from streamlog.client.producer import Producer
from streamlog.errors import (
    BufferExhaustedError,
    DiskFullError,
    InvalidTimestampError,
    InvalidTopicError,
    RecordTooLargeError,
    SerializationError,
    StreamlogTimeoutError,
    UnknownTopicOrPartitionError,
)
from streamlog.runtime import VirtualClock
from streamlog.structs import ProducerRecord
from tests.support.producing import Failures, failing_partitions, stored, stored_batches, values

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


def test_a_run_is_appended_before_send_many_returns(broker: Broker, producer: Producer) -> None:
    run = [b"%d" % n for n in range(1000)]
    future = producer.send_many("t", run)
    assert future.done()
    assert values(broker) == run
    assert future.result().offset == 999
    assert [metadata.offset for metadata in future.metadata()] == [999]
    assert future.result().serialized_value_size == 3


def test_a_run_keeps_its_place_among_single_records(broker: Broker, producer: Producer) -> None:
    producer.send("t", b"before")
    producer.writer("t")(b"written")
    producer.send_many("t", [b"1", b"2"])
    producer.send("t", b"after")
    producer.flush()
    assert values(broker) == [b"before", b"written", b"1", b"2", b"after"]


def test_large_runs_are_cut_into_large_batches(broker: Broker, make: Make) -> None:
    run = [bytes(n * 31 % 200) for n in range(20_000)]
    future = make().send_many("t", run)
    assert values(broker) == run
    sizes = [sum(len(r.value or b"") + 7 for r in batch) for batch in stored_batches(broker)]
    assert max(sizes) <= BULK_BATCH_BYTES
    assert min(sizes[:-1]) > BULK_BATCH_BYTES * 0.8
    assert len(future.metadata()) == len(sizes)


def test_batches_fit_the_topic(broker: Broker, make: Make) -> None:
    """REC-6: known beforehand, so nothing has to be split."""
    broker.create_topic("small", configs={"max_message_bytes": 700, "segment_bytes": 600})
    producer = make()
    run = [b"%050d" % n for n in range(200)] + [bytes(400)]
    assert producer.send_many("small", run).result().offset == 200
    assert values(broker, "small") == run
    assert producer.metrics()["batch_split_total"] == 0


def test_a_limit_that_shrinks_meanwhile_splits_batches(
    broker: Broker, clock: VirtualClock, make: Make, failures: Failures
) -> None:
    """REC-6: the run's future stands for every part."""
    producer = make()
    failures.next = [DiskFullError("full")]
    run = [b"%050d" % n for n in range(100)]
    keys = [b"%d" % n for n in range(100)]
    future = producer.send_many("t", run, keys=keys, timestamps_ms=range(100))
    broker.alter_topic_configs("t", {"max_message_bytes": 1000})
    assert not future.done()
    assert len(future._parts) == 1
    assert future.result().offset == 99
    assert future.result().serialized_key_size == 2
    records = stored(broker)
    assert [(r.value, r.key, r.timestamp_ms) for r in records] == list(
        zip(run, keys, range(100), strict=True)
    )
    metadata = future.metadata()
    assert len(metadata) == len(stored_batches(broker)) > 4
    assert [m.offset for m in metadata] == [b[-1].offset for b in stored_batches(broker)]
    assert future.done()


def test_keys_send_records_where_send_would(broker: Broker, make: Make) -> None:
    """PAR-1; the run's order is kept within each partition, and the result is the last record's."""
    producer = make(linger_ms=5)
    keys = [b"%d" % (n % 11) if n % 5 else None for n in range(500)]
    run = [b"%d" % n for n in range(500)]
    future = producer.send_many("t3", run, keys=keys, timestamps_ms=list(range(500)))
    found = [record for number in range(3) for record in stored(broker, "t3", number)]
    assert len(found) == 500
    for number in range(3):
        records = stored(broker, "t3", number)
        assert [r.timestamp_ms for r in records] == sorted(r.timestamp_ms for r in records)
        for record in records:
            assert record.value == run[record.timestamp_ms]
            assert record.key == keys[record.timestamp_ms]
            if record.key is not None:
                where = producer.send("t3", b"", key=record.key).result().partition
                assert where == number
    last = future.result()
    assert stored(broker, "t3", last.partition)[last.offset].value == b"499"
    assert {m.partition for m in future.metadata()} == {0, 1, 2}


def test_nulls_may_be_anywhere(broker: Broker, producer: Producer) -> None:
    """REC-1."""
    run = [None, b"", b"a", None] * 50
    keys = [b"", None, b"k", None] * 50
    future = producer.send_many("t", run, keys=keys)
    assert [(r.value, r.key) for r in stored(broker)] == list(zip(run, keys, strict=True))
    assert future.result().serialized_value_size == -1
    producer.send_many("t", [None, None])
    assert values(broker)[-2:] == [None, None]


def test_other_bytes_are_copied(broker: Broker, producer: Producer) -> None:
    mutable = bytearray(b"one")
    producer.send_many("t", [mutable, memoryview(b"two"), None], keys=[bytearray(b"k"), None, b""])
    mutable[:] = b"xxx"
    assert [(r.value, r.key) for r in stored(broker)] == [
        (b"one", b"k"),
        (b"two", None),
        (None, b""),
    ]


def test_any_iterable_of_values_will_do(broker: Broker, producer: Producer) -> None:
    producer.send_many("t", (b"%d" % n for n in range(3)))
    producer.send_many("t", (b"3",), keys=(b"k",), timestamps_ms=(5,))
    assert values(broker) == [b"0", b"1", b"2", b"3"]


def test_a_run_of_nothing_is_done(broker: Broker, producer: Producer) -> None:
    future = producer.send_many("t", [])
    assert future.done()
    assert future.exception() is None
    assert future.metadata() == []
    assert (future.result().topic, future.result().partition, future.result().offset) == (
        "t",
        -1,
        -1,
    )
    assert values(broker) == []
    seen: list[Any] = []
    future.add_done_callback(seen.append)
    assert seen == [future]


def test_null_keys_spread_over_partitions(broker: Broker, make: Make) -> None:
    """PAR-2."""
    producer = make()
    future = producer.send_many("t3", [bytes(1000)] * 5000)
    assert {metadata.partition for metadata in future.metadata()} == {0, 1, 2}
    assert sum(len(values(broker, "t3", number)) for number in range(3)) == 5000


def test_an_explicit_partition_takes_the_run(broker: Broker, producer: Producer) -> None:
    """PRD-11."""
    producer.send_many("t3", [b"v"] * 10, keys=[b"%d" % n for n in range(10)], partition=2)
    assert len(values(broker, "t3", 2)) == 10


def test_a_partitioner_of_ones_own_is_asked(broker: Broker, make: Make) -> None:
    producer = make(partitioner=lambda topic, key, value, count: len(value) % count)
    producer.send_many("t3", [bytes(n) for n in range(9)])
    assert [len(values(broker, "t3", number)) for number in range(3)] == [3, 3, 3]
    producer.send_many("t3", [b"v"], keys=[b"k"])
    assert stored(broker, "t3", 1)[-1].key == b"k"


def test_serializers_apply(broker: Broker, make: Make) -> None:
    producer = make(key_serializer="str", value_serializer="json")
    producer.send_many("t", [{"a": 1}, None], keys=["k", None])
    assert [(r.value, r.key) for r in stored(broker)] == [(b'{"a":1}', b"k"), (None, None)]
    with pytest.raises(SerializationError, match=r"values\[1\]"):
        producer.send_many("t", [1, object()])
    assert len(values(broker)) == 2


def test_interceptors_see_each_record(broker: Broker, make: Make) -> None:
    """PRD-12."""
    seen = []

    class Watching:
        def on_send(self, record: ProducerRecord) -> ProducerRecord:
            seen.append((record.value, record.key, record.timestamp_ms))
            return record

    producer = make(interceptors=[Watching()])
    future = producer.send_many("t", [b"1", b"2"], keys=[b"k", None], timestamps_ms=[5, 6])
    assert seen == [(b"1", b"k", 5), (b"2", None, 6)]
    assert future.result().offset == 1
    assert [r.timestamp_ms for r in stored(broker)] == [5, 6]


def test_a_run_without_timestamps_has_the_time_of_the_call(
    broker: Broker, clock: VirtualClock, producer: Producer
) -> None:
    """REC-2."""
    clock.advance(7.9)
    producer.send_many("t", [b"v"] * 3)
    assert {record.timestamp_ms for record in stored(broker)} == {int(clock.now)}


@pytest.mark.parametrize(
    ("index", "values_", "keys"),
    [
        (3, [b"", b"", None, "text", b""], None),
        (0, [5], None),
        (700, [bytes(300)] * 700 + [1.5], None),
        (1, [b"v"] * 3, [b"k", 7, "x"]),
        (2, [b"v"] * 3, [None, None, "x"]),
    ],
)
@pytest.mark.parametrize("topic", ["t", "t3"])
def test_prd_4_a_wrong_element_is_named_and_nothing_is_sent(
    broker: Broker, make: Make, topic: str, index: int, values_: Any, keys: Any
) -> None:
    producer = make()
    name = "values" if keys is None else "keys"
    with pytest.raises(SerializationError, match=rf"{name}\[{index}\]"):
        producer.send_many(topic, values_, keys=keys)
    for info in producer.partitions_for(topic):
        assert values(broker, topic, info.partition) == []


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"keys": [b"k"]}, "keys: expected 2 elements"),
        ({"timestamps_ms": [1, 2, 3]}, "timestamps_ms: expected 2 elements"),
        ({"timestamps_ms": [1, -2]}, r"timestamps_ms\[1\]"),
        ({"timestamps_ms": [1, 1 << 63]}, r"timestamps_ms\[1\]"),
        ({"timestamps_ms": [True, 1]}, r"timestamps_ms\[0\]"),
        ({"timestamps_ms": [1, None]}, r"timestamps_ms\[1\]"),
        ({"partition": -1}, "partition"),
    ],
)
def test_rec_2_wrong_columns_raise(producer: Producer, arguments: Any, named: str) -> None:
    with pytest.raises((ValueError, TypeError), match=named):
        producer.send_many("t", [b"v", b"v"], **arguments)


def test_rec_6_a_record_that_is_too_large_is_named_and_nothing_is_sent(
    broker: Broker, make: Make
) -> None:
    producer = make(max_request_size=1000)
    future = producer.send_many("t", [b"v"] * 10 + [bytes(1000)])
    assert future.done()
    with pytest.raises(RecordTooLargeError, match=r"values\[10\]"):
        future.result()
    with pytest.raises(RecordTooLargeError):
        future.metadata()
    assert values(broker) == []


def test_api_errors_come_by_the_future(clock: VirtualClock, make: Make, failures: Failures) -> None:
    """PRD-4."""
    producer = make(max_block_ms=50)
    assert isinstance(producer.send_many("no/slash", [b"v"]).exception(), InvalidTopicError)
    assert isinstance(
        producer.send_many("t3", [b"v"], partition=3).exception(), UnknownTopicOrPartitionError
    )
    failures.next = [InvalidTimestampError("no")]
    future = producer.send_many("t", [b"v"])
    with pytest.raises(InvalidTimestampError):
        future.result()


def test_prd_6_a_run_waits_for_memory(clock: VirtualClock, make: Make, failures: Failures) -> None:
    producer = make(buffer_memory=300_000, max_block_ms=100)
    failures.forever = lambda: DiskFullError("full")
    future = producer.send_many("t", [bytes(1000)] * 1000)
    with pytest.raises(BufferExhaustedError):
        future._parts[-1].result()
    failures.forever = None
    producer.flush()
    assert isinstance(future.exception(), BufferExhaustedError)
    assert producer.metrics()["buffer_available_bytes"] == 300_000


def test_waiting_for_a_run_ends_with_the_timeout(
    clock: VirtualClock, make: Make, failures: Failures
) -> None:
    producer = make()
    failures.forever = lambda: DiskFullError("full")
    future = producer.send_many("t3", [b"v"] * 50, keys=[b"%d" % n for n in range(50)])
    assert "pending" in repr(future)
    seen: list[Any] = []
    future.add_done_callback(seen.append)
    before = clock.now
    with pytest.raises(StreamlogTimeoutError):
        future.result(timeout=0.5)
    assert clock.now - before == 500
    failures.forever = None
    assert future.result(timeout=5).offset >= 0
    assert seen == [future]
    assert "done" in repr(future)
