from __future__ import annotations

from streamlog import Broker
from streamlog.testing.fixtures import (  # noqa: F401 - pytest finds the fixtures here
    kafka_bootstrap_servers,
    kafka_broker,
)
from tests.support.wire import RawClient


def test_clients_find_an_empty_broker(
    kafka_bootstrap_servers: str,  # noqa: F811
    kafka_broker: Broker,  # noqa: F811
) -> None:
    with RawClient(kafka_bootstrap_servers) as client:
        assert client.request("Metadata", 12, topics=None).topics == []
        topics = [{"name": "new"}]
        client.request("Metadata", 12, topics=topics, allow_auto_topic_creation=True)
    assert kafka_broker.topics() == ["new"]


def test_next_test_finds_it_empty_again(kafka_broker: Broker) -> None:  # noqa: F811
    assert kafka_broker.topics() == []
