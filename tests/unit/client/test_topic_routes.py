from __future__ import annotations

from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.client.producer import Producer
from streamlog.client.topic_routes import TopicRoutes
from streamlog.errors import InvalidTopicError, UnknownTopicOrPartitionError


def routes_of(broker: Broker, **config: Any) -> TopicRoutes:
    return Producer(broker, **config)._routes


def test_a_route_is_kept_until_topics_change(broker: Broker) -> None:
    routes = routes_of(broker)
    route = routes.route("t")
    assert routes.route("t") is route
    generation = routes.generation
    broker.create_partitions("t", 3)
    assert routes.generation > generation
    grown = routes.route("t")
    assert (len(route.queues), len(grown.queues)) == (1, 3)
    assert grown.queues[0] is route.queues[0], "what waits in a queue keeps its place"


def test_a_topic_that_changes_while_its_route_is_made_is_looked_up_again(broker: Broker) -> None:
    routes = routes_of(broker)
    make = routes._make
    made = []

    def make_late(topic: Any) -> Any:
        route = make(topic)
        if not made:
            broker.create_partitions("t", 2)
        made.append(route)
        return route

    routes._make = make_late  # type: ignore[method-assign]
    assert len(routes.route("t").queues) == 2
    assert len(made) == 2


def test_a_route_that_was_forgotten_is_not_put_into_the_tables(broker: Broker) -> None:
    routes = routes_of(broker, linger_ms=5)
    route = routes.route("t")
    broker.create_topic("other")
    routes.use(route)
    assert routes.plain == routes.keyed == {}
    routes.use(routes.route("t"))
    assert set(routes.plain) == set(routes.keyed) == {"t"}


@pytest.mark.parametrize(
    ("config", "plain", "keyed"),
    [
        ({}, True, True),
        ({"value_serializer": "bytes", "key_serializer": "bytes"}, True, True),
        ({"value_serializer": "str"}, False, False),
        ({"key_serializer": "str"}, True, False),
        ({"partitioner": "sticky"}, True, False),
        ({"partitioner": "consistent"}, False, True),
        ({"partitioner": "random"}, False, False),
        pytest.param({"partitioner": lambda *_: 0}, False, False, id="a function"),
        ({"partitioner_ignore_keys": True}, True, False),
    ],
    ids=repr,
)
def test_only_what_needs_nothing_else_takes_the_short_way(
    broker: Broker, config: dict[str, Any], plain: bool, keyed: bool
) -> None:
    routes = routes_of(broker, **config)
    routes.use(routes.route("t"))
    assert ("t" in routes.plain, "t" in routes.keyed) == (plain, keyed)


def test_keys_are_remembered_unless_empty_or_long(broker: Broker) -> None:
    routes = routes_of(broker, linger_ms=5)
    assert routes.remember("t", b"k") is None, "the topic is not in use yet"
    route = routes.route("t")
    routes.use(route)
    assert routes.remember("t", b"k") is route.queues[0]
    assert route.queues[0].has_keys
    for unfit in (b"", bytes(129), "k", None, 5, ["k"]):
        assert routes.remember("t", unfit) is None
    assert set(route.memo) == {b"k"}
    assert routes.remember(["t"], b"k") is None


def test_what_does_not_exist_or_is_internal_is_refused(broker: Broker) -> None:
    routes = routes_of(broker)
    with pytest.raises(InvalidTopicError, match="internal"):
        routes.route("__consumer_offsets")
    with pytest.raises(InvalidTopicError):
        routes.route("no/slash")
    with pytest.raises(UnknownTopicOrPartitionError, match="t-1"):
        routes.queue(routes.route("t"), 1)


def test_after_close_changes_are_not_listened_to(broker: Broker) -> None:
    producer = Producer(broker)
    routes = producer._routes
    routes.route("t")
    producer.close()
    generation = routes.generation
    broker.create_topic("other")
    assert routes.generation == generation
