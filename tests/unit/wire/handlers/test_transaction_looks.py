"""DescribeProducers, DescribeTransactions and ListTransactions (KIP-664)."""

from __future__ import annotations

from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.errors import TransactionalIdNotFoundError
from streamlog.runtime import VirtualClock
from streamlog.structs import TopicPartition
from tests.support.announcing_writer import AnnouncingWriter, new_announcer
from tests.support.transaction_writer import TIMEOUT_MS
from tests.support.wire import RawClient

UNKNOWN_PARTITION, INVALID_REQUEST, ID_NOT_FOUND = 3, 42, 105


@pytest.fixture
def writer(broker: Broker) -> AnnouncingWriter:
    """A producer with an open transaction in both partitions of the topic, in its second epoch."""
    new_announcer(broker, "x")
    writer = new_announcer(broker, "x")
    writer.write("t", 1)
    writer.write("t", 0)
    return writer


def describe(client: RawClient, *transactional_ids: str) -> list[Any]:
    response = client.request("DescribeTransactions", 0, transactional_ids=list(transactional_ids))
    found: list[Any] = response.transaction_states
    return found


def test_producers_of_each_partition(
    client: RawClient, broker: Broker, writer: AnnouncingWriter
) -> None:
    def producers() -> Any:
        topics = [{"name": "t", "partition_indexes": [0, 9]}]
        (topic,) = client.request("DescribeProducers", 0, topics=topics).topics
        found, missing = topic.partitions
        assert (topic.name, found.partition_index, missing.partition_index) == ("t", 0, 9)
        assert missing.error_code == UNKNOWN_PARTITION
        assert "t-9" in missing.error_message or "9" in missing.error_message
        assert found.error_code == 0
        return found.active_producers

    (one,) = producers()
    assert writer.producer.producer_epoch == 1
    assert (one.producer_id, one.producer_epoch, one.last_sequence) == (*writer.producer, 0)
    assert (one.coordinator_epoch, one.current_txn_start_offset) == (-1, 0)
    assert one.last_timestamp == broker.runtime.clock.time_ms()
    writer.end(commit=True)
    (one,) = producers()
    assert (one.coordinator_epoch, one.current_txn_start_offset) == (0, -1)


def test_transaction_is_described_while_it_is_open_and_after(
    client: RawClient, broker: Broker, writer: AnnouncingWriter
) -> None:
    broker.create_topic("u")
    writer.announce(TopicPartition("u", 0))
    found, missing = describe(client, "x", "y")
    assert (missing.transactional_id, missing.error_code) == ("y", ID_NOT_FOUND)
    assert (found.error_code, found.transactional_id) == (0, "x")
    assert (found.transaction_state, found.transaction_timeout_ms) == ("Ongoing", TIMEOUT_MS)
    assert found.transaction_start_time_ms == broker.runtime.clock.time_ms()
    assert (found.producer_id, found.producer_epoch) == writer.producer
    assert [(topic.topic, topic.partitions) for topic in found.topics] == [
        ("t", [0, 1]),
        ("u", [0]),
    ]
    writer.end(commit=False)
    (found,) = describe(client, "x")
    assert (found.transaction_state, found.transaction_start_time_ms) == ("CompleteAbort", -1)
    assert found.topics == []


def test_transactional_id_without_a_name_is_asked_for_in_vain(client: RawClient) -> None:
    (one,) = describe(client, "")
    assert (one.transactional_id, one.error_code) == ("", INVALID_REQUEST)


@pytest.mark.parametrize("version", [0, 1])
def test_ids_are_listed_as_the_filters_say(
    client: RawClient, writer: AnnouncingWriter, broker: Broker, version: int
) -> None:
    other = new_announcer(broker, "y")

    def ids(**filters: Any) -> list[tuple[str, str]]:
        fields = {"state_filters": [], "producer_id_filters": [], **filters}
        response = client.request("ListTransactions", version, **fields)
        assert response.error_code == 0
        ids = {one.producer_id for one in response.transaction_states}
        assert ids <= {writer.producer.producer_id, other.producer.producer_id}
        assert len(ids) == len(response.transaction_states)
        return [
            (one.transactional_id, one.transaction_state) for one in response.transaction_states
        ]

    assert ids() == [("x", "Ongoing"), ("y", "Empty")]
    assert ids(state_filters=["Ongoing"]) == [("x", "Ongoing")]
    assert ids(producer_id_filters=[writer.producer.producer_id]) == [("x", "Ongoing")]
    assert ids(state_filters=["Ongoing"], producer_id_filters=[4]) == []


def test_ids_are_listed_by_how_long_their_transactions_are_open(
    client: RawClient, writer: AnnouncingWriter, broker: Broker, clock: VirtualClock
) -> None:
    new_announcer(broker, "y")
    clock.advance(1_000)
    found = {}
    for duration in (-1, 0, 999, 1_000):
        response = client.request(
            "ListTransactions",
            1,
            state_filters=["Ongoing", "Odd", "Empty", "Even", "Other", "None"],
            producer_id_filters=[],
            duration_filter=duration,
        )
        assert response.unknown_state_filters == ["Even", "None", "Odd", "Other"]
        found[duration] = [one.transactional_id for one in response.transaction_states]
    assert found == {-1: ["x", "y"], 0: ["x"], 999: ["x"], 1_000: []}


def test_id_that_expires_while_it_is_listed_is_left_out(
    client: RawClient, writer: AnnouncingWriter, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def describe(coordinator: Any, transactional_id: str) -> Any:
        raise TransactionalIdNotFoundError(transactional_id)

    monkeypatch.setattr(type(broker.transaction_coordinator), "describe", describe)
    fields: dict[str, Any] = {"state_filters": [], "producer_id_filters": []}
    response = client.request("ListTransactions", 1, **fields, duration_filter=0)
    assert (response.error_code, response.transaction_states) == (0, [])
