from __future__ import annotations

import errno
import threading
from collections.abc import Iterator

import pytest

from streamlog import (
    Broker,
    ClosedError,
    CorruptLogError,
    ForkedError,
    InvalidConfigurationError,
    NotStreamlogDirectoryError,
    StorageError,
    UnknownTopicOrPartitionError,
)
from streamlog.runtime import MemoryFileSystem, Signal
from streamlog.storage.read_only_directory import ReadOnlyDirectory
from tests.support.frozen_files import FrozenFileSystem
from tests.support.read_only_world import ORDERS, World, assigned, values


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.close()


def test_the_directory_decides_the_brokers_number(world: World) -> None:
    world.writer.close()
    world.disk = MemoryFileSystem()
    world.writer = Broker("/data", filesystem=world.disk, clock=world.clock, broker_id=7)
    world.writer.create_topic("orders")
    reader = world.reader()
    assert reader.config.broker_id == 7
    assert reader.describe_topic("orders").partitions[0].leader == 7
    with pytest.raises(InvalidConfigurationError, match="broker_id: expected 7.*found 8"):
        Broker("/data", read_only=True, filesystem=FrozenFileSystem(world.disk), broker_id=8)


def test_a_broker_without_a_directory_has_nothing_to_read() -> None:
    with pytest.raises(InvalidConfigurationError, match="read_only: expected the path"):
        Broker(read_only=True)
    with pytest.raises(TypeError, match="read_only: expected a bool, found 1"):
        Broker("/data", read_only=1)  # type: ignore[arg-type]
    with pytest.raises(NotStreamlogDirectoryError):
        Broker(read_only=True, filesystem=MemoryFileSystem())


def test_a_directory_that_is_no_ones_is_refused_and_nothing_is_left_open(world: World) -> None:
    meta = world.disk.open("/data/META")
    meta.write_at(16, b"damage")
    with pytest.raises(CorruptLogError, match="META"):
        world.reader()


def test_a_manifest_that_cannot_be_used_closes_the_directory_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []
    monkeypatch.setattr(
        "streamlog.storage.read_only_directory.ReadOnlyDirectory.close",
        lambda self, **_: closed.append(self.path),
    )
    for where in (
        "streamlog.runtime.VirtualClock.new_scheduler",
        "streamlog.broker.read_only_topics.ReadOnlyTopics.open",
    ):
        with monkeypatch.context() as patched:
            patched.setattr(where, lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                world.reader()
    assert closed == ["/data", "/data"]


def test_who_listens_is_told_of_new_topics(world: World) -> None:
    reader, signal = world.reader(), Signal()
    reader.add_topic_listener(signal)
    epoch = reader.topic_epoch
    world.writer.create_topic("orders")
    assert world.clock.wait_until(lambda: reader.topic_epoch != epoch, signal, 1000)
    reader.remove_topic_listener(signal)
    assert reader.topics() == ["orders"]


def test_topics_are_replaced_by_others_of_their_name(world: World) -> None:
    world.write(b"old")
    reader = world.reader()
    before = reader.partition(*ORDERS)
    world.writer.delete_topic("orders")
    world.write(b"new", b"newer")
    assert reader.partition(*ORDERS) is not before
    assert reader.partition(*ORDERS).log_end_offset == 2
    with pytest.raises(UnknownTopicOrPartitionError, match="'orders' was deleted"):
        _ = before.log_end_offset


def test_damage_refuses_one_partition_until_it_is_mended(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.write(b"one")
    world.writer.create_topic("fine")
    world.writer.close()
    path = "/data/topics/orders-0/00000000000000000000.log"
    content = world.disk.read_file(path, 1 << 20)
    world.disk.unlink(path)
    reader = world.reader()
    assert "Partition cannot be used: orders-0" in caplog.text
    assert reader.topics() == ["fine", "orders"]
    assert reader.partition("fine", 0).log_end_offset == 0
    for _ in range(2):
        with pytest.raises(CorruptLogError, match="orders-0.*no segment file"):
            _ = reader.partition(*ORDERS).log_end_offset
    world.disk.open(path, create=True).write_at(0, content)
    reader.refresh()
    assert values(assigned(reader)) == [b"one"]
    world.writer = world.new_writer()


def test_a_log_that_cannot_be_opened_says_why_and_is_tried_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.write(b"one")

    def fail(*_: object) -> None:
        raise OSError(errno.EMFILE, "too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(ReadOnlyDirectory, "open_log", fail)
        reader = world.reader()
        with pytest.raises(StorageError, match="orders-0: its log could not be opened") as error:
            _ = reader.partition(*ORDERS).log_end_offset
        assert error.value.errno == errno.EMFILE
    assert reader.partition(*ORDERS).log_end_offset == 1


def test_refresh_raises_the_first_error_and_looks_at_all(world: World) -> None:
    world.write(b"one")
    world.write(b"one", topic="payments")
    reader = world.reader()
    assert reader.partition("payments", 0).log_end_offset == 1
    world.disk.rename("/data/topics/orders-0", "/data/topics/elsewhere")
    for segment in reader.partition(*ORDERS).log.segments:
        segment._drop_files()
    world.write(b"two", topic="payments")
    with pytest.raises(StorageError, match="orders-0"):
        reader.refresh()
    assert reader.partition("payments", 0).log.log_end_offset == 2
    consumer = assigned(reader)
    with pytest.raises(StorageError, match="orders-0"):
        consumer.poll(1000)
    world.disk.rename("/data/topics/elsewhere", "/data/topics/orders-0")
    world.writer.refresh()  # changes nothing for a broker that writes


def test_a_directory_that_went_is_said_to_who_waits(world: World) -> None:
    world.write(b"one")
    consumer = assigned(world.reader())
    assert values(consumer) == [b"one"]
    world.disk.rename("/data/META", "/data/META.aside")
    try:
        with pytest.raises(FileNotFoundError, match="META"):
            consumer.list_topics()
        assert values(consumer) == []  # the log is there, and goes on
    finally:
        world.disk.rename("/data/META.aside", "/data/META")


def test_a_closed_reader_is_closed(world: World) -> None:
    world.write(b"one")
    reader = world.reader()
    partition, topics = reader.partition(*ORDERS), reader.topic_registry
    consumer = assigned(reader)
    reader.close()
    world.clock.wait_until(lambda: False, Signal(), 1000)
    for call in (
        reader.topics,
        reader.refresh,
        lambda: partition.log_end_offset,
        lambda: topics.names(),
        lambda: topics.create("x", None, None, None),
        consumer.poll,
        lambda: reader.check_writable("x"),
    ):
        with pytest.raises(ClosedError):
            call()
    assert not topics._look()  # type: ignore[attr-defined]


def test_a_topic_that_is_deleted_while_its_logs_are_opened_is_not_damaged(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.write(b"one")
    list_dir, is_deleted = FrozenFileSystem.list_dir, []

    def list_and_delete(self: FrozenFileSystem, path: str) -> list[str]:
        if not is_deleted:
            is_deleted.append(True)
            world.writer.delete_topic("orders")
        return list_dir(self, path)

    monkeypatch.setattr(FrozenFileSystem, "list_dir", list_and_delete)
    assert world.reader().topics() == []
    assert "cannot be used" not in caplog.text


def test_in_a_forked_child_no_lock_is_waited_for(world: World) -> None:
    """Another thread of the parent may have held it, which is not there."""
    world.write(b"one")
    reader = world.reader()
    topics, partition = reader.topic_registry, reader.partition(*ORDERS)
    holder = threading.Thread(target=topics._refresh_lock.acquire)  # type: ignore[attr-defined]
    holder.start()
    holder.join()
    reader.abandon(ForkedError("forked"))
    for call in (lambda: partition.log_end_offset, topics.names, reader.topics, reader.refresh):
        with pytest.raises(ForkedError, match="forked"):
            call()


def test_all_topics_are_told_after_one_look(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """There was one for each, which went through all of them: with 1,000 topics it kept a listener's loop for 150 ms."""
    reader = world.reader()
    for number in range(3):
        world.writer.create_topic(f"t{number}")
    looks, refresh = [], ReadOnlyDirectory.refresh

    def noted(self: ReadOnlyDirectory) -> bool:
        looks.append(1)
        return refresh(self)

    monkeypatch.setattr(ReadOnlyDirectory, "refresh", noted)
    names = [topic.name for topic in reader.topic_registry.topics()]
    assert names == reader.topics(include_internal=True)
    assert {"t0", "t1", "t2"} <= set(names)
    assert len(looks) == 2, "one each"


def test_topics_that_changed_are_taken_over_though_the_look_at_them_failed_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """META counted as read when STATE could not be: the new topics were not seen before the next change of any."""
    reader = world.reader()
    world.write(b"first")
    world.writer.create_topic("new")

    def fail(_: ReadOnlyDirectory) -> None:
        raise OSError(errno.EMFILE, "too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(ReadOnlyDirectory, "look_again", fail)
        with pytest.raises(OSError, match="too many open files"):
            reader.topics()
    assert "new" in reader.topics()
