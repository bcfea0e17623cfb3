"""What a user does wrong, through the public names alone: a named error at once, and nothing broken by it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from streamlog import (
    Admin,
    Broker,
    ClosedError,
    Consumer,
    Durability,
    IllegalStateError,
    InvalidConfigurationError,
    InvalidPartitionsError,
    Producer,
    ProducerRecord,
    RecordMetadata,
    SerializationError,
    TopicPartition,
    UnknownTopicOrPartitionError,
)
from streamlog.testing import VirtualClock


@pytest.mark.parametrize("linger_ms", [0, 5])
def test_prd_4_a_record_for_a_partition_that_does_not_exist_fails_at_once(linger_ms: float) -> None:
    clock = VirtualClock()
    with Broker(clock=clock) as broker, Producer(broker, linger_ms=linger_ms) as producer:
        broker.create_topic("x", partitions=3)
        before = clock.now
        told: list[BaseException | None] = []
        future = producer.send(
            "x", b"v", partition=9, on_delivery=lambda _, error: told.append(error)
        )
        assert future.done()
        expected = "x-9 does not exist: topic 'x' has 3 partition"
        with pytest.raises(UnknownTopicOrPartitionError, match=expected):
            future.result()
        assert told == [future.exception()]
        with pytest.raises(UnknownTopicOrPartitionError, match=expected):
            producer.send_many("x", [b"v"], partition=9).result()
        with pytest.raises(UnknownTopicOrPartitionError, match=expected):
            producer.writer("x", 9)
        broker.create_partitions("x", 10)
        assert producer.send("x", b"v", partition=9).result().offset == 0
        assert clock.now - before <= linger_ms


def test_prd_4_a_record_for_an_unknown_topic_fails_at_once() -> None:
    clock = VirtualClock()
    with Broker(clock=clock, auto_create_topics_enable=False) as broker:
        producer = Producer(broker)
        before = clock.now
        assert isinstance(producer.send("x", b"v").exception(), UnknownTopicOrPartitionError)
        many = producer.send_many("x", [b"v", b"w"])
        assert isinstance(many.exception(), UnknownTopicOrPartitionError)
        for call in (producer.writer, producer.partitions_for):
            with pytest.raises(UnknownTopicOrPartitionError, match="topic 'x' does not exist"):
                call("x")
        assert clock.now == before
        broker.create_topic("x")
        assert producer.send("x", b"v").result().offset == 0


@pytest.mark.parametrize("linger_ms", [0, 5])
def test_what_is_given_to_send_by_position_behind_the_value_is_refused(linger_ms: float) -> None:
    with Broker() as broker, Producer(broker, linger_ms=linger_ms) as producer:
        send: Any = producer.send
        for wrong in ((b"key",), (None,), (None, b"key"), (b"key", None, 0)):
            with pytest.raises(
                TypeError, match="send: expected everything after the value by name"
            ):
                send("t", b"v", *wrong)
        with pytest.raises(TypeError, match="everything after the value by name"):
            send(ProducerRecord("t", b"v"), None, b"key")
        assert broker.topics() == []


def test_a_record_as_java_orders_it_is_refused() -> None:
    record: Any = ProducerRecord
    with pytest.raises(TypeError, match="positional"):
        record("t", b"key", b"value")
    with pytest.raises(TypeError, match="positional"):
        record("t", 0, 1_700_000_000_000, b"key", b"value")


def test_a_callback_that_cannot_be_called_is_refused_before_anything_is_sent() -> None:
    told: Any = "a name"
    with Broker() as broker, Producer(broker) as producer:
        for call in (
            lambda: producer.send("t", b"v", on_delivery=told),
            lambda: producer.send(ProducerRecord("t", b"v"), on_delivery=told),
            lambda: producer.writer("t", on_delivery=told),
        ):
            with pytest.raises(
                TypeError, match="on_delivery: expected a callable or None, found st"
            ):
                call()
        assert broker.topics() == []
        with pytest.raises(TypeError, match="add_done_callback: expected a callable, found str"):
            producer.send("t", b"v").add_done_callback(told)
        with pytest.raises(TypeError, match="add_done_callback: expected a callable, found str"):
            producer.send_many("t", [b"v"]).add_done_callback(told)


def test_a_wrong_time_out_of_flush_and_close_is_refused_and_changes_nothing() -> None:
    with Broker() as broker, Producer(broker) as producer:
        for call in (producer.flush, producer.close):
            with pytest.raises(TypeError, match=f"{call.__name__}: timeout_ms: .* found 'x'"):
                call("x")  # type: ignore[arg-type]
            with pytest.raises(ValueError, match=f"{call.__name__}: timeout_ms: .* found -1"):
                call(-1)
        assert producer.send("t", b"v").result().offset == 0


@pytest.mark.parametrize("client", [Producer, Consumer])
def test_what_is_no_broker_is_refused_as_such(client: Any) -> None:
    for wrong in ("localhost:9092", None, {"bootstrap.servers": "localhost:9092"}):
        with pytest.raises(
            TypeError, match=f"{client.__name__}: expected a Broker as the first arg"
        ):
            client(wrong)


def test_a_configuration_given_by_position_is_refused() -> None:
    producer: Any = Producer
    consumer: Any = Consumer
    open_broker: Any = Broker
    with Broker() as broker:
        with pytest.raises(TypeError, match="positional"):
            producer(broker, {"linger.ms": 5})
        with pytest.raises(TypeError, match=r"Consumer: .* give a configuration as config="):
            consumer(broker, "t", {"group.id": "g"})
        with pytest.raises(
            TypeError, match=r"Consumer: .* found \['t'\]: give a list .* as \*topics"
        ):
            consumer(broker, ["t"])
    with pytest.raises(TypeError, match=r"Broker: .* give a configuration as config="):
        open_broker({"log.retention.ms": 5})
    with pytest.raises(TypeError, match="positional"):
        open_broker("data", {"log.retention.ms": 5})


@pytest.mark.parametrize("path", ["", ":memory:"])
def test_a_path_that_means_memory_elsewhere_is_refused_with_the_way_to_say_it(path: str) -> None:
    with pytest.raises(InvalidConfigurationError, match=r"path: .* Broker\(\) lives in memory"):
        Broker(path)


def test_an_element_of_a_run_that_is_not_bytes_is_named_with_the_option() -> None:
    keys: list[Any] = [b"k", 5]
    with Broker() as broker, Producer(broker) as producer:
        expected = (
            r"values\[1\]: expected bytes or None, since no value_serializer is set; found str"
        )
        with pytest.raises(SerializationError, match=expected):
            producer.send_many("t", [b"v", "w"])
        expected = r"keys\[1\]: expected bytes or None, since no key_serializer is set; found int"
        with pytest.raises(SerializationError, match=expected):
            producer.send_many("t", [b"v", b"w"], keys=keys)
    with Broker() as broker, Producer(broker, value_serializer="str") as producer:
        expected = (
            r"^values\[1\]: topic 't': cannot serialize the value \(int\) with serializer 'str'"
        )
        with pytest.raises(SerializationError, match=expected):
            producer.send_many("t", ["v", 5])


def test_what_was_not_stored_has_no_durability() -> None:
    told: list[RecordMetadata] = []
    with Broker(auto_create_topics_enable=False) as broker, Producer(broker) as producer:
        assert producer.send_many("t", []).result() == RecordMetadata(
            "t", -1, -1, -1, durability=Durability.NONE
        )
        producer.send("t", b"v", on_delivery=lambda metadata, _: told.append(metadata))
        assert [one.durability for one in told] == [Durability.NONE]


@pytest.fixture
def consumer() -> Iterator[Consumer]:
    with Broker(clock=VirtualClock()) as broker:
        broker.create_topic("t", partitions=2)
        with Consumer(broker, group_id="g") as consumer:
            consumer.assign([TopicPartition("t", 0)])
            yield consumer


@pytest.mark.parametrize(
    ("call", "arguments", "expected"),
    [
        ("poll", {"timeout_ms": "1"}, "poll: timeout_ms: expected a number of .*, found '1'"),
        ("poll", {"timeout_ms": None}, "poll: timeout_ms: expected a number of .*, found None"),
        ("poll", {"max_records": "1"}, "poll: max_records: expected an int or None, found '1'"),
        ("poll", {"max_records": True}, "poll: max_records: expected an int or None, found True"),
        ("commit", {"timeout_ms": "1"}, "commit: timeout_ms: expected a number of milliseconds"),
        ("commit", {"offsets": [5]}, "offsets: expected a mapping from TopicPartition to"),
        (
            "commit",
            {"offsets": {("t", 0): "5"}},
            "offsets of t-0: expected OffsetAndMetadata or int",
        ),
        ("commit_async", {"callback": "x"}, "commit_async: callback: expected a callable or None"),
        ("close", {"timeout_ms": "1"}, "close: timeout_ms: expected a number of milliseconds"),
        ("seek", {"partition": ("t", 0), "offset": "3"}, "offset must be an int, found '3'"),
        ("seek", {"partition": ("t", 0), "offset": True}, "offset must be an int, found True"),
        ("position", {"partition": ("t", 0), "timeout_ms": "1"}, "position: timeout_ms: expected"),
        ("pause", {}, "pause: expected partitions, or a list of them, found no argument"),
        ("resume", {}, "resume: expected partitions, or a list of them, found no argument"),
    ],
)
def test_an_argument_of_the_wrong_type_is_named_and_changes_nothing(
    consumer: Consumer, call: str, arguments: dict[str, Any], expected: str
) -> None:
    with pytest.raises(TypeError, match=expected):
        getattr(consumer, call)(**arguments)
    assert not consumer.poll()
    assert consumer.position(TopicPartition("t", 0)) == 0


@pytest.mark.parametrize("timeout_ms", [-1, -0.5, float("nan"), float("-inf")])
def test_a_poll_that_could_never_end_or_begin_is_refused(
    consumer: Consumer, timeout_ms: float
) -> None:
    with pytest.raises(ValueError, match="poll: timeout_ms: expected 0 or more, found"):
        consumer.poll(timeout_ms)


def test_an_empty_list_of_partitions_pauses_nothing(consumer: Consumer) -> None:
    consumer.pause([])
    consumer.resume([])
    assert consumer.paused() == set()


def test_what_is_closed_says_so_when_shown() -> None:
    broker = Broker()
    producer, consumer = Producer(broker, client_id="p"), Consumer(broker, group_id="g")
    loner, admin = Consumer(broker), Admin(broker)
    assert repr(producer) == "<Producer 'p' of <Broker 1 in memory>>"
    assert repr(consumer) == "<Consumer of group 'g', 0 partition(s)>"
    assert repr(loner) == "<Consumer of no group, 0 partition(s)>"
    assert repr(admin) == "<Admin of <Broker 1 in memory>>"
    admin.close()
    broker.close()
    assert repr(broker) == "<Broker 1 in memory, closed>"
    assert repr(producer) == "<Producer 'p' of <Broker 1 in memory, closed>, closed>"
    assert repr(consumer) == "<Consumer of group 'g', closed>"
    assert repr(loner) == "<Consumer of no group, closed>"
    assert repr(admin) == "<Admin of <Broker 1 in memory, closed>, closed>"
    with pytest.raises(ClosedError, match="^Consumer of group 'g' is closed$"):
        consumer.poll()


@pytest.mark.parametrize(
    ("call", "arguments", "expected"),
    [
        ("create_topics", ({"x": 3},), "expected a list of names, found the dict"),
        (
            "create_partitions",
            (["t"],),
            "expected a mapping from topic names to total numbers of partitions, found list",
        ),
        ("delete_topics", ([3],), r"expected a topic name \(a str\), found 3"),
        ("describe_topics", ([("t", 0)],), r"expected a topic name \(a str\), found \('t', 0\)"),
        ("delete_records", ({("t", 0): "5"},), "t-0: expected an offset .*, found '5'"),
        ("list_offsets", ({("t", 0): "latest"},), "t-0: expected an OffsetSpec or timestamp in ms"),
        ("describe_configs", ("t",), "expected a list of names, found the str 't'"),
        (
            "incremental_alter_configs",
            ({"t": {"retention_ms": 5}},),
            "topic 't': expected a list of A",
        ),
        (
            "incremental_alter_configs",
            ([("t", 5)],),
            "expected a mapping from topic names to lists",
        ),
    ],
)
def test_an_argument_of_the_admin_client_of_the_wrong_type_is_refused(
    call: str, arguments: tuple[Any, ...], expected: str
) -> None:
    with Broker() as broker, Admin(broker) as admin:
        before = broker.create_topic("t")
        with pytest.raises(TypeError, match=expected):
            getattr(admin, call)(*arguments)
        assert admin.describe_topics() == {"t": before}


@pytest.mark.parametrize(
    ("call", "arguments", "expected"),
    [
        ("subscribe", (5,), "subscribe: expected topic names, found 5"),
        ("assign", (None,), "expected partitions, found None"),
        ("assign", (5,), "expected partitions, found 5"),
        (
            "offsets_for_times",
            ([("t", 0)],),
            "expected a mapping from TopicPartition to a time in ms",
        ),
        ("offsets_for_times", ({("t", 0): "now"},), "t-0: expected a time in ms .*, found 'now'"),
    ],
)
def test_partitions_and_times_of_the_wrong_type_are_refused(
    consumer: Consumer, call: str, arguments: tuple[Any, ...], expected: str
) -> None:
    with pytest.raises(TypeError, match=expected):
        getattr(consumer, call)(*arguments)
    assert consumer.assignment() == {TopicPartition("t", 0)}


def test_records_of_what_is_no_partition_are_refused_and_those_of_none_are_none(
    consumer: Consumer,
) -> None:
    records: Any = consumer.poll()
    with pytest.raises(TypeError, match="expected a TopicPartition, found 5"):
        records.records(5)
    assert records.records("nowhere") == records.records(("t", 0)) == []


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"values": None}, "values: expected a list of values, found None"),
        ({"values": "abc"}, "values: expected a list of values, found 'abc'"),
        ({"values": b"abc"}, "values: expected a list of values, found b'abc'"),
        ({"values": ["a"], "keys": iter([b"k"])}, "keys: expected a list, found list_iterator"),
        ({"values": ["a"], "timestamps_ms": 5}, "timestamps_ms: expected a list, found int"),
    ],
)
def test_a_run_that_is_no_list_is_refused_and_not_taken_letter_by_letter(
    columns: dict[str, Any], expected: str
) -> None:
    with Broker() as broker, Producer(broker, value_serializer="str") as producer:
        with pytest.raises(TypeError, match=f"topic 't': {expected}"):
            producer.send_many("t", **columns)
        assert broker.topics() == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"path": 5}, "expected a directory as the path, found 5"),
        ({"path": b"data"}, "expected a directory as the path, found b'data'"),
        ({"clock": 5}, "clock: expected Clock or None, found 5"),
        ({"filesystem": "x"}, "filesystem: expected FileSystem or None, found 'x'"),
        ({"seed": "x"}, "seed: expected int or None, found 'x'"),
        ({"config": [5]}, r"BrokerConfig: expected a mapping from keys to values, found \[5\]"),
    ],
)
def test_a_broker_of_the_wrong_parts_is_refused(arguments: dict[str, Any], expected: str) -> None:
    with pytest.raises(TypeError, match=expected):
        Broker(**arguments)


def test_configuration_keys_to_remove_are_a_list_and_configs_a_mapping() -> None:
    configs: Any = ["retention_ms"]
    with Broker() as broker:
        broker.create_topic("t")
        with pytest.raises(TypeError, match="expected a list of configuration keys, found the str"):
            broker.alter_topic_configs("t", remove="retention_ms")
        with pytest.raises(TypeError, match="TopicConfig: expected a mapping from keys to values"):
            broker.create_topic("x", configs=configs)
        with pytest.raises(
            InvalidPartitionsError, match="more partitions than the 1 it has, found 1"
        ):
            broker.create_partitions("t", 1)


def test_a_topic_is_told_from_a_record_by_calls_that_take_no_record() -> None:
    record: Any = ProducerRecord("t")
    with Broker() as broker, Producer(broker) as producer:
        for call in (producer.writer, lambda topic: producer.send_many(topic, [b"v"])):
            with pytest.raises(TypeError, match="topic: expected a str, found ProducerRecord"):
                call(record)
        number: Any = 5
        with pytest.raises(TypeError, match="topic: expected a str or a ProducerRecord, found int"):
            producer.send(number, b"v")


def test_a_seek_before_the_first_poll_of_a_subscriber_says_what_to_do() -> None:
    """In Kafka as well the group assigns nothing before `poll`."""
    with Broker(clock=VirtualClock()) as broker:
        broker.create_topic("t")
        with Consumer(broker, "t", group_id="g") as consumer:
            with pytest.raises(
                IllegalStateError, match=r"t-0 is not .*inside poll\(\): call it first"
            ):
                consumer.seek(TopicPartition("t", 0), 0)
            consumer.poll()
            consumer.seek(TopicPartition("t", 0), 0)
            with pytest.raises(
                IllegalStateError, match=r"t-7 is not assigned .* assigned are: t-0$"
            ):
                consumer.seek(TopicPartition("t", 7), 0)
            with pytest.raises(IllegalStateError, match="either topics or pattern.*, found both"):
                consumer.subscribe("t", pattern="t")
            with pytest.raises(
                IllegalStateError, match="either topics or pattern.*, found neither"
            ):
                consumer.subscribe()
