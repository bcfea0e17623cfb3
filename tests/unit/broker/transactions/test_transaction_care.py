from __future__ import annotations

import logging
from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.broker.topic_name import TRANSACTION_STATE_TOPIC
from streamlog.broker.transactions.state import TransactionState
from streamlog.broker.transactions.transaction import Transaction
from streamlog.errors import (
    ConcurrentTransactionsError,
    CorruptLogError,
    InvalidProducerEpochError,
    InvalidProducerIdMappingError,
    InvalidTxnStateError,
    ProducerFencedError,
    TransactionalIdNotFoundError,
)
from streamlog.record import build_batch
from streamlog.record.control import ControlType
from streamlog.runtime import VirtualClock
from streamlog.structs import TopicPartition
from tests.support.transaction_writer import TIMEOUT_MS, markers, new_writer, state

S = TransactionState


# ---- TXN-12: the clock


def test_transaction_that_is_open_for_too_long_is_aborted_and_its_producer_fenced(
    broker: Broker, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    clock.advance(3_000)
    writer = new_writer(broker)
    clock.advance(TIMEOUT_MS)  # nothing is open: the time does not run yet
    writer.write("a")
    clock.advance(TIMEOUT_MS - 1)
    assert state(broker) is S.ONGOING
    with caplog.at_level(logging.WARNING, "streamlog"):
        clock.advance(10_001)  # looked at every ten seconds
    assert state(broker) is S.COMPLETE_ABORT
    assert "open for longer than its timeout, 60000 ms" in caplog.text
    assert broker.partition("a", 0).last_stable_offset == 2
    with pytest.raises(InvalidProducerEpochError):
        writer.write("a")
    with pytest.raises(ProducerFencedError, match="or the transaction timed out"):
        writer.end(commit=True)


def test_nothing_is_armed_while_no_transaction_is_open(broker: Broker, clock: VirtualClock) -> None:
    writer = new_writer(broker)
    watch = broker.transaction_coordinator._watch
    assert watch.when_ms == float("inf")
    writer.write("a")
    assert watch.when_ms == clock.monotonic_ms() + 10_000
    writer.end(commit=True)
    clock.advance(10_000)
    assert watch.when_ms == float("inf")


def test_id_that_nobody_used_for_long_expires_but_not_with_an_open_transaction(
    clock: VirtualClock,
) -> None:
    with Broker(
        clock=clock,
        transactional_id_expiration_ms=1_000_000,
        transaction_max_timeout_ms=2_000_000_000,
    ) as broker:
        broker.create_topic("a")
        coordinator = broker.transaction_coordinator
        coordinator.init_producer_id("idle", TIMEOUT_MS)
        busy = coordinator.init_producer_id("busy", 2_000_000_000)
        writer = new_writer(broker)
        writer.transactional_id, writer.producer = "busy", busy
        writer.write("a")
        clock.advance(3_600_000)
        assert [one.transactional_id for one in coordinator.list_transactions()] == ["busy"]
        with pytest.raises(TransactionalIdNotFoundError, match="'idle'"):
            coordinator.describe("idle")
        fresh = coordinator.init_producer_id("idle", TIMEOUT_MS)
        assert fresh.producer_epoch == 0
        assert fresh.producer_id > busy.producer_id
        writer.end(commit=True)
        clock.advance(1_000_000)
        assert coordinator.expire_ids() == 2
        assert coordinator.list_transactions() == []
        coordinator._check()
        with pytest.raises(InvalidProducerIdMappingError):
            writer.write("a")


# ---- from outside


def test_description_tells_what_is_open(broker: Broker, clock: VirtualClock) -> None:
    writer = new_writer(broker)
    coordinator = broker.transaction_coordinator
    idle = coordinator.describe("t")
    assert (idle.state, idle.topic_partitions) == (S.EMPTY, ())
    assert idle.transaction_start_time_ms is None
    began_ms = clock.time_ms()
    writer.write("a", 1)
    clock.advance(5)
    writer.write("a", 0)
    found = coordinator.describe("t")
    assert found.state is S.ONGOING
    assert found.topic_partitions == (TopicPartition("a", 0), TopicPartition("a", 1))
    assert (found.producer_id, found.producer_epoch) == writer.producer
    assert (found.transaction_start_time_ms, found.transaction_timeout_ms) == (began_ms, TIMEOUT_MS)
    with pytest.raises(TransactionalIdNotFoundError, match="'none' does not exist"):
        coordinator.describe("none")


def test_forced_end_aborts_and_fences(broker: Broker) -> None:
    writer = new_writer(broker)
    coordinator = broker.transaction_coordinator
    coordinator.force_terminate("t")
    assert state(broker) is S.EMPTY, "nothing was open"
    writer.write("a")
    coordinator.force_terminate("t")
    assert state(broker) is S.COMPLETE_ABORT
    with pytest.raises(ProducerFencedError):
        writer.end(commit=True)
    with pytest.raises(TransactionalIdNotFoundError):
        coordinator.force_terminate("none")


def test_hanging_transaction_is_aborted_where_it_hangs_alone(broker: Broker) -> None:
    writer = new_writer(broker)
    writer.write("a")
    coordinator = broker.transaction_coordinator
    place = TopicPartition("a", 0)
    with pytest.raises(InvalidTxnStateError, match="that of transactional id 't': end it there"):
        coordinator.abort_hanging(place, *writer.producer)
    # As if __transaction_state had been lost.
    coordinator._store.transactions.clear()
    coordinator._store._by_producer_id.clear()
    with pytest.raises(InvalidTxnStateError, match="a-1: expected an open transaction of producer"):
        coordinator.abort_hanging(TopicPartition("a", 1), *writer.producer)
    coordinator.abort_hanging(place, *writer.producer)
    assert broker.partition("a", 0).last_stable_offset == 2
    assert [kind for kind, _, _ in markers(broker, "a")] == [ControlType.ABORT]


def test_close_aborts_what_is_open(clock: VirtualClock) -> None:
    broker = Broker(clock=clock)
    broker.create_topic("a")
    writer = new_writer(broker)
    writer.write("a")
    log = broker.partition("a", 0).log
    broker.close()
    assert log.last_stable_offset == 2


def test_partition_of_states_that_cannot_be_read_keeps_no_other_id_from_expiring(
    broker: Broker, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    new_writer(broker, "idle")
    broker.partition(TRANSACTION_STATE_TOPIC, 7).append(build_batch([b"junk"], 0, [b"junk"]))
    clock.advance(604_800_000)
    assert broker.transaction_coordinator._store.transactions == {}
    assert "Transactional ids in __transaction_state-7 do not expire" in caplog.text


def test_id_whose_last_commit_is_in_a_damaged_partition_can_still_be_taken(broker: Broker) -> None:
    writer = new_writer(broker)
    writer.write("a", 1)
    writer.end(commit=True)
    broker.partition("a", 1).refuse(CorruptLogError("damaged"))
    assert new_writer(broker).producer == (writer.producer.producer_id, 2)


def test_id_that_expires_while_it_is_being_taken_is_taken_anew(
    broker: Broker, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever found it before it was forgotten must not go on with what nobody else finds."""
    before = new_writer(broker).producer
    coordinator = broker.transaction_coordinator
    claimed = coordinator._ending.claimed

    def lose_and_claim(transaction: Transaction, work: Any) -> Any:
        coordinator._ending.forget(transaction)
        return claimed(transaction, work)

    with monkeypatch.context() as patch:
        patch.setattr(coordinator._ending, "claimed", lose_and_claim)
        with pytest.raises(ConcurrentTransactionsError, match="expired at this moment"):
            new_writer(broker)
    writer = new_writer(broker)
    assert writer.producer.producer_id > before.producer_id
    writer.write("a")
    writer.end(commit=True)
    coordinator._check()
