"""What went wrong when others taught a broker Kafka's protocol, one test for each; frames are sent as they are."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from threading import Event, Thread
from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.client.consumer import Consumer
from streamlog.client.producer import Producer
from streamlog.record.kafka_layout import read_kafka_header
from streamlog.structs import TopicPartition
from streamlog.wire.call import Call
from streamlog.wire.dispatch import ROUTES
from streamlog.wire.handlers.fetch import ParkedFetch
from streamlog.wire.messages import APIS, BY_NAME
from tests.support.eventually import eventually
from tests.support.kafka_batches import kafka_batch
from tests.support.wire import RawClient

NONE, CORRUPT_MESSAGE, INVALID_CONFIG, INVALID_SESSION_TIMEOUT = 0, 2, 40, 26
UNSUPPORTED_VERSION, MEMBER_ID_REQUIRED, UNSUPPORTED_FORMAT = 35, 79, 43
POLICY_VIOLATION, INVALID_TIMEOUT = 44, 50
A_MINUTE_MS = 60_000
BATCH = kafka_batch([b"a", None, b"c"], [b"k", None, b""])


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        broker.create_topic("t")
        broker.listen()
        yield broker


@pytest.fixture
def client(broker: Broker) -> Iterator[RawClient]:
    with RawClient(broker.bootstrap_servers) as client:
        yield client


def fetch_fields(offset: int, wait_ms: int, *, min_bytes: int = 1) -> dict[str, Any]:
    partition = {"partition": 0, "fetch_offset": offset, "partition_max_bytes": 1 << 20}
    return {
        "max_wait_ms": wait_ms,
        "min_bytes": min_bytes,
        "max_bytes": 1 << 20,
        "topics": [{"topic": "t", "partitions": [partition]}],
    }


def fetched(response: Any) -> Any:
    return response.responses[0].partitions[0]


def produce_fields(records: bytes, acks: int = -1) -> dict[str, Any]:
    partition = {"index": 0, "records": records}
    return {
        "acks": acks,
        "timeout_ms": 1000,
        "topic_data": [{"name": "t", "partition_data": [partition]}],
    }


def produced(response: Any) -> Any:
    return response.responses[0].partition_responses[0]


def test_1_fetch_at_the_end_of_the_log_returns_nothing(broker: Broker, client: RawClient) -> None:
    """The last batch once more, and librdkafka takes all of the processor."""
    broker.partition("t", 0).append_value(b"x", 0)
    answer = fetched(client.request("Fetch", 12, **fetch_fields(1, 1)))
    assert (answer.error_code, answer.records, answer.high_watermark) == (NONE, b"", 1)


def test_1_fetch_inside_a_batch_returns_all_of_it(broker: Broker, client: RawClient) -> None:
    client.request("Produce", 9, **produce_fields(BATCH))
    answer = fetched(client.request("Fetch", 12, **fetch_fields(2, 1)))
    assert read_kafka_header(answer.records).base_offset == 0


def test_2_no_wake_up_of_a_long_poll_is_lost(broker: Broker, client: RawClient) -> None:
    """An append at any moment around the look: one that is missed shows as an answer that takes a minute."""
    partition = broker.partition("t", 0)
    rounds = 300
    fetching = -1

    def append() -> None:
        for number in range(rounds):
            while fetching < number:
                pass
            partition.append_value(b"x", 0)

    thread = Thread(target=append, daemon=True)
    thread.start()
    for offset in range(rounds):
        fetching = offset
        answer = fetched(client.request("Fetch", 12, **fetch_fields(offset, A_MINUTE_MS)))
        assert answer.high_watermark == offset + 1
        assert answer.records
    thread.join()


def test_2_append_right_after_a_look_that_found_nothing_is_answered(
    broker: Broker, client: RawClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, looks = ParkedFetch.look, 0

    def look_and_append(parked: ParkedFetch, is_late: bool) -> Any:
        nonlocal looks
        looks += 1
        answer = look(parked, is_late)
        if looks == 1:
            assert answer is None
            broker.partition("t", 0).append_value(b"x", 0)
        return answer

    monkeypatch.setattr(ParkedFetch, "look", look_and_append)
    assert fetched(client.request("Fetch", 12, **fetch_fields(0, A_MINUTE_MS))).records
    assert looks == 2


def test_3_produce_is_advertised_from_version_0_and_served_from_3(
    broker: Broker, client: RawClient
) -> None:
    """KAFKA-18659: with 3 as the first one librdkafka 2.0 stops compressing, without a word."""
    table = client.request("ApiVersions", 3).api_keys
    produce = next(one for one in table if one.api_key == BY_NAME["Produce"].key)
    assert produce.min_version == 0
    for version in (0, 1, 2):
        with RawClient(broker.bootstrap_servers) as old:
            old.send("Produce", version, **produce_fields(BATCH))
            with pytest.raises(ConnectionError):
                old.receive()
    assert broker.partition("t", 0).high_watermark == 0


def test_4_table_is_one_that_clients_were_seen_to_get_along_with() -> None:
    """A fingerprint: kafka-python and aiokafka choose the format of records by it."""
    table = {APIS[key].name: (route.first, route.last) for key, route in ROUTES.items()}
    seen = {
        "Produce": (0, 9),
        "Fetch": (4, 13),
        "ListOffsets": (1, 7),
        "Metadata": (0, 12),
        "OffsetCommit": (1, 9),
        "OffsetFetch": (1, 9),
        "FindCoordinator": (0, 4),
        "JoinGroup": (0, 7),
        "Heartbeat": (0, 4),
        "LeaveGroup": (0, 5),
        "SyncGroup": (0, 5),
        "DescribeGroups": (0, 5),
        "ListGroups": (0, 5),
        "ApiVersions": (0, 3),
        "CreateTopics": (0, 7),
        "DeleteTopics": (0, 6),
        "DeleteRecords": (0, 2),
        "OffsetForLeaderEpoch": (2, 4),
        "DescribeConfigs": (0, 4),
        "AlterConfigs": (0, 2),
        "CreatePartitions": (0, 3),
        "DeleteGroups": (0, 2),
        "IncrementalAlterConfigs": (0, 1),
        "OffsetDelete": (0, 0),
        "DescribeCluster": (0, 1),
        "InitProducerId": (0, 4),
        "AddPartitionsToTxn": (0, 3),
        "AddOffsetsToTxn": (0, 3),
        "EndTxn": (0, 3),
        "TxnOffsetCommit": (0, 3),
    }
    assert {name: table[name] for name in seen} == seen


def test_5_unknown_version_of_api_versions_gets_the_table_in_version_0(client: RawClient) -> None:
    """Newer clients begin with the newest they know."""
    client.socket.sendall(struct.pack(">ihhih", 10, 18, 99, 7, -1))
    (size,) = struct.unpack(">i", client._read(4))
    frame = client._read(size)
    assert struct.unpack_from(">i", frame) == (7,)
    answer = BY_NAME["ApiVersions"].response.decode(frame, 0, 4)
    assert answer.error_code == UNSUPPORTED_VERSION
    assert {one.api_key for one in answer.api_keys} == set(ROUTES)


def test_5_api_versions_has_a_plain_header_and_no_tagged_field(client: RawClient) -> None:
    """A field that holds its default is not sent: librdkafka 2.0 reads past the end of it."""
    client.socket.sendall(struct.pack(">ihhih", 14, 18, 3, 7, -1) + b"\0\1\1\0")
    (size,) = struct.unpack(">i", client._read(4))
    frame = client._read(size)
    count = len(ROUTES)
    # Correlation id, error, count + 1; key, two versions and no tags each; throttle time and no tags.
    assert frame[4:7] == b"\0\0" + bytes([count + 1])
    assert len(frame) == 4 + 2 + 1 + 7 * count + 4 + 1
    assert frame[-1] == 0


def test_6_answers_come_in_the_order_of_the_requests(broker: Broker, client: RawClient) -> None:
    """Also behind one that waits."""
    client.send("Fetch", 12, **fetch_fields(0, A_MINUTE_MS))
    client.send("Metadata", 12, topics=None)
    with RawClient(broker.bootstrap_servers) as other:
        other.request("Metadata", 12, topics=None)  # others are served meanwhile
    broker.partition("t", 0).append_value(b"x", 0)
    assert fetched(client.receive()).records
    assert client.receive().cluster_id == broker.cluster_id


def test_6_request_behind_one_that_is_served_in_a_thread_of_its_own_waits(
    broker: Broker, client: RawClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, may_go_on = BY_NAME["ListGroups"].key, Event()
    route = ROUTES[key]

    def handle(call: Call) -> Any:
        assert may_go_on.wait(20)
        return route.handler(call)

    monkeypatch.setitem(ROUTES, key, route._replace(handler=handle))
    client.send("ListGroups", 4)
    client.send("ApiVersions", 3)
    with RawClient(broker.bootstrap_servers) as other:
        for _ in range(3):  # the loop has been there
            other.request("ApiVersions", 3)
    may_go_on.set()
    assert client.receive().groups == []
    assert client.receive().api_keys


def test_6_produce_with_acks_0_gets_no_answer(broker: Broker, client: RawClient) -> None:
    client.send("Produce", 9, **produce_fields(BATCH, acks=0))
    client._sent.clear()
    assert client.request("Metadata", 12, topics=None).cluster_id == broker.cluster_id
    assert broker.partition("t", 0).high_watermark == 3


def test_6_produce_with_acks_0_that_fails_closes_the_connection(client: RawClient) -> None:
    """How else should it learn of it: PRO-21 says what Kafka does."""
    client.send("Produce", 9, **produce_fields(b"no batch at all", acks=0))
    with pytest.raises(ConnectionError):
        client.receive()


def test_7_batch_gets_its_offset_and_keeps_its_checksum(broker: Broker, client: RawClient) -> None:
    for expected in (0, 3):
        assert (
            produced(client.request("Produce", 9, **produce_fields(BATCH))).base_offset == expected
        )
    answer = fetched(client.request("Fetch", 12, **fetch_fields(3, 1)))
    header = read_kafka_header(answer.records)
    assert (header.base_offset, header.partition_leader_epoch) == (3, 0)
    # All but base offset and leader epoch is as it was sent.
    assert answer.records[8:12] + answer.records[16:] == BATCH[8:12] + BATCH[16:]


def test_7_batch_with_a_wrong_checksum_is_refused(broker: Broker, client: RawClient) -> None:
    damaged = bytearray(BATCH)
    damaged[-1] ^= 1
    answer = produced(client.request("Produce", 9, **produce_fields(bytes(damaged))))
    assert answer.error_code == CORRUPT_MESSAGE
    assert broker.partition("t", 0).high_watermark == 0


def test_7_messages_of_the_old_formats_are_refused(broker: Broker, client: RawClient) -> None:
    old = bytearray(BATCH)
    old[16] = 1
    answer = produced(client.request("Produce", 9, **produce_fields(bytes(old))))
    assert answer.error_code == UNSUPPORTED_FORMAT


def test_8_no_version_but_of_fetch_is_served_that_names_topics_by_their_ids() -> None:
    """Produce 13, OffsetCommit and OffsetFetch 10. Fetch 13 is: see ``test_fetch_by_id``."""
    last = {APIS[key].name: route.last for key, route in ROUTES.items()}
    assert last["Produce"] <= 12
    assert last["Fetch"] == 13
    assert last["OffsetCommit"] <= 9
    assert last["OffsetFetch"] <= 9


def test_9_first_member_of_a_group_is_not_kept_waiting(broker: Broker, client: RawClient) -> None:
    """Kafka's ``group.initial.rebalance.delay.ms`` is 3 s; the client's own id comes with version 4."""
    (listener,) = broker._listeners
    assert listener.endpoint.settings.initial_rebalance_delay_ms == 50
    join = {
        "group_id": "g",
        "session_timeout_ms": 10_000,
        "rebalance_timeout_ms": A_MINUTE_MS,
        "protocol_type": "consumer",
        "protocols": [{"name": "range", "metadata": b""}],
    }
    assert client.request("JoinGroup", 3, **join, member_id="").error_code == NONE
    refused = client.request("JoinGroup", 4, **{**join, "group_id": "h"}, member_id="")
    assert refused.error_code == MEMBER_ID_REQUIRED
    joined = client.request(
        "JoinGroup", 4, **{**join, "group_id": "h"}, member_id=refused.member_id
    )
    assert joined.error_code == NONE


@pytest.mark.parametrize(("least_ms", "code"), [(6_000, INVALID_SESSION_TIMEOUT), (100, NONE)])
def test_10_shortest_session_timeout_is_the_users_choice(least_ms: int, code: int) -> None:
    with Broker(group_min_session_timeout_ms=least_ms) as broker:
        broker.listen()
        with RawClient(broker.bootstrap_servers) as client:
            answer = client.request(
                "JoinGroup",
                3,
                group_id="g",
                session_timeout_ms=100,
                rebalance_timeout_ms=A_MINUTE_MS,
                protocol_type="consumer",
                protocols=[{"name": "range", "metadata": b""}],
                member_id="",
            )
    assert answer.error_code == code


def test_11_apis_that_clients_trip_over_are_not_advertised() -> None:
    """Telemetry and DescribeTopicPartitions: without them clients do as they did before."""
    assert not {71, 72, 75} & set(ROUTES)


def test_12_listener_is_what_a_suite_takes_for_granted() -> None:
    with Broker() as broker:
        broker.listen(node_id=7, default_partitions=4, auto_create=True)
        broker.listen(node_id=8, auto_create=False)
        first, second = broker.bootstrap_servers.split(",")
        with RawClient(first) as client:
            answer = client.request(
                "Metadata", 12, topics=[{"name": "new"}], allow_auto_topic_creation=True
            )
            assert [one.node_id for one in answer.brokers] == [answer.controller_id] == [7]
            assert len(answer.topics[0].partitions) == 4
        with RawClient(second) as client:
            answer = client.request(
                "Metadata", 12, topics=[{"name": "newer"}], allow_auto_topic_creation=True
            )
        assert answer.topics[0].error_code == 3
        assert broker.topics() == ["new"]


def test_13_unknown_configuration_of_a_topic_is_refused(broker: Broker, client: RawClient) -> None:
    topic = {"name": "new", "num_partitions": 1, "replication_factor": 1}
    configs = [{"name": "no.such.key", "value": "1"}]
    (answer,) = client.request(
        "CreateTopics", 7, topics=[{**topic, "configs": configs}], timeout_ms=1000
    ).topics
    assert answer.error_code == INVALID_CONFIG
    assert broker.topics() == ["t"]


def test_13_lists_are_appended_to_and_subtracted_from(broker: Broker, client: RawClient) -> None:
    for operation, value, expected in (
        (2, "compact", ("compact", "delete")),
        (3, "delete", ("compact",)),
        (3, "compact", ()),
        (2, "delete", ("delete",)),
    ):
        config = {"name": "cleanup.policy", "config_operation": operation, "value": value}
        resource = {"resource_type": 2, "resource_name": "t", "configs": [config]}
        (answer,) = client.request("IncrementalAlterConfigs", 1, resources=[resource]).responses
        assert answer.error_code == NONE
        assert broker.topic("t").config.cleanup_policy == expected


@pytest.mark.parametrize(("timeout_ms", "code"), [(900_000, NONE), (900_001, INVALID_TIMEOUT)])
def test_13_transaction_timeout_that_is_too_long_is_refused(
    client: RawClient, timeout_ms: int, code: int
) -> None:
    answer = client.request(
        "InitProducerId", 4, transactional_id="x", transaction_timeout_ms=timeout_ms
    )
    assert answer.error_code == code


def test_14_append_of_any_thread_wakes_the_listener() -> None:
    """One that only takes a note finds the loop asleep."""
    with Broker() as broker:
        broker.create_topic("t")
        broker.listen(max_handshake_ms=600_000)  # nor does it look after silent connections soon
        with RawClient(broker.bootstrap_servers) as client:
            client.send("Fetch", 12, **fetch_fields(0, A_MINUTE_MS))
            eventually(lambda: broker.partition("t", 0)._waiters)
            with Producer(broker) as producer:
                producer.send("t", b"from a thread of its own").result()
            assert fetched(client.receive()).high_watermark == 1


def test_14_append_over_the_wire_wakes_a_consumer_of_this_process(
    broker: Broker, client: RawClient
) -> None:
    found: list[Any] = []

    def poll() -> None:
        with Consumer(broker, auto_offset_reset="earliest") as consumer:
            consumer.assign([TopicPartition("t", 0)])
            found.extend(consumer.poll(10 * A_MINUTE_MS))

    thread = Thread(target=poll, daemon=True)
    thread.start()
    eventually(lambda: broker.partition("t", 0)._waiters)
    client.request("Produce", 9, **produce_fields(BATCH))
    eventually(lambda: len(found) == 3)
    thread.join()


def test_14_metadata_names_the_port_that_was_free(broker: Broker, client: RawClient) -> None:
    (one,) = client.request("Metadata", 12, topics=None).brokers
    assert f"{one.host}:{one.port}" == broker.bootstrap_servers
    with socket.create_connection((one.host, one.port)):
        pass


def test_request_for_too_many_partitions_is_refused(broker: Broker, client: RawClient) -> None:
    """It would keep the broker busy for ever."""
    topic = {"name": "new", "num_partitions": 2**31 - 1, "replication_factor": 1}
    (answer,) = client.request("CreateTopics", 7, topics=[topic], timeout_ms=1000).topics
    assert answer.error_code == POLICY_VIOLATION
    grown = {"name": "t", "count": 10_002}
    (result,) = client.request("CreatePartitions", 3, topics=[grown], timeout_ms=1000).results
    assert result.error_code == POLICY_VIOLATION


def test_address_of_the_listener_is_in_the_brokers_configuration(
    broker: Broker, client: RawClient
) -> None:
    """kafka-python's own test looks it up there."""
    resource = {"resource_type": 4, "resource_name": "1", "configuration_keys": None}
    (answer,) = client.request("DescribeConfigs", 4, resources=[resource]).results
    found = {one.name: one for one in answer.configs}
    assert found["advertised.listeners"].value == f"PLAINTEXT://{broker.bootstrap_servers}"
    assert found["num.partitions"].read_only
