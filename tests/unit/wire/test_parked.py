"""Requests that wait: when they are looked at, by whom, and their end. Without sockets, threads and time."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from threading import Thread
from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.runtime import VirtualClock
from streamlog.wire.call import Call
from streamlog.wire.dispatch import ROUTES
from streamlog.wire.messages import BY_NAME
from streamlog.wire.parked import Parked, Slow, WakeSignal
from tests.support.wire import frame
from tests.support.wire_memory import MemoryClient, MemoryListener, MemoryLoop

BEAT = frame("Heartbeat", 4, group_id="g", member_id="m", generation_id=1)
ASK = frame("ApiVersions", 0)


class Waiting(Parked):
    """Answers when it is told to, or late, and notes what is asked of it."""

    def __init__(self, call: Call, timeout_ms: float | None, in_worker: bool) -> None:
        self._call = call
        self.timeout_ms = timeout_ms
        self._in_worker = in_worker
        self.looks: list[bool] = []
        self.stops = 0
        self.is_ready = False
        self.meanwhile: Callable[[], object] = int

    def start(self, signal: WakeSignal) -> None:
        self.signal = signal

    def look(self, is_late: bool) -> Any:
        self.looks.append(is_late)

        def look_in_worker() -> Any:
            self.meanwhile()
            return self._answer(is_late)

        return Slow(look_in_worker) if self._in_worker else self._answer(is_late)

    def _answer(self, is_late: bool) -> Any:
        return self._call.response() if self.is_ready or is_late else None

    def stop(self) -> None:
        self.stops += 1

    def answer(self) -> None:
        self.is_ready = True
        self.signal.set()


class Heartbeats:
    """Those that wait: all that were sent."""

    def __init__(self) -> None:
        self.timeout_ms: float | None = None
        self.in_worker = False
        self.all: list[Waiting] = []

    def handle(self, call: Call) -> Any:
        self.all.append(Waiting(call, self.timeout_ms, self.in_worker))
        return self.all[-1]


@pytest.fixture
def beats(monkeypatch: pytest.MonkeyPatch) -> Heartbeats:
    beats = Heartbeats()
    key = BY_NAME["Heartbeat"].key
    monkeypatch.setitem(ROUTES, key, ROUTES[key]._replace(handler=beats.handle, is_slow=False))
    return beats


@pytest.fixture
def listener() -> Iterator[MemoryListener]:
    with Broker(clock=VirtualClock()) as broker:
        yield MemoryListener(broker)


@pytest.fixture
def client(listener: MemoryListener) -> MemoryClient:
    return listener.connect()


def padded(request: bytes, size: int) -> bytes:
    """Return *request* in a frame of so many bytes: what is behind its fields is not looked at."""
    return struct.pack(">i", size - 4) + request[4:] + bytes(size - len(request))


def answers(data: bytes) -> int:
    count = position = 0
    while position < len(data):
        (size,) = struct.unpack_from(">i", data, position)
        position += 4 + size
        count += 1
    return count


@pytest.mark.parametrize("in_worker", [False, True])
@pytest.mark.parametrize("end", ["answer", "close", "connection_lost"])
def test_request_that_waits_is_told_once_that_nobody_does_any_more(
    client: MemoryClient, beats: Heartbeats, end: str, in_worker: bool
) -> None:
    beats.in_worker = in_worker
    client.send(BEAT)
    (waiting,) = beats.all
    assert (waiting.looks, waiting.stops) == ([False], 0)
    if end == "answer":
        waiting.answer()
        assert answers(client.send(b"")) == 1
    elif end == "close":
        client.connection.close()
        client.connection.close()
    else:
        client.close()
    assert waiting.stops == 1
    waiting.answer()
    client.close()
    assert (len(waiting.looks), waiting.stops) == (2 if end == "answer" else 1, 1)
    assert client.take() == b""


@pytest.mark.parametrize("in_worker", [False, True])
def test_request_that_waits_is_answered_when_its_time_is_over(
    listener: MemoryListener, client: MemoryClient, beats: Heartbeats, in_worker: bool
) -> None:
    beats.in_worker = in_worker
    beats.timeout_ms = 1_500
    assert client.send(BEAT + ASK) == b""
    (timer,) = listener.loop.timers
    assert timer.seconds == 1.5
    timer.come()
    assert answers(client.send(b"")) == 2
    assert beats.all[0].looks == [False, True]
    assert not listener.loop.timers
    # The next one has its own time.
    beats.timeout_ms = None
    client.send(BEAT)
    assert beats.all[1].looks == [False]
    assert not listener.loop.timers


@pytest.mark.parametrize("end", ["answer", "connection_lost"])
def test_timer_does_not_outlive_what_it_was_set_for(
    listener: MemoryListener, client: MemoryClient, beats: Heartbeats, end: str
) -> None:
    beats.timeout_ms = 1_500
    client.send(BEAT)
    if end == "answer":
        beats.all[0].answer()
        client.send(b"")
    else:
        client.close()
    assert not listener.loop.timers


@pytest.mark.parametrize("is_woken", [False, True])
def test_what_comes_while_a_worker_looks_is_looked_at_when_it_is_done(
    listener: MemoryListener, client: MemoryClient, beats: Heartbeats, is_woken: bool
) -> None:
    beats.in_worker = True
    client.connection.data_received(BEAT)
    (waiting,) = beats.all
    # The worker has looked and found nothing, and the loop has not heard of that yet.
    if is_woken:
        waiting.answer()
    assert waiting.looks == [False]
    assert answers(client.send(b"")) == is_woken
    assert waiting.looks == [False] * (1 + is_woken)


def test_time_that_is_over_while_a_worker_looks_is_so_afterwards(
    listener: MemoryListener, client: MemoryClient, beats: Heartbeats
) -> None:
    beats.in_worker, beats.timeout_ms = True, 10
    client.connection.data_received(BEAT)
    (timer,) = listener.loop.timers
    timer.come()
    (waiting,) = beats.all
    assert waiting.looks == [False], "one look at a time"
    assert answers(client.send(b"")) == 1
    assert waiting.looks == [False, True]


def test_connection_that_is_gone_while_a_worker_looks_counts_until_it_is_done(
    listener: MemoryListener, client: MemoryClient, beats: Heartbeats
) -> None:
    beats.in_worker = True
    client.connection.data_received(padded(BEAT, 70_000))
    client.connection.connection_lost(None)
    (waiting,) = beats.all
    assert waiting.stops == 0, "the worker has it"
    assert listener.connections == [client.connection]
    assert listener.request_memory.used_bytes == 70_000
    listener.loop.run()
    assert waiting.stops == 1
    assert listener.connections == []
    assert listener.request_memory.used_bytes == 0


def test_request_that_a_worker_has_wait_for_a_client_that_is_gone_is_stopped(
    monkeypatch: pytest.MonkeyPatch, client: MemoryClient, beats: Heartbeats
) -> None:
    key = BY_NAME["Heartbeat"].key
    monkeypatch.setitem(ROUTES, key, ROUTES[key]._replace(is_slow=True))
    client.connection.data_received(BEAT)
    client.close()
    (waiting,) = beats.all
    assert (waiting.looks, waiting.stops) == ([], 1)


def test_request_that_waits_takes_its_memory_until_it_is_answered(
    listener: MemoryListener, client: MemoryClient, beats: Heartbeats
) -> None:
    client.send(padded(BEAT, 70_000))
    assert listener.request_memory.used_bytes == 70_000
    client.send(ASK)
    assert listener.request_memory.used_bytes == 70_000 + len(ASK)
    assert client.transport.is_reading()
    beats.all[0].answer()
    assert answers(client.send(b"")) == 2
    assert listener.request_memory.used_bytes == 0


@pytest.mark.parametrize(("size", "counted"), [(65_536, 0), (65_537, 65_537)])
def test_small_request_takes_nothing_that_others_wait_for(
    listener: MemoryListener, client: MemoryClient, beats: Heartbeats, size: int, counted: int
) -> None:
    client.send(padded(BEAT, size))
    assert len(beats.all) == 1
    assert listener.request_memory.used_bytes == counted


def test_who_was_just_answered_has_all_the_time_again(beats: Heartbeats) -> None:
    """What came behind that request is held for as long as it was, but others were not kept waiting by it."""
    with Broker(clock=VirtualClock()) as broker:
        listener = MemoryListener(broker, queued_max_request_bytes=100_000)
        one, other = listener.connect(), listener.connect()
        half = struct.pack(">i", 200_000) + bytes(150_000)
        one.send(padded(BEAT, 70_000) + half)
        listener.loop.now_s = 31.0
        beats.all[0].answer()
        assert answers(one.send(b"")) == 1
        listener.loop.now_s = 32.0
        other.send(half)
        assert listener.request_memory.is_short
        assert one.connection.hinders_others(30) == ""
        listener.loop.now_s = 62.0
        assert one.connection.hinders_others(30)


# ---- what wakes them


def test_signal_that_is_set_often_wakes_once_until_it_has() -> None:
    loop = MemoryLoop()
    woken: list[int] = []

    def wake() -> None:
        woken.append(1)
        signal.set()

    signal = WakeSignal(loop, wake)  # type: ignore[arg-type]
    signal.set()
    signal.set()
    call, _ = loop._soon.popleft()
    assert not loop._soon
    call()
    assert woken == [1]
    assert len(loop._soon) == 1, "what was set meanwhile may not have been seen"


def test_signal_that_is_set_in_another_thread_says_so_to_the_loop() -> None:
    class Loop(MemoryLoop):
        def call_soon(self, call: Callable[..., object], *arguments: Any) -> None:
            raise AssertionError("in another thread than the loop's")

    loop = Loop()
    woken: list[int] = []
    signal = WakeSignal(loop, lambda: woken.append(1))  # type: ignore[arg-type]
    thread = Thread(target=signal.set)
    thread.start()
    thread.join()
    loop.run()
    assert woken == [1]


def test_signal_of_a_loop_that_is_closed_wakes_nobody() -> None:
    class Loop(MemoryLoop):
        def call_soon_threadsafe(self, call: Callable[..., object], *arguments: Any) -> None:
            raise RuntimeError("Event loop is closed")

    signal = WakeSignal(Loop(), lambda: None)  # type: ignore[arg-type]
    raised: list[BaseException] = []

    def set_signal() -> None:
        try:
            signal.set()
        except RuntimeError as error:
            raised.append(error)

    thread = Thread(target=set_signal)
    thread.start()
    thread.join()
    assert raised == []
