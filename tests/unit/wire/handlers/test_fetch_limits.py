"""Fetches that take long are looked at in a worker; who asks in an old version gets no zstd."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, current_thread
from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.wire import encoded_batches
from streamlog.wire.handlers import fetch
from streamlog.wire.listener import Listener
from tests.support.eventually import eventually
from tests.support.wire import RawClient

A_MINUTE_MS = 60_000
UNSUPPORTED_COMPRESSION_TYPE = 76
LARGE = "streamlog-listener-large"


def ask(wait_ms: int = 0, **fields: Any) -> dict[str, Any]:
    partition = {"partition": 0, "fetch_offset": 0, "partition_max_bytes": 1 << 24}
    topics = [{"topic": "t", "partitions": [partition]}]
    return {
        "max_wait_ms": wait_ms, "min_bytes": 1, "max_bytes": 1 << 24, "topics": topics, **fields
    }  # fmt: skip


def records_of(response: Any) -> Any:
    return response.responses[0].partitions[0].records


@pytest.mark.parametrize(("count", "is_large"), [(100, False), (3000, True)])
@pytest.mark.parametrize("min_bytes", [1, 2000])
def test_batches_of_our_own_are_encoded_outside_the_loop_when_they_are_many(
    broker: Broker, client: RawClient, monkeypatch: pytest.MonkeyPatch, count: int, is_large: bool,
    min_bytes: int,
) -> None:  # fmt: skip
    """A fetch of 50 MB held everybody up for half a second."""
    for _ in range(count):
        broker.partition("t", 0).append_value(b"x" * 20, 0)
    threads: list[bool] = []
    to_kafka = encoded_batches.to_kafka

    def noted(view: Any) -> Any:
        threads.append(current_thread().name.startswith(LARGE))
        return to_kafka(view)

    monkeypatch.setattr(encoded_batches, "to_kafka", noted)
    response = client.request("Fetch", 12, **ask(min_bytes=min_bytes))
    assert len(records_of(response)) > 60 * count
    assert any(threads) == is_large
    assert threads.count(False) < 1000


def test_look_given_up_in_the_loop_still_counts_the_partitions_it_had_not_come_to(
    broker: Broker, client: RawClient
) -> None:
    """The worker went on with those that the loop had begun with, found too little there, and waited for the time-out."""
    for _ in range(2000):  # more than the loop has time for, and not enough
        broker.partition("t", 0).append_value(b"x" * 20, 0)
    broker.partition("t", 1).append_value(b"x" * 400_000, 0)
    fields = ask(A_MINUTE_MS, min_bytes=400_000)
    first = fields["topics"][0]["partitions"][0]
    fields["topics"][0]["partitions"].append({**first, "partition": 1})
    small, large = client.request("Fetch", 12, **fields).responses[0].partitions
    assert 0 < len(small.records) < 400_000 < len(large.records)


def test_fetch_that_finds_nothing_waits_also_when_answers_take_all_memory(
    broker: Broker, client: RawClient, listener: Listener
) -> None:
    """It was answered at once with nothing, and came again at once, for as long as others did not read."""
    listener.endpoint.response_memory.used_bytes += 1 << 30
    client.send("Fetch", 12, **ask(A_MINUTE_MS))
    partition = broker.partition("t", 0)
    eventually(lambda: partition._waiters)
    partition.append_value(b"x", 0)
    assert records_of(client.receive())


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> tuple[Event, Event]:
    """All looks are a worker's. The first one is told by an event to be over, and waits for another one."""
    monkeypatch.setattr(fetch, "_PARTITIONS_IN_LOOP", 0)
    look, has_looked, may_end = fetch.ParkedFetch._look, Event(), Event()

    def slowly(self: fetch.ParkedFetch, *arguments: Any) -> Any:
        assert current_thread().name.startswith(LARGE)
        found = look(self, *arguments)
        has_looked.set()
        assert may_end.wait(20)
        return found

    monkeypatch.setattr(fetch.ParkedFetch, "_look", slowly)
    return has_looked, may_end


def test_append_behind_the_look_of_a_worker_is_not_missed(
    broker: Broker, client: RawClient, worker: tuple[Event, Event]
) -> None:
    has_looked, may_end = worker
    client.send("Fetch", 12, **ask(A_MINUTE_MS))
    assert has_looked.wait(20)
    broker.partition("t", 0).append_value(b"x", 0)
    may_end.set()
    assert records_of(client.receive())


def test_fetch_that_is_late_during_the_look_of_a_worker_is_answered(
    client: RawClient, worker: tuple[Event, Event], listener: Listener
) -> None:
    has_looked, may_end = worker
    client.send("Fetch", 12, **ask(1))
    assert has_looked.wait(20)
    eventually(lambda: any(one._is_late for one in listener.endpoint._connections))
    may_end.set()
    assert records_of(client.receive()) == b""


def test_client_that_hangs_up_during_the_look_of_a_worker_leaves_no_waiter(
    broker: Broker, connect: Callable[[], RawClient], worker: tuple[Event, Event], listener: Listener
) -> None:  # fmt: skip
    has_looked, may_end = worker
    client, partition = connect(), broker.partition("t", 0)
    client.send("Fetch", 12, **ask(A_MINUTE_MS))
    assert has_looked.wait(20)
    client.close()
    eventually(lambda: all(one.socket is None for one in listener.endpoint._connections))
    assert partition._waiters
    assert listener.endpoint._connections, "it takes a worker, and counts"
    may_end.set()
    eventually(lambda: not partition._waiters and not listener.endpoint._connections)


def test_error_in_the_look_of_a_worker_ends_the_connection(
    broker: Broker, client: RawClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:  # fmt: skip
    monkeypatch.setattr(fetch, "_PARTITIONS_IN_LOOP", 0)
    monkeypatch.setattr(fetch.ParkedFetch, "_read", lambda *_, **__: 1 / 0)
    client.send("Fetch", 12, **ask(A_MINUTE_MS))
    with pytest.raises(ConnectionError):
        client.receive()
    assert "could not be served" in caplog.text
    assert not broker.partition("t", 0)._waiters


@pytest.mark.parametrize(("version", "error_code"), [(9, UNSUPPORTED_COMPRESSION_TYPE), (10, 0)])
def test_topic_in_zstd_is_refused_to_versions_of_before_it(
    broker: Broker, client: RawClient, version: int, error_code: int
) -> None:
    pytest.importorskip("cramjam")
    broker.create_topic("z", configs={"compression_type": "zstd"})
    broker.partition("z", 0).append_value(b"x", 0)
    fields = ask(A_MINUTE_MS)
    fields["topics"][0]["topic"] = "z"
    answer = client.request("Fetch", version, **fields).responses[0].partitions[0]
    assert answer.error_code == error_code
    assert bool(answer.records) == (not error_code)
