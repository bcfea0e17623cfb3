from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from streamlog import (
    Admin,
    CorruptLogError,
    ReadOnlyError,
    TopicPartition,
    TransactionalIdNotFoundError,
)
from streamlog.broker.transactions.state import TransactionState
from streamlog.structs import ProducerIdAndEpoch
from tests.support.announcing_writer import new_announcer
from tests.support.read_only_world import ORDERS, World
from tests.support.transaction_writer import new_writer


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    world.writer.create_topic("orders")
    yield world
    world.close()


def test_ids_are_followed_as_they_are_stored(world: World) -> None:
    admin = Admin(world.reader())
    assert admin.list_transactions() == []
    txn = new_writer(world.writer)
    (listed,) = admin.list_transactions()
    assert (listed.transactional_id, listed.state) == ("t", TransactionState.EMPTY)
    txn.write("orders")
    described = admin.describe_transactions(["t"])["t"]
    assert (described.state, described.topic_partitions) == (TransactionState.ONGOING, (ORDERS,))
    assert described.transaction_start_time_ms is None
    (listed,) = admin.list_transactions(states=["ongoing"])
    assert (listed.producer_id, described.producer_epoch) == txn.producer
    txn.end(commit=True)
    assert admin.list_transactions(states=["ongoing"]) == []
    assert admin.describe_transactions(["t"])["t"].state is TransactionState.COMPLETE_COMMIT
    with pytest.raises(TransactionalIdNotFoundError):
        admin.describe_transactions(["other"])


def test_a_transaction_is_ongoing_in_the_partitions_that_can_be_read(world: World) -> None:
    world.writer.create_topic("other", partitions=2)
    world.writer.create_topic("unused")
    txn = new_writer(world.writer)
    for topic, partition in (("other", 1), ("orders", 0), ("other", 0)):
        txn.write(topic, partition)
    reader = world.reader()
    admin = Admin(reader)
    described = admin.describe_transactions(["t"])["t"]
    others = TopicPartition("other", 0), TopicPartition("other", 1)
    assert described.topic_partitions == (ORDERS, *others)
    reader.partition(*others[0]).log.close(CorruptLogError("damaged"))
    described = admin.describe_transactions(["t"])["t"]
    assert described.topic_partitions == (ORDERS, others[1])


def test_a_topic_that_is_deleted_meanwhile_has_nothing_open(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    txn = new_writer(world.writer)
    txn.write("orders")
    reader = world.reader()
    names = reader.topics(include_internal=True)
    monkeypatch.setattr(reader, "topics", lambda **_: ["gone", *names])
    assert Admin(reader).describe_transactions(["t"])["t"].topic_partitions == (ORDERS,)


def test_a_transaction_that_was_announced_is_ongoing_before_its_first_record(world: World) -> None:
    txn = new_announcer(world.writer)
    admin = Admin(world.reader())

    def shown() -> tuple[TransactionState, tuple[TopicPartition, ...]]:
        (listed,) = admin.list_transactions()
        described = admin.describe_transactions([listed.transactional_id])[listed.transactional_id]
        assert described.state is listed.state
        return described.state, described.topic_partitions

    assert shown() == (TransactionState.EMPTY, ())
    txn.write("orders")
    txn.end(commit=True)
    assert shown() == (TransactionState.COMPLETE_COMMIT, ())
    txn.announce(ORDERS)
    assert shown() == (TransactionState.ONGOING, ())
    txn.write("orders")
    assert shown() == (TransactionState.ONGOING, (ORDERS,))
    world.writer.close()
    admin = Admin(world.reader())
    assert shown() == (TransactionState.COMPLETE_COMMIT, ())


def test_what_is_decided_and_not_completed_is_shown_as_that(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    txn = new_writer(world.writer)
    txn.write("orders")
    coordinator = world.writer.transaction_coordinator
    monkeypatch.setattr(coordinator, "_finish", lambda _: False)
    txn.end(commit=True)
    described = Admin(world.reader()).describe_transactions(["t"])["t"]
    assert (described.state, described.topic_partitions) == (
        TransactionState.PREPARE_COMMIT,
        (ORDERS,),
    )


def test_an_id_that_expired_is_gone(world: World) -> None:
    admin = Admin(world.reader())
    new_writer(world.writer)
    assert len(admin.list_transactions()) == 1
    world.clock.advance(world.writer.config.transactional_id_expiration_ms)
    world.writer.transaction_coordinator.expire_ids()
    assert admin.list_transactions() == []


def test_a_log_that_was_cut_is_read_again(world: World) -> None:
    reader = world.reader()
    new_writer(world.writer)
    assert len(Admin(reader).list_transactions()) == 1
    homes = reader.transaction_coordinator._store.homes()
    (home,) = [one for one in homes if one.log_end_offset]
    world.writer.partition(*home.topic_partition).log.truncate_to(0)
    reader.refresh()
    assert Admin(reader).list_transactions() == []


def test_every_change_is_refused(world: World) -> None:
    new_writer(world.writer)
    reader = world.reader()
    coordinator = reader.transaction_coordinator
    calls: list[Callable[[], object]] = [
        lambda: coordinator.init_producer_id("t", 1000),
        lambda: coordinator.init_producer_id("t", 1000, ProducerIdAndEpoch(1, 0)),
        lambda: coordinator.end_transaction("t", 1, 0, commit=True),
        lambda: coordinator.add_partition(1, 0, ORDERS),
        lambda: coordinator.force_terminate("t"),
        lambda: coordinator.abort_hanging(ORDERS, 1, 0),
    ]
    for call in calls:
        with pytest.raises(ReadOnlyError, match="/data was opened with read_only=True"):
            call()
    assert coordinator.expire_ids() == 0
    assert len(Admin(reader).list_transactions()) == 1


def test_what_a_killed_writer_left_open_stays_so_for_a_reader(world: World) -> None:
    txn = new_writer(world.writer)
    txn.write("orders")
    world.writer.abandon(ReadOnlyError("killed"))
    partition = world.reader().partition(*ORDERS)
    assert (partition.last_stable_offset, partition.log_end_offset) == (0, 1)
    world.writer = world.new_writer()
    assert partition.last_stable_offset == partition.log_end_offset == 2
