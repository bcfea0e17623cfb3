"""Groups of real clients, of this process and of both, over one coordinator."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.broker.group import GroupState
from streamlog.client.consumer import Consumer
from streamlog.client.producer import Producer
from streamlog.structs import OffsetAndMetadata, TopicPartition
from tests.support.eventually import eventually

confluent = pytest.importorskip("confluent_kafka")
confluent_admin = pytest.importorskip("confluent_kafka.admin")
kafka = pytest.importorskip("kafka")

# kafka-python closes its consumers without all of their sockets.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

PARTITIONS = 4
RECORDS = 40
#: Longer than a machine that has other things to do keeps a client waiting.
SESSION_MS = 10_000
#: Of members whose end is waited for.
SHORT_SESSION_MS = 1_000


@pytest.fixture
def broker() -> Iterator[Broker]:
    with open_broker(SESSION_MS) as broker:
        yield broker
        gc.collect()  # of sockets that kafka-python forgets, while that is not held against it


def open_broker(session_ms: int) -> Broker:
    config: dict[str, Any] = {
        "group_min_session_timeout_ms": 100,
        "group_consumer_session_timeout_ms": session_ms,
        "group_consumer_heartbeat_interval_ms": 50,
    }
    broker = Broker(**config)
    broker.create_topic("t", partitions=PARTITIONS)
    broker.listen()
    return broker


def produce(broker: Broker) -> None:
    with Producer(broker) as producer:
        for number in range(RECORDS):
            producer.send("t", b"%d" % number, partition=number % PARTITIONS)


class Confluent:
    """A consumer of confluent-kafka under either protocol."""

    def __init__(
        self,
        broker: Broker,
        protocol: str = "classic",
        session_ms: int = SESSION_MS,
        **config: Any,
    ) -> None:
        settings = {
            "bootstrap.servers": broker.bootstrap_servers,
            "group.id": "g",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "group.protocol": protocol,
            **confluent_settings(protocol, session_ms),
            **{key.replace("_", "."): value for key, value in config.items()},
        }
        self.consumer = confluent.Consumer(settings)
        self.values: list[bytes] = []
        self.consumer.subscribe(["t"])

    def poll(self) -> None:
        for message in self.consumer.consume(100, 0.01):
            error = message.error()
            if error is None:
                self.values.append(message.value())
            # What Kafka too answers to a join that waits while another member makes the group one of KIP-848 (GroupMetadataManager,
            # convertToConsumerGroup). This client tells its user, and joins again.
            elif error.code() != confluent.KafkaError.REBALANCE_IN_PROGRESS:
                raise AssertionError(error)

    @property
    def assigned(self) -> int:
        return len(self.consumer.assignment())

    def commit(self) -> None:
        try:
            self.consumer.commit(asynchronous=False)
        except confluent.KafkaException as error:
            # It has read nothing since its partitions were given to it.
            if error.args[0].code() != confluent.KafkaError._NO_OFFSET:
                raise

    def close(self) -> None:
        self.consumer.close()


class KafkaPython:
    """A consumer of kafka-python, which has to be given the time for a whole rebalance in each poll."""

    def __init__(self, broker: Broker, **config: Any) -> None:
        self.consumer = kafka.KafkaConsumer(
            "t",
            bootstrap_servers=broker.bootstrap_servers,
            group_id="g",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=50,
            **config,
        )
        self.values: list[bytes] = []

    def poll(self) -> None:
        for records in self.consumer.poll(200).values():
            self.values += [one.value for one in records]

    @property
    def assigned(self) -> int:
        return len(self.consumer.assignment())

    def commit(self) -> None:
        self.consumer.commit()

    def close(self) -> None:
        self.consumer.close()


class InProcess:
    """A consumer of this library."""

    def __init__(self, broker: Broker, **config: Any) -> None:
        self.consumer = Consumer(
            broker,
            group_id="g",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            **config,
        )
        self.values: list[bytes] = []
        self.consumer.subscribe(["t"])

    def poll(self) -> None:
        for record in self.consumer.poll(10):
            assert record.value is not None
            self.values.append(record.value)

    @property
    def assigned(self) -> int:
        return len(self.consumer.assignment())

    def commit(self) -> None:
        self.consumer.commit()

    def close(self) -> None:
        self.consumer.close()


def confluent_settings(protocol: str, session_ms: int) -> dict[str, Any]:
    if protocol == "consumer":
        return {}
    return {"session.timeout.ms": session_ms, "heartbeat.interval.ms": 50}


Member = Confluent | KafkaPython | InProcess

MAKERS: dict[str, Callable[[Broker], Member]] = {
    "confluent classic": Confluent,
    "confluent KIP-848": lambda broker: Confluent(broker, "consumer"),
    "kafka-python": KafkaPython,
    "in-process classic": lambda broker: InProcess(broker, group_protocol="classic"),
    "in-process KIP-848": InProcess,
}
PAIRS = [
    ("confluent classic", "confluent classic"),
    ("confluent KIP-848", "confluent KIP-848"),
    ("kafka-python", "kafka-python"),
    ("confluent classic", "kafka-python"),
    ("confluent KIP-848", "confluent classic"),
    ("kafka-python", "confluent KIP-848"),
    ("in-process classic", "confluent classic"),
    ("in-process KIP-848", "confluent classic"),
    ("in-process KIP-848", "confluent KIP-848"),
    ("in-process KIP-848", "kafka-python"),
    ("in-process classic", "kafka-python"),
    ("in-process classic", "confluent KIP-848"),
]


def poll_until(members: list[Member], is_so: Callable[[], object]) -> None:
    """Let *members* poll, all at once: one of kafka-python whose join is answered between two polls joins again. As the
    leader it begins another rebalance by that, and two that take turns may go on so for good.
    """
    with ThreadPoolExecutor(len(members)) as threads:

        def look() -> object:
            for polled in [threads.submit(one.poll) for one in members]:
                polled.result()
            return is_so()

        eventually(look)


def shares(broker: Broker, members: list[Member]) -> bool:
    """Return whether *members* have the partitions among them, in the coordinator's eyes as well."""
    fair = PARTITIONS // len(members)
    return all(one.assigned == fair for one in members) and (
        broker.group_coordinator.describe("g").state is GroupState.STABLE
    )


def all_is_committed(broker: Broker, members: list[Member]) -> bool:
    """Let each of *members* commit, and return whether that was the end of every partition."""
    for one in members:
        one.commit()
    committed = broker.group_coordinator.fetch_all_offsets("g")
    ends = dict.fromkeys(range(PARTITIONS), RECORDS // PARTITIONS)
    return {tp.partition: one.offset for tp, one in committed.items()} == ends


@pytest.mark.parametrize("kinds", PAIRS, ids=lambda kinds: " + ".join(kinds))
def test_two_members_share_a_topic_and_the_other_takes_over(
    broker: Broker, kinds: tuple[str, str]
) -> None:
    first, second = (MAKERS[kind](broker) for kind in kinds)
    members = [first, second]
    poll_until(members, lambda: shares(broker, members))
    produce(broker)
    poll_until(members, lambda: len({*first.values, *second.values}) == RECORDS)
    # Not once: what was not committed before another rebalance is read again, by whoever has it now.
    poll_until(members, lambda: shares(broker, members) and all_is_committed(broker, members))
    first.close()
    second.values.clear()
    poll_until([second], lambda: shares(broker, [second]))
    with Producer(broker) as producer:
        for number in range(PARTITIONS):
            producer.send("t", b"new %d" % number, partition=number)
    poll_until([second], lambda: len(second.values) >= PARTITIONS)
    # What was committed by either is read by nobody again.
    assert sorted(second.values) == [b"new %d" % number for number in range(PARTITIONS)]
    second.close()
    # Clients say that they leave, and not all of them wait for the answer.
    eventually(lambda: broker.group_coordinator.describe("g").state is GroupState.EMPTY)


CRASHING = """
import sys
from confluent_kafka import Consumer
consumer = Consumer({**eval(sys.argv[1])})
consumer.subscribe(["t"])
while True:
    consumer.poll(0.01)
    if consumer.assignment():
        print(len(consumer.assignment()), flush=True)
"""


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_partitions_of_a_member_that_was_killed_go_to_the_other(protocol: str) -> None:
    with open_broker(SHORT_SESSION_MS) as broker:
        settings = {
            "bootstrap.servers": broker.bootstrap_servers,
            "group.id": "g",
            "group.protocol": protocol,
            **confluent_settings(protocol, SHORT_SESSION_MS),
        }
        command = [sys.executable, "-c", CRASHING, repr(settings)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as crashing:
            try:
                assert crashing.stdout is not None
                assert crashing.stdout.readline() == b"4\n"
                survivor = Confluent(broker, protocol, SHORT_SESSION_MS)
                poll_until([survivor], lambda: survivor.assigned == PARTITIONS // 2)
            finally:
                crashing.kill()
        poll_until([survivor], lambda: shares(broker, [survivor]))
        survivor.close()


def test_static_member_that_comes_back_moves_no_partition(broker: Broker) -> None:
    """GRP-11."""
    members: list[Member] = [
        Confluent(broker, group_instance_id=name, session_ms=30_000) for name in "ab"
    ]
    poll_until(members, lambda: shares(broker, members))
    generation = broker.group_coordinator.describe("g").epoch
    members[0].close()
    members[0] = Confluent(broker, group_instance_id="a", session_ms=30_000)
    poll_until(members, lambda: shares(broker, members))
    assert broker.group_coordinator.describe("g").epoch == generation
    for one in members:
        one.close()


def test_offsets_are_the_same_for_every_client(broker: Broker) -> None:
    """CON-9, CON-12: consumers that use no group but its name."""
    one = confluent.Consumer(
        {
            "bootstrap.servers": broker.bootstrap_servers,
            "group.id": "g",
            "enable.auto.commit": False,
        }
    )
    partition = confluent.TopicPartition("t", 1, 7)
    one.commit(offsets=[partition], asynchronous=False)
    assert broker.group_coordinator.fetch_all_offsets("g") == {
        TopicPartition("t", 1): OffsetAndMetadata(7)
    }
    other = kafka.KafkaConsumer(bootstrap_servers=broker.bootstrap_servers, group_id="g")
    assert other.committed(kafka.TopicPartition("t", 1)) == 7
    (found,) = one.committed([confluent.TopicPartition("t", 2)], 10)
    assert found.offset == confluent.OFFSET_INVALID
    unknown = confluent.TopicPartition("t", 77, 1)
    with pytest.raises(confluent.KafkaException, match="UNKNOWN_TOPIC_OR_PART"):
        one.commit(offsets=[unknown], asynchronous=False)
    one.close()
    other.close()


def test_groups_are_administered_from_outside(broker: Broker) -> None:
    member = Confluent(broker)
    poll_until([member], lambda: shares(broker, [member]))
    produce(broker)
    poll_until([member], lambda: len(member.values) == RECORDS)
    member.commit()
    admin = confluent_admin.AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    (listed,) = admin.list_consumer_groups().result().valid
    assert (listed.group_id, listed.state.name) == ("g", "STABLE")
    found = admin.describe_consumer_groups(["g"])["g"].result()
    (described,) = found.members
    assert (found.partition_assignor, described.host) == ("range", "/127.0.0.1")
    assert len(described.assignment.topic_partitions) == PARTITIONS
    with pytest.raises(confluent.KafkaException, match="NON_EMPTY_GROUP"):
        admin.delete_consumer_groups(["g"])["g"].result()
    member.close()
    wanted = confluent.ConsumerGroupTopicPartitions("g", [confluent.TopicPartition("t", 0, 3)])
    admin.alter_consumer_group_offsets([wanted])["g"].result()
    wanted = confluent.ConsumerGroupTopicPartitions("g")
    offsets = admin.list_consumer_group_offsets([wanted])["g"].result().topic_partitions
    assert sorted((one.partition, one.offset) for one in offsets) == [
        (0, 3),
        *((number, RECORDS // PARTITIONS) for number in range(1, PARTITIONS)),
    ]
    admin.delete_consumer_groups(["g"])["g"].result()
    assert broker.group_coordinator.list_groups() == []
