"""Every ``_check()`` of what a broker and its clients are made of: what must hold between any two calls."""

from __future__ import annotations

from streamlog import Broker, Consumer, Producer


def check_broker(broker: Broker) -> None:
    """Assert the invariants of topics, logs, segments, indexes, groups, transactions and timers."""
    broker.runtime.clock._queue._check()  # type: ignore[attr-defined]
    broker.topic_registry._check()
    resources = broker._resources
    assert resources is not None
    resources.maintenance._check()
    resources.directory._check()
    broker.group_coordinator._check()
    if broker._transaction_coordinator is not None:
        broker._transaction_coordinator._check()


def check_producer(producer: Producer) -> None:
    """Assert the invariants of queues, buffer memory and timer."""
    producer._accumulator._check()
    assert producer._sender._calling_threads == set()


def check_consumer(consumer: Consumer) -> None:
    """Assert the invariants of subscription, buffers and membership."""
    consumer._subscription._check()
    consumer._fetcher._check()
    assert consumer._fetcher._partitions == list(consumer._subscription.assigned.values())
    if consumer._membership is not None:
        consumer._membership._check()
        if not consumer._subscription.is_by_group:
            assert consumer._membership.member_id == ""
