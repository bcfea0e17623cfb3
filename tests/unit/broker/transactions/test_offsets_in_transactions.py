"""TXN-7: offsets that are sent to a transaction. Each test compares what the coordinator says with what
another one reads from the log.
"""

from __future__ import annotations

from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.broker.group_coordinator import GroupCoordinator
from streamlog.broker.group_store import GroupStore
from streamlog.errors import (
    DiskFullError,
    OffsetMetadataTooLargeError,
    ProducerFencedError,
    UnknownMemberIdError,
    UnknownTopicOrPartitionError,
    UnstableOffsetCommitError,
)
from streamlog.runtime import VirtualClock
from streamlog.structs import OffsetAndMetadata, TopicPartition
from tests.support.transaction_writer import Writer, new_writer

A0, A1 = TopicPartition("a", 0), TopicPartition("a", 1)


def send(writer: Writer, offset: int, place: TopicPartition = A0, *, group: str = "g") -> None:
    writer.broker.group_coordinator.commit_transactional_offsets(
        group, "", -1, None, *writer.producer, {place: OffsetAndMetadata(offset)}
    )


def commit(broker: Broker, offset: int, place: TopicPartition = A0) -> None:
    broker.group_coordinator.commit_offsets("g", "", -1, {place: OffsetAndMetadata(offset)})


def committed(broker: Broker, group: str = "g") -> dict[TopicPartition, int]:
    """What counts, now and after a restart."""
    coordinator = broker.group_coordinator
    found = {tp: one.offset for tp, one in coordinator.fetch_all_offsets(group).items()}
    again = GroupStore(broker).find(group)
    assert {tp: one.offset for tp, one in again.offsets.items()} == found
    assert again.pending.partitions() == coordinator._store.find(group).pending.partitions()
    coordinator._check()
    return found


def is_stable(broker: Broker, place: TopicPartition = A0) -> bool:
    try:
        broker.group_coordinator.fetch_offsets("g", [place], require_stable=True)
    except UnstableOffsetCommitError:
        return False
    return True


def test_offsets_count_once_the_transaction_is_committed(broker: Broker) -> None:
    commit(broker, 1)
    writer = new_writer(broker)
    writer.write("a")
    send(writer, 5)
    send(writer, 6)
    send(writer, 3, A1)
    assert committed(broker) == {A0: 1}
    writer.end(commit=True)
    assert committed(broker) == {A0: 6, A1: 3}


def test_offsets_of_an_aborted_transaction_are_forgotten(broker: Broker) -> None:
    commit(broker, 1)
    writer = new_writer(broker)
    send(writer, 5)
    assert not is_stable(broker)
    writer.end(commit=False)
    assert committed(broker) == {A0: 1}
    assert is_stable(broker)
    send(writer, 7)  # the next transaction of the same producer, with the same group
    writer.end(commit=True)
    assert committed(broker) == {A0: 7}


def test_stable_offset_is_refused_while_a_transaction_has_one_of_its_partition(
    broker: Broker,
) -> None:
    writer = new_writer(broker)
    send(writer, 5)
    assert (is_stable(broker, A0), is_stable(broker, A1)) == (False, True)
    with pytest.raises(UnstableOffsetCommitError, match="group 'g', a-0"):
        broker.group_coordinator.fetch_offsets("g", [A1, A0], require_stable=True)
    assert broker.group_coordinator.fetch_offsets("g", [A0])[A0] is None
    writer.end(commit=True)
    assert is_stable(broker)


def test_plain_commit_after_the_pending_one_wins_whatever_becomes_of_that(broker: Broker) -> None:
    writer = new_writer(broker)
    send(writer, 5)
    commit(broker, 3)
    assert is_stable(broker), "nothing depends on the transaction any more"
    writer.end(commit=True)
    assert committed(broker) == {A0: 3}


def test_of_two_transactions_the_one_that_sent_last_wins_not_the_one_that_ended_last(
    broker: Broker,
) -> None:
    first, second = new_writer(broker, "first"), new_writer(broker, "second")
    send(first, 5)
    send(second, 7)
    second.end(commit=True)
    assert committed(broker) == {A0: 7}
    first.end(commit=True)
    assert committed(broker) == {A0: 7}


def test_one_transaction_takes_offsets_of_many_groups(broker: Broker) -> None:
    writer = new_writer(broker)
    groups = [f"group-{number}" for number in range(8)]
    for number, group in enumerate(groups):
        send(writer, number, group=group)
    writer.end(commit=True)
    assert [committed(broker, group)[A0] for group in groups] == list(range(8))


def test_offsets_are_checked_as_in_a_plain_commit(broker: Broker) -> None:
    writer = new_writer(broker)
    with pytest.raises(UnknownMemberIdError):
        broker.group_coordinator.commit_transactional_offsets(
            "g", "stranger", 1, None, *writer.producer, {A0: OffsetAndMetadata(5)}
        )
    with pytest.raises(UnknownTopicOrPartitionError, match="a-7"):
        send(writer, 5, TopicPartition("a", 7))
    with pytest.raises(OffsetMetadataTooLargeError):
        broker.group_coordinator.commit_transactional_offsets(
            "g", "", -1, None, *writer.producer, {A0: OffsetAndMetadata(1, "x" * 5000)}
        )
    assert committed(broker) == {}
    assert broker.transaction_coordinator.describe("t").topic_partitions == ()


def test_fenced_producer_cannot_send_offsets(broker: Broker) -> None:
    """TXN-10, TXN-16: the group coordinator is one, so the answer is the final one."""
    older = new_writer(broker)
    new_writer(broker)
    with pytest.raises(ProducerFencedError, match="expected epoch 1, found 0"):
        send(older, 5)
    assert is_stable(broker)


def test_fenced_producer_does_not_disturb_the_numbers_of_its_successor(broker: Broker) -> None:
    """What was refused left a stamp behind, and the next offsets of the successor were out of order."""
    older = new_writer(broker)
    newer = new_writer(broker)
    send(newer, 5)
    with pytest.raises(ProducerFencedError):
        send(older, 6)
    send(newer, 7)
    newer.end(commit=True)
    assert committed(broker) == {A0: 7}


def test_timeout_forgets_the_offsets_as_well(broker: Broker, clock: VirtualClock) -> None:
    writer = new_writer(broker)
    send(writer, 5)
    clock.advance(80_000)
    assert committed(broker) == {}
    assert is_stable(broker)
    with pytest.raises(ProducerFencedError):
        send(writer, 6)


def test_deleting_offsets_and_groups_comes_after_what_is_pending(broker: Broker) -> None:
    coordinator = broker.group_coordinator
    writer = new_writer(broker)
    send(writer, 5)
    send(writer, 5, A1)
    coordinator.delete_offsets("g", [A0])
    writer.end(commit=True)
    assert committed(broker) == {A1: 5}
    send(writer, 6)
    coordinator.delete("g")
    writer.end(commit=True)
    assert committed(broker) == {}
    assert coordinator.list_groups() == []


def test_group_with_pending_offsets_does_not_expire(broker: Broker, clock: VirtualClock) -> None:
    writer = new_writer(broker)
    writer.producer = broker.transaction_coordinator.init_producer_id("t", 900_000)
    send(writer, 5)
    assert broker.group_coordinator.expire_offsets() == 0
    assert not is_stable(broker)
    writer.end(commit=True)
    assert committed(broker) == {A0: 5}


def test_offsets_that_cannot_be_stored_are_not_pending(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = new_writer(broker)
    send(writer, 1, A1)
    home = broker.group_coordinator._store.home_or_create("g")

    def full(_: Any) -> int:
        raise DiskFullError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(home.log, "append", full)
        with pytest.raises(DiskFullError):
            send(writer, 5)
    assert is_stable(broker)
    writer.end(commit=True)
    assert committed(broker) == {A1: 1}


@pytest.mark.parametrize("at_marker", [False, True])
def test_ctrl_c_after_an_append_leaves_groups_as_the_log_says(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, at_marker: bool
) -> None:
    writer = new_writer(broker)
    began = writer.producer
    send(writer, 1, A1)
    home = broker.group_coordinator._store.home_or_create("g")
    append = home.log.append

    def interrupted(batch: Any) -> int:
        append(batch)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(home.log, "append", interrupted)
        with pytest.raises(KeyboardInterrupt):
            writer.end(commit=True) if at_marker else send(writer, 5)
    assert is_stable(broker) is at_marker
    broker.transaction_coordinator.end_transaction("t", *began, commit=True)
    assert committed(broker) == ({A1: 1} if at_marker else {A0: 5, A1: 1})


def test_marker_for_groups_that_nobody_looked_at_is_found_by_replay(broker: Broker) -> None:
    writer = new_writer(broker)
    send(writer, 5)
    broker._group_coordinator = GroupCoordinator(broker)  # as after a restart: nothing is loaded
    writer.end(commit=True)
    assert committed(broker) == {A0: 5}
