"""What the requests and answers of all connections may take together, without sockets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.runtime import VirtualClock
from streamlog.wire import dispatch
from streamlog.wire.messages import BY_NAME
from streamlog.wire.request_memory import RequestMemory, ResponseMemory
from tests.support.kafka_batches import kafka_batch
from tests.support.wire import frame
from tests.support.wire_memory import MemoryClient, MemoryListener

LIMIT_BYTES = 2_000_000
FRAME_BYTES = 900_000
READ_BYTES = 100_000
"""What a connection receives at once; asyncio reads 256 KiB."""
PATIENCE_S = 30.0


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker(clock=VirtualClock()) as broker:
        broker.create_topic("t", configs={"max_message_bytes": 10_000_000})
        yield broker


@pytest.fixture
def listener(broker: Broker) -> MemoryListener:
    return MemoryListener(
        broker, queued_max_request_bytes=LIMIT_BYTES, queued_max_response_bytes=LIMIT_BYTES
    )


def produce(size: int) -> bytes:
    data = {"index": 0, "records": kafka_batch([b"x" * size])}
    topics = [{"name": "t", "partition_data": [data]}]
    return frame("Produce", 8, acks=1, timeout_ms=1, topic_data=topics)


def fetch(max_bytes: int, min_bytes: int = 1) -> bytes:
    partition = {"partition": 0, "fetch_offset": 0, "partition_max_bytes": max_bytes}
    topics = [{"topic": "t", "partitions": [partition]}]
    return frame("Fetch", 12, min_bytes=min_bytes, max_bytes=max_bytes, topics=topics)


class Sender:
    """A client that has more to send than is read at once."""

    def __init__(self, listener: MemoryListener, data: bytes) -> None:
        self.client = listener.connect()
        self.answer = b""
        self._rest = data

    def step(self, upto: int = 0) -> bool:
        """Send some, unless it is not read or no more than *upto* bytes are left; return whether it did."""
        count = min(READ_BYTES, len(self._rest) - upto)
        if count <= 0 or not self.client.transport.is_reading():
            return False
        part, self._rest = self._rest[:count], self._rest[count:]
        self.answer += self.client.send(part)
        return True


def buffered(listener: MemoryListener) -> int:
    return sum(len(one._buffer) for one in listener.connections)


def test_requests_of_all_together_stay_within_the_limit_and_are_all_answered(
    broker: Broker, listener: MemoryListener
) -> None:
    senders = [Sender(listener, produce(FRAME_BYTES)) for _ in range(40)]
    most = 0
    while sum(sender.step() for sender in senders):
        most = max(most, buffered(listener))
    assert all(sender.answer for sender in senders)
    assert broker.partition("t", 0).high_watermark == 40
    # One of them is let through, and each may have been read from once before it has to wait.
    assert most <= LIMIT_BYTES + FRAME_BYTES + 40 * READ_BYTES
    assert listener.request_memory.used_bytes == 0


def test_request_larger_than_the_limit_is_served(listener: MemoryListener) -> None:
    sender = Sender(listener, produce(3 * LIMIT_BYTES))
    while sender.step():
        pass
    assert sender.answer


def test_small_requests_do_not_wait_for_memory(listener: MemoryListener) -> None:
    crowd = [Sender(listener, produce(FRAME_BYTES)) for _ in range(30)]
    while sum(sender.step(upto=1000) for sender in crowd):
        pass
    assert listener.request_memory.is_short
    assert listener.connect().send(produce(10_000))


def test_half_a_request_that_others_wait_for_is_cut_off_in_the_end(
    listener: MemoryListener,
) -> None:
    halves = [Sender(listener, produce(FRAME_BYTES)) for _ in range(3)]
    while sum(half.step(upto=1000) for half in halves):
        pass
    other = Sender(listener, produce(FRAME_BYTES))
    while other.step():
        pass
    assert not other.answer

    def cut_off() -> list[MemoryClient]:
        return [half.client for half in halves if half.client.connection.hinders_others(PATIENCE_S)]

    assert not cut_off()
    listener.loop.now_s = PATIENCE_S + 1
    assert not other.client.connection.hinders_others(PATIENCE_S), "it is not its fault"
    for client in cut_off():
        client.connection.close("it is")
        client.close()
    while other.step():
        pass
    assert other.answer


@pytest.mark.parametrize("is_half_closed", [False, True])
def test_client_that_is_gone_waits_for_nothing(
    listener: MemoryListener, is_half_closed: bool
) -> None:
    for half in [Sender(listener, produce(FRAME_BYTES)) for _ in range(3)]:
        while half.step(upto=1000):
            pass
    other = Sender(listener, produce(FRAME_BYTES))
    while other.step():
        pass
    assert listener.request_memory.is_short
    assert other.client.connection.is_waiting
    if is_half_closed:
        other.client.connection.eof_received()
        assert not other.client.connection.is_waiting
    else:
        other.client.close()
    assert not listener.request_memory.is_short


def test_who_is_let_through_at_last_has_all_the_time_again(listener: MemoryListener) -> None:
    halves = [Sender(listener, produce(FRAME_BYTES)) for _ in range(3)]
    while sum(half.step(upto=1000) for half in halves):
        pass
    other = Sender(listener, produce(FRAME_BYTES))
    while other.step():
        pass
    listener.loop.now_s = PATIENCE_S + 1
    for half in halves:
        half.client.close()
    more = [Sender(listener, produce(FRAME_BYTES)) for _ in range(4)]
    while sum(one.step(upto=1000) for one in more):
        pass
    assert listener.request_memory.is_short
    assert not other.client.connection.is_waiting
    assert other.client.connection.hinders_others(PATIENCE_S) == ""
    listener.loop.now_s += PATIENCE_S + 1
    assert other.client.connection.hinders_others(PATIENCE_S)


def test_half_a_request_hinders_nobody_while_nobody_waits(listener: MemoryListener) -> None:
    half = Sender(listener, produce(FRAME_BYTES))
    began_s = listener.loop.now_s = 5.0
    assert half.step()
    listener.loop.now_s += 10  # what comes later does not count from its own time
    while half.step(upto=1000):
        pass
    connection = half.client.connection
    listener.loop.now_s = began_s + PATIENCE_S + 1
    assert connection.hinders_others(PATIENCE_S) == ""
    crowd = [Sender(listener, produce(FRAME_BYTES)) for _ in range(3)]
    while sum(sender.step(upto=1000) for sender in crowd):
        pass
    assert listener.request_memory.is_short
    listener.loop.now_s = began_s + PATIENCE_S
    assert connection.hinders_others(PATIENCE_S) == ""
    listener.loop.now_s += 1
    assert connection.hinders_others(PATIENCE_S).startswith("others wait for the ")


def test_client_with_request_behind_request_does_not_keep_the_others_waiting(
    listener: MemoryListener,
) -> None:
    """Who was let through was so until nothing large of it was left, which is never the case with some producers."""
    for half in [Sender(listener, produce(FRAME_BYTES)) for _ in range(2)]:
        while half.step(upto=1000):
            pass
    busy = Sender(listener, 5 * produce(FRAME_BYTES))
    while not listener.request_memory.used_bytes > LIMIT_BYTES:
        assert busy.step()
    others = [Sender(listener, produce(FRAME_BYTES)) for _ in range(2)]
    assert all(other.step() and not other.step() for other in others)
    listener.loop.now_s = PATIENCE_S + 1
    assert busy.client.connection.hinders_others(PATIENCE_S)
    while busy.step():
        pass
    assert busy.answer
    assert not busy.client.connection.hinders_others(PATIENCE_S), "it was answered just now"
    first, second = others
    assert not second.step(), "one at a time"
    while not first.answer:
        assert first.step()
    while busy.step() | second.step():
        pass
    assert second.answer


def test_client_that_is_gone_gives_its_memory_back(listener: MemoryListener) -> None:
    crowd = [Sender(listener, produce(FRAME_BYTES)) for _ in range(30)]
    while sum(sender.step(upto=1000) for sender in crowd):
        pass
    for sender in crowd:
        sender.client.close()
    assert listener.request_memory.used_bytes == 0
    assert not listener.request_memory.is_short


def test_client_that_waits_for_our_worker_is_not_cut_off(
    listener: MemoryListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a disk that had stalled producers were cut off, which freed nothing: the worker had the memory."""
    key = BY_NAME["Produce"].key
    monkeypatch.setitem(dispatch.ROUTES, key, dispatch.ROUTES[key]._replace(is_slow=True))
    working = listener.connect()
    working.connection.data_received(
        produce(LIMIT_BYTES)
    )  # the worker's answer comes with loop.run()
    others = [listener.connect() for _ in range(2)]
    for other in others:
        other.connection.data_received(produce(FRAME_BYTES)[:READ_BYTES])
    assert listener.request_memory.is_short
    listener.loop.now_s = PATIENCE_S + 1
    assert not working.connection.hinders_others(PATIENCE_S)
    listener.loop.run()
    assert working.take()
    assert not listener.request_memory.is_short


def test_half_closed_client_that_does_not_read_gives_its_memory_back(
    listener: MemoryListener,
) -> None:
    """It had it, and was let through before others, until the clock cut it off."""
    silent, other = listener.connect(), listener.connect()
    silent.connection.pause_writing()
    silent.connection.data_received(produce(LIMIT_BYTES))
    assert listener.request_memory.used_bytes > LIMIT_BYTES
    for client in (listener.connect(), other):
        client.connection.data_received(produce(FRAME_BYTES)[:READ_BYTES])
    assert not other.transport.is_reading()
    assert silent.connection.eof_received() is False
    assert listener.request_memory.used_bytes == 2 * READ_BYTES
    assert other.transport.is_reading()


def test_half_closed_client_gives_its_memory_back_when_the_worker_is_done(
    listener: MemoryListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = BY_NAME["Produce"].key
    monkeypatch.setitem(dispatch.ROUTES, key, dispatch.ROUTES[key]._replace(is_slow=True))
    client = listener.connect()
    client.connection.data_received(produce(FRAME_BYTES))
    client.connection.eof_received()
    client.transport.abort()  # closing, and not over while the client does not read
    assert listener.request_memory.used_bytes > FRAME_BYTES
    listener.loop.run()
    assert listener.request_memory.used_bytes == 0


# ---- answers


def unread(listener: MemoryListener, request: bytes) -> int:
    """Send a request of a client that does not read its answer; return how many bytes that has."""
    before = listener.response_memory.used_bytes
    client = listener.connect()
    write = client.transport.write

    def write_much(data: Any) -> None:
        write(data)
        client.connection.pause_writing()

    client.transport.write = write_much  # type: ignore[method-assign]
    client.connection.data_received(request)
    listener.loop.run()
    return listener.response_memory.used_bytes - before


def test_answers_that_nobody_reads_get_smaller(broker: Broker, listener: MemoryListener) -> None:
    for _ in range(40):
        broker.partition("t", 0).append_value(b"x" * 50_000, 0)
    sizes = [unread(listener, fetch(LIMIT_BYTES)) for _ in range(40)]
    assert sizes[0] > 400_000
    assert sizes == sorted(sizes, reverse=True)
    assert sum(sizes) < LIMIT_BYTES + 40 * 51_000
    assert sizes[-1] > 50_000, "who asks is told something all the same"
    assert unread(listener, fetch(LIMIT_BYTES, min_bytes=LIMIT_BYTES)) > 50_000, "and at once"


def test_answer_that_nobody_reads_ends_its_connection_when_memory_is_short(
    broker: Broker, listener: MemoryListener
) -> None:
    for _ in range(40):
        broker.partition("t", 0).append_value(b"x" * 50_000, 0)
    unread(listener, fetch(LIMIT_BYTES))
    (first,) = listener.connections
    listener.loop.now_s = PATIENCE_S + 1
    assert not first.hinders_others(PATIENCE_S)
    while not listener.response_memory.is_short:
        unread(listener, fetch(LIMIT_BYTES))
    assert [one for one in listener.connections if one.hinders_others(PATIENCE_S)] == [first]
    while first._outbox.unsent_bytes:
        first.resume_writing()  # it reads, a piece of the answer at a time
    assert not first.hinders_others(PATIENCE_S)
    assert not listener.response_memory.is_short


def test_client_that_is_gone_has_nothing_to_read(broker: Broker, listener: MemoryListener) -> None:
    broker.partition("t", 0).append_value(b"x" * 50_000, 0)
    unread(listener, fetch(LIMIT_BYTES))
    listener.connections[0].connection_lost(None)
    assert listener.response_memory.used_bytes == 0


# ---- who is let through


class Reader:
    """Notes in *woken* that there is room for it."""

    def __init__(self, name: str, woken: list[str]) -> None:
        self._name, self._woken = name, woken

    def read_on(self) -> None:
        self._woken.append(self._name)


class Crowd:
    """Readers by their names, and which of them were woken since the last look."""

    def __init__(self, limit_bytes: int) -> None:
        self.memory = RequestMemory(limit_bytes)
        self._woken: list[str] = []
        self._readers = {name: Reader(name, self._woken) for name in "abcdef"}

    def hold(self, name: str, size_bytes: int) -> str:
        self.memory.hold(self._readers[name], size_bytes)
        return self._woken_now()

    def forget(self, name: str) -> str:
        self.memory.forget(self._readers[name])
        return self._woken_now()

    def may_read(self, names: str) -> list[bool]:
        return [self.memory.may_read(self._readers[name]) for name in names]

    def _woken_now(self) -> str:
        names = "".join(self._woken)
        self._woken.clear()
        return names


def test_one_is_let_through_at_the_limit_and_the_others_wait() -> None:
    crowd = Crowd(100)
    crowd.hold("a", 99)
    assert crowd.may_read("bcd") == [True, True, True]
    crowd.hold("a", 100)
    assert not crowd.memory.is_short
    assert crowd.may_read("bcb") == [True, False, True]
    assert crowd.memory.is_short


@pytest.mark.parametrize(
    ("room_bytes", "woken"), [(0, "b"), (1, "bc"), (262_144, "bc"), (262_145, "bcd")]
)
def test_so_many_are_woken_as_there_is_room_for_in_their_order_and_one_more(
    room_bytes: int, woken: str
) -> None:
    """Each reads 256 KiB at once. The one more is the one that is let through whatever the others take."""
    crowd = Crowd(1_000_000)
    crowd.hold("a", 2_000_000)
    assert crowd.may_read("abcde") == [True, False, False, False, False]
    assert crowd.hold("a", 1_000_000 - room_bytes) == woken
    crowd.hold("f", 2_000_000)
    favoured = woken[-1]
    assert crowd.may_read("a" + favoured) == [False, True]


def test_one_that_was_let_through_is_so_until_it_is_answered() -> None:
    crowd = Crowd(100)
    crowd.hold("a", 200)
    crowd.hold("b", 100)
    assert crowd.may_read("acd") == [True, False, False]
    assert crowd.hold("b", 50) == "", "there is no room, and a has its turn"
    assert crowd.hold("a", 250) == ""
    assert crowd.may_read("da") == [False, True]
    assert crowd.hold("a", 250) == ""
    assert crowd.may_read("da") == [False, True]
    assert crowd.hold("a", 240) == "c"
    assert crowd.may_read("ca") == [True, False]


def test_turn_does_not_end_while_all_of_the_memory_is_taken() -> None:
    crowd = Crowd(100)
    crowd.hold("a", 100)
    crowd.hold("b", 10)
    assert crowd.may_read("ac") == [True, False]
    assert crowd.hold("b", 0) == ""
    assert crowd.may_read("d") == [False]
    assert crowd.memory.used_bytes == 100


def test_who_wants_no_more_is_not_woken_and_gives_its_turn_to_the_next() -> None:
    crowd = Crowd(100)
    crowd.hold("a", 100)
    assert crowd.may_read("bcde") == [True, False, False, False]
    assert crowd.forget("c") == ""
    assert crowd.may_read("b") == [True]
    assert crowd.forget("b") == "d"
    assert crowd.may_read("be") == [False, False]
    assert crowd.hold("a", 0) == "eb"
    assert not crowd.memory.is_short


def test_who_holds_nothing_is_not_kept() -> None:
    crowd = Crowd(100)
    crowd.hold("a", 10)
    crowd.hold("a", 0)
    assert not crowd.memory._held


@pytest.mark.parametrize(
    ("used_bytes", "room_bytes", "is_short"),
    [(0, 25, False), (75, 6, False), (76, 6, True), (97, 0, True), (150, 0, True)],
)
def test_answer_may_take_a_quarter_of_what_is_left(
    used_bytes: int, room_bytes: int, is_short: bool
) -> None:
    memory = ResponseMemory(100)
    memory.used_bytes = used_bytes
    assert (memory.room_bytes, memory.is_short) == (room_bytes, is_short)
