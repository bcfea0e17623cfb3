"""A broker whose time stands still, and connections to it that say what they are told to."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from streamlog.broker.broker import Broker
from streamlog.runtime import VirtualClock
from streamlog.wire.listener import Listener
from tests.support.wire import RawClient, raw_clients


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def broker(clock: VirtualClock) -> Iterator[Broker]:
    with Broker(clock=clock, seed=1) as broker:
        broker.create_topic("t", partitions=2)
        yield broker


@pytest.fixture
def listener(broker: Broker) -> Iterator[Listener]:
    with broker.listen(initial_rebalance_delay_ms=0) as listener:
        yield listener


@pytest.fixture
def connect(listener: Listener) -> Iterator[Callable[[], RawClient]]:
    """Opens connections, which are closed in the end."""
    with raw_clients(listener.bootstrap_servers) as connect:
        yield connect


@pytest.fixture
def client(connect: Callable[[], RawClient]) -> RawClient:
    return connect()
