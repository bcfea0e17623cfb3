from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from streamlog import (
    Admin,
    Consumer,
    CorruptLogError,
    GroupState,
    OffsetAndMetadata,
    ReadOnlyError,
    UnstableOffsetCommitError,
)
from streamlog.broker import read_only_groups
from streamlog.record import build_batch
from tests.support.read_only_world import ORDERS, World
from tests.support.transaction_writer import new_writer

NO_EPOCH = -1


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    world.write(b"one", b"two", b"three")
    yield world
    world.close()


def commit(world: World, offset: int, group_id: str = "g") -> None:
    Admin(world.writer).alter_consumer_group_offsets(group_id, {ORDERS: offset})


def test_each_look_replays_what_was_added(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    coordinator = world.reader().group_coordinator
    commit(world, 1)
    assert coordinator.fetch_offsets("g", [ORDERS]) == {ORDERS: OffsetAndMetadata(1)}
    starts: list[int] = []
    read = read_only_groups.read_records
    monkeypatch.setattr(
        read_only_groups,
        "read_records",
        lambda home, start, end: starts.append(start) or read(home, start, end),
    )
    coordinator.fetch_all_offsets("g")
    assert starts == []
    commit(world, 2)
    assert coordinator.fetch_all_offsets("g") == {ORDERS: OffsetAndMetadata(2)}
    assert starts == [1]


def test_those_elsewhere_see_what_was_added_as_well(world: World) -> None:
    """They saw the groups of their first look for good."""
    remote = world.reader().group_coordinator.remote
    commit(world, 1)
    assert [one.group_id for one in remote.list_groups()] == ["g"]
    commit(world, 1, "h")
    with Consumer(world.writer, "orders", group_id="i") as consumer:
        consumer.poll(0)
        assert [(one.group_id, one.state, one.is_classic) for one in remote.list_groups()] == [
            ("g", GroupState.EMPTY, True),
            ("h", GroupState.EMPTY, True),
            ("i", GroupState.UNKNOWN, False),
        ]
        assert remote.describe_consumer("i").members == ()
    assert remote.describe_consumer("i").state is GroupState.EMPTY


def test_offsets_in_a_transaction_are_pending_until_its_marker(world: World) -> None:
    coordinator = world.reader().group_coordinator
    commit(world, 1)
    txn = new_writer(world.writer)
    for is_committed, expected in ((False, 1), (True, 3)):
        world.writer.group_coordinator.commit_transactional_offsets(
            "g", "", NO_EPOCH, None, *txn.producer, {ORDERS: OffsetAndMetadata(3)}
        )
        with pytest.raises(UnstableOffsetCommitError):
            coordinator.fetch_offsets("g", [ORDERS], require_stable=True)
        txn.end(commit=is_committed)
        found = coordinator.fetch_offsets("g", [ORDERS], require_stable=True)
        assert found == {ORDERS: OffsetAndMetadata(expected)}


def test_members_of_another_process_are_not_shown(world: World) -> None:
    with Consumer(world.writer, "orders", group_id="g", auto_offset_reset="earliest") as consumer:
        consumer.poll(1000)
        consumer.commit()
        found = Admin(world.reader()).describe_consumer_groups(["g"])["g"]
        assert (found.state, found.members) == (GroupState.UNKNOWN, ())
        assert [(one.committed_offset, one.lag) for one in found.offsets] == [(3, 0)]


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
def test_a_group_is_unknown_from_its_first_member_to_its_last(world: World, protocol: str) -> None:
    commit(world, 1)
    admin = Admin(world.reader())

    def state() -> GroupState:
        (listed,) = admin.list_consumer_groups()
        assert admin.describe_consumer_groups(["g"])["g"].state is listed.state
        return listed.state

    assert state() is GroupState.EMPTY, "only its offsets were set"
    consumers = [
        Consumer(world.writer, "orders", group_id="g", config={"group_protocol": protocol})
        for _ in range(2)
    ]
    for consumer in consumers:
        consumer.poll(0)
    assert state() is GroupState.UNKNOWN
    consumers[0].close()
    assert state() is GroupState.UNKNOWN
    consumers[1].close()
    assert state() is GroupState.EMPTY


def test_members_end_with_the_process_that_closes_the_directory(world: World) -> None:
    with Consumer(world.writer, "orders", group_id="g", auto_offset_reset="earliest") as consumer:
        consumer.poll(1000)
        reader = world.reader()
        assert Admin(reader).list_consumer_groups()[0].state is GroupState.UNKNOWN
        world.writer.close()
        assert Admin(world.reader()).list_consumer_groups()[0].state is GroupState.EMPTY


def test_a_topic_of_offsets_that_was_cut_is_read_again(world: World) -> None:
    commit(world, 1)
    reader = world.reader()
    assert [one.group_id for one in Admin(reader).list_consumer_groups()] == ["g"]
    store = reader.group_coordinator._store
    commit(world, 1, "other")
    assert len(Admin(reader).list_consumer_groups()) == 2
    home = next(p for p in store.homes() if p.log_end_offset)
    world.writer.partition(*home.topic_partition).log.truncate_to(0)
    reader.refresh()
    kept = 2 - sum(p is home or not p.log_end_offset for p in store.homes())
    assert len(Admin(reader).list_consumer_groups()) == kept


def test_damage_changes_nothing_that_was_known(world: World) -> None:
    commit(world, 1)
    reader = world.reader()
    coordinator = reader.group_coordinator
    assert coordinator.fetch_all_offsets("g") == {ORDERS: OffsetAndMetadata(1)}
    home = next(p for p in coordinator._store.homes() if p.log_end_offset)
    writing = world.writer.partition(*home.topic_partition)
    writing.append(build_batch([b"nonsense"], world.clock.time_ms(), [b"nonsense"]))
    with pytest.raises(CorruptLogError, match="not a record of a group"):
        coordinator.fetch_all_offsets("g")
    assert coordinator._store.groups["g"].offsets[ORDERS].offset == 1


def test_every_change_is_refused(world: World) -> None:
    commit(world, 1)
    coordinator = world.reader().group_coordinator
    offsets = {ORDERS: OffsetAndMetadata(1)}
    request: Any = SimpleNamespace(group_id="g")
    reply: Any = None
    calls: list[Callable[[], object]] = [
        lambda: coordinator.heartbeat(request),
        lambda: coordinator.join(request, reply),
        lambda: coordinator.sync(request, reply),
        lambda: coordinator.commit_offsets("g", "", NO_EPOCH, offsets),
        lambda: coordinator.commit_transactional_offsets("g", "", NO_EPOCH, None, 1, 0, offsets),
        lambda: coordinator.delete("g"),
        lambda: coordinator.delete_offsets("g", [ORDERS]),
    ]
    for call in calls:
        with pytest.raises(ReadOnlyError, match="group 'g': .*/data was opened with read_only"):
            call()
    home = coordinator._store.homes()[0]
    with pytest.raises(ReadOnlyError, match="__consumer_offsets-0: end a transaction"):
        coordinator.complete_transaction(home, None, True)  # type: ignore[arg-type]
    assert coordinator.expire_offsets() == 0
