from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from streamlog import Admin, ReadOnlyError, TransactionalIdNotFoundError
from streamlog.broker.transactions.state import TransactionState
from streamlog.structs import ProducerIdAndEpoch
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
    assert admin.describe_transactions(["t"])["t"].state is TransactionState.EMPTY
    txn.end(commit=True)
    assert admin.describe_transactions(["t"])["t"].state is TransactionState.COMPLETE_COMMIT
    with pytest.raises(TransactionalIdNotFoundError):
        admin.describe_transactions(["other"])


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
