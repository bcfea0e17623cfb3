"""The admin client about producers and transactions: KIP-664, KIP-939."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.broker.transactions.state import TransactionState
from streamlog.client.admin import Admin
from streamlog.client.producer import Producer
from streamlog.errors import (
    ConcurrentTransactionsError,
    InvalidConfigurationError,
    InvalidTxnStateError,
    ProducerFencedError,
    TransactionalIdNotFoundError,
    UnknownTopicOrPartitionError,
)
from streamlog.runtime import VirtualClock
from streamlog.structs import TopicPartition

T0 = TopicPartition("t", 0)


@pytest.fixture
def admin(broker: Broker) -> Iterator[Admin]:
    broker.create_topic("t")
    with Admin(broker) as admin:
        yield admin


def begun(broker: Broker, name: str, **config: Any) -> Producer:
    """A producer with a transaction that wrote one record."""
    producer = Producer(broker, transactional_id=name, **config)
    producer.init_transactions()
    producer.begin_transaction()
    producer.send("t", b"v").result()
    return producer


def test_transactions_are_listed_by_state_producer_and_age(
    admin: Admin, broker: Broker, clock: VirtualClock
) -> None:
    old = begun(broker, "old")
    clock.advance(5000)
    new = begun(broker, "new")
    done = begun(broker, "done")
    done.commit_transaction()
    clock.advance(1000)

    def names(**filters: Any) -> list[str]:
        return [listed.transactional_id for listed in admin.list_transactions(**filters)]

    assert names() == ["done", "new", "old"]
    assert names(states=["ongoing"]) == ["new", "old"]
    assert names(states=[TransactionState.COMPLETE_COMMIT]) == ["done"]
    (listed,) = (one for one in admin.list_transactions() if one.transactional_id == "new")
    assert names(producer_ids=[listed.producer_id]) == ["new"]
    assert names(longer_than_ms=2000) == ["old"]
    assert names(longer_than_ms=2000, states=["complete_commit"]) == []
    for producer in (old, new):
        producer.abort_transaction()
    assert names(states=["ongoing"]) == []


@pytest.mark.parametrize(
    ("filters", "error", "message"),
    [
        ({"states": ["nonsense"]}, ValueError, "states: expected some of 'empty'"),
        ({"states": [5]}, TypeError, "states: expected a TransactionState or its value, found 5"),
        ({"states": "ongoing"}, TypeError, "found the str 'ongoing'"),
        ({"producer_ids": 5}, TypeError, "producer_ids: expected a list of ints, found 5"),
        ({"producer_ids": ["5"]}, TypeError, "producer_ids: expected ints, found '5'"),
        ({"longer_than_ms": "5"}, TypeError, "longer_than_ms: expected a number .* found '5'"),
        ({"longer_than_ms": -1}, ValueError, "longer_than_ms: expected 0 or more, found -1"),
        ({"longer_than_ms": float("nan")}, ValueError, "longer_than_ms: .* found nan"),
    ],
)
def test_a_list_by_what_cannot_be_is_refused(
    admin: Admin, broker: Broker, filters: Any, error: type[Exception], message: str
) -> None:
    begun(broker, "tx")
    with pytest.raises(error, match=message):
        admin.list_transactions(**filters)


def test_a_transaction_is_described_with_its_partitions(
    admin: Admin, broker: Broker, clock: VirtualClock
) -> None:
    producer = begun(broker, "tx", transaction_timeout_ms=30_000)
    found = admin.describe_transactions(["tx"])["tx"]
    assert found.state is TransactionState.ONGOING
    assert found.topic_partitions == (T0,)
    assert found.transaction_timeout_ms == 30_000
    assert found.transaction_start_time_ms == clock.time_ms()
    producer.commit_transaction()
    found = admin.describe_transactions(["tx"])["tx"]
    assert found.state is TransactionState.COMPLETE_COMMIT
    assert found.topic_partitions == ()


@pytest.mark.parametrize("call", ["describe_transactions", "force_terminate_transaction"])
def test_an_id_that_nobody_has_is_not_found(admin: Admin, call: str) -> None:
    argument: Any = "nobody" if call.startswith("force") else ["nobody"]
    with pytest.raises(TransactionalIdNotFoundError, match="nobody"):
        getattr(admin, call)(argument)


@pytest.mark.parametrize(
    ("names", "error"), [("tx", TypeError), ([5], TypeError), ([""], InvalidConfigurationError)]
)
@pytest.mark.parametrize("call", ["describe_transactions", "fence_producers"])
def test_what_is_no_transactional_id_is_refused(
    admin: Admin, call: str, names: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        getattr(admin, call)(names)


def test_the_producers_of_a_partition_are_described(admin: Admin, broker: Broker) -> None:
    producer = begun(broker, "tx")
    with Producer(broker) as idempotent:
        idempotent.send("t", b"w").result()
        idempotent.send("t", b"x").result()
    found = admin.describe_producers([T0])[T0]
    assert sorted(one.last_sequence for one in found) == [0, 1]
    (open_one,) = (one for one in found if one.current_transaction_start_offset is not None)
    assert open_one.current_transaction_start_offset == 0
    producer.commit_transaction()
    found = admin.describe_producers([T0])[T0]
    assert all(one.current_transaction_start_offset is None for one in found)
    with pytest.raises(UnknownTopicOrPartitionError):
        admin.describe_producers([TopicPartition("t", 5)])


def test_fenced_producers_have_lost_their_transaction(admin: Admin, broker: Broker) -> None:
    producer = begun(broker, "tx")
    before = admin.describe_transactions(["tx"])["tx"]
    fenced = admin.fence_producers(["tx", "new"])
    assert fenced["tx"].producer_id == before.producer_id
    assert fenced["tx"].producer_epoch > before.producer_epoch
    assert fenced["new"].producer_epoch == 0
    with pytest.raises(ProducerFencedError):
        producer.commit_transaction()
    assert broker.partition(*T0).last_stable_offset == 2


def test_a_transaction_can_be_ended_from_outside(admin: Admin, broker: Broker) -> None:
    producer = begun(broker, "tx")
    admin.force_terminate_transaction("tx")
    assert broker.partition(*T0).last_stable_offset == 2
    with pytest.raises(ProducerFencedError):
        producer.commit_transaction()
    admin.force_terminate_transaction("tx")  # nothing is open: nothing happens
    with begun(broker, "tx") as successor:
        successor.commit_transaction()


def test_a_transaction_that_the_coordinator_knows_does_not_hang(
    admin: Admin, broker: Broker
) -> None:
    producer = begun(broker, "tx")
    (found,) = admin.describe_producers([T0])[T0]
    with pytest.raises(InvalidTxnStateError, match=r"by force_terminate_transaction\('tx'\)"):
        admin.abort_transaction(T0, found.producer_id, found.producer_epoch)
    producer.commit_transaction()
    with pytest.raises(InvalidTxnStateError, match="expected an open transaction"):
        admin.abort_transaction(T0, found.producer_id, found.producer_epoch)


@pytest.mark.parametrize("wrong", ["1", None, 1.0, True])
def test_a_producer_that_is_no_number_is_refused_by_name(admin: Admin, wrong: Any) -> None:
    """It was `expected an open transaction of producer 1 epoch 0, found none`."""
    with pytest.raises(TypeError, match="abort_transaction: producer_id: expected an int, found"):
        admin.abort_transaction(T0, wrong, 0)
    with pytest.raises(TypeError, match="abort_transaction: producer_epoch: expected an int"):
        admin.abort_transaction(T0, 1, wrong)


def test_a_transaction_that_hangs_is_aborted_where_it_does(admin: Admin, broker: Broker) -> None:
    """TXN-13: it keeps readers from all that came later."""
    begun(broker, "tx").close(0)
    with Producer(broker) as other:
        other.send("t", b"later").result()
    # As if __transaction_state had been lost.
    store = broker.transaction_coordinator._store
    store.transactions.clear()
    store._by_producer_id.clear()
    assert broker.partition(*T0).last_stable_offset == 0
    (found,) = (
        one
        for one in admin.describe_producers([T0])[T0]
        if one.current_transaction_start_offset is not None
    )
    admin.abort_transaction(T0, found.producer_id, found.producer_epoch)
    assert broker.partition(*T0).last_stable_offset == 3


def test_what_is_never_completed_is_not_waited_for_for_ever(
    admin: Admin, broker: Broker, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: object) -> None:
        raise ConcurrentTransactionsError("being completed")

    monkeypatch.setattr(type(broker.transaction_coordinator), "init_producer_id", busy)
    start_ms = clock.monotonic_ms()
    with pytest.raises(ConcurrentTransactionsError):
        admin.fence_producers(["tx"])
    assert clock.monotonic_ms() - start_ms == 60_000
