from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.errors import (
    DiskFullError,
    InvalidConfigurationError,
    InvalidPartitionsError,
    InvalidRecordError,
    InvalidReplicationFactorError,
    InvalidTopicError,
    PolicyViolationError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
)
from streamlog.runtime import MemoryFileSystem, VirtualClock

if TYPE_CHECKING:
    from streamlog.broker.partition import Partition

NOW_MS = 1_700_000_000_000


class BrokenDisk(MemoryFileSystem):
    """A disk on which the operations named in ``failing`` fail, like a full one."""

    __slots__ = ("failing",)

    def __init__(self) -> None:
        super().__init__()
        self.failing: set[str] = set()

    def _maybe_fail(self, operation: str, path: str) -> None:
        if any(f"{operation} {path}".startswith(prefix) for prefix in self.failing):
            raise DiskFullError(f"{path}: expected room, found none")

    def write_atomically(self, path: str, data: bytes) -> None:
        self._maybe_fail("write", path)
        super().write_atomically(path, data)

    def make_dir(self, path: str) -> None:
        self._maybe_fail("make", path)
        super().make_dir(path)

    def rename(self, source: str, target: str) -> None:
        self._maybe_fail("rename", source)
        super().rename(source, target)


@pytest.fixture
def disk() -> BrokenDisk:
    return BrokenDisk()


def reopened(disk: MemoryFileSystem) -> Broker:
    return Broker("/data", filesystem=disk, clock=VirtualClock())


# ---- create


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"name": "a/b"}, InvalidTopicError),
        ({"name": "taken"}, TopicAlreadyExistsError),
        ({"name": "TAKEN"}, InvalidTopicError),
        ({"name": "new", "partitions": 0}, InvalidPartitionsError),
        ({"name": "new", "partitions": True}, InvalidPartitionsError),
        ({"name": "new", "partitions": 10_001}, PolicyViolationError),
        ({"name": "new", "replication_factor": 2}, InvalidReplicationFactorError),
        ({"name": "new", "replication_factor": 0}, InvalidReplicationFactorError),
        ({"name": "new", "configs": {"retention_ms": "soon"}}, InvalidConfigurationError),
        ({"name": "new", "configs": {"retension_ms": 1}}, InvalidConfigurationError),
        ({"name": "new", "configs": {"cleanup.policy": "compress"}}, InvalidConfigurationError),
    ],
)
def test_rec_5_rec_11_topic_that_may_not_be_leaves_no_trace(
    arguments: dict[str, Any], error: type[Exception], disk: BrokenDisk
) -> None:
    with reopened(disk) as broker:
        broker.create_topic("taken")
        directories = disk.list_dir("/data/topics")
        with pytest.raises(error):
            broker.create_topic(**arguments)
        assert broker.topics() == ["taken"]
        assert disk.list_dir("/data/topics") == directories


def test_rec_11_default_replication_factor_counts_when_none_is_given() -> None:
    with Broker(default_replication_factor=3) as broker:
        with pytest.raises(InvalidReplicationFactorError, match="1, found 3"):
            broker.create_topic("orders")
        broker.create_topic("orders", replication_factor=1)


def test_compaction_may_be_the_brokers_default() -> None:
    with Broker(log_cleanup_policy="compact") as broker:
        configs = broker.create_topic("orders").configs
        assert configs["cleanup_policy"] == ("compact",)
        with pytest.raises(InvalidRecordError, match="null key"):  # REC-7
            broker.partition("orders", 0).append_value(b"x", 0)


def test_longest_name_can_be_created_reopened_and_deleted(data_dir: str) -> None:
    name = "n" * 249
    with Broker(data_dir) as broker:
        broker.create_topic(name, partitions=2)
        broker.partition(name, 1).append_value(b"v", NOW_MS)
    with Broker(data_dir) as broker:
        assert broker.partition(name, 1).log_end_offset == 1
        broker.delete_topic(name)
        assert os.listdir(f"{data_dir}/topics") == []


@pytest.mark.parametrize("failing", ["make /data/topics/new-1", "write /data/META"])
def test_topic_whose_creation_fails_does_not_exist_and_can_be_created_again(
    disk: BrokenDisk, failing: str
) -> None:
    with reopened(disk) as broker:
        broker.create_topic("old")
        disk.failing = {failing}
        with pytest.raises(DiskFullError):
            broker.create_topic("new", partitions=2)
        assert broker.topics() == ["old"]
        with pytest.raises(UnknownTopicOrPartitionError):
            broker.topic("new")
        disk.failing = set()
        broker.create_topic("new", partitions=2)
        assert broker.partition("new", 1).append_value(b"v", NOW_MS) == 0
    with reopened(disk) as broker:
        assert broker.topics() == ["new", "old"]
        assert broker.recovery_report.ignored_paths == []


def test_crash_before_the_manifest_names_the_topic_leaves_a_directory_that_is_reported(
    disk: BrokenDisk,
) -> None:
    with reopened(disk) as broker:
        disk.failing = {"write /data/META"}
        with pytest.raises(DiskFullError):
            broker.create_topic("new")
        disk.failing = set()
    with reopened(disk) as broker:
        assert broker.recovery_report.ignored_paths == ["/data/topics/new-0"]
        assert broker.topics() == []


def test_new_topic_never_takes_up_records_left_by_a_namesake(disk: BrokenDisk) -> None:
    with reopened(disk) as broker:
        broker.create_topic("orders")
        broker.partition("orders", 0).append_value(b"old", NOW_MS)
        disk.failing = {"rename"}  # the files survive the deletion
        broker.delete_topic("orders")
        assert disk.exists("/data/topics/orders-0")
        disk.failing = set()
        broker.create_topic("orders")
        assert broker.partition("orders", 0).log_end_offset == 0
    with reopened(disk) as broker:
        assert broker.partition("orders", 0).log_end_offset == 0


# ---- grow


def test_rec_11_growth_keeps_the_records_and_adds_empty_partitions(disk: BrokenDisk) -> None:
    with reopened(disk) as broker:
        broker.create_topic("orders")
        partition = broker.partition("orders", 0)
        partition.append_value(b"v", NOW_MS)
        before = broker.topic("orders").partitions
        broker.create_partitions("orders", 3)
        assert len(before) == 1  # whoever holds the list sees one consistent state
        assert broker.partition("orders", 0) is partition
        assert broker.partition("orders", 2).append_value(b"w", NOW_MS) == 0
    with reopened(disk) as broker:
        ends = [p.log_end_offset for p in broker.topic("orders").partitions]
        assert ends == [1, 0, 1]


@pytest.mark.parametrize("total", [0, 1, 2, -1, None])
def test_rec_11_shrinking_or_standing_still_is_refused(broker: Broker, total: Any) -> None:
    broker.create_topic("orders", partitions=2)
    with pytest.raises(
        InvalidPartitionsError, match=r"'orders'.*more partitions than the 2 it has"
    ):
        broker.create_partitions("orders", total)
    with pytest.raises(UnknownTopicOrPartitionError):
        broker.create_partitions("payments", 2)


@pytest.mark.parametrize("failing", ["make /data/topics/orders-2", "write /data/META"])
def test_growth_that_fails_leaves_the_topic_as_it_was(disk: BrokenDisk, failing: str) -> None:
    with reopened(disk) as broker:
        broker.create_topic("orders")
        disk.failing = {failing}
        with pytest.raises(DiskFullError):
            broker.create_partitions("orders", 3)
        assert len(broker.topic("orders").partitions) == 1
        disk.failing = set()
        broker.create_partitions("orders", 3)
    with reopened(disk) as broker:
        assert len(broker.topic("orders").partitions) == 3


# ---- configuration


def test_altered_configuration_is_in_force_at_once_and_after_reopening(disk: BrokenDisk) -> None:
    with reopened(disk) as broker:
        broker.create_topic("orders", configs={"segment_bytes": 5000, "retention_ms": 1})
        config = broker.alter_topic_configs(
            "orders", {"retention.ms": "9"}, remove=["segment.bytes"]
        )
        assert (config.retention_ms, config.segment_bytes) == (9, 1_073_741_824)
        assert broker.topic("orders").config == broker.partition("orders", 0).log.config == config
    with reopened(disk) as broker:
        assert broker.topic("orders").config == config
        assert broker.topic("orders").overrides == {"retention_ms": 9}


def test_what_a_topic_does_not_set_follows_the_brokers_default(disk: BrokenDisk) -> None:
    with reopened(disk) as broker:
        broker.create_topic("orders", configs={"retention_ms": 5})
    with Broker("/data", filesystem=disk, log_retention_ms=7, log_segment_bytes=900) as broker:
        config = broker.topic("orders").config
        assert (config.retention_ms, config.segment_bytes) == (5, 900)


@pytest.mark.parametrize(
    ("configs", "remove"),
    [
        ({"retention_ms": -2}, []),
        ({"nonsense": 1}, []),
        ({}, ["nonsense"]),
        ({"retention_ms": 1}, ["retention.ms"]),
        ({"retention_ms": 1, "cleanup_policy": "compress"}, []),
    ],
)
def test_bad_change_changes_nothing(
    broker: Broker, configs: dict[str, Any], remove: list[str]
) -> None:
    broker.create_topic("orders", configs={"retention_ms": 5})
    before, epoch = broker.topic("orders").config, broker.topic_epoch
    with pytest.raises(InvalidConfigurationError):
        broker.alter_topic_configs("orders", configs, remove=remove)
    assert broker.topic("orders").config == before
    assert broker.topic_epoch == epoch


def test_change_that_cannot_be_stored_is_not_in_force(disk: BrokenDisk) -> None:
    with reopened(disk) as broker:
        broker.create_topic("orders", configs={"retention_ms": 5})
        disk.failing = {"write /data/META"}
        with pytest.raises(DiskFullError):
            broker.alter_topic_configs("orders", {"retention_ms": 6})
        assert broker.topic("orders").config.retention_ms == 5
        disk.failing = set()
        broker.create_topic("payments")  # stores the manifest again
    with reopened(disk) as broker:
        assert broker.topic("orders").config.retention_ms == 5


# ---- delete


def test_deleted_topic_is_gone_with_its_files_and_stays_gone(disk: BrokenDisk) -> None:
    with reopened(disk) as broker:
        broker.create_topic("orders", partitions=2)
        broker.create_topic("payments")
        broker.partition("orders", 1).append_value(b"v", NOW_MS)
        broker.delete_topic("orders")
        assert broker.topics() == ["payments"]
        assert disk.list_dir("/data/topics") == ["payments-0"]
        with pytest.raises(UnknownTopicOrPartitionError):
            broker.delete_topic("orders")
        broker.partition("payments", 0).append_value(b"v", NOW_MS)
    with reopened(disk) as broker:
        assert broker.topics() == ["payments"]
        assert broker.recovery_report.ignored_paths == []


def test_name_of_a_deleted_topic_can_be_used_again_and_starts_at_zero(broker: Broker) -> None:
    first = broker.create_topic("orders")
    broker.partition("orders", 0).append_value(b"v", NOW_MS)
    broker.delete_topic("orders")
    second = broker.create_topic("orders")
    assert first.topic_id != second.topic_id
    assert broker.partition("orders", 0).append_value(b"v", NOW_MS) == 0


def test_deletion_that_cannot_be_stored_leaves_the_topic_usable(disk: BrokenDisk) -> None:
    with reopened(disk) as broker:
        broker.create_topic("orders")
        disk.failing = {"write /data/META"}
        with pytest.raises(DiskFullError):
            broker.delete_topic("orders")
        disk.failing = set()
        assert broker.partition("orders", 0).append_value(b"v", NOW_MS) == 0
    with reopened(disk) as broker:
        assert broker.partition("orders", 0).log_end_offset == 1


def test_files_of_a_deleted_topic_that_were_still_there_go_at_the_next_open(
    disk: BrokenDisk, caplog: pytest.LogCaptureFixture
) -> None:
    """I19. They stayed for good, in quarantine once a topic of that name was created again."""
    with reopened(disk) as broker:
        broker.create_topic("orders", partitions=2)
        broker.create_topic("payments")
        broker.partition("orders", 0).append_value(b"v", NOW_MS)
        disk.failing = {"rename"}
        broker.delete_topic("orders")
        assert "Could not delete the files of orders-0" in caplog.text
    with reopened(disk) as broker:  # and again cannot be deleted
        assert broker.recovery_report.ignored_paths == [
            "/data/topics/orders-0",
            "/data/topics/orders-1",
        ]
        assert "Files of the deleted topic orders are still there" in caplog.text
        disk.failing = set()
        broker.alter_topic_configs("payments", {"retention_ms": 5})  # stores the manifest again
    with reopened(disk) as broker:
        assert broker.topics() == ["payments"]
        assert broker.recovery_report.ignored_paths == []
        assert disk.list_dir("/data/topics") == ["payments-0"]
        broker.create_topic("orders")
        broker.partition("orders", 0).append_value(b"w", NOW_MS)
    with reopened(disk) as broker:
        assert broker.partition("orders", 0).log_end_offset == 1
        assert disk.list_dir("/data/quarantine") == []


def test_topic_created_again_is_not_taken_for_the_deleted_one(disk: BrokenDisk) -> None:
    with reopened(disk) as broker:
        broker.create_topic("orders", partitions=2)
        disk.failing = {"rename"}
        broker.delete_topic("orders")
        disk.failing = set()
        broker.create_topic("orders")
        broker.partition("orders", 0).append_value(b"w", NOW_MS)
    with reopened(disk) as broker:
        assert broker.partition("orders", 0).log_end_offset == 1


class User(threading.Thread):
    """Uses a partition until that raises."""

    def __init__(self, partition: Partition, use: str) -> None:
        super().__init__()
        self._partition, self._use = partition, use
        self._running = threading.Event()
        self.error: BaseException | None = None
        self.start()
        self._running.wait()

    def run(self) -> None:
        try:
            while True:
                if self._use == "append":
                    self._partition.append_value(b"v" * 100, NOW_MS)
                else:
                    self._partition.read(0, 1000)
                self._running.set()
        except BaseException as error:
            self.error = error


@pytest.mark.stress
@pytest.mark.parametrize("use", ["append", "read"])
def test_deleting_a_topic_in_use_gives_its_users_unknown_topic(data_dir: str, use: str) -> None:
    with Broker(data_dir) as broker:
        for _ in range(10):
            broker.create_topic("orders", configs={"segment_bytes": 4000})
            partition = broker.partition("orders", 0)
            partition.append_value(b"v" * 100, NOW_MS)
            users = [User(partition, use) for _ in range(2)]
            broker.delete_topic("orders")
            for user in users:
                user.join()
            errors = [user.error for user in users]
            assert [type(e) for e in errors] == [UnknownTopicOrPartitionError] * 2, errors
