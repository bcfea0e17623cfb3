"""Ctrl-C while a listener is made, and while it is closed, at every moment at which it can come out."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator

import pytest

from streamlog.broker.broker import Broker
from tests.support.eventually import eventually
from tests.support.interrupts import interrupted_at, moments, no_hang
from tests.support.sockets import connect, is_closed, open_sockets, own_address

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _no_loop_is_collected() -> Iterator[None]:
    """An old one's `__del__` is Python, and an interrupt in it comes out nowhere."""
    gc.disable()
    yield
    gc.enable()


def nobody_serves() -> bool:
    return not any("listener" in thread.name for thread in threading.enumerate())


def each_moment(make: Callable[[Broker], Callable[[], object]]) -> list[int]:
    """Return the moments of what *make* returns, tried once without an interrupt."""
    with Broker() as broker:
        return moments(make(broker), of_each=1)


def test_listener_whose_making_is_interrupted_leaves_nothing() -> None:
    with Broker() as broker, broker.listen(own_address()) as listener:
        address = listener.bootstrap_servers
    chosen = each_moment(lambda broker: lambda: broker.listen(address))
    assert len(chosen) > 50
    ended_by_broker = 0
    for moment in chosen:
        before = open_sockets()
        with no_hang(f"moment {moment}"), Broker() as broker:
            if not interrupted_at(moment, lambda broker=broker: broker.listen(address)):
                continue
            # It came out behind the making: the broker has it, and closes it.
            is_kept = bool(broker._listeners)
            ended_by_broker += is_kept
            assert is_kept == bool(broker._clients), moment
            if not is_kept:
                eventually(nobody_serves)
                with broker.listen(address):
                    pass
        assert nobody_serves(), moment
        assert open_sockets() <= before, moment
    assert ended_by_broker < len(chosen) / 5


@pytest.mark.parametrize("is_broker", [False, True], ids=["listener", "broker"])
def test_close_that_is_interrupted_does_the_rest_the_next_time(is_broker: bool) -> None:
    def closing(broker: Broker) -> Callable[[], object]:
        listener = broker.listen()
        return broker.close if is_broker else listener.close

    chosen = each_moment(closing)
    assert len(chosen) > 10
    for moment in chosen:
        before = open_sockets()
        with no_hang(f"moment {moment}"), Broker() as broker:
            close = closing(broker)
            (listener,) = broker._listeners
            with connect(listener.bootstrap_servers) as client:
                interrupted_at(moment, close)
                close()
                assert listener.closed
                assert is_closed(client), moment
            assert nobody_serves(), moment
            assert broker._listeners == [], moment
        assert open_sockets() <= before, moment
