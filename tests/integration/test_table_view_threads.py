"""A table view in many threads: each sees what was sent before it looks, and callbacks are told all of it in order."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from streamlog import Broker, ClosedError, Producer, TableView

pytestmark = pytest.mark.stress

WRITERS = 3
ROUNDS = 400


@pytest.fixture(autouse=True)
def frequent_switches() -> Iterator[None]:
    """Let threads take turns five thousand times as often as usual."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_every_thread_sees_what_it_sent_itself() -> None:
    """Also while another thread is applying it."""
    with Broker() as broker:
        broker.create_topic("t", partitions=2)
        told: dict[Any, list[Any]] = {}
        with TableView(broker, "t", value_deserializer="int") as view:
            view.on_change(lambda key, old, new: told.setdefault(key, []).append((old, new)))

            def write(writer: int) -> None:
                key = b"writer %d" % writer
                with Producer(broker, value_serializer="int") as producer:
                    for number in range(ROUNDS):
                        producer.send("t", number, key=key).result()
                        assert view[key] == number
                        if number % 50 == 0:
                            producer.send("t", None, key=key).result()
                            assert key not in view

            stop = threading.Event()

            def look() -> None:
                while not stop.is_set():
                    for key, value in view.items():
                        assert key.startswith(b"writer")
                        assert 0 <= value < ROUNDS
                    assert len(view) <= WRITERS

            with ThreadPoolExecutor(WRITERS + 1) as pool:
                looking = pool.submit(look)
                writing = [pool.submit(write, writer) for writer in range(WRITERS)]
                try:
                    for future in writing:
                        future.result(100)
                finally:
                    stop.set()
                looking.result(100)
            view.wait_until_caught_up(timeout_ms=60_000)
            assert dict(view) == {b"writer %d" % n: ROUNDS - 1 for n in range(WRITERS)}
        for changes in told.values():
            assert changes[0][0] is None
            assert [old for old, _ in changes[1:]] == [new for _, new in changes[:-1]]
            assert [new for _, new in changes if new is not None] == list(range(ROUNDS))
        assert len(told) == WRITERS


def test_closing_while_others_look_up_ends_them_with_the_error_of_a_closed_view() -> None:
    with Broker() as broker:
        broker.create_topic("t")
        view = TableView(broker, "t")
        started = threading.Barrier(3)

        def look() -> None:
            started.wait(20)
            while True:
                view.get(b"a")
                len(view)

        with ThreadPoolExecutor(3) as pool, Producer(broker) as producer:
            looking = [pool.submit(look) for _ in range(2)]
            started.wait(20)
            for number in range(50):
                producer.send("t", b"%d" % number, key=b"a")
            view.close()
            for future in looking:
                with pytest.raises(ClosedError):
                    future.result(60)
