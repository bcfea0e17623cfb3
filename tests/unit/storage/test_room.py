"""How much of the disk may be taken."""

from __future__ import annotations

import pytest

from streamlog.errors import DiskFullError, RetriableError
from streamlog.storage.room import DEFAULT_MIN_FREE_BYTES, Room
from tests.unit.storage.conftest import memory_disk_of


def test_the_reserve_is_left_alone() -> None:
    disk = memory_disk_of(1000)
    room = Room(disk.filesystem, disk.root, 300)
    room.check(700)
    with pytest.raises(
        DiskFullError, match="expected 701 bytes and 300 in reserve, found 1000 bytes free"
    ) as caught:
        room.check(701)
    assert isinstance(caught.value, RetriableError)


def test_no_reserve_is_not_checked() -> None:
    disk = memory_disk_of(1000)
    Room(disk.filesystem, disk.root, 0).check(10**12)


def test_the_default_reserve_is_16_mib() -> None:
    assert DEFAULT_MIN_FREE_BYTES == 16 << 20
    disk = memory_disk_of(DEFAULT_MIN_FREE_BYTES + 10)
    Room(disk.filesystem, disk.root, None).check(10)
    with pytest.raises(DiskFullError):
        Room(disk.filesystem, disk.root, None).check(11)
