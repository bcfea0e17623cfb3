"""Fetch from version 13 on, which names topics by their ids (KIP-516)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.broker.topic import Topic
from streamlog.broker.topic_registry import TopicRegistry
from tests.support.eventually import eventually
from tests.support.wire import RawClient

NONE, UNKNOWN_TOPIC, UNKNOWN_TOPIC_ID = 0, 3, 100
A_MINUTE_MS = 60_000


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        broker.listen()
        broker.create_topic("t")
        yield broker


@pytest.fixture
def client(broker: Broker) -> Iterator[RawClient]:
    with RawClient(broker.bootstrap_servers) as client:
        yield client


def id_of(broker: Broker, topic: str) -> bytes:
    return bytes.fromhex(broker.topic(topic).topic_id)


def fields(*wanted: tuple[bytes, int], wait_ms: int = 0) -> dict[str, Any]:
    """A fetch of everything in these partitions, each a topic's id and a number."""
    return {
        "max_wait_ms": wait_ms,
        "min_bytes": 1,
        "max_bytes": 1 << 20,
        "topics": [
            {
                "topic_id": topic_id,
                "partitions": [
                    {"partition": number, "fetch_offset": 0, "partition_max_bytes": 1 << 20}
                ],
            }
            for topic_id, number in wanted
        ],
    }


def test_topic_named_by_its_id_is_fetched_and_named_so_in_the_answer(
    broker: Broker, client: RawClient
) -> None:
    """@platformatic/kafka knows no older version that it does right: it read nothing."""
    broker.partition("t", 0).append_value(b"x" * 100, 0)
    wanted = id_of(broker, "t")
    (topic,) = client.request("Fetch", 13, **fields((wanted, 0))).responses
    (answer,) = topic.partitions
    assert topic.topic_id == wanted
    assert (answer.error_code, answer.high_watermark) == (NONE, 1)
    assert b"x" * 100 in bytes(answer.records)


def test_id_that_no_topic_has_is_told_beside_what_is_there(
    broker: Broker, client: RawClient
) -> None:
    broker.partition("t", 0).append_value(b"x", 0)
    known, unknown = id_of(broker, "t"), b"\1" * 16
    asked = fields((unknown, 0), (known, 0), (known, 1))
    topics = client.request("Fetch", 13, **asked).responses
    assert [topic.topic_id for topic in topics] == [unknown, known, known]
    answers = [topic.partitions[0] for topic in topics]
    codes = [answer.error_code for answer in answers]
    assert codes == [UNKNOWN_TOPIC_ID, NONE, UNKNOWN_TOPIC]
    assert [bool(answer.records) for answer in answers] == [False, True, False]


def test_topic_of_the_same_name_is_another_one(broker: Broker, client: RawClient) -> None:
    """By its name, a consumer that did not notice would read on in what it takes for the old one."""
    broker.partition("t", 0).append_value(b"old", 0)
    old = id_of(broker, "t")
    assert client.request("Fetch", 13, **fields((old, 0))).responses[0].partitions[0].records
    broker.delete_topic("t")
    broker.create_topic("t")
    broker.partition("t", 0).append_value(b"new", 0)
    topics = client.request("Fetch", 13, **fields((old, 0), (id_of(broker, "t"), 0))).responses
    answers = [topic.partitions[0] for topic in topics]
    assert [answer.error_code for answer in answers] == [UNKNOWN_TOPIC_ID, NONE]
    assert b"new" in bytes(answers[1].records)


def test_append_answers_who_waits(broker: Broker, client: RawClient) -> None:
    partition = broker.partition("t", 0)
    client.send("Fetch", 13, **fields((id_of(broker, "t"), 0), wait_ms=A_MINUTE_MS))
    eventually(lambda: partition._waiters)
    partition.append_value(b"x", 0)
    assert client.receive().responses[0].partitions[0].records


def test_deletion_answers_who_waits_and_its_namesake_does_not(
    broker: Broker, client: RawClient
) -> None:
    old = id_of(broker, "t")
    partition = broker.partition("t", 0)
    client.send("Fetch", 13, **fields((old, 0), wait_ms=A_MINUTE_MS))
    eventually(lambda: partition._waiters)
    broker.delete_topic("t")
    broker.create_topic("t")
    broker.partition("t", 0).append_value(b"new", 0)
    (topic,) = client.receive().responses
    (answer,) = topic.partitions
    assert topic.topic_id == old
    assert answer.error_code in (UNKNOWN_TOPIC, UNKNOWN_TOPIC_ID)
    assert not answer.records


def test_topics_are_not_gone_through_at_each_fetch(
    broker: Broker, client: RawClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of topics would be gone through a thousand times a second."""
    looks, topics = [], TopicRegistry.topics

    def noted(self: TopicRegistry) -> list[Topic]:
        looks.append(1)
        return topics(self)

    monkeypatch.setattr(TopicRegistry, "topics", noted)
    asked = fields((id_of(broker, "t"), 0), (b"\1" * 16, 0))
    for _ in range(3):
        client.request("Fetch", 13, **asked)
    assert len(looks) == 1
    broker.create_topic("u")
    for _ in range(3):
        client.request("Fetch", 13, **asked)
    assert len(looks) == 2


def test_topic_that_came_while_another_process_writes_is_found(tmp_path: Path) -> None:
    with Broker(tmp_path) as writer, Broker(tmp_path, read_only=True) as reader:
        reader.listen()
        with RawClient(reader.bootstrap_servers) as client:
            client.request("Fetch", 13, **fields((b"\1" * 16, 0)))
            writer.create_topic("t")
            writer.partition("t", 0).append_value(b"x", 0)
            (topic,) = client.request("Metadata", 12, topics=None).topics
            (found,) = client.request("Fetch", 13, **fields((topic.topic_id, 0))).responses
            assert found.partitions[0].records


def test_topic_that_another_process_deleted_is_told_also_where_nobody_asks_by_name(
    tmp_path: Path,
) -> None:
    """Its records were given out for as long as nobody waited for more, or asked for a topic by its name."""
    with Broker(tmp_path) as writer, Broker(tmp_path, read_only=True) as reader:
        writer.create_topic("t")
        writer.partition("t", 0).append_value(b"old", 0)
        reader.listen()
        with RawClient(reader.bootstrap_servers) as client:
            asked = fields((id_of(reader, "t"), 0))
            (topic,) = client.request("Fetch", 13, **asked).responses
            assert topic.partitions[0].records
            writer.delete_topic("t")
            for make_another in (False, True):
                if make_another:
                    writer.create_topic("t")
                (topic,) = client.request("Fetch", 13, **asked).responses
                (answer,) = topic.partitions
                assert (answer.error_code, bool(answer.records)) == (UNKNOWN_TOPIC_ID, False)
