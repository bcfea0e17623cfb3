"""What the next process does about open transactions of producers that keep their epoch, and may still be there.

A new coordinator over the same partitions stands for that process.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgpack
import pytest

from streamlog.broker.broker import Broker
from streamlog.broker.topic_name import TRANSACTION_STATE_TOPIC
from streamlog.broker.transactions.state import TransactionState
from streamlog.errors import (
    ConcurrentTransactionsError,
    DiskFullError,
    InvalidProducerIdMappingError,
    InvalidTxnStateError,
    ProducerFencedError,
)
from streamlog.record import ControlType, build_batch, split_batches
from streamlog.runtime import VirtualClock
from streamlog.storage import RecoveryOutcome
from streamlog.structs import OffsetAndMetadata, TopicPartition
from tests.support.announcing_writer import AnnouncingWriter, new_announcer
from tests.support.transaction_writer import Writer, markers, new_writer, state
from tests.unit.broker.transactions.test_left_open import end_up_to, offset_of, restart

A0, A1 = TopicPartition("a", 0), TopicPartition("a", 1)
ABORT, COMMIT = ControlType.ABORT, ControlType.COMMIT


@pytest.fixture
def writer(broker: Broker) -> AnnouncingWriter:
    """A producer with one record in each partition and one offset, in a transaction that is open."""
    writer = new_announcer(broker)
    writer.write("a", 0)
    writer.write("a", 1)
    writer.send_offsets("g", {A0: OffsetAndMetadata(5)})
    return writer


def fail_power(broker: Broker) -> None:
    """Let all partitions of the coordinator say that what came last may be lost."""
    for partition in broker.topic(TRANSACTION_STATE_TOPIC).partitions:
        partition.log.leader_epoch += 1


def test_transaction_that_nobody_decided_is_aborted_in_its_epoch(
    broker: Broker, writer: AnnouncingWriter
) -> None:
    restart(broker)
    assert markers(broker, "a", 0) == markers(broker, "a", 1) == [(ABORT, 1, 0)]
    assert offset_of(broker) is None


@pytest.mark.parametrize("marker", [0, 1, 2])
@pytest.mark.parametrize("commit", [True, False])
def test_decision_is_carried_out_wherever_its_marker_is_missing(
    broker: Broker,
    writer: AnnouncingWriter,
    monkeypatch: pytest.MonkeyPatch,
    commit: bool,
    marker: int,
) -> None:
    end_up_to(writer, monkeypatch, marker, commit=commit)
    restart(broker)
    kind = COMMIT if commit else ABORT
    assert markers(broker, "a", 0) == markers(broker, "a", 1) == [(kind, 1, 0)]
    assert offset_of(broker) == (5 if commit else None)
    # Its answer was lost: it asks again, and goes on.
    writer.end(commit=commit)
    writer.write("a")
    writer.end(commit=True)
    assert markers(broker, "a", 0)[1:] == [(COMMIT, 3, 0)]
    broker.transaction_coordinator._check()


def test_next_transaction_of_the_epoch_is_aborted_behind_one_that_was_committed(
    broker: Broker, writer: AnnouncingWriter
) -> None:
    """Nothing but where it begins tells it from the one that the last record is about."""
    writer.end(commit=True)
    writer.write("a", 0)
    writer.send_offsets("g", {A0: OffsetAndMetadata(6)})
    restart(broker)
    assert markers(broker, "a", 0) == [(COMMIT, 1, 0), (ABORT, 3, 0)]
    assert markers(broker, "a", 1) == [(COMMIT, 1, 0)]
    assert offset_of(broker) == 5


def test_marker_that_was_lost_is_told_from_the_next_transaction_in_another_partition(
    broker: Broker, writer: AnnouncingWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a loss of power one partition may lack what the other has."""
    coordinator = broker.transaction_coordinator
    write = coordinator._markers.write

    def lose_those_of_a0(*arguments: object) -> None:
        if arguments[0] != A0:
            write(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(coordinator._markers, "write", lose_those_of_a0)
        writer.end(commit=True)
    writer.write("a", 1)
    restart(broker)
    assert markers(broker, "a", 0) == [(COMMIT, 1, 0)]
    assert markers(broker, "a", 1) == [(COMMIT, 1, 0), (ABORT, 3, 0)]


def test_topic_that_was_created_again_has_nothing_of_what_was_committed_in_the_last_one(
    broker: Broker, writer: AnnouncingWriter
) -> None:
    for _ in range(3):
        writer.write("a")
    writer.end(commit=True)
    broker.delete_topic("a")
    broker.create_topic("a", partitions=2)
    writer.write("a")
    restart(broker)
    assert markers(broker, "a") == [(ABORT, 1, 0)]


@pytest.mark.parametrize("make", [new_announcer, new_writer])
def test_half_of_a_committed_transaction_is_damage_and_not_shown(
    make: Callable[[Broker], AnnouncingWriter | Writer],
    tmp_path: Path,
    clock: VirtualClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log lost whole batches at its end, which nothing in it tells."""
    with Broker(tmp_path / "data", clock=clock) as broker:
        broker.create_topic("a", partitions=2)
        writer = make(broker)
        for number in (0, 1):
            for _ in range(3):
                writer.write("a", number)
        segment = tmp_path / "data/topics/a-0/00000000000000000000.log"
        first = split_batches(broker.partition("a", 0).read(0, 1))[0].header.aligned_size
        writer.end(commit=True)
    content = segment.read_bytes()
    segment.write_bytes(content[: 2 * first])
    for derived in segment.parent.iterdir():
        if derived != segment:
            derived.unlink()
    (tmp_path / "data/STATE").unlink()
    with Broker(tmp_path / "data", clock=clock) as broker:
        assert "a-0: expected the log to end at offset 3 or behind it" in caplog.text
        [damaged] = broker.recovery_report.damaged_partitions
        assert damaged.topic_partition == A0
        assert damaged.outcome is RecoveryOutcome.DAMAGED
        assert damaged.message.endswith("and offsets 2 to 2 are given again")
        assert [kind for kind, _, _ in markers(broker, "a", 0)] == [ABORT]
        assert [kind for kind, _, _ in markers(broker, "a", 1)] == [COMMIT]


def test_record_of_version_1_knows_no_ends_and_is_of_producers_that_do_not_keep_their_epoch(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = new_writer(broker)
    inside.write("a")
    end_up_to(inside, monkeypatch, 0, commit=True)
    producer_id = inside.producer.producer_id
    home = broker.transaction_coordinator._store.home_or_create("t")
    value = [1, 2, producer_id, 1, producer_id, 0, 60_000, 0, "a", 0]
    home.append(build_batch([msgpack.packb(value)], 0, [msgpack.packb([0, "t"])]))
    restart(broker)
    assert markers(broker, "a") == [(COMMIT, 1, 1)]


# ---- a producer that is still there


def test_lost_transaction_can_be_aborted_and_the_producer_goes_on(
    broker: Broker, writer: AnnouncingWriter
) -> None:
    restart(broker)
    with pytest.raises(InvalidProducerIdMappingError, match="the broker ended"):
        writer.announce(A0)
    with pytest.raises(InvalidTxnStateError):
        writer.append(A0, b"x")
    writer.end(commit=False)
    assert state(broker) is TransactionState.COMPLETE_ABORT
    writer.write("a")
    writer.end(commit=True)
    assert markers(broker, "a") == [(ABORT, 1, 0), (COMMIT, 3, 0)]
    broker.transaction_coordinator._check()


def test_lost_transaction_cannot_be_committed_although_the_last_one_was(
    broker: Broker, writer: AnnouncingWriter
) -> None:
    """The record says commit, for the same producer and epoch."""
    writer.end(commit=True)
    writer.write("a")
    for _ in range(2):
        restart(broker)
        with pytest.raises(InvalidProducerIdMappingError, match="the broker ended"):
            writer.end(commit=True)
    writer.bump()
    writer.write("a")
    writer.end(commit=True)
    assert [kind for kind, _, _ in markers(broker, "a")] == [COMMIT, ABORT, COMMIT]


def test_announced_transaction_without_records_is_lost_as_well(
    broker: Broker, writer: AnnouncingWriter
) -> None:
    writer.end(commit=True)
    writer.announce(A0)
    restart(broker)
    with pytest.raises(InvalidProducerIdMappingError):
        writer.end(commit=True)
    writer.end(commit=False)
    writer.write("a")


def test_producer_between_two_transactions_does_not_notice(
    broker: Broker, writer: AnnouncingWriter
) -> None:
    writer.end(commit=True)
    restart(broker)
    writer.end(commit=True)
    writer.write("a")
    writer.send_offsets("g", {A0: OffsetAndMetadata(6)})
    writer.end(commit=True)
    assert markers(broker, "a") == [(COMMIT, 1, 0), (COMMIT, 3, 0)]
    assert offset_of(broker) == 6


def test_id_waits_while_something_of_it_cannot_be_finished(
    broker: Broker, writer: AnnouncingWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.end(commit=True)
    writer.write("a")
    with monkeypatch.context() as patch:
        patch.setattr("streamlog.broker.transactions.left_open.LeftOpen._end", lambda *_: False)
        restart(broker)
        with pytest.raises(ConcurrentTransactionsError):
            writer.announce(A0)
        with pytest.raises(ConcurrentTransactionsError):
            writer.end(commit=False)
    writer.end(commit=False)
    assert [kind for kind, _, _ in markers(broker, "a")] == [COMMIT, ABORT]


@pytest.mark.parametrize("committed", [True, False])
def test_after_a_loss_of_power_nobody_knows_what_was_begun(
    broker: Broker, writer: AnnouncingWriter, committed: bool
) -> None:
    writer.end(commit=committed)
    fail_power(broker)
    restart(broker)
    error = ProducerFencedError if committed else InvalidProducerIdMappingError
    with pytest.raises(error):
        writer.end(commit=True)
    with pytest.raises(InvalidProducerIdMappingError):
        writer.announce(A0)
    writer.end(commit=False)
    with pytest.raises(InvalidProducerIdMappingError):
        writer.announce(A0)
    before = writer.producer
    writer.bump()
    assert writer.producer.producer_id != before.producer_id
    writer.write("a")
    writer.end(commit=True)
    assert markers(broker, "a")[-1][0] is COMMIT


def test_broker_that_closes_aborts_and_fences_nobody(tmp_path: Path, clock: VirtualClock) -> None:
    """What is open is of producers that are still there when the directory is opened again."""
    with Broker(tmp_path / "data", clock=clock) as broker:
        broker.create_topic("a", partitions=2)
        writer, idle = new_announcer(broker), new_announcer(broker, "idle")
        for one in (writer, idle):
            one.write("a")
            one.end(commit=True)
        writer.write("a")
        log = broker.partition("a", 0).log
    assert log.last_stable_offset == 6
    with Broker(tmp_path / "data", clock=clock) as broker:
        assert broker.recovery_report.clean
        writer.broker = idle.broker = broker
        assert [kind for kind, _, _ in markers(broker, "a")] == [COMMIT, COMMIT, ABORT]
        with pytest.raises(InvalidProducerIdMappingError, match="the broker ended"):
            writer.end(commit=True)
        writer.end(commit=False)
        for one in (writer, idle):
            one.write("a")
            one.end(commit=True)
        assert {epoch for _, _, epoch in markers(broker, "a")} == {0}


def test_closing_goes_on_behind_a_marker_that_cannot_be_written(
    tmp_path: Path,
    clock: VirtualClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Broker(tmp_path / "data", clock=clock) as broker:
        broker.create_topic("a", partitions=2)
        writer = new_announcer(broker)
        writer.write("a")

        def refuse(*_: object) -> None:
            raise DiskFullError("no room")

        monkeypatch.setattr(broker.transaction_coordinator._markers, "write", refuse)
    assert "transaction of 't' was left open" in caplog.text
    with Broker(tmp_path / "data", clock=clock) as broker:
        writer.broker = broker
        assert markers(broker, "a") == [(ABORT, 1, 0)]
        with pytest.raises(InvalidProducerIdMappingError):
            writer.end(commit=True)


def test_producer_in_this_process_may_take_the_id_of_a_lost_transaction(
    broker: Broker, writer: AnnouncingWriter
) -> None:
    restart(broker)
    inside = new_writer(broker)
    assert inside.producer == (writer.producer.producer_id, 1)
    inside.write("a")
    inside.end(commit=True)
    assert markers(broker, "a") == [(ABORT, 1, 0), (COMMIT, 3, 2)]
    with pytest.raises(ProducerFencedError):
        writer.end(commit=False)
