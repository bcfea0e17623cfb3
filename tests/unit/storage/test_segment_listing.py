"""What opening a log finds in its directory, and what it deletes."""

from __future__ import annotations

from streamlog.storage.segment_listing import list_segments
from tests.support.storage import Disk


def test_leftovers_go_and_all_else_stays(disk: Disk) -> None:
    stem, other = f"{7:020d}", f"{12:020d}"
    stays = {f"{stem}.log", f"{stem}.idx", f"{other}.log", f"{stem}.snap", "notes.txt"}
    goes = {
        *(f"{stem}.log.deleted", f"{stem}.log.cleaned", f"{stem}.txn.3.tmp"),
        *(f"{13:020d}.idx", f"{13:020d}.tix", f"{13:020d}.txn"),
    }
    for name in stays | goes:
        disk.write(disk.path(name), b"x")
    for name in ("directory.tmp", f"{9:020d}.snap"):
        disk.filesystem.make_dir(disk.path(name))
    assert list_segments(disk.filesystem, disk.root) == ([7, 12], [7])
    left = set(disk.filesystem.list_dir(disk.root))
    assert left == stays | {"directory.tmp", f"{9:020d}.snap"}


def test_an_empty_directory_has_nothing(disk: Disk) -> None:
    assert list_segments(disk.filesystem, disk.root) == ([], [])
