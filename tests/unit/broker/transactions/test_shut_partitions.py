"""Transactions around a partition that takes nothing more until the directory is opened again (durability 3.8, 3.14)."""

from __future__ import annotations

import errno
import logging
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.broker.topic_name import TRANSACTION_STATE_TOPIC
from streamlog.broker.transactions.records import TransactionRecord, read_transactions
from streamlog.broker.transactions.state import TransactionState
from streamlog.errors import (
    ConcurrentTransactionsError,
    DurabilityError,
    InvalidTxnStateError,
    StorageError,
    TransactionAbortableError,
    TransactionalIdNotFoundError,
    UnstableOffsetCommitError,
)
from streamlog.record.control import ControlType
from streamlog.runtime import VirtualClock
from streamlog.structs import Isolation, OffsetAndMetadata, ProducerIdAndEpoch, TopicPartition
from streamlog.testing import CrashFileSystem, FaultPlan, FaultyFileSystem
from streamlog.testing.crash_images import kill_image, power_images
from tests.support.announcing_writer import new_announcer
from tests.support.transaction_view import read_topic
from tests.support.transaction_writer import (
    TIMEOUT_MS,
    Writer,
    markers,
    new_writer,
    state,
)

A0 = TopicPartition("a", 0)
ABORT, COMMIT = ControlType.ABORT, ControlType.COMMIT
S = TransactionState


class World:
    """A broker over a disk that fails where it is told to, and whose power can go."""

    def __init__(self) -> None:
        self.disk = CrashFileSystem()
        self.plan = FaultPlan()
        self.clock = VirtualClock()
        self.broker = self.open()
        self.broker.create_topic("a", partitions=2, configs={"flush_ms": -1})

    def open(self) -> Broker:
        files = FaultyFileSystem(self.disk, self.plan)
        self.broker = Broker("/data", filesystem=files, clock=self.clock, seed=1)
        return self.broker

    def shut(self, number: int = 0) -> None:
        """Let a sync of the partition of "a" fail."""
        self.broker.partition("a", number).append_value(b"of nobody", self.clock.time_ms())
        self.shut_log(TopicPartition("a", number))

    def shut_log(self, place: TopicPartition) -> None:
        """Let a sync of what a partition has not synced yet fail."""
        fault = self.plan.fail("sync*", errno.EIO, path=f"*/{place}/*")
        log = self.broker.partition(*place).log
        with pytest.raises(DurabilityError):
            log.sync()
        fault.end()

    def kill(self, unreadable: str = "") -> Broker:
        """End the process without a word, and open the directory again, where *unreadable* cannot be."""
        self.broker._forked()
        return self.open_on(kill_image(self.disk).filesystem(), unreadable)

    def open_on(self, disk: CrashFileSystem, unreadable: str = "") -> Broker:
        self.disk = disk
        self.plan = FaultPlan()
        if unreadable:
            self.plan.fail("open", errno.EMFILE, path=unreadable, times=None)
        return self.open()

    def last_record(self, transactional_id: str = "t") -> TransactionRecord:
        records = [
            record
            for home in self.broker.topic(TRANSACTION_STATE_TOPIC).partitions
            for _, record in read_transactions(home)
            if record.transactional_id == transactional_id
        ]
        assert isinstance(records[-1], TransactionRecord)
        return records[-1]


@pytest.fixture
def world(caplog: pytest.LogCaptureFixture) -> Iterator[World]:
    caplog.set_level(logging.CRITICAL, "streamlog")
    world = World()
    yield world
    try:
        world.broker.close()
    except DurabilityError:
        pass


def committed(broker: Broker, number: int) -> list[bytes | None]:
    return [value for _, value in read_topic(broker, "a", "read_committed")[number]]


def lso(broker: Broker, number: int = 0) -> int:
    return broker.partition("a", number).end_offset(Isolation.READ_COMMITTED)


def commit_one(writer: Writer, number: int = 1, value: bytes = b"later") -> None:
    writer.write("a", number, value)
    writer.end(commit=True)


# ---- the transaction that meets it


def test_a_transaction_with_a_partition_that_cannot_be_synced_can_only_be_aborted(
    world: World,
) -> None:
    writer = new_writer(world.broker)
    writer.write("a", 0, b"never")
    writer.write("a", 1, b"never")
    world.shut()
    with pytest.raises(TransactionAbortableError, match="a-0") as caught:
        writer.end(commit=True)
    assert isinstance(caught.value.__cause__, DurabilityError)
    assert state(world.broker) is S.ONGOING
    writer.end(commit=False)
    assert state(world.broker) is S.COMPLETE_ABORT
    assert markers(world.broker, "a", 1) == [(ABORT, 1, 1)]
    assert lso(world.broker) == 0, "hidden: its marker is not there"


def test_an_id_goes_on_after_an_abort_that_one_partition_was_never_told(world: World) -> None:
    """It could neither be committed nor aborted, and nobody else could take it, until the broker was closed."""
    writer = new_writer(world.broker)
    writer.write("a", 0, b"never")
    world.shut()
    writer.end(commit=False)
    commit_one(writer)
    commit_one(new_writer(world.broker), value=b"of another")
    assert committed(world.broker, 1) == [b"later", b"of another"]
    assert world.last_record().owed == (), "whatever nobody says was committed is aborted"
    world.broker.transaction_coordinator._check()
    broker = world.kill()
    assert markers(broker, "a", 0) == [(ABORT, 2, 1)]
    assert committed(broker, 0) == [b"of nobody"]


def test_an_open_transaction_of_another_producer_is_ended_when_the_id_is_taken(
    world: World,
) -> None:
    new_writer(world.broker).write("a", 0)
    world.shut()
    with pytest.raises(ConcurrentTransactionsError):
        new_writer(world.broker)
    commit_one(new_writer(world.broker))


def test_an_open_transaction_that_is_terminated_by_hand_does_not_wait_for_it(world: World) -> None:
    new_writer(world.broker).write("a", 0)
    world.shut()
    world.broker.transaction_coordinator.force_terminate("t")
    assert state(world.broker) is S.COMPLETE_ABORT


def test_an_open_transaction_times_out_all_the_same(world: World) -> None:
    new_writer(world.broker).write("a", 0)
    world.shut()
    world.clock.advance(TIMEOUT_MS + 10_000)
    assert state(world.broker) is S.COMPLETE_ABORT


# ---- what a commit owes


def decided_without_marker(world: World, monkeypatch: pytest.MonkeyPatch, writer: Any) -> None:
    """Commit a transaction in both partitions; the first one fails when the decision is on disk."""
    writer.write("a", 0, b"first")
    writer.write("a", 1, b"first")
    ending = world.broker.transaction_coordinator._ending
    sync_decision = ending.sync_decision

    def then_fail(transaction: Any) -> None:
        sync_decision(transaction)
        monkeypatch.undo()
        world.shut()

    monkeypatch.setattr(ending, "sync_decision", then_fail)
    writer.end(commit=True)


def test_a_commit_that_was_decided_is_complete_where_it_can_be(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = new_writer(world.broker)
    decided_without_marker(world, monkeypatch, writer)
    assert state(world.broker) is S.COMPLETE_COMMIT
    assert committed(world.broker, 1) == [b"first"]
    assert lso(world.broker) == 0
    commit_one(writer)
    assert committed(world.broker, 1) == [b"first", b"later"]
    broker = world.kill()
    assert markers(broker, "a", 0) == [(COMMIT, 2, 1)]
    assert committed(broker, 0) == [b"first", b"of nobody"]


def abort_one(writer: Writer) -> None:
    writer.write("a", 1, b"never")
    writer.end(commit=False)


def take_it(writer: Writer) -> None:
    new_writer(writer.broker, writer.transactional_id)


def nothing(_: Writer) -> None:
    pass


def test_offsets_that_were_committed_count_once_their_partition_can_be_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then nobody may take what the group had before for what it has."""
    coordinator = world.broker.group_coordinator
    writer = new_writer(world.broker)
    writer.write("a", 1, b"first")
    coordinator.commit_transactional_offsets(
        "g", "", -1, None, *writer.producer, {A0: OffsetAndMetadata(5)}
    )
    home = coordinator.home_of("g")
    ending = world.broker.transaction_coordinator._ending
    sync_decision = ending.sync_decision

    def then_fail(transaction: Any) -> None:
        sync_decision(transaction)
        monkeypatch.undo()
        coordinator.commit_offsets("g", "", -1, {TopicPartition("a", 1): OffsetAndMetadata(1)})
        world.shut_log(home)

    monkeypatch.setattr(ending, "sync_decision", then_fail)
    writer.end(commit=True)
    commit_one(writer)
    with pytest.raises(UnstableOffsetCommitError):
        coordinator.fetch_offsets("g", [A0], require_stable=True)
    broker = world.kill()
    found = broker.group_coordinator.fetch_offsets("g", [A0], require_stable=True)[A0]
    assert found is not None
    assert found.offset == 5


@pytest.mark.parametrize("go_on", [commit_one, abort_one, take_it, nothing])
@pytest.mark.parametrize("announces", [False, True])
def test_a_commit_stays_whole_whatever_a_failed_sync_and_a_power_cut_leave_of_its_marker(
    world: World, go_on: Callable[[Any], None], announces: bool
) -> None:
    """The marker was written, and its sync failed: what came next could say nothing of it, or was refused."""
    make: Callable[[Broker], Any] = new_announcer if announces else new_writer
    writer = make(world.broker)
    writer.write("a", 0, b"first")
    writer.write("a", 1, b"first")
    writer.end(commit=True)
    world.shut()
    assert committed(world.broker, 0) == [b"first", b"of nobody"]
    go_on(writer)
    world.broker.transaction_coordinator._check()
    world.broker.partition("a", 1).sync()
    world.broker._forked()
    seen = set()
    for image in power_images(world.disk, random.Random(3)):
        if image.key() in seen:
            continue
        seen.add(image.key())
        broker = world.open_on(image.filesystem())
        found = [committed(broker, number)[:1] for number in (0, 1)]
        assert found == [[b"first"], [b"first"]], image.description
        broker._forked()
    assert len(seen) > 3
    world.open()


def test_what_was_owed_is_settled_by_the_first_transaction_after_the_next_opening(
    world: World,
) -> None:
    writer = new_writer(world.broker)
    commit_one(writer, 0)
    world.shut()
    commit_one(writer)
    ((place, marker),) = world.last_record().owed
    assert (place, marker.producer.producer_epoch) == (A0, 0)
    broker = world.kill()
    commit_one(new_writer(broker))
    assert world.last_record().owed == ()
    assert committed(broker, 0) == [b"later", b"of nobody"]


def test_what_was_owed_in_a_topic_that_was_deleted_is_forgotten(world: World) -> None:
    world.broker.create_topic("b")
    writer = new_writer(world.broker)
    commit_one(writer, 0)
    world.shut()
    writer.write("b", 0)
    writer.end(commit=True)
    assert [place for place, _ in world.last_record().owed] == [A0]
    world.broker.delete_topic("a")
    world.broker.create_topic("a")
    writer.write("b", 0)
    writer.end(commit=True)
    assert world.last_record().owed == ()


def test_an_id_that_owes_a_marker_does_not_expire(world: World) -> None:
    commit_one(new_writer(world.broker), 0)
    world.shut()
    coordinator = world.broker.transaction_coordinator
    world.clock.advance(world.broker.config.transactional_id_expiration_ms + 1)
    assert coordinator.expire_ids() == 0
    assert state(world.broker) is S.COMPLETE_COMMIT
    broker = world.kill()
    assert broker.transaction_coordinator.expire_ids() == 1
    with pytest.raises(TransactionalIdNotFoundError):
        state(broker)


def test_a_marker_that_is_owed_is_not_taken_for_that_of_a_hanging_transaction(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = new_writer(world.broker)
    decided_without_marker(world, monkeypatch, writer)
    commit_one(writer)
    producer = ProducerIdAndEpoch(writer.producer.producer_id, 0)
    with pytest.raises(InvalidTxnStateError, match="transactional id 't'"):
        world.broker.transaction_coordinator.abort_hanging(A0, *producer)


def test_a_partition_that_works_still_has_to_be_synced_before_the_next_decision(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a partition that is shut may be left out: any other error says that the marker may be lost."""
    writer = new_writer(world.broker)
    commit_one(writer, 0)
    writer.write("a", 1)

    def refuse() -> None:
        raise StorageError("not now")

    with monkeypatch.context() as patch:
        patch.setattr(world.broker.partition("a", 0).log, "sync", refuse)
        with pytest.raises(StorageError, match="not now"):
            writer.end(commit=False)
    assert state(world.broker) is S.ONGOING
    writer.end(commit=False)


# ---- a partition that is shut from the beginning


def test_a_commit_in_a_partition_that_cannot_be_opened_waits_for_it_and_its_id_does_not(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its record was replaced, and the partition took it for aborted when it was back."""
    decided_without_marker(world, monkeypatch, new_writer(world.broker))
    broker = world.kill(unreadable="*/a-0/*.log")
    assert broker.partition("a", 0).is_refused
    commit_one(new_writer(broker))
    assert [place for place, _ in world.last_record().owed] == [A0]
    broker = world.kill()
    assert committed(broker, 0) == [b"first", b"of nobody"]
    assert committed(broker, 1) == [b"first", b"later"]


@pytest.mark.parametrize("commit", [True, False])
def test_what_is_open_in_a_log_with_a_damaged_end_does_not_hold_up_its_id(
    world: World, monkeypatch: pytest.MonkeyPatch, commit: bool
) -> None:
    """The marker was tried again for ever, and every call for the id was told to try again as well."""
    if commit:
        decided_without_marker(world, monkeypatch, new_writer(world.broker))
    else:
        new_writer(world.broker).write("a", 0)
        world.shut()
    log_type = type(world.broker.partition("a", 1).log)
    with monkeypatch.context() as patch:
        original = log_type.append_refusal.fget

        def damaged(self: Any) -> Any:
            if self.topic_partition == A0:
                return DurabilityError("a-0: damaged end")
            return original(self)

        patch.setattr(log_type, "append_refusal", property(damaged))
        broker = world.kill()
        commit_one(new_writer(broker))
    broker = world.kill()
    kinds = [kind for kind, _, _ in markers(broker, "a", 0)]
    assert kinds == ([COMMIT] if commit else [ABORT])
