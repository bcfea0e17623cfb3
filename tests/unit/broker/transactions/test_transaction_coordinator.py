from __future__ import annotations

from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.broker.topic_name import TRANSACTION_STATE_TOPIC
from streamlog.broker.transactions.records import read_transactions
from streamlog.broker.transactions.state import TransactionState
from streamlog.config.id_text import MAX_ID_BYTES
from streamlog.errors import (
    ConcurrentTransactionsError,
    InvalidConfigurationError,
    InvalidProducerEpochError,
    InvalidProducerIdMappingError,
    InvalidTxnStateError,
    InvalidTxnTimeoutError,
    ProducerFencedError,
)
from streamlog.record.control import ControlType
from streamlog.runtime import Signal
from streamlog.structs import Isolation, ProducerIdAndEpoch
from tests.support.transaction_writer import TIMEOUT_MS, markers, new_writer, state

S = TransactionState


def init(broker: Broker, **options: Any) -> ProducerIdAndEpoch:
    return broker.transaction_coordinator.init_producer_id("t", TIMEOUT_MS, **options)


# ---- TXN-3, TXN-4: who has the id


def test_new_id_gets_a_fresh_producer_id_with_epoch_0(broker: Broker) -> None:
    first = init(broker)
    other = broker.transaction_coordinator.init_producer_id("other", TIMEOUT_MS)
    assert (first.producer_epoch, other.producer_epoch) == (0, 0)
    assert first.producer_id != other.producer_id
    assert state(broker) is S.EMPTY


def test_known_id_gets_the_next_epoch_and_fences_who_had_it(broker: Broker) -> None:
    older, newer = new_writer(broker), new_writer(broker)
    assert newer.producer == (older.producer.producer_id, 1)
    newer.write("a")
    with pytest.raises(InvalidProducerEpochError, match="a-1.*expected epoch 1, found 0"):
        older.write("a", 1)
    # TXN-16: on its next call to the coordinator it learns that it is fenced.
    with pytest.raises(ProducerFencedError, match="expected epoch 1, found 0"):
        older.end(commit=True)
    newer.end(commit=True)
    assert state(broker) is S.COMPLETE_COMMIT


def test_open_transaction_of_the_older_is_aborted_before_the_newer_may_begin(
    broker: Broker,
) -> None:
    older = new_writer(broker)
    older.write("a")
    with pytest.raises(ConcurrentTransactionsError):
        init(broker)
    assert state(broker) is S.COMPLETE_ABORT
    assert markers(broker, "a") == [(ControlType.ABORT, 1, 1)]
    assert init(broker) == (older.producer.producer_id, 2), "fenced with 1, taken with 2"
    with pytest.raises(InvalidProducerEpochError):
        older.write("a")
    with pytest.raises(ProducerFencedError):
        older.end(commit=True)


@pytest.mark.parametrize("timeout_ms", [0, -1, 900_001])
def test_timeout_out_of_bounds_is_refused(broker: Broker, timeout_ms: int) -> None:
    with pytest.raises(
        InvalidTxnTimeoutError, match=f"transaction_max_timeout_ms=900000, found {timeout_ms}"
    ):
        broker.transaction_coordinator.init_producer_id("t", timeout_ms)


@pytest.mark.parametrize("name", ["", "x" * (MAX_ID_BYTES + 1), "\ud800"])
def test_what_cannot_be_an_id_is_refused(broker: Broker, name: str) -> None:
    with pytest.raises(InvalidConfigurationError, match="transactional_id"):
        broker.transaction_coordinator.init_producer_id(name, TIMEOUT_MS)
    with pytest.raises(TypeError, match="transactional_id: expected a str"):
        broker.transaction_coordinator.init_producer_id(7, TIMEOUT_MS)  # type: ignore[arg-type]


def test_id_is_data_and_no_path(broker: Broker) -> None:
    name = "../../etc/passwd\x00\n" + "x" * 30_000
    broker.transaction_coordinator.init_producer_id(name, TIMEOUT_MS)
    assert [one.transactional_id for one in broker.transaction_coordinator.list_transactions()] == [
        name
    ]


def test_owner_that_says_who_it_is_gets_the_next_epoch_and_the_same_answer_again(
    broker: Broker,
) -> None:
    first = init(broker)
    second = init(broker, expected=first)
    assert second == (first.producer_id, 1)
    assert init(broker, expected=first) == second, "TXN-4: a repeated call changes nothing"
    init(broker)
    for known in (first, second):
        with pytest.raises(ProducerFencedError):
            init(broker, expected=known)


def test_last_epoch_is_followed_by_another_producer_id(broker: Broker) -> None:
    writer = new_writer(broker)
    transaction = broker.transaction_coordinator._store.transactions["t"]
    producer_id = writer.producer.producer_id
    transaction.producer = writer.producer = ProducerIdAndEpoch(producer_id, 32_765)
    writer.write("a")
    assert writer.end(commit=True) == (producer_id, 32_766)
    writer.write("a")
    after = writer.end(commit=True)
    assert after.producer_id != producer_id
    assert after.producer_epoch == 0
    assert markers(broker, "a")[-1] == (ControlType.COMMIT, 3, 32_767)
    writer.write("a")
    writer.end(commit=False)

    transaction.producer = ProducerIdAndEpoch(after.producer_id, 32_766)
    taken = init(broker)
    assert taken.producer_id > after.producer_id
    assert taken.producer_epoch == 0
    broker.transaction_coordinator._check()


def test_fenced_at_the_last_epoch_still_ends_its_own_transaction(broker: Broker) -> None:
    writer = new_writer(broker)
    producer_id = writer.producer.producer_id
    transaction = broker.transaction_coordinator._store.transactions["t"]
    transaction.producer = writer.producer = ProducerIdAndEpoch(producer_id, 32_766)
    writer.write("a")
    with pytest.raises(ConcurrentTransactionsError):
        init(broker)
    assert markers(broker, "a") == [(ControlType.ABORT, 1, 32_767)]
    assert broker.partition("a", 0).last_stable_offset == 2
    assert init(broker) == (producer_id + 1, 0)


# ---- TXN-8, TXN-9, TXN-11: how a transaction ends


@pytest.mark.parametrize("commit", [True, False])
def test_end_writes_one_marker_in_each_partition_and_raises_the_epoch(
    broker: Broker, commit: bool
) -> None:
    writer = new_writer(broker)
    began = writer.producer
    for value in (b"1", b"2"):
        writer.write("a", 0, value)
    writer.write("a", 1)
    assert broker.partition("a", 0).last_stable_offset == 0
    assert state(broker) is S.ONGOING
    assert writer.end(commit=commit) == (began.producer_id, 1)
    kind = ControlType.COMMIT if commit else ControlType.ABORT
    assert markers(broker, "a", 0) == [(kind, 2, 1)]
    assert markers(broker, "a", 1) == [(kind, 1, 1)]
    assert broker.partition("a", 0).last_stable_offset == 3
    assert state(broker) is (S.COMPLETE_COMMIT if commit else S.COMPLETE_ABORT)


def test_late_batch_of_an_earlier_transaction_is_refused(broker: Broker) -> None:
    writer = new_writer(broker)
    writer.write("a")
    late = dict(writer.stamps)
    writer.end(commit=True)
    writer.stamps = late
    with pytest.raises(InvalidProducerEpochError):
        writer.write("a")
    assert state(broker) is S.COMPLETE_COMMIT


def test_decision_is_stored_before_and_after_the_markers(broker: Broker) -> None:
    writer = new_writer(broker)
    writer.write("a", 1)
    writer.end(commit=True)
    records = [
        record
        for partition in broker.topic(TRANSACTION_STATE_TOPIC).partitions
        for _, record in read_transactions(partition)
    ]
    assert [record.state for record in records] == [S.EMPTY, S.PREPARE_COMMIT, S.COMPLETE_COMMIT]  # type: ignore[union-attr]
    assert records[1].partitions == records[2].partitions == (("a", 1),)  # type: ignore[union-attr]


@pytest.mark.parametrize("commit", [True, False])
def test_repeated_end_gets_the_same_answer_and_the_opposite_is_refused(
    broker: Broker, commit: bool
) -> None:
    writer = new_writer(broker)
    began = writer.producer
    writer.write("a")
    ended = writer.end(commit=commit)
    coordinator = broker.transaction_coordinator
    assert coordinator.end_transaction("t", *began, commit=commit) == ended
    assert len(markers(broker, "a")) == 1
    with pytest.raises(InvalidTxnStateError, match="found state complete_"):
        coordinator.end_transaction("t", *began, commit=not commit)


def test_end_without_a_transaction_is_refused(broker: Broker) -> None:
    producer = init(broker)
    for commit in (True, False):
        with pytest.raises(InvalidTxnStateError, match="found state empty"):
            broker.transaction_coordinator.end_transaction("t", *producer, commit=commit)


def test_end_by_a_stranger_is_refused(broker: Broker) -> None:
    coordinator = broker.transaction_coordinator
    with pytest.raises(InvalidProducerIdMappingError, match="'nobody'"):
        coordinator.end_transaction("nobody", 1, 0, commit=True)
    writer = new_writer(broker)
    writer.write("a")
    with pytest.raises(InvalidProducerIdMappingError, match="expected producer id .* found 5"):
        coordinator.end_transaction("t", 5, 0, commit=True)
    with pytest.raises(ProducerFencedError, match="expected epoch 0, found 9"):
        coordinator.end_transaction("t", writer.producer.producer_id, 9, commit=True)
    assert state(broker) is S.ONGOING


def test_batch_of_an_unknown_producer_begins_nothing(broker: Broker) -> None:
    writer = new_writer(broker)
    writer.producer = ProducerIdAndEpoch(writer.producer.producer_id + 7, 0)
    with pytest.raises(InvalidProducerIdMappingError, match="a-0: expected a producer id that"):
        writer.write("a")
    assert broker.partition("a", 0).log_end_offset == 0


def test_transaction_over_a_deleted_topic_ends(broker: Broker) -> None:
    broker.create_topic("b")
    writer = new_writer(broker)
    writer.write("a")
    writer.write("b")
    broker.delete_topic("b")
    writer.end(commit=True)
    assert state(broker) is S.COMPLETE_COMMIT


def test_partition_made_later_takes_transactions(broker: Broker) -> None:
    broker.create_partitions("a", 3)
    writer = new_writer(broker)
    writer.write("a", 2)
    writer.end(commit=True)
    assert markers(broker, "a", 2) == [(ControlType.COMMIT, 1, 1)]


def test_readers_that_wait_for_the_commit_are_woken(broker: Broker) -> None:
    partition = broker.partition("a", 0)
    writer = new_writer(broker)
    writer.write("a")
    signal = Signal()
    partition.add_waiter(signal)
    signal.clear()
    writer.end(commit=True)
    assert signal.is_set()
    assert partition.end_offset(Isolation.READ_COMMITTED) == 2
