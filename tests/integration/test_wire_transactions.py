"""Transactions of real clients, of this process and of both, under one coordinator; TXN-3, TXN-7, TXN-8, TXN-14, TXN-16."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.client.consumer import Consumer
from streamlog.client.producer import Producer
from streamlog.errors import StreamlogError
from streamlog.structs import TopicPartition
from tests.support.sockets import own_address

confluent = pytest.importorskip("confluent_kafka")
kafka = pytest.importorskip("kafka")
kafka_errors = pytest.importorskip("kafka.errors")

# kafka-python closes its clients without all of their sockets.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

TIMEOUT_S = 60.0
FENCED = -144


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        broker.create_topic("t", partitions=2)
        broker.create_topic("in")
        broker.listen()
        yield broker
        gc.collect()  # of sockets that kafka-python forgets, while that is not held against it


class Confluent:
    """A transactional producer of confluent-kafka."""

    def __init__(self, bootstrap_servers: str, transactional_id: str = "x", **config: Any) -> None:
        self.bootstrap_servers = bootstrap_servers
        self.producer = confluent.Producer(
            {
                "bootstrap.servers": bootstrap_servers,
                "transactional.id": transactional_id,
                "reconnect.backoff.max.ms": 200,
                # Or else, where its only broker was away for a moment, it goes on asking what it remembers as the
                # coordinator of a group for ever.
                "metadata.recovery.strategy": "none",
                "retry.backoff.ms": 20,
                "log_level": 0,
                **config,
            }
        )
        self.producer.init_transactions(TIMEOUT_S)

    def begin(self) -> None:
        self.producer.begin_transaction()

    def send(self, *values: bytes) -> None:
        for number, value in enumerate(values):
            self.producer.produce("t", value, partition=number % 2)
        assert self.producer.flush(TIMEOUT_S) == 0

    def send_offset(self, offset: int) -> None:
        reader = confluent.Consumer({"bootstrap.servers": self.bootstrap_servers, "group.id": "g"})
        offsets = [confluent.TopicPartition("in", 0, offset)]
        metadata = reader.consumer_group_metadata()
        self.producer.send_offsets_to_transaction(offsets, metadata, TIMEOUT_S)
        reader.close()

    def commit(self) -> None:
        self.producer.commit_transaction(TIMEOUT_S)

    def abort(self) -> None:
        self.producer.abort_transaction(TIMEOUT_S)

    def close(self) -> None:
        """It closes itself."""


class KafkaPython:
    """The same of kafka-python."""

    def __init__(self, bootstrap_servers: str, transactional_id: str = "x") -> None:
        self.producer = kafka.KafkaProducer(
            bootstrap_servers=bootstrap_servers, transactional_id=transactional_id
        )
        self.producer.init_transactions()

    def begin(self) -> None:
        self.producer.begin_transaction()

    def send(self, *values: bytes) -> None:
        for number, value in enumerate(values):
            self.producer.send("t", value, partition=number % 2)
        self.producer.flush(TIMEOUT_S)

    def send_offset(self, offset: int) -> None:
        place = kafka.TopicPartition("in", 0)
        self.producer.send_offsets_to_transaction(
            {place: kafka.OffsetAndMetadata(offset, "", -1)}, "g"
        )

    def commit(self) -> None:
        self.producer.commit_transaction()

    def abort(self) -> None:
        self.producer.abort_transaction()

    def close(self) -> None:
        self.producer.close(timeout=1)


@pytest.fixture(params=[Confluent, KafkaPython])
def client(request: pytest.FixtureRequest, broker: Broker) -> Iterator[Callable[[], Any]]:
    """Makes transactional producers, all of one id."""
    made: list[Any] = []

    def make() -> Any:
        made.append(request.param(broker.bootstrap_servers))
        return made[-1]

    yield make
    for one in made:
        one.close()


def committed_values(broker: Broker) -> list[bytes]:
    """What a consumer of this process sees."""
    found: list[bytes] = []
    partitions = [TopicPartition("t", number) for number in range(2)]
    with Consumer(broker, isolation_level="read_committed") as consumer:
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        while records := consumer.poll(0):
            found += [record.value for record in records if record.value is not None]
    return sorted(found)


def committed_over_the_wire(broker: Broker, count: int) -> list[bytes]:
    """The first values that confluent-kafka sees, and that there are no more."""
    consumer = confluent.Consumer(
        {
            "bootstrap.servers": broker.bootstrap_servers,
            "group.id": "reader",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    consumer.assign([confluent.TopicPartition("t", number, 0) for number in range(2)])
    found: list[bytes] = []
    ends = 0
    while ends < 2:
        message = consumer.poll(TIMEOUT_S)
        assert message is not None, f"{found} and no more of {count}"
        if message.error() is None:
            found.append(message.value())
        else:
            assert message.error().code() == confluent.KafkaError._PARTITION_EOF
            ends += 1
    consumer.close()
    return sorted(found)


def group_offset(broker: Broker) -> int | None:
    place = TopicPartition("in", 0)
    found = broker.group_coordinator.fetch_offsets("g", [place])[place]
    return None if found is None else found.offset


def test_commits_and_aborts_are_seen_by_readers_of_both_kinds(
    broker: Broker, client: Callable[..., Any]
) -> None:
    producer = client()
    for number, commit in enumerate((True, False, True)):
        producer.begin()
        producer.send(b"%d.0" % number, b"%d.1" % number, b"%d.2" % number)
        producer.send_offset(number)
        if commit:
            producer.commit()
        else:
            producer.abort()
    producer.begin()
    producer.send(b"open")
    expected = [b"0.0", b"0.1", b"0.2", b"2.0", b"2.1", b"2.2"]
    assert committed_values(broker) == expected
    assert committed_over_the_wire(broker, len(expected)) == expected
    assert group_offset(broker) == 2
    producer.abort()


def test_producer_in_this_process_fences_a_client(
    broker: Broker, client: Callable[..., Any]
) -> None:
    zombie = client()
    zombie.begin()
    zombie.send(b"zombie")
    with Producer(broker, transactional_id="x") as producer:
        producer.init_transactions()
        with producer.transaction():
            producer.send("t", b"new", partition=0)
        with pytest.raises((confluent.KafkaException, kafka_errors.KafkaError)):
            zombie.commit()
        assert committed_values(broker) == [b"new"]
        # And the other way round.
        producer.begin_transaction()
        producer.send("t", b"old", partition=0)
        owner = client()
        with pytest.raises(StreamlogError):
            producer.commit_transaction()
        owner.begin()
        owner.send(b"newest")
        owner.commit()
    assert committed_values(broker) == [b"new", b"newest"]


def test_fenced_client_is_told_that_this_is_the_end(broker: Broker) -> None:
    zombie = Confluent(broker.bootstrap_servers)
    zombie.begin()
    zombie.send(b"zombie")
    owner = Confluent(broker.bootstrap_servers)
    with pytest.raises(confluent.KafkaException) as caught:
        zombie.commit()
    assert caught.value.args[0].code() == FENCED
    assert caught.value.args[0].fatal()
    owner.begin()
    owner.send(b"owner")
    owner.commit()
    assert committed_values(broker) == [b"owner"]


class TwoLives:
    """A directory whose broker ends, and another one that listens where it did."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.broker = Broker(path)
        self.broker.create_topic("t", partitions=2)
        self.broker.create_topic("in")
        self.address = self.broker.listen(own_address()).bootstrap_servers

    def restart(self) -> None:
        self.broker.close()
        self.broker = Broker(self.path)
        self.broker.listen(self.address)


@pytest.fixture
def lives(tmp_path: Path) -> Iterator[TwoLives]:
    lives = TwoLives(tmp_path / "data")
    yield lives
    gc.collect()  # of clients that an error holds, or they go on looking for the broker
    lives.broker.close()


def test_client_goes_on_behind_the_end_of_a_broker(lives: TwoLives) -> None:
    producer = Confluent(lives.address)
    for value in (b"before", b"after"):
        producer.begin()
        producer.send(value)
        producer.send_offset(len(value))
        producer.commit()
        lives.restart()
    assert committed_values(lives.broker) == [b"after", b"before"]
    assert group_offset(lives.broker) == 5


def test_transaction_that_was_open_when_the_broker_ended_is_aborted_and_can_be_tried_again(
    lives: TwoLives,
) -> None:
    """The last one of the same epoch was committed: it must not be taken for that."""
    producer = Confluent(lives.address)
    producer.begin()
    producer.send(b"committed")
    producer.commit()
    producer.begin()
    producer.send(b"lost", b"lost")
    lives.restart()
    with pytest.raises(confluent.KafkaException) as caught:
        producer.commit()
    assert caught.value.args[0].txn_requires_abort()
    producer.abort()
    producer.begin()
    producer.send(b"again", b"again")
    producer.commit()
    assert committed_values(lives.broker) == [b"again", b"again", b"committed"]
