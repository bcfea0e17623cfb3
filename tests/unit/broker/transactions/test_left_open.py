"""What the next process does about transactions that are open in the partitions (durability 3.14).

A new coordinator over the same partitions stands for that process.
"""

from __future__ import annotations

import logging
from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.broker.group_coordinator import GroupCoordinator
from streamlog.broker.topic_name import TRANSACTION_STATE_TOPIC
from streamlog.broker.transactions.coordinator import TransactionCoordinator
from streamlog.broker.transactions.state import TransactionState
from streamlog.errors import (
    ConcurrentTransactionsError,
    DiskFullError,
    InvalidTxnStateError,
    StorageError,
)
from streamlog.record import ControlType, build_batch
from streamlog.runtime import VirtualClock
from streamlog.structs import OffsetAndMetadata, TopicPartition
from tests.support.transaction_writer import TIMEOUT_MS, Writer, markers, new_writer, state

A0 = TopicPartition("a", 0)
ABORT, COMMIT = ControlType.ABORT, ControlType.COMMIT


class Gone(BaseException):
    """The process ends here."""


def restart(broker: Broker) -> None:
    """Put new coordinators in the place of those whose process has ended."""
    for coordinator in (broker._transaction_coordinator, broker._group_coordinator):
        if isinstance(coordinator, TransactionCoordinator):
            coordinator._watch.close()
    broker._transaction_coordinator = None
    broker._group_coordinator = GroupCoordinator(broker)
    broker.transaction_coordinator.finish_left_open(broker._topics.partitions())


def end_up_to(writer: Writer, monkeypatch: pytest.MonkeyPatch, marker: int, **end: Any) -> None:
    """End the transaction, but let the process die before the *marker*-th marker, from 0."""
    written = 0
    markers = writer.broker.transaction_coordinator._markers
    write = markers.write

    def die(*arguments: Any) -> None:
        nonlocal written
        if written == marker:
            raise Gone
        written += 1
        write(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(markers, "write", die)
        with pytest.raises(Gone):
            writer.end(**end)


def offset_of(broker: Broker) -> int | None:
    found = broker.group_coordinator.fetch_offsets("g", [A0], require_stable=True)[A0]
    return None if found is None else found.offset


@pytest.fixture
def writer(broker: Broker) -> Writer:
    """A producer with one record in each partition and one offset, in a transaction that is open."""
    writer = new_writer(broker)
    writer.write("a", 0)
    writer.write("a", 1)
    broker.group_coordinator.commit_transactional_offsets(
        "g", "", -1, None, *writer.producer, {A0: OffsetAndMetadata(5)}
    )
    return writer


def test_transaction_that_nobody_decided_is_aborted(broker: Broker, writer: Writer) -> None:
    restart(broker)
    assert markers(broker, "a", 0) == markers(broker, "a", 1) == [(ABORT, 1, 1)]
    assert broker.partition("a", 0).last_stable_offset == 2
    assert offset_of(broker) is None
    again = new_writer(broker)
    assert again.producer == (writer.producer.producer_id, 1)
    again.write("a")
    again.end(commit=True)
    assert state(broker) is TransactionState.COMPLETE_COMMIT
    broker.transaction_coordinator._check()


@pytest.mark.parametrize("marker", [0, 1, 2])
@pytest.mark.parametrize("commit", [True, False])
def test_decision_is_carried_out_wherever_its_marker_is_missing(
    broker: Broker, writer: Writer, monkeypatch: pytest.MonkeyPatch, commit: bool, marker: int
) -> None:
    end_up_to(writer, monkeypatch, marker, commit=commit)
    restart(broker)
    kind = COMMIT if commit else ABORT
    assert markers(broker, "a", 0) == markers(broker, "a", 1) == [(kind, 1, 1)]
    assert offset_of(broker) == (5 if commit else None)
    assert state(broker) is (
        TransactionState.COMPLETE_COMMIT if commit else TransactionState.COMPLETE_ABORT
    )
    again = new_writer(broker)
    assert again.producer == (writer.producer.producer_id, 2), "the epoch goes on"
    again.write("a")
    again.end(commit=False)
    assert len(markers(broker, "a", 1)) == 1
    broker.transaction_coordinator._check()


def test_transaction_after_a_committed_one_is_aborted(broker: Broker, writer: Writer) -> None:
    """The last record says commit, but of the epoch before."""
    writer.end(commit=True)
    writer.write("a")
    restart(broker)
    assert [kind for kind, _, _ in markers(broker, "a")] == [COMMIT, ABORT]
    assert offset_of(broker) == 5


def test_partition_that_the_decision_does_not_name_is_aborted(
    broker: Broker, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    transaction = broker.transaction_coordinator._store.transactions["t"]
    del transaction.partitions[TopicPartition("a", 1)]
    end_up_to(writer, monkeypatch, 0, commit=True)
    restart(broker)
    assert markers(broker, "a", 0) == [(COMMIT, 1, 1)]
    assert markers(broker, "a", 1) == [(ABORT, 1, 1)]


def test_markers_that_a_power_failure_took_are_written_although_all_were_noted(
    broker: Broker, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator = broker.transaction_coordinator
    with monkeypatch.context() as patch:
        patch.setattr(coordinator._markers, "write", lambda *_: None)
        writer.end(commit=True)
    assert state(broker) is TransactionState.COMPLETE_COMMIT
    restart(broker)
    assert markers(broker, "a", 0) == markers(broker, "a", 1) == [(COMMIT, 1, 1)]
    assert offset_of(broker) == 5


def test_fenced_transaction_whose_abort_was_not_carried_out_is_aborted(
    broker: Broker, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator = broker.transaction_coordinator
    with monkeypatch.context() as patch:
        patch.setattr(coordinator._markers, "write", lambda *_: (_ for _ in ()).throw(Gone))
        with pytest.raises(Gone):
            coordinator.force_terminate("t")
    restart(broker)
    assert markers(broker, "a", 0) == markers(broker, "a", 1) == [(ABORT, 1, 1)]
    assert new_writer(broker).producer.producer_epoch == 2


def test_nothing_is_written_while_the_decision_may_be_where_nobody_can_read_it(
    broker: Broker, writer: Writer, caplog: pytest.LogCaptureFixture
) -> None:
    home = broker.transaction_coordinator._store.home_or_create("t")
    home.append(build_batch([b"junk"], 0, [b"junk"]))
    with caplog.at_level(logging.ERROR, "streamlog"):
        restart(broker)
    assert f"{home.topic_partition}: transactions that were left open stay open" in caplog.text
    assert markers(broker, "a", 0) == []
    assert broker.partition("a", 0).last_stable_offset == 0
    # Somebody who knows better ends them by hand.
    broker.transaction_coordinator.abort_hanging(A0, *writer.producer)
    assert broker.partition("a", 0).last_stable_offset == 2


def test_partition_that_cannot_be_read_keeps_open_what_may_be_in_it_alone(
    broker: Broker, writer: Writer, caplog: pytest.LogCaptureFixture
) -> None:
    writer.end(commit=True)
    writer.write("a")  # known, by its producer id, not to be in the partition that is damaged
    broker.partition(TRANSACTION_STATE_TOPIC, 7).refuse(StorageError("its log could not be opened"))
    with caplog.at_level(logging.ERROR, "streamlog"):
        restart(broker)
    assert "__transaction_state-7: transactions that were left open stay open" in caplog.text
    assert [kind for kind, _, _ in markers(broker, "a", 0)] == [COMMIT, ABORT]


def test_id_is_taken_only_when_all_that_was_left_open_is_finished(
    broker: Broker, clock: VirtualClock, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = broker.partition("a", 1).log
    append = log.append

    def full(batch: Any) -> int:
        raise DiskFullError("no room")

    monkeypatch.setattr(log, "append", full)
    restart(broker)
    assert len(markers(broker, "a", 0)) == 1
    coordinator = broker.transaction_coordinator
    with pytest.raises(ConcurrentTransactionsError):
        coordinator.init_producer_id("t", TIMEOUT_MS)
    coordinator._store.transactions["t"].updated_ms -= 604_800_000
    assert coordinator.expire_ids() == 0, "nor is it forgotten"
    coordinator.init_producer_id("other", TIMEOUT_MS)
    monkeypatch.setattr(log, "append", append)
    clock.advance(5_000)
    assert markers(broker, "a", 1) == [(ABORT, 1, 1)]
    assert coordinator.init_producer_id("t", TIMEOUT_MS) == (writer.producer.producer_id, 1)


def test_topic_of_states_that_began_again_still_ends_old_transactions(
    broker: Broker, writer: Writer
) -> None:
    """Its leader epoch, which is the coordinator's, is lower than before."""
    home = broker.transaction_coordinator._store.home_or_create("t")
    home.log.leader_epoch = 3
    writer.end(commit=True)
    writer.write("a")
    home.log.leader_epoch = 1
    writer.end(commit=True)
    assert broker.partition("a", 0).last_stable_offset == broker.partition("a", 0).log_end_offset


def test_broker_without_transactions_makes_no_coordinator_to_open(data_dir: str) -> None:
    for _ in range(2):
        with Broker(data_dir) as broker:
            if not broker.topics():
                broker.create_topic("a")
            assert broker._transaction_coordinator is None


def test_what_somebody_is_finishing_is_not_finished_by_another_thread_as_well(
    broker: Broker, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes second had found the same partitions, and stumbled over those that were done meanwhile."""
    coordinator = broker.transaction_coordinator
    coordinator._left_open.look(broker._topics.partitions())
    write, refused = coordinator._markers.write, []

    def write_while_another_asks(*arguments: Any) -> None:
        with pytest.raises(ConcurrentTransactionsError):
            coordinator.init_producer_id("t", TIMEOUT_MS)
        refused.append(arguments)
        write(*arguments)

    monkeypatch.setattr(coordinator._markers, "write", write_while_another_asks)
    assert not coordinator._left_open.finish()
    assert len(refused) == 3
    assert markers(broker, "a", 0) == markers(broker, "a", 1) == [(ABORT, 1, 1)]
    assert broker.partition("a", 0).last_stable_offset == 2


def test_partition_of_a_committed_transaction_is_not_aborted_by_hand_while_its_marker_is_missing(
    broker: Broker, clock: VirtualClock, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    end_up_to(writer, monkeypatch, 1, commit=True)
    log = broker.partition("a", 1).log
    with monkeypatch.context() as patch:
        patch.setattr(log, "append", lambda _: (_ for _ in ()).throw(DiskFullError("no room")))
        restart(broker)
    with pytest.raises(InvalidTxnStateError, match="that of transactional id 't'"):
        broker.transaction_coordinator.abort_hanging(TopicPartition("a", 1), *writer.producer)
    clock.advance(5_000)
    assert markers(broker, "a", 0) == markers(broker, "a", 1) == [(COMMIT, 1, 1)]
