"""Producers that announce their partitions and keep their epoch: the rules from before KIP-890 (TXN-8 to TXN-12)."""

from __future__ import annotations

from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.broker.transactions.state import TransactionState
from streamlog.errors import (
    ConcurrentTransactionsError,
    DiskFullError,
    InvalidProducerEpochError,
    InvalidProducerIdMappingError,
    InvalidTxnStateError,
    OutOfOrderSequenceError,
    ProducerFencedError,
)
from streamlog.record import ControlType
from streamlog.runtime import VirtualClock
from streamlog.structs import OffsetAndMetadata, ProducerIdAndEpoch, TopicPartition
from tests.support.announcing_writer import AnnouncingWriter, new_announcer
from tests.support.transaction_writer import TIMEOUT_MS, markers, new_writer, state

A0, A1 = TopicPartition("a", 0), TopicPartition("a", 1)
ABORT, COMMIT = ControlType.ABORT, ControlType.COMMIT


@pytest.fixture
def writer(broker: Broker) -> AnnouncingWriter:
    return new_announcer(broker)


def offset_of(broker: Broker) -> int | None:
    found = broker.group_coordinator.fetch_offsets("g", [A0], require_stable=True)[A0]
    return None if found is None else found.offset


def test_epoch_and_sequences_go_on_from_one_transaction_to_the_next(
    broker: Broker, writer: AnnouncingWriter
) -> None:
    for commit in (True, False, True):
        writer.write("a", 0)
        writer.write("a", 1)
        writer.end(commit=commit)
    assert markers(broker, "a") == [(COMMIT, 1, 0), (ABORT, 3, 0), (COMMIT, 5, 0)]
    assert writer.sequences == {A0: 3, A1: 3}
    entry = broker.partition("a", 0).describe_producers()[0]
    assert (entry.producer_epoch, entry.last_sequence) == (0, 2)
    assert broker.partition("a", 0).last_stable_offset == 6
    broker.transaction_coordinator._check()


def test_sequence_that_begins_again_with_a_transaction_is_out_of_order(
    broker: Broker, writer: AnnouncingWriter
) -> None:
    """IDM-3"""
    writer.write("a")
    writer.write("a")
    writer.end(commit=True)
    writer.announce(A0)
    writer.sequences[A0] = 3
    with pytest.raises(OutOfOrderSequenceError, match="expected sequence 2, found 3"):
        writer.append(A0, b"x")


def test_offsets_of_transactions_in_one_epoch_count_as_each_ends(
    broker: Broker, writer: AnnouncingWriter
) -> None:
    """TXN-7"""
    for offset, commit, expected in ((5, True, 5), (6, False, 5), (7, True, 7)):
        writer.send_offsets("g", {A0: OffsetAndMetadata(offset)})
        writer.end(commit=commit)
        assert offset_of(broker) == expected
    broker.transaction_coordinator._check()


def test_partition_that_was_not_announced_is_refused(
    broker: Broker, writer: AnnouncingWriter
) -> None:
    with pytest.raises(InvalidTxnStateError, match="a-0: .*a partition that was added"):
        writer.append(A0, b"x")
    writer.announce(A0)
    with pytest.raises(InvalidTxnStateError, match="a-1: "):
        writer.append(A1, b"x")
    with pytest.raises(InvalidTxnStateError, match="__consumer_offsets-"):
        broker.group_coordinator.commit_transactional_offsets(
            "g", "", -1, None, *writer.producer, {A0: OffsetAndMetadata(1)}
        )
    writer.append(A0, b"x")
    writer.end(commit=True)
    with pytest.raises(InvalidTxnStateError, match="a-0: "):
        writer.append(A0, b"late: it would begin a transaction that nobody ends")
    assert broker.partition("a", 0).last_stable_offset == 2


def test_batch_that_was_verified_before_the_marker_and_comes_behind_it_is_refused(
    broker: Broker, writer: AnnouncingWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the epoch of the next transaction, and would be open with nobody to end it."""
    writer.announce(A0)
    partition = broker.partition("a", 0)
    verify = partition.verify_transaction

    def verify_and_lose_the_processor(*arguments: Any) -> None:
        verify(*arguments)
        writer.end(commit=True)

    with monkeypatch.context() as patch:
        patch.setattr(partition, "verify_transaction", verify_and_lose_the_processor)
        with pytest.raises(InvalidTxnStateError, match="the marker at offset 0 has ended"):
            writer.append(A0, b"x")
    assert partition.log_end_offset == partition.last_stable_offset == 1
    assert writer.write("a") == 1


def test_batch_that_comes_again_behind_the_marker_is_known(
    broker: Broker, writer: AnnouncingWriter
) -> None:
    """IDM-2"""
    writer.announce(A0)
    batch = writer.batch(A0, b"x")
    partition = broker.partition("a", 0)
    assert partition.append(batch) == 0
    writer.sequences[A0] = 1
    assert partition.append(batch) == 0
    writer.end(commit=True)
    writer.announce(A0)
    assert partition.append(batch) == 0
    assert partition.log_end_offset == 2


def test_end_may_be_repeated_in_the_same_way_only(broker: Broker, writer: AnnouncingWriter) -> None:
    """TXN-9"""
    with pytest.raises(InvalidTxnStateError):
        writer.end(commit=True)
    writer.write("a")
    writer.end(commit=True)
    writer.end(commit=True)
    with pytest.raises(InvalidTxnStateError):
        writer.end(commit=False)
    assert len(markers(broker, "a")) == 1


def test_producer_may_ask_for_another_epoch_and_ask_again(
    broker: Broker, writer: AnnouncingWriter
) -> None:
    """TXN-4: the one that ended a transaction is the present one, and not the last one."""
    writer.write("a")
    writer.end(commit=False)
    before = writer.producer
    writer.bump()
    assert writer.producer == (before.producer_id, 1)
    coordinator = broker.transaction_coordinator
    again = coordinator.init_producer_id("t", TIMEOUT_MS, before, announces=True)
    assert again == writer.producer
    writer.write("a")
    writer.end(commit=True)
    assert markers(broker, "a") == [(ABORT, 1, 0), (COMMIT, 3, 1)]


@pytest.mark.parametrize("is_open", [False, True])
@pytest.mark.parametrize("next_announces", [False, True])
def test_next_owner_of_the_id_fences_the_one_before(
    broker: Broker, writer: AnnouncingWriter, next_announces: bool, is_open: bool
) -> None:
    """TXN-16, between producers of both kinds."""
    writer.write("a")
    if is_open:
        with pytest.raises(ConcurrentTransactionsError):
            new_writer(broker)
    else:
        writer.end(commit=True)
    owner = new_announcer(broker) if next_announces else new_writer(broker)
    assert owner.producer == (writer.producer.producer_id, 2 if is_open else 1)
    for call in (lambda: writer.announce(A0), lambda: writer.end(commit=True)):
        with pytest.raises(ProducerFencedError):
            call()
    with pytest.raises(InvalidProducerEpochError):
        writer.append(A0, b"x")
    owner.write("a")
    owner.end(commit=True)
    assert markers(broker, "a")[-1][0] is COMMIT


def test_producer_in_this_process_is_fenced_by_one_that_announces(
    broker: Broker,
) -> None:
    """TXN-16"""
    inside = new_writer(broker)
    inside.write("a")
    inside.end(commit=True)
    outside = new_announcer(broker)
    assert outside.producer == (inside.producer.producer_id, 2)
    with pytest.raises(InvalidProducerEpochError):
        inside.write("a")
    with pytest.raises(ProducerFencedError):
        inside.end(commit=True)


def test_producer_in_this_process_announces_nothing(broker: Broker) -> None:
    producer = new_writer(broker).producer
    with pytest.raises(InvalidTxnStateError, match="expected a producer that announces"):
        broker.transaction_coordinator.announce("t", *producer, [A0])


def test_id_that_nobody_took_and_producer_that_has_another_are_told_apart(
    broker: Broker, writer: AnnouncingWriter
) -> None:
    """TXN-10"""
    coordinator = broker.transaction_coordinator
    for transactional_id, producer_id in (("u", writer.producer.producer_id), ("t", 4)):
        with pytest.raises(InvalidProducerIdMappingError):
            coordinator.announce(transactional_id, producer_id, 0, [A0])
    with pytest.raises(ProducerFencedError):
        coordinator.announce("t", writer.producer.producer_id, 1, [A0])


def test_slow_producer_is_fenced_by_the_clock(
    broker: Broker, writer: AnnouncingWriter, clock: VirtualClock
) -> None:
    """TXN-12"""
    writer.write("a")
    clock.advance(TIMEOUT_MS + 10_000)
    assert state(broker) is TransactionState.COMPLETE_ABORT
    assert markers(broker, "a") == [(ABORT, 1, 1)]
    for call in (lambda: writer.announce(A1), lambda: writer.end(commit=True)):
        with pytest.raises(ProducerFencedError):
            call()
    assert new_announcer(broker).producer.producer_epoch == 2


def test_transaction_that_was_announced_and_has_no_records_times_out_as_well(
    broker: Broker, writer: AnnouncingWriter, clock: VirtualClock
) -> None:
    writer.announce(A0)
    clock.advance(TIMEOUT_MS + 10_000)
    assert state(broker) is TransactionState.COMPLETE_ABORT


def test_nothing_begins_while_a_marker_of_the_last_transaction_is_missing(
    broker: Broker, writer: AnnouncingWriter, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.write("a")
    coordinator = broker.transaction_coordinator
    with monkeypatch.context() as patch:

        def refuse(*_: Any) -> None:
            raise DiskFullError("no room")

        patch.setattr(coordinator._markers, "write", refuse)
        writer.end(commit=True)
        with pytest.raises(ConcurrentTransactionsError):
            writer.announce(A0)
    clock.advance(10_000)
    writer.write("a")
    assert markers(broker, "a") == [(COMMIT, 1, 0)]


def test_beginning_that_cannot_be_stored_begins_nothing(
    broker: Broker, writer: AnnouncingWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator = broker.transaction_coordinator
    with monkeypatch.context() as patch:

        def refuse(*_: Any) -> None:
            raise DiskFullError("no room")

        patch.setattr(coordinator._store, "_append", refuse)
        with pytest.raises(DiskFullError):
            writer.announce(A0)
    assert state(broker) is TransactionState.EMPTY
    writer.write("a")
    writer.end(commit=True)


def test_last_epoch_is_used_until_the_producer_asks_for_another(
    broker: Broker, writer: AnnouncingWriter
) -> None:
    """TXN-4: then it gets another producer id."""
    coordinator = broker.transaction_coordinator
    transaction = coordinator._store.transactions["t"]
    transaction.producer = writer.producer = ProducerIdAndEpoch(writer.producer.producer_id, 32_766)
    for _ in range(2):
        writer.write("a")
        writer.end(commit=True)
    assert [epoch for _, _, epoch in markers(broker, "a")] == [32_766, 32_766]
    before = writer.producer.producer_id
    writer.bump()
    assert writer.producer.producer_id != before
    assert writer.producer.producer_epoch == 0
