from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from streamlog.broker.broker import Broker
from streamlog.errors import StorageError
from streamlog.runtime import MemoryFileSystem, VirtualClock
from tests.support.hooked_files import HookedFileSystem

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW_MS = 1_700_000_000_000


@pytest.fixture
def disk() -> Iterator[HookedFileSystem]:
    """A disk with a topic of two partitions, one record each; not closed properly."""
    disk = HookedFileSystem(MemoryFileSystem())
    with Broker("/data", filesystem=disk, clock=VirtualClock()) as broker:
        broker.create_topic("orders", partitions=2)
        for partition in broker.topic("orders").partitions:
            partition.append_value(b"v", NOW_MS)
    return disk


def test_partition_whose_files_cannot_be_read_raises_storage_error_and_stops_no_other(
    disk: HookedFileSystem, caplog: pytest.LogCaptureFixture
) -> None:
    def deny(call: str, path: str) -> None:
        if "/orders-1" in path:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    disk.hook = deny
    with Broker("/data", filesystem=disk, clock=VirtualClock()) as broker:
        with pytest.raises(StorageError, match=r"orders-1: .*Permission denied") as caught:
            broker.partition("orders", 1).read(0, 100)
        assert caught.value.errno == errno.EACCES
        assert broker.partition("orders", 0).append_value(b"w", NOW_MS) == 1
        (damaged,) = broker.recovery_report.damaged_partitions
        assert "Permission denied" in damaged.message
    assert "orders-1" in caplog.text
    disk.hook = lambda call, path: None
    with Broker("/data", filesystem=disk, clock=VirtualClock()) as broker:
        assert not broker.recovery_report.clean  # nobody knew whether it was
        assert [p.log_end_offset for p in broker.topic("orders").partitions] == [2, 1]


def test_deleting_a_topic_deletes_what_is_left_of_damaged_partitions(
    disk: HookedFileSystem,
) -> None:
    def deny(call: str, path: str) -> None:
        if "/orders-1/" in path:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    disk.hook = deny
    with Broker("/data", filesystem=disk, clock=VirtualClock()) as broker:
        assert broker.partition("orders", 1).is_refused
        disk.hook = lambda call, path: None
        broker.delete_topic("orders")
        assert disk.list_dir("/data/topics") == []


def test_report_tells_what_opening_found_and_not_what_was_created_later(
    disk: HookedFileSystem,
) -> None:
    with Broker("/data", filesystem=disk, clock=VirtualClock()) as broker:
        broker.create_topic("payments")
        broker.create_partitions("orders", 5)
        found = [str(p.topic_partition) for p in broker.recovery_report.partitions]
        assert found == ["orders-0", "orders-1"]


def test_failed_creation_takes_back_the_directories_made_so_far(disk: HookedFileSystem) -> None:
    def fill_up(call: str, path: str) -> None:
        if call == "make_dir" and path.endswith("/new-2"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    with Broker("/data", filesystem=disk, clock=VirtualClock()) as broker:
        disk.hook = fill_up
        with pytest.raises(OSError, match="new-2"):
            broker.create_topic("new", partitions=3)
        assert disk.list_dir("/data/topics") == ["orders-0", "orders-1"]


def test_directories_reach_the_disk_before_the_manifest_names_them(disk: HookedFileSystem) -> None:
    calls: list[str] = []
    with Broker("/data", filesystem=disk, clock=VirtualClock()) as broker:
        disk.hook = lambda call, path: calls.append(f"{call} {path}")
        broker.create_topic("new", partitions=2)
        broker.create_partitions("new", 3)
        broker.delete_topic("new")
    wanted = [
        "make_dir /data/topics/new-0",
        "make_dir /data/topics/new-1",
        "sync_dir /data/topics",
        "write_atomically /data/META",
        "make_dir /data/topics/new-2",
        "sync_dir /data/topics",
        "write_atomically /data/META",
        "write_atomically /data/META",
        "rename /data/topics/new-0",
        "rename /data/topics/new-1",
        "rename /data/topics/new-2",
    ]
    assert [call for call in calls if call in wanted] == wanted
