from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.client.producer import Producer
from streamlog.client.record_future import AppendedRecordFuture, RecordFuture
from streamlog.errors import RecordTooLargeError, StreamlogTimeoutError
from streamlog.runtime import VirtualClock


@pytest.fixture
def producer(broker: Broker) -> Producer:
    broker.create_topic("t")
    return Producer(broker, linger_ms=5, max_request_size=1000)


def test_a_pending_future_is_running(producer: Producer) -> None:
    future = producer.send("t", b"v")
    assert (future.done(), future.running(), future.cancelled()) == (False, True, False)
    assert repr(future) == "<RecordFuture for t-0: pending>"
    producer.flush()
    assert (future.done(), future.running(), future.cancelled()) == (True, False, False)
    assert "offset=0" in repr(future)


def test_what_was_sent_cannot_be_cancelled(producer: Producer) -> None:
    future = producer.send("t", b"v")
    assert future.cancel() is False
    assert future.result().offset == 0


def test_result_waits_as_long_as_the_batch_lingers(clock: VirtualClock, producer: Producer) -> None:
    before = clock.now
    assert producer.send("t", b"v").result().offset == 0
    assert clock.now - before == 5


def test_result_gives_up_after_its_timeout_in_seconds(
    clock: VirtualClock, producer: Producer
) -> None:
    future = producer.send("t", b"v")
    with pytest.raises(StreamlogTimeoutError, match=r"t-0: .* 0.003 s"):
        future.result(timeout=0.003)
    assert future.exception(timeout=1) is None
    assert isinstance(StreamlogTimeoutError(), TimeoutError)


def test_exception_returns_and_result_raises_the_same_kind(producer: Producer) -> None:
    future = producer.send("t", bytes(2000))
    assert isinstance(future.exception(), RecordTooLargeError)
    with pytest.raises(RecordTooLargeError):
        future.result()
    assert repr(future) == "<RecordFuture: RecordTooLargeError>"


def test_what_a_done_callback_raises_is_logged(
    producer: Producer, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(future: RecordFuture) -> None:
        raise RuntimeError("mine")

    future = producer.send("t", b"v")
    future.add_done_callback(broken)
    seen: list[Any] = []
    future.add_done_callback(seen.append)
    producer.flush()
    future.add_done_callback(broken)
    assert seen == [future]
    assert caplog.text.count("Done callback") == 2


def test_done_callbacks_of_later_batches_wait_for_them(
    clock: VirtualClock, producer: Producer
) -> None:
    seen: list[Any] = []
    first = producer.send("t", b"1")
    first.add_done_callback(seen.append)
    clock.advance(5)
    second = producer.send("t", b"2")
    second.add_done_callback(seen.append)
    assert seen == [first]
    clock.advance(5)
    assert seen == [first, second]


def test_metadata_is_made_from_the_batch(clock: VirtualClock, producer: Producer) -> None:
    first = producer.send("t", b"12345")
    clock.advance(2)
    second = producer.send("t", b"", key=b"key")
    third = producer.send("t", None)
    producer.flush()
    start = int(clock.now) - 2
    assert first.result()[:6] == ("t", 0, 0, start, -1, 5)
    assert second.result()[:6] == ("t", 0, 1, start + 2, 3, 0)
    assert third.result()[:6] == ("t", 0, 2, start + 2, -1, -1)


def test_a_future_of_linger_0_is_done_from_the_start(broker: Broker) -> None:
    future = Producer(broker).send("new", b"v", key=b"k")
    assert type(future) is AppendedRecordFuture
    assert future.done()
    assert future.exception() is None
    assert future.result().serialized_key_size == 1
    seen: list[Any] = []
    future.add_done_callback(seen.append)
    assert seen == [future]


def test_a_future_is_small(producer: Producer) -> None:
    """Somebody may keep a million of them."""
    future = producer.send("t", b"v")
    assert not hasattr(future, "__dict__")
    assert future.__sizeof__() <= 16 + 4 * 8


@pytest.mark.parametrize("linger_ms", [0, 1])
def test_a_coroutine_waits_for_a_future_in_a_thread(linger_ms: float) -> None:
    """As the class and the README say: it is no `concurrent.futures.Future` to be wrapped."""

    async def main(producer: Producer) -> list[int]:
        futures = [producer.send("t", b"v") for _ in range(3)]
        done = [await asyncio.to_thread(future.result) for future in futures]
        return [metadata.offset for metadata in done]

    with Broker() as broker, Producer(broker, linger_ms=linger_ms) as producer:
        assert asyncio.run(main(producer)) == [0, 1, 2]


@pytest.mark.parametrize("wrong", ["1", b"1", True, [1]])
def test_a_wait_for_what_is_no_number_of_seconds_is_refused(producer: Producer, wrong: Any) -> None:
    for future in (producer.send_many("t", [b"v"]), producer.send("t", b"v")):
        for call in (future.result, future.exception):
            with pytest.raises(TypeError, match="timeout: expected a number of seconds or None"):
                call(timeout=wrong)


def test_a_wait_of_no_time_or_less_is_over_at_once(producer: Producer, clock: VirtualClock) -> None:
    future, before = producer.send("t", b"v"), clock.monotonic_ms()
    for timeout in (0, -1):
        with pytest.raises(StreamlogTimeoutError):
            future.result(timeout=timeout)
    assert clock.monotonic_ms() == before
