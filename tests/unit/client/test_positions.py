from __future__ import annotations

import errno
import logging
import shutil

import pytest

from streamlog.broker.broker import Broker
from streamlog.broker.java_hash import partition_for_group
from streamlog.client.consumer import Consumer
from streamlog.errors import (
    CorruptLogError,
    LogTruncationError,
    OffsetOutOfRangeError,
    StorageError,
)
from streamlog.runtime import OsFileSystem
from streamlog.structs import OffsetAndMetadata, TopicPartition
from streamlog.testing import CrashLab, FaultPlan, FaultyFileSystem
from tests.support.consuming import T0, T1, append, drain, fill


@pytest.fixture
def topic(broker: Broker) -> Broker:
    broker.create_topic("t", partitions=2)
    return broker


def commit(broker: Broker, offsets: dict[TopicPartition, int]) -> None:
    broker.group_coordinator.commit_offsets(
        "g", "", -1, {tp: OffsetAndMetadata(offset) for tp, offset in offsets.items()}
    )


def test_con_5_committed_offset_comes_before_the_policy(topic: Broker) -> None:
    values = fill(topic, 5)
    commit(topic, {T0: 3})
    for policy in ("earliest", "latest", "none"):
        with Consumer(
            topic, group_id="g", auto_offset_reset=policy, enable_auto_commit=False
        ) as consumer:
            consumer.assign([T0])
            assert drain(consumer) == values[3:]


def test_trap_2_committed_offset_0_is_a_position(topic: Broker) -> None:
    values = fill(topic, 2)
    commit(topic, {T0: 0})
    with Consumer(topic, "t", group_id="g", auto_offset_reset="latest") as consumer:
        assert drain(consumer) == values


def test_partitions_with_and_without_a_commit_start_each_in_its_way(topic: Broker) -> None:
    fill(topic, 4, T0)
    fill(topic, 4, T1)
    commit(topic, {T1: 1})
    with Consumer(topic, "t", group_id="g", auto_offset_reset="latest") as consumer:
        consumer.poll()
        assert (consumer.position(T0), consumer.position(T1)) == (4, 4)
        assert consumer.clamped_offsets == {}


def test_without_a_group_the_policy_alone_decides(topic: Broker) -> None:
    fill(topic, 4)
    commit(topic, {T0: 1})
    with Consumer(topic) as consumer:
        consumer.assign([T0])
        assert consumer.position(T0) == 4


def test_committed_offset_above_the_log_end_is_clamped_and_reported(
    topic: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    """durability 3.15: otherwise the group waits for offset 10 and skips what is written below it."""
    fill(topic, 4)
    commit(topic, {T0: 10, T1: 0})
    with Consumer(topic, "t", group_id="g") as consumer:
        with caplog.at_level(logging.WARNING, "streamlog"):
            assert not consumer.poll()
        assert "t-0: the log was cut below offset 10" in caplog.text
        assert "going on at offset 4" in caplog.text
        assert consumer.clamped_offsets == {T0: 10}
        assert consumer.position(T0) == 4
        values = fill(topic, 7)
        assert drain(consumer) == values


def lose_power_after(broker: Broker, offset: int, epoch: int) -> None:
    """Leave the partition as a power loss does that keeps the records below *offset*."""
    log = broker.partition(*T0).log
    log.truncate_to(offset)
    log.leader_epoch = epoch


@pytest.mark.parametrize("written_since", [0, 1, 2, 5])
def test_group_whose_records_a_power_loss_took_reads_all_that_was_written_since(
    topic: Broker, caplog: pytest.LogCaptureFixture, written_since: int
) -> None:
    """durability 3.15, KIP-320: its commit may have survived, and its offsets be taken by others."""
    fill(topic, 6)
    with Consumer(topic, "t", group_id="g", auto_offset_reset="earliest") as consumer:
        assert len(drain(consumer)) == 6
        consumer.commit()
    lose_power_after(topic, 4, epoch=1)
    values = fill(topic, written_since)
    with Consumer(topic, "t", group_id="g", auto_offset_reset="latest") as consumer:
        with caplog.at_level(logging.WARNING, "streamlog"):
            assert drain(consumer) == values
        assert consumer.clamped_offsets == {T0: 6}
        assert "t-0: the log was cut below offset 6" in caplog.text
        consumer.commit()
        values = fill(topic, 3)
    with Consumer(topic, "t", group_id="g") as consumer:
        assert drain(consumer) == values
        assert consumer.clamped_offsets == {}


def test_group_at_the_end_without_having_read_is_not_led_past_what_comes_after_a_power_loss(
    topic: Broker,
) -> None:
    """A position that the policy chose is committed with the epoch of the day."""
    fill(topic, 6)
    with Consumer(topic, "t", group_id="g", auto_offset_reset="latest") as consumer:
        assert not drain(consumer)
        consumer.commit()
    lose_power_after(topic, 2, epoch=1)
    values = fill(topic, 9)
    with Consumer(topic, "t", group_id="g") as consumer:
        assert drain(consumer) == values


def test_commit_of_a_plain_number_is_believed_up_to_the_log_end(topic: Broker) -> None:
    fill(topic, 6)
    commit(topic, {T0: 6})
    lose_power_after(topic, 2, epoch=1)
    values = fill(topic, 9)
    with Consumer(topic, "t", group_id="g") as consumer:
        assert drain(consumer) == values[4:]


# ---- a log that was cut: REP-6, KIP-320


@pytest.fixture
def cut(topic: Broker) -> Broker:
    """Offsets 3 to 5 of t-0 were lost and given again; a reader had seen offset 4, its group has committed 5."""
    fill(topic, 6)
    log = topic.partition("t", 0).log
    log.truncate_to(3)
    log.leader_epoch = 1
    append(topic, [b"new@%d" % offset for offset in range(3, 10)])
    commit_at(topic, OffsetAndMetadata(5, leader_epoch=0))
    return topic


def commit_at(broker: Broker, position: OffsetAndMetadata) -> None:
    broker.group_coordinator.commit_offsets("g", "", -1, {T0: position})


@pytest.mark.parametrize("policy", ["earliest", "latest"])
def test_rep_6_a_commit_above_a_cut_goes_back_to_it_though_the_log_is_long_enough_again(
    cut: Broker, caplog: pytest.LogCaptureFixture, policy: str
) -> None:
    """durability 3.15: the records given the offsets of lost ones were passed over."""
    with Consumer(cut, group_id="g", auto_offset_reset=policy) as consumer:
        consumer.assign([T0])
        with caplog.at_level(logging.WARNING, "streamlog"):
            assert drain(consumer) == [b"new@%d" % offset for offset in range(3, 10)]
        assert consumer.clamped_offsets == {T0: 5}
        assert "t-0: the log was cut below offset 5 (leader epoch 0)" in caplog.text
        assert "going on at offset 3" in caplog.text
        consumer.commit()
        assert consumer.committed([T0])[T0] == OffsetAndMetadata(10, leader_epoch=1)
    with Consumer(cut, group_id="g", auto_offset_reset=policy) as consumer:
        consumer.assign([T0])
        assert consumer.position(T0) == 10
        assert consumer.clamped_offsets == {}


def test_rep_6_a_commit_at_or_below_a_cut_stays(cut: Broker) -> None:
    commit_at(cut, OffsetAndMetadata(3, leader_epoch=0))
    with Consumer(cut, group_id="g", auto_offset_reset="none") as consumer:
        consumer.assign([T0])
        assert consumer.position(T0) == 3
        assert consumer.clamped_offsets == {}


def test_rep_6_without_a_policy_a_cut_is_raised_until_the_user_seeks(cut: Broker) -> None:
    commit(cut, {T1: 0})
    values = fill(cut, 3, T1)
    with Consumer(
        cut, group_id="g", auto_offset_reset="none", enable_auto_commit=False
    ) as consumer:
        consumer.assign([T0, T1])
        for look in (consumer.poll, lambda: consumer.position(T0)):
            with pytest.raises(LogTruncationError, match=r"position of t-0 \(5\)") as caught:
                look()
            assert caught.value.offsets == {T0: 5}
            assert caught.value.divergent_offsets == {T0: 3}
        consumer.seek(T0, caught.value.divergent_offsets[T0])
        found = drain(consumer)
        assert [value for value in found if b"new" in value] == [
            b"new@%d" % n for n in range(3, 10)
        ]
        assert [value for value in found if b"new" not in value] == values
        assert consumer.clamped_offsets == {}


def test_con_5_without_a_policy_a_commit_above_the_log_end_is_raised(topic: Broker) -> None:
    fill(topic, 4)
    commit(topic, {T0: 10})
    with Consumer(topic, group_id="g", auto_offset_reset="none") as consumer:
        consumer.assign([T0])
        with pytest.raises(LogTruncationError) as caught:
            consumer.poll()
        assert isinstance(caught.value, OffsetOutOfRangeError)
        assert caught.value.divergent_offsets == {T0: 4}


def test_rep_6_a_commit_of_an_epoch_the_log_knows_nothing_of_follows_the_policy(
    cut: Broker,
) -> None:
    commit_at(cut, OffsetAndMetadata(5, leader_epoch=7))
    with Consumer(
        cut, group_id="g", auto_offset_reset="earliest", enable_auto_commit=False
    ) as consumer:
        consumer.assign([T0])
        assert consumer.position(T0) == 0
        assert consumer.clamped_offsets == {T0: 5}
    with Consumer(cut, group_id="g", auto_offset_reset="none") as consumer:
        consumer.assign([T0])
        with pytest.raises(LogTruncationError) as caught:
            consumer.position(T0)
        assert caught.value.offsets == {T0: 5}
        assert caught.value.divergent_offsets == {}


@pytest.mark.parametrize("look", ["poll", "position"])
def test_rep_6_a_seek_with_an_epoch_above_a_cut_goes_back_to_it(cut: Broker, look: str) -> None:
    with Consumer(cut, auto_offset_reset="latest") as consumer:
        consumer.assign([T0])
        consumer.poll()
        consumer.seek(T0, OffsetAndMetadata(8, leader_epoch=0))
        if look == "position":
            assert consumer.position(T0) == 3
        assert drain(consumer) == [b"new@%d" % offset for offset in range(3, 10)]
        assert consumer.clamped_offsets == {T0: 8}


def test_rep_6_a_seek_with_the_epoch_that_is_there_goes_where_it_says(cut: Broker) -> None:
    with Consumer(cut, auto_offset_reset="none") as consumer:
        consumer.assign([T0])
        consumer.seek(T0, OffsetAndMetadata(8, leader_epoch=1))
        assert drain(consumer) == [b"new@8", b"new@9"]
        consumer.seek(T0, OffsetAndMetadata(8, leader_epoch=0))
        with pytest.raises(LogTruncationError):
            consumer.poll()
        consumer.seek(T0, 8)  # without an epoch there is nothing to compare
        assert drain(consumer) == [b"new@8", b"new@9"]


def test_rep_6_a_group_goes_back_after_a_power_failure_between_two_lives_of_a_broker() -> None:
    """The known gap: as many records as were lost are written before the group comes back."""
    lab = CrashLab(seed=3)
    broker = lab.open_broker()
    broker.create_topic("t")
    kept = fill(broker, 4)
    broker.sync()
    fill(broker, 3)
    with Consumer(broker, group_id="g", auto_offset_reset="earliest") as consumer:
        consumer.assign([T0])
        assert len(drain(consumer)) == 7
        consumer.commit()
    broker.partition("__consumer_offsets", partition_for_group("g", 50)).sync()
    lab.cut_power("nothing")
    with lab.open_broker() as broker:
        assert broker.partition("t", 0).log_end_offset == 4
        again = [b"again %d" % n for n in range(9)]
        append(broker, again)
        with Consumer(broker, group_id="g", auto_offset_reset="latest") as consumer:
            consumer.assign([T0])
            assert drain(consumer) == again
            assert consumer.clamped_offsets == {T0: 7}
        with Consumer(broker, auto_offset_reset="earliest") as consumer:
            consumer.assign([T0])
            assert drain(consumer) == kept + again


def test_committed_offset_below_the_log_start_follows_the_policy(topic: Broker) -> None:
    values = fill(topic, 6)
    commit(topic, {T0: 1})
    topic.partition("t", 0).delete_records(4)
    with Consumer(topic, "t", group_id="g", auto_offset_reset="earliest") as consumer:
        assert drain(consumer) == values[4:]


def test_position_moved_by_seek_is_not_looked_up_again(topic: Broker) -> None:
    values = fill(topic, 5)
    commit(topic, {T0: 4})
    with Consumer(topic, group_id="g") as consumer:
        consumer.assign([T0])
        consumer.seek(T0, 1)
        assert drain(consumer) == values[1:]


def test_partition_that_was_refused_at_opening_is_raised_when_it_is_read_and_alone(
    data_dir: str,
) -> None:
    with Broker(data_dir) as broker:
        broker.create_topic("t", partitions=2)
        fill(broker, 3, T0)
        values = fill(broker, 3, T1)
    shutil.rmtree(f"{data_dir}/topics/t-0")
    with Broker(data_dir) as broker, Consumer(broker, auto_offset_reset="earliest") as consumer:
        consumer.assign([T0, T1])
        found, errors = [], []
        for _ in range(4):
            try:
                found += consumer.poll().values()
            except CorruptLogError as error:
                errors.append(error)
        assert found == values
        assert errors
        assert all(error.topic_partition == T0 for error in errors)


def test_partition_whose_files_could_not_be_opened_keeps_nobody_from_reading_the_others(
    data_dir: str,
) -> None:
    # Every poll raised while positions were looked up, so the other partitions were never read again.
    plan = FaultPlan()
    files = FaultyFileSystem(OsFileSystem(), plan)
    with Broker(data_dir) as broker:
        broker.create_topic("t", partitions=2)
        fill(broker, 3, T0)
        values = fill(broker, 3, T1)
    plan.fail("list_dir", errno.EIO, path="*/t-0")
    with Broker(data_dir, filesystem=files) as broker:
        with Consumer(broker, auto_offset_reset="earliest") as consumer:
            consumer.assign([T0, T1])
            with pytest.raises(StorageError, match="t-0: its log could not be opened"):
                consumer.poll()
            assert list(consumer.poll().values()) == values
