"""Where groups live: when the offsets topic comes to be, what is replayed when, what is stored."""

from __future__ import annotations

from typing import Any

import pytest

from streamlog.broker import group_store
from streamlog.broker.broker import Broker
from streamlog.broker.group_records import GroupEpoch, OffsetCommit
from streamlog.broker.group_store import GroupStore
from streamlog.broker.offsets_topic import OFFSETS_TOPIC
from streamlog.errors import CorruptLogError
from streamlog.record import build_batch, split_batches
from streamlog.structs import TopicPartition

T0 = TopicPartition("t", 0)


def commit(store: GroupStore, offset: int, group_id: str) -> None:
    record = OffsetCommit(group_id, T0, offset, None, "", 0, "id")
    store.apply(store.find_or_create(group_id), [record])


def committed(store: GroupStore, group_id: str) -> int:
    return store.find(group_id).offsets[T0].offset


def test_look_at_a_group_creates_neither_the_topic_nor_the_group(broker: Broker) -> None:
    store = GroupStore(broker)
    assert not store.find("g").exists
    assert (store.groups, store.homes()) == ({}, [])
    assert OFFSETS_TOPIC not in broker.topics(include_internal=True)


def test_first_change_creates_the_offsets_topic_compacted_with_its_partitions(
    broker: Broker,
) -> None:
    store = GroupStore(broker)
    assert store.find_or_create("g") is store.find("g")
    assert len(store.homes()) == broker.config.offsets_topic_num_partitions == 50
    assert broker.topic(OFFSETS_TOPIC).config.cleanup_policy == ("compact",)


def test_groups_are_loaded_one_partition_at_a_time_when_first_used(
    data_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GRP-1: "my-group" lives in partition 12, "test" in 48."""
    with Broker(data_dir) as broker:
        commit(GroupStore(broker), 1, "my-group")
        commit(GroupStore(broker), 2, "test")
    read: list[int] = []

    def counted(partition: Any) -> Any:
        read.append(partition.number)
        return original(partition)

    original = group_store.read_records
    monkeypatch.setattr(group_store, "read_records", counted)
    with Broker(data_dir) as broker:
        store = GroupStore(broker)
        assert read == []
        assert committed(store, "my-group") == 1
        assert committed(store, "my-group") == 1
        assert read == [12]
        assert committed(store, "test") == 2
        assert read == [12, 48]


def test_damaged_offsets_partition_refuses_its_groups_and_no_others(broker: Broker) -> None:
    store = GroupStore(broker)
    commit(store, 1, "my-group")
    commit(store, 2, "test")
    broker.partition(OFFSETS_TOPIC, 12).append(build_batch([b"junk"], 0, [b"junk"]))
    fresh = GroupStore(broker)
    for _ in range(2):  # half a replay is never taken for the whole
        with pytest.raises(
            CorruptLogError, match="__consumer_offsets-12: .*: offset 1: not a record"
        ):
            fresh.find("my-group")
    assert committed(fresh, "test") == 2
    assert list(fresh.groups) == ["test"]


def test_changes_of_one_call_are_one_batch(broker: Broker) -> None:
    """REC-8: what one request decided is there as a whole or not at all."""
    store = GroupStore(broker)
    group = store.find_or_create("my-group")
    store.apply(
        group, [GroupEpoch("my-group", 3), OffsetCommit("my-group", T0, 7, None, "", 0, "")]
    )
    home = broker.partition(OFFSETS_TOPIC, 12)
    (batch,) = split_batches(home.read(0, 1 << 20))
    assert batch.record_count == home.log_end_offset == 2
    assert (group.epoch, group.offsets[T0].offset) == (3, 7)
    fresh = GroupStore(broker).find("my-group")
    assert (fresh.epoch, fresh.offsets) == (3, group.offsets)


def test_forgotten_group_is_empty_when_it_is_asked_for_again(broker: Broker) -> None:
    store = GroupStore(broker)
    store.forget(store.find_or_create("g"))
    assert store.groups == {}
    assert not store.find("g").exists
