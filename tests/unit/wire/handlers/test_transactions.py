"""InitProducerId, AddPartitionsToTxn, AddOffsetsToTxn, EndTxn and TxnOffsetCommit; TXN-3 to TXN-10, TXN-16."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from streamlog.broker.broker import Broker
from streamlog.broker.partition import Partition
from streamlog.broker.transactions.state import TransactionState
from streamlog.errors import DurabilityError
from streamlog.record.layout import TRANSACTIONAL_BIT
from streamlog.runtime import VirtualClock
from streamlog.structs import OffsetAndMetadata, TopicPartition
from tests.support.kafka_batches import kafka_batch
from tests.support.transaction_writer import markers, new_writer, state
from tests.support.wire import RawClient
from tests.support.wire_group import SESSION_MS, WireMember

UNKNOWN_PARTITION, INVALID_TOPIC, NOT_ENOUGH_REPLICAS, ILLEGAL_GENERATION = 3, 17, 19, 22
UNKNOWN_MEMBER, INVALID_REQUEST, OLD_EPOCH, INVALID_TXN_STATE, UNKNOWN_ID = 25, 42, 47, 48, 49
INVALID_TIMEOUT, CONCURRENT, NOT_ATTEMPTED, FENCED, INVALID_GROUP = 50, 51, 55, 90, 24
T0, T1 = TopicPartition("t", 0), TopicPartition("t", 1)


@attrs.define
class WireProducer:
    """A transactional producer that says what it is told to, in one version."""

    client: RawClient
    version: int = 3
    producer_id: int = -1
    producer_epoch: int = -1

    def init(self, version: int = 4, transactional_id: str | None = "x", **fields: Any) -> int:
        """Ask for an id; keep what comes, and return the error."""
        fields.setdefault("transaction_timeout_ms", 60_000)
        response = self.client.request(
            "InitProducerId", version, transactional_id=transactional_id, **fields
        )
        if not response.error_code:
            self.producer_id = response.producer_id
            self.producer_epoch = response.producer_epoch
        else:
            assert (response.producer_id, response.producer_epoch) == (-1, -1)
        code: int = response.error_code
        return code

    @property
    def who(self) -> dict[str, Any]:
        return {
            "transactional_id": "x",
            "producer_id": self.producer_id,
            "producer_epoch": self.producer_epoch,
        }

    def add(self, *partitions: TopicPartition) -> list[int]:
        topics = [{"name": one.topic, "partitions": [one.partition]} for one in partitions]
        response = self.client.request(
            "AddPartitionsToTxn", self.version, **self.who, topics=topics
        )
        codes = {
            (topic.name, one.partition_index): one.partition_error_code
            for topic in response.results_by_topic
            for one in topic.results_by_partition
        }
        return [codes[one] for one in partitions]

    def produce(self, place: TopicPartition, sequence: int, value: bytes = b"v") -> int:
        records = kafka_batch(
            [value],
            base_timestamp_ms=VirtualClock().time_ms(),
            attributes=TRANSACTIONAL_BIT,
            producer_id=self.producer_id,
            producer_epoch=self.producer_epoch,
            base_sequence=sequence,
        )
        data = {"index": place.partition, "records": records}
        response = self.client.request(
            "Produce",
            8,
            transactional_id="x",
            acks=-1,
            timeout_ms=1_000,
            topic_data=[{"name": place.topic, "partition_data": [data]}],
        )
        code: int = response.responses[0].partition_responses[0].error_code
        return code

    def add_offsets(self, group_id: str = "g") -> int:
        response = self.client.request(
            "AddOffsetsToTxn", self.version, **self.who, group_id=group_id
        )
        code: int = response.error_code
        return code

    def commit_offset(self, offset: int, **fields: Any) -> list[int]:
        partition = {
            "partition_index": 0,
            "committed_offset": offset,
            "committed_metadata": "note",
            **({"committed_leader_epoch": 2} if self.version >= 2 else {}),
        }
        response = self.client.request(
            "TxnOffsetCommit",
            self.version,
            **self.who,
            topics=[{"name": "t", "partitions": [partition]}],
            **{"group_id": "g", **fields},
        )
        (topic,) = response.topics
        assert [topic.name, *(one.partition_index for one in topic.partitions)] == ["t", 0]
        return [one.error_code for one in topic.partitions]

    def end(self, *, commit: bool) -> int:
        response = self.client.request("EndTxn", self.version, **self.who, committed=commit)
        code: int = response.error_code
        return code


@pytest.fixture
def producer(client: RawClient) -> WireProducer:
    producer = WireProducer(client)
    assert producer.init() == 0
    return producer


def committed(broker: Broker) -> OffsetAndMetadata | None:
    return broker.group_coordinator.fetch_offsets("g", [T0])[T0]


@pytest.mark.parametrize("version", [0, 1, 2, 3, 4])
def test_idempotent_producer_gets_an_id_of_its_own(client: RawClient, version: int) -> None:
    """IDM-1"""
    ids = set()
    for _ in range(2):
        producer = WireProducer(client)
        assert producer.init(version, None, transaction_timeout_ms=-1) == 0
        assert producer.producer_epoch == 0
        ids.add(producer.producer_id)
    assert len(ids) == 2


@pytest.mark.parametrize("version", [0, 1, 2, 3])
@pytest.mark.parametrize("commit", [True, False])
def test_transaction_in_each_version(
    client: RawClient, broker: Broker, version: int, commit: bool
) -> None:
    producer = WireProducer(client, version)
    assert producer.init(version) == 0
    for sequence in range(2):
        assert producer.add(T0, T1) == [0, 0]
        assert producer.produce(T0, sequence) == 0
        assert producer.add_offsets() == 0
        assert producer.commit_offset(5 + sequence) == [0]
        assert state(broker, "x") is TransactionState.ONGOING
        assert producer.end(commit=commit) == 0
    found = [(bool(kind), offset, epoch) for kind, offset, epoch in markers(broker, "t")]
    assert found == [(commit, 1, 0), (commit, 3, 0)]
    epoch = 2 if version >= 2 else None
    assert committed(broker) == (OffsetAndMetadata(6, "note", epoch) if commit else None)


@pytest.mark.parametrize(
    ("code", "fields"),
    [
        (INVALID_REQUEST, {"transactional_id": ""}),
        (INVALID_REQUEST, {"producer_id": 4}),
        (INVALID_REQUEST, {"producer_id": 0}),
        (INVALID_REQUEST, {"transactional_id": None, "producer_epoch": 4}),
        (INVALID_TIMEOUT, {"transaction_timeout_ms": 0}),
        (INVALID_TIMEOUT, {"transaction_timeout_ms": 900_001}),
        (FENCED, {"producer_id": 4, "producer_epoch": 4}),
    ],
)
def test_id_is_refused(producer: WireProducer, code: int, fields: dict[str, Any]) -> None:
    """TXN-3, pitfall 13: a timeout that is too long is no less refused than one that is none."""
    assert producer.init(**fields) == code


@pytest.mark.parametrize(("version", "code"), [(0, OLD_EPOCH), (1, OLD_EPOCH), (2, FENCED)])
def test_fenced_producer_is_told_so_in_words_that_its_version_knows(
    connect: Callable[[], RawClient], producer: WireProducer, version: int, code: int
) -> None:
    """TXN-16"""
    other = WireProducer(connect())
    assert other.init() == 0
    producer.version = version
    assert producer.add(T0) == [code]
    assert producer.add_offsets() == code
    assert producer.end(commit=True) == code
    other.add(T0)
    assert producer.produce(T0, 0) == OLD_EPOCH


@pytest.mark.parametrize(("version", "code"), [(1, OLD_EPOCH), (2, OLD_EPOCH), (3, FENCED)])
def test_fenced_producer_commits_offsets_in_vain(
    connect: Callable[[], RawClient], producer: WireProducer, version: int, code: int
) -> None:
    """TXN-16"""
    assert producer.add_offsets() == 0
    other = WireProducer(connect())
    assert other.init() == CONCURRENT
    assert other.init() == 0
    producer.version = version
    assert producer.commit_offset(5) == [code]


@pytest.mark.parametrize("version", [0, 1, 2, 3])
def test_other_errors_are_the_same_in_each_version(producer: WireProducer, version: int) -> None:
    producer.version = version
    assert producer.commit_offset(5) == [INVALID_TXN_STATE]
    assert producer.end(commit=True) == INVALID_TXN_STATE
    producer.producer_id += 1
    assert producer.add(T0) == [UNKNOWN_ID]


def test_fenced_producer_asks_for_another_epoch_in_vain(
    connect: Callable[[], RawClient], producer: WireProducer
) -> None:
    """TXN-4"""
    assert WireProducer(connect()).init() == 0
    me = {"producer_id": producer.producer_id, "producer_epoch": producer.producer_epoch}
    assert producer.init(3, **me) == OLD_EPOCH
    assert producer.init(4, **me) == FENCED


def test_owner_gets_another_epoch(producer: WireProducer) -> None:
    """TXN-4"""
    before = producer.producer_id
    assert producer.init(producer_id=before, producer_epoch=0) == 0
    assert (producer.producer_id, producer.producer_epoch) == (before, 1)


def test_open_transaction_is_aborted_for_the_next_owner_who_comes_again(
    connect: Callable[[], RawClient], producer: WireProducer, broker: Broker
) -> None:
    """TXN-3"""
    producer.add(T0)
    producer.produce(T0, 0)
    other = WireProducer(connect())
    assert other.init() == CONCURRENT
    assert other.init() == 0
    assert other.producer_epoch == 2
    assert [bool(kind) for kind, _, _ in markers(broker, "t")] == [False]


def test_producers_of_this_process_and_of_others_fence_each_other(
    producer: WireProducer, broker: Broker
) -> None:
    """TXN-16"""
    inside = new_writer(broker, "x")
    assert producer.add(T0) == [FENCED]
    inside.write("t")
    assert producer.init() == CONCURRENT
    assert producer.init() == 0
    assert producer.add(T0) == [0]
    with pytest.raises(Exception, match="expected epoch"):
        inside.write("t")
    with pytest.raises(Exception, match="fenced|expected epoch"):
        inside.end(commit=True)
    assert producer.produce(T0, 0) == 0
    assert producer.end(commit=True) == 0


def test_all_partitions_are_added_or_none(producer: WireProducer, broker: Broker) -> None:
    gone = TopicPartition("no-such", 0)
    assert producer.add(T0, gone) == [NOT_ATTEMPTED, UNKNOWN_PARTITION]
    producer.add_offsets()
    own = broker.group_coordinator.home_of("g")
    assert producer.add(T0, own) == [NOT_ATTEMPTED, INVALID_TOPIC]
    assert producer.produce(T0, 0) == INVALID_TXN_STATE


def test_offsets_of_a_group_that_was_not_added_are_refused(
    producer: WireProducer, broker: Broker
) -> None:
    producer.add(T0)
    assert producer.commit_offset(5) == [INVALID_TXN_STATE]
    assert producer.end(commit=True) == 0
    assert committed(broker) is None


def test_offsets_are_held_against_the_member_that_read_them(
    connect: Callable[[], RawClient], producer: WireProducer, broker: Broker
) -> None:
    """TXN-7, KIP-447"""
    member = WireMember(connect())
    member.join()
    producer.add_offsets()
    me = {"member_id": member.id, "generation_id": member.generation}
    assert producer.commit_offset(5, **{**me, "generation_id": 99}) == [ILLEGAL_GENERATION]
    assert producer.commit_offset(5, **{**me, "member_id": "who"}) == [UNKNOWN_MEMBER]
    assert producer.commit_offset(5, **me) == [0]
    assert producer.end(commit=True) == 0
    found = committed(broker)
    assert found is not None
    assert found.offset == 5


def test_offsets_of_a_member_under_kip_848_are_held_against_its_epoch(
    producer: WireProducer, connect: Callable[[], RawClient]
) -> None:
    """NGP-4. STALE_MEMBER_EPOCH is no answer that producers know."""
    joined = connect().request(
        "ConsumerGroupHeartbeat", 1, group_id="g", member_id="m", rebalance_timeout_ms=1,
        subscribed_topic_names=["t"], topic_partitions=[],
    )  # fmt: skip
    assert (joined.error_code, joined.member_epoch) == (0, 1)
    producer.add_offsets()
    assert producer.commit_offset(5, member_id="m", generation_id=7) == [ILLEGAL_GENERATION]
    assert producer.commit_offset(5, member_id="m", generation_id=1) == [0]


def test_offsets_in_a_transaction_are_a_sign_of_life(
    producer: WireProducer, connect: Callable[[], RawClient], clock: VirtualClock
) -> None:
    member = WireMember(connect())
    member.join()
    member.sync()
    producer.add_offsets()
    me = {"member_id": member.id, "generation_id": member.generation}
    for _ in range(2):
        clock.advance(SESSION_MS - 1)
        assert producer.commit_offset(5, **me) == [0]
    assert member.heartbeat() == 0


def test_offsets_of_a_group_without_a_name_are_refused(producer: WireProducer) -> None:
    assert producer.commit_offset(5, group_id="") == [INVALID_GROUP]


def test_id_that_nobody_took_is_not_known(producer: WireProducer) -> None:
    """TXN-10"""
    who = {"transactional_id": "who", "producer_id": producer.producer_id, "producer_epoch": 0}
    response = producer.client.request("EndTxn", 3, **who, committed=True)
    assert response.error_code == UNKNOWN_ID
    assert (
        producer.client.request("AddOffsetsToTxn", 3, **who, group_id="g").error_code == UNKNOWN_ID
    )


def test_slow_producer_is_fenced(producer: WireProducer, clock: VirtualClock) -> None:
    """TXN-12"""
    producer.add(T0)
    assert producer.produce(T0, 0) == 0
    clock.advance(70_000)
    assert producer.produce(T0, 1) == OLD_EPOCH
    assert producer.end(commit=True) == FENCED


@pytest.mark.parametrize("commit", [True, False])
def test_end_may_be_repeated_in_the_same_way_only(producer: WireProducer, commit: bool) -> None:
    """TXN-9"""
    assert producer.end(commit=commit) == INVALID_TXN_STATE
    producer.add(T0)
    assert producer.end(commit=commit) == 0
    assert producer.end(commit=commit) == 0
    assert producer.end(commit=not commit) == INVALID_TXN_STATE


def test_batch_that_finds_its_transaction_being_ended_is_sent_again(
    producer: WireProducer, broker: Broker
) -> None:
    """Clients of these versions do not know CONCURRENT_TRANSACTIONS as an answer to Produce (KIP-890)."""
    producer.add(T0)
    transaction = broker.transaction_coordinator._store.transactions["x"]
    transaction.claim = object()
    assert producer.produce(T0, 0) == NOT_ENOUGH_REPLICAS
    assert producer.end(commit=True) == CONCURRENT
    assert producer.add(T1) == [CONCURRENT]
    transaction.claim = None
    assert producer.produce(T0, 0) == 0
    assert producer.end(commit=True) == 0


def test_transactional_id_without_a_name_is_an_invalid_request(client: RawClient) -> None:
    """It was one that the coordinator does not know, after which clients ask for another producer id."""
    producer = WireProducer(client)
    producer.init(transactional_id="")
    who = {"transactional_id": "", "producer_id": 1, "producer_epoch": 0}
    topics = [{"name": "t", "partitions": [0]}]
    added = client.request("AddPartitionsToTxn", 3, **who, topics=topics)
    (topic,) = added.results_by_topic
    assert topic.results_by_partition[0].partition_error_code == INVALID_REQUEST
    response = client.request("AddOffsetsToTxn", 3, **who, group_id="g")
    assert response.error_code == INVALID_REQUEST
    assert client.request("EndTxn", 3, **who, committed=True).error_code == INVALID_REQUEST
    described = client.request("DescribeTransactions", 0, transactional_ids=[""])
    assert described.transaction_states[0].error_code == INVALID_REQUEST


def test_offsets_sent_by_a_generation_of_no_group_are_of_an_illegal_one(client: RawClient) -> None:
    producer = WireProducer(client)
    producer.init()
    producer.add_offsets()
    me = {"member_id": "x", "generation_id": 3}
    assert producer.commit_offset(5, **me) == [ILLEGAL_GENERATION]


def test_commit_that_can_only_be_aborted_is_told_by_a_code_that_clients_of_these_versions_know(
    producer: WireProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """120 is fatal to those that do not know it; its version of EndTxn is not served."""
    assert producer.add(T0) == [0]
    assert producer.produce(T0, 0) == 0
    with monkeypatch.context() as patch:
        patch.setattr(Partition, "append_refusal", DurabilityError("t-0: a sync failed"))
        assert producer.end(commit=True) == UNKNOWN_ID
    assert producer.end(commit=False) == 0
    assert (
        producer.init(producer_id=producer.producer_id, producer_epoch=producer.producer_epoch) == 0
    )
