"""Bytes are copied before they are cut."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from streamlog.errors import DiskFullError
from streamlog.runtime import VirtualClock
from streamlog.storage import quarantine
from streamlog.storage.quarantine import Quarantine
from tests.unit.storage.conftest import memory_disk_of

if TYPE_CHECKING:
    from tests.support.storage import Disk


def quarantine_on(disk: Disk) -> Quarantine:
    disk.filesystem.make_dir(disk.path("q"))
    return Quarantine(disk.filesystem, VirtualClock(1_234), disk.path("q"))


def test_pieces_are_copied_with_the_reason(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "_COPY_BYTES", 7)
    disk.write(disk.path("a.log"), bytes(range(100)))
    disk.write(disk.path("b.log"), b"whole")
    pieces = [(disk.path("a.log"), 30, 100), (disk.path("b.log"), 0, 5), (disk.path("b.log"), 5, 5)]
    kept = quarantine_on(disk).keep("t-0", pieces, "why")
    assert kept == disk.path("q/1234-t-0-0")
    assert disk.read(f"{kept}/a.log.30") == bytes(range(30, 100))
    assert disk.read(f"{kept}/b.log.0") == b"whole"
    assert disk.read(f"{kept}/b.log.5") == b""
    reason = json.loads(disk.read(f"{kept}/reason.json"))
    assert (reason["log"], reason["reason"]) == ("t-0", "why")
    assert reason["pieces"][0] == {"file": disk.path("a.log"), "from_byte": 30, "to_byte": 100}
    assert disk.read(disk.path("a.log")) == bytes(range(100)), "copied, not moved"


def test_a_whole_directory_is_moved(disk: Disk) -> None:
    disk.filesystem.make_dir(disk.path("t-0"))
    disk.write(disk.path("t-0/x.log"), b"records")
    kept = quarantine_on(disk).adopt(disk.path("t-0"), "why")
    assert disk.read(f"{kept}/x.log") == b"records"
    assert json.loads(disk.read(f"{kept}/reason.json"))["directory"] == disk.path("t-0")
    assert not disk.filesystem.exists(disk.path("t-0"))


def test_two_of_one_moment_keep_apart(disk: Disk) -> None:
    keeper = quarantine_on(disk)
    assert keeper.keep("t-0", [], "why") != keeper.keep("t-0", [], "why")
    assert len(disk.filesystem.list_dir(disk.path("q"))) == 2


def test_the_longest_name_still_fits(disk: Disk) -> None:
    kept = quarantine_on(disk).keep("t" * 249 + "-123456", [], "why")
    assert len(kept.rsplit("/", 1)[-1]) <= 255


def test_a_copy_that_does_not_fit_is_an_error() -> None:
    disk = memory_disk_of(1500)
    disk.write(disk.path("a.log"), bytes(1000))
    with pytest.raises(DiskFullError):
        quarantine_on(disk).keep("t-0", [(disk.path("a.log"), 0, 1000)], "why")
