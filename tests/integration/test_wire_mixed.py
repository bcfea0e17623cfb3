"""Topics, groups and transactions that clients of Kafka's protocol and this process use at the same time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from streamlog import Broker, Consumer, Producer, TableView
from streamlog.broker.classic.consumer_protocol import (
    ConsumerAssignment,
    ConsumerSubscription,
    decode_assignment,
    encode_assignment,
    encode_subscription,
)
from streamlog.errors import ProducerFencedError
from streamlog.record import Codec, Compressor
from streamlog.record.kafka_batch import pending_from_kafka, recompress
from streamlog.record.kafka_layout import read_kafka_header
from streamlog.record.layout import TRANSACTIONAL_BIT
from streamlog.runtime import MemoryFileSystem, VirtualClock
from streamlog.structs import TopicPartition
from tests.crash.damage_data import kill, open_broker
from tests.support.kafka_batches import kafka_batch
from tests.support.wire import RawClient, raw_clients
from tests.support.wire_group import SESSION_MS, WireMember

OUT_OF_RANGE, MESSAGE_TOO_LARGE, INVALID_CONFIG, INVALID_TIMESTAMP, CONCURRENT = 1, 10, 40, 32, 51
REBALANCE_IN_PROGRESS, FENCED_INSTANCE, FENCED = 27, 82, 90
T0 = TopicPartition("t", 0)
DAY_MS = 86_400_000


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def broker(clock: VirtualClock) -> Iterator[Broker]:
    with Broker(clock=clock, seed=1) as broker:
        broker.listen(initial_rebalance_delay_ms=0)
        yield broker


@pytest.fixture
def connect(broker: Broker) -> Iterator[Callable[[], RawClient]]:
    with raw_clients(broker.bootstrap_servers) as connect:
        yield connect


@pytest.fixture
def client(connect: Callable[[], RawClient]) -> RawClient:
    return connect()


# ---- what clients write


def send(
    client: RawClient,
    values: Sequence[bytes | None],
    keys: Sequence[bytes | None] | None = None,
    *,
    topic: str = "t",
    codec: Codec = Codec.GZIP,
    **fields: int,
) -> Any:
    """Send one batch in *codec*, and return what is answered."""
    batch = pending_from_kafka(kafka_batch(values, keys, **fields))
    recompress(batch, Compressor(codec, 3))
    data = {"index": 0, "records": bytes(batch.body)}
    topics = [{"name": topic, "partition_data": [data]}]
    response = client.request("Produce", 9, acks=-1, timeout_ms=1000, topic_data=topics)
    return response.responses[0].partition_responses[0]


def fetch(client: RawClient, offset: int, topic: str = "t", **fields: Any) -> Any:
    """Return what is answered for the partition, without waiting."""
    partition = {"partition": 0, "fetch_offset": offset, "partition_max_bytes": 1 << 20}
    topics = [{"topic": topic, "partitions": [partition]}]
    response = client.request("Fetch", 12, max_bytes=1 << 20, topics=topics, **fields)
    return response.responses[0].partitions[0]


def read(broker: Broker, topic: str = "t", **config: Any) -> list[tuple[int, Any, Any]]:
    """Return offset, key and value of what a consumer of this process finds."""
    with Consumer(broker, auto_offset_reset="earliest", **config) as consumer:
        consumer.assign([TopicPartition(topic, 0)])
        found: list[Any] = []
        while records := consumer.poll(0):
            found += [(one.offset, one.key, one.value) for one in records]
        return found


@pytest.mark.parametrize("codec", [Codec.GZIP, Codec.ZSTD, Codec.NONE], ids=lambda one: one.label)
@pytest.mark.parametrize("is_killed", [False, True])
def test_compacted_topic_of_compressed_batches_is_the_same_after_the_broker_was_opened_again(
    clock: VirtualClock, codec: Codec, is_killed: bool
) -> None:
    """CMP-3, CMP-5: by a view, by a consumer and by a fetch; batches that lose nothing stay as they came."""
    filesystem = MemoryFileSystem()
    now_ms = int(clock.time_ms())
    table = {b"%d" % number: b"last of %d " % number * 20 for number in range(3, 8)}

    def check(broker: Broker, offsets: list[int]) -> None:
        with broker.listen() as listener, RawClient(listener.bootstrap_servers) as client:
            assert [offset for offset, _, _ in read(broker)] == offsets
            with TableView(broker, "t") as view:
                assert view.snapshot() == table
            offset = 0
            while records := fetch(client, offset).records:
                # By the checksum and by all fields of the header it is a batch that clients take.
                header = read_kafka_header(records[: 12 + int.from_bytes(records[8:12], "big")])
                assert header.base_offset + header.last_offset_delta >= offset
                offset = header.base_offset + header.last_offset_delta + 1
            assert offset == broker.partition("t", 0).log_end_offset

    broker = open_broker(filesystem, clock)
    broker.create_topic("t", configs={"cleanup_policy": "compact"})
    with broker.listen() as listener, RawClient(listener.bootstrap_servers) as client:
        time = {"base_timestamp_ms": now_ms, "codec": codec}
        keys = [b"%d" % number for number in range(8)]
        assert send(client, [b"first"] * 8, keys, **time).error_code == 0  # offsets 0 to 7
        assert send(client, [None, None, None], keys[:3], **time).base_offset == 8
        with Producer(broker) as producer:
            producer.send("t", b"own", key=b"3").result()  # 11
        assert send(client, list(table.values()), list(table), **time).base_offset == 12
    (result,) = broker.compact("t", roll=True)
    assert (result.records_before, result.records_after) == (17, 8)
    offsets = [8, 9, 10, 12, 13, 14, 15, 16]
    check(broker, offsets)
    kill(broker) if is_killed else broker.close()
    with open_broker(filesystem, clock) as broker:
        check(broker, offsets)
        clock.advance(DAY_MS + 1)
        broker.compact("t", roll=True)
        check(broker, offsets[3:])
    with open_broker(filesystem, clock) as broker:
        check(broker, offsets[3:])


def test_ret_3_what_clients_say_when_it_was_decides_how_long_it_is_kept(
    broker: Broker, client: RawClient, clock: VirtualClock
) -> None:
    broker.create_topic("t", configs={"retention_ms": DAY_MS})
    broker.create_topic(
        "stamped", configs={"retention_ms": DAY_MS, "message_timestamp_type": "LogAppendTime"}
    )
    now_ms = int(clock.time_ms())
    for topic in ("t", "stamped"):
        answer = send(client, [b"old"] * 3, topic=topic, base_timestamp_ms=now_ms - 2 * DAY_MS)
        assert answer.error_code == 0
        assert answer.log_append_time_ms == (-1 if topic == "t" else now_ms)
    broker.run_maintenance()
    assert fetch(client, 0).error_code == OUT_OF_RANGE
    assert (fetch(client, 3).error_code, fetch(client, 3).log_start_offset) == (0, 3)
    assert fetch(client, 0, "stamped").records
    clock.advance(DAY_MS + 1)
    broker.run_maintenance()
    assert fetch(client, 0, "stamped").error_code == OUT_OF_RANGE
    assert read(broker) == read(broker, "stamped") == []


def test_rec_4_time_that_is_too_far_away_is_refused(
    broker: Broker, client: RawClient, clock: VirtualClock
) -> None:
    broker.create_topic("t", configs={"message_timestamp_before_max_ms": DAY_MS})
    now_ms = int(clock.time_ms())
    for time, code in (
        (now_ms + 3_600_001, INVALID_TIMESTAMP),
        (now_ms - DAY_MS - 1, INVALID_TIMESTAMP),
        (now_ms - DAY_MS, 0),
        (now_ms + 3_600_000, 0),
    ):
        assert send(client, [b"v"], base_timestamp_ms=time).error_code == code
    assert broker.partition("t", 0).log_end_offset == 2


@pytest.mark.parametrize("is_of_topic", [False, True])
def test_rec_6_batch_is_measured_as_it_comes(clock: VirtualClock, is_of_topic: bool) -> None:
    """Compressed, that is; the broker's limit holds where the topic has none."""
    options = {} if is_of_topic else {"message_max_bytes": 1000}
    with Broker(clock=clock, **options) as broker:
        broker.create_topic("t", configs={"max_message_bytes": 1000} if is_of_topic else {})
        broker.listen()
        with RawClient(broker.bootstrap_servers) as client:
            large = [b"x" * 1000]
            refused = send(client, large, codec=Codec.NONE)
            assert (refused.error_code, refused.base_offset) == (MESSAGE_TOO_LARGE, -1)
            assert send(client, large).error_code == 0
            assert broker.partition("t", 0).log_end_offset == 1
            assert read(broker)[0][2] == large[0]


def test_rep_3_more_replicas_than_there_are_can_not_be_asked_for(client: RawClient) -> None:
    topic = {"name": "t", "num_partitions": 1, "replication_factor": 1}
    for value, code in (("2", INVALID_CONFIG), ("1", 0)):
        configs = [{"name": "min.insync.replicas", "value": value}]
        (answer,) = client.request(
            "CreateTopics", 7, topics=[{**topic, "configs": configs}], timeout_ms=1000
        ).topics
        assert answer.error_code == code
    assert send(client, [b"v"]).error_code == 0


def test_ret_9_deleted_records_are_out_of_range_for_clients_and_in_a_batch_that_is_left(
    broker: Broker, client: RawClient
) -> None:
    broker.create_topic("t")
    send(client, [b"a", b"b", b"c"])
    partitions = [{"partition_index": 0, "offset": 2}]
    client.request("DeleteRecords", 2, topics=[{"name": "t", "partitions": partitions}])
    for offset, code in ((0, OUT_OF_RANGE), (1, OUT_OF_RANGE), (2, 0), (3, 0), (4, OUT_OF_RANGE)):
        answer = fetch(client, offset)
        assert answer.error_code == code
        # An error tells no bounds that a client could take for real.
        assert answer.high_watermark == (-1 if code else 3)
    # The client leaves out what is below the offset that it asked for.
    assert read_kafka_header(fetch(client, 2).records).base_offset == 0
    assert read(broker) == [(2, None, b"c")]


# ---- transactions


def test_txn_14_readers_of_this_process_leave_out_what_clients_aborted(
    broker: Broker, client: RawClient
) -> None:
    broker.create_topic("t")
    producer = client.request(
        "InitProducerId", 4, transactional_id="x", transaction_timeout_ms=60_000
    )
    who = {"producer_id": producer.producer_id, "producer_epoch": producer.producer_epoch}
    topics = [{"name": "t", "partitions": [0]}]
    for sequence, commit in ((0, False), (3, True), (6, None)):
        client.request("AddPartitionsToTxn", 3, transactional_id="x", **who, topics=topics)
        answer = send(
            client,
            [b"%r" % commit] * 3,
            base_sequence=sequence,
            attributes=TRANSACTIONAL_BIT,
            **who,
        )
        assert answer.error_code == 0
        if commit is not None:
            client.request("EndTxn", 3, transactional_id="x", **who, committed=commit)
    with TableView(broker, "t") as view:
        assert (dict(view), view.skipped_records) == ({}, 3)  # they have no keys
    found = read(broker, isolation_level="read_committed")
    assert [(offset, value) for offset, _, value in found] == [
        (4, b"True"),
        (5, b"True"),
        (6, b"True"),
    ]
    assert len(read(broker)) == 9
    aborted = fetch(client, 0, isolation_level=1)
    assert [one.first_offset for one in aborted.aborted_transactions] == [0]
    assert (aborted.last_stable_offset, aborted.high_watermark) == (8, 11)


def test_txn_16_producer_of_this_process_is_fenced_by_a_client(
    broker: Broker, client: RawClient
) -> None:
    broker.create_topic("t")
    with Producer(broker, transactional_id="x") as own:
        own.init_transactions()
        own.begin_transaction()
        own.send("t", b"of the old one").result()
        init = {"transactional_id": "x", "transaction_timeout_ms": 60_000}
        assert client.request("InitProducerId", 4, **init).error_code == CONCURRENT
        taken = client.request("InitProducerId", 4, **init)
        assert taken.error_code == 0
        with pytest.raises(ProducerFencedError):
            own.commit_transaction()
    who = {"producer_id": taken.producer_id, "producer_epoch": taken.producer_epoch}
    topics = [{"name": "t", "partitions": [0]}]
    client.request("AddPartitionsToTxn", 3, transactional_id="x", **who, topics=topics)
    sent = send(client, [b"of the new one"], base_sequence=0, attributes=TRANSACTIONAL_BIT, **who)
    assert sent.error_code == 0
    client.request("EndTxn", 3, transactional_id="x", **who, committed=True)
    found = read(broker, isolation_level="read_committed")
    assert [value for _, _, value in found] == [b"of the new one"]
    with Producer(broker, transactional_id="x") as own:  # and back
        own.init_transactions()
        response = client.request("EndTxn", 3, transactional_id="x", **who, committed=True)
        assert response.error_code == FENCED


# ---- groups


def wire_member(client: RawClient, **fields: Any) -> WireMember:
    """Return a classic consumer of topic t."""
    told = encode_subscription(ConsumerSubscription(frozenset({"t"})))
    return WireMember(client, protocols=(("range", told),), **fields)


def consumer_of(broker: Broker, **config: Any) -> Consumer:
    config = {"group_protocol": "classic", "max_poll_interval_ms": 60_000, **config}
    consumer = Consumer(broker, group_id="g", partition_assignment_strategy="range", **config)
    consumer.subscribe(["t"])
    return consumer


def share(consumer: Consumer, member: WireMember) -> None:
    """Let both have their part of a group that the consumer leads."""
    member.send_join()
    while member.client.socket.gettimeout() and not _has_answer(member, consumer):
        pass
    assert member.receive_join().error_code == 0
    member.send_sync()
    while not _has_answer(member, consumer):
        pass


def _has_answer(member: WireMember, consumer: Consumer) -> bool:
    consumer.poll(0)
    member.client.socket.setblocking(False)
    try:
        return bool(member.client.socket.recv(1, 2))
    except BlockingIOError:
        return False
    finally:
        member.client.socket.settimeout(20)


def parts(consumer: Consumer) -> list[int]:
    return sorted(one.partition for one in consumer.assignment())


def test_member_elsewhere_that_falls_silent_leaves_its_part_to_one_of_this_process(
    broker: Broker, connect: Callable[[], RawClient], clock: VirtualClock
) -> None:
    broker.create_topic("t", partitions=2)
    with consumer_of(broker) as consumer:
        consumer.poll(0)
        member = wire_member(connect())
        member.get_id()
        share(consumer, member)
        assignment = decode_assignment(member.client.receive().assignment)
        assert sorted([*parts(consumer), *(one.partition for one in assignment.partitions)]) == [
            0,
            1,
        ]
        member.client.close()
        clock.advance(SESSION_MS - 1)
        consumer.poll(0)
        assert len(parts(consumer)) == 1
        clock.advance(1)
        while len(parts(consumer)) < 2:
            consumer.poll(0)


def test_member_of_this_process_that_does_not_poll_leaves_its_part_to_one_elsewhere(
    broker: Broker, connect: Callable[[], RawClient], clock: VirtualClock
) -> None:
    broker.create_topic("t", partitions=2)
    consumer = consumer_of(broker, max_poll_interval_ms=5_000)
    consumer.poll(0)
    member = wire_member(connect())
    member.get_id()
    share(consumer, member)
    member.client.receive()
    clock.advance(4_999)
    assert member.heartbeat() == 0
    clock.advance(1)
    assert member.heartbeat() == REBALANCE_IN_PROGRESS
    assert member.join().generation_id == 3
    assert member.leads
    assert [one.member_id for one in member.joined.members] == [member.id]
    consumer.close()


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
@pytest.mark.parametrize("name", [{}, {"group_instance_id": "one"}], ids=["dynamic", "static"])
def test_member_of_this_process_that_is_removed_from_outside_joins_again(
    broker: Broker, client: RawClient, protocol: str, name: dict[str, str]
) -> None:
    """Under KIP-848 it read on for ever what was not its own any more, and could not commit."""
    broker.create_topic("t", partitions=2)
    config: dict[str, Any] = {"group_protocol": protocol, **name}
    with Consumer(broker, group_id="g", **config) as consumer:
        consumer.subscribe(["t"])
        consumer.poll(0)
        (before,) = broker.group_coordinator.describe("g").members
        if protocol == "classic":
            members = [{"member_id": before.member_id, **name}]
            response = client.request("LeaveGroup", 3, group_id="g", members=members)
            assert [one.error_code for one in response.members] == [0]
        else:  # whom LeaveGroup does not remove
            response = client.request(
                "ConsumerGroupHeartbeat",
                0,
                group_id="g",
                member_id=before.member_id,
                member_epoch=-1,
                instance_id=name.get("group_instance_id"),
            )
            assert response.error_code == 0
        assert broker.group_coordinator.describe("g").members == ()
        for _ in range(3):
            consumer.poll(0)
        (after,) = broker.group_coordinator.describe("g").members
        assert [one.partition for one in after.assignment] == parts(consumer) == [0, 1]
        consumer.commit()


@pytest.mark.parametrize("told", [b"", b"no subscription"])
def test_member_elsewhere_whose_subscription_nobody_can_read_gets_nothing(
    broker: Broker,
    connect: Callable[[], RawClient],
    caplog: pytest.LogCaptureFixture,
    told: bytes,
) -> None:
    """It was a ValueError for the consumer of this process that led the group."""
    broker.create_topic("t", partitions=2)
    with consumer_of(broker) as consumer:
        consumer.poll(0)
        member = WireMember(connect(), protocols=(("range", told),))
        member.get_id()
        share(consumer, member)
        assert decode_assignment(member.client.receive().assignment).partitions == frozenset()
        assert parts(consumer) == [0, 1]
        assert f"member {member.id!r} gets no partitions" in caplog.text


@pytest.mark.parametrize("comes_back_here", [False, True])
def test_grp_11_static_member_may_come_back_on_the_other_side(
    broker: Broker, client: RawClient, comes_back_here: bool
) -> None:
    """Its name is all that counts: nobody else notices."""
    broker.create_topic("t", partitions=2)
    name = {"group_instance_id": "one"}
    if comes_back_here:
        member = wire_member(client, instance_id="one")
        member.share = encode_assignment(ConsumerAssignment(frozenset({T0})))
        member.join()
        member.sync()
        with consumer_of(broker, **name) as consumer:
            consumer.poll(0)
            assert parts(consumer) == [0]
            assert broker.group_coordinator.describe("g").epoch == 1
            assert member.heartbeat() == FENCED_INSTANCE
        return
    with consumer_of(broker, **name) as consumer:
        consumer.poll(0)
        member = wire_member(client, instance_id="one")
        assert member.try_join().error_code == 0
        assert (member.generation, member.leads) == (1, False)
        assignment = decode_assignment(member.sync().assignment)
        assert sorted(one.partition for one in assignment.partitions) == [0, 1]
        assert len(broker.group_coordinator.describe("g").members) == 1
