"""Fixtures for pytest: a broker that any client of Kafka can connect to, new and empty for each test.

In a ``conftest.py``::

    from streamlog.testing.fixtures import kafka_bootstrap_servers, kafka_broker

Needs pytest, which is why `streamlog.testing` does not import it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from streamlog.broker.broker import Broker

__all__ = ["kafka_bootstrap_servers", "kafka_broker"]

#: Kafka's least is 6 s, which a test that lets a member die would have to wait.
_MIN_SESSION_MS = 100


@pytest.fixture
def kafka_broker() -> Iterator[Broker]:
    """A `Broker` in memory that listens: what the program under test did can be looked at in this process, and the other way round.

    Topics come into being by being used, with one partition; sessions of groups may be as short as 100 ms.
    """
    with Broker(group_min_session_timeout_ms=_MIN_SESSION_MS) as broker:
        broker.listen()
        yield broker


@pytest.fixture
def kafka_bootstrap_servers(kafka_broker: Broker) -> str:
    """The ``host:port`` of `kafka_broker`, for the configuration of a client."""
    return kafka_broker.bootstrap_servers
