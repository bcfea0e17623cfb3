from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

import pytest

from streamlog.runtime import system_calls

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path / "a", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"data")
    yield fd
    os.close(fd)


def test_allocate_without_posix_fallocate_fills_with_zeros(
    fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS and Windows."""
    monkeypatch.delattr(os, "posix_fallocate")
    system_calls.allocate(fd, 0, 3_000_000, 4)
    assert os.fstat(fd).st_size == 3_000_000
    assert os.pread(fd, 10, 0) == b"data" + bytes(6)
    assert os.fstat(fd).st_blocks * 512 >= 3_000_000


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL])
def test_allocate_on_a_file_system_that_cannot_fills_with_zeros(
    fd: int, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: int) -> None:
        raise OSError(number, "not here")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    system_calls.allocate(fd, 4, 100, 4)
    assert os.pread(fd, 200, 0) == b"data" + bytes(96)


def test_allocate_passes_real_errors_on(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: int) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "posix_fallocate", fail)
    with pytest.raises(OSError, match="broken"):
        system_calls.allocate(fd, 4, 100, 4)
    assert os.fstat(fd).st_size == 4


def test_allocate_takes_room_on_the_disk(fd: int) -> None:
    system_calls.allocate(fd, 0, 1 << 20, 4)
    assert os.fstat(fd).st_blocks * 512 >= 1 << 20


def test_made_file_is_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o777)
    try:
        os.close(system_calls.make_file(str(tmp_path / "new"), os.O_RDWR))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o600


def test_made_file_on_a_file_system_without_modes_is_good_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: int) -> None:
        raise PermissionError(errno.EPERM, "no modes here")

    monkeypatch.setattr(os, "fchmod", refuse)
    os.close(system_calls.make_file(str(tmp_path / "new"), os.O_RDWR))


def test_descriptors_are_not_handed_to_child_programs(tmp_path: Path) -> None:
    fd = system_calls.make_file(str(tmp_path / "new"), os.O_RDWR)
    assert not os.get_inheritable(fd)
    os.close(fd)
