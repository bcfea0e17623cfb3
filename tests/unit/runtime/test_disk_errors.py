from __future__ import annotations

import errno

import pytest

from streamlog.errors import ClosedError, DiskFullError, RetriableError
from streamlog.runtime.disk_errors import raise_translated
from tests.support.os_errors import raises_errno


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_no_room_becomes_disk_full_with_errno_and_filename(number: int) -> None:
    cause = OSError(number, "as the system puts it")
    with pytest.raises(DiskFullError) as caught:
        raise_translated(cause, "/data/a.log", "write 5 bytes at 7")
    error = caught.value
    assert isinstance(error, (RetriableError, OSError))
    assert (error.errno, error.filename) == (number, "/data/a.log")
    assert error.__cause__ is cause
    assert str(error) == f"[Errno {number}] No room to write 5 bytes at 7: '/data/a.log'"
    assert error.args == ("/data/a.log: no room to write 5 bytes at 7",)


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.EMFILE, errno.EROFS])
def test_other_errors_pass_through_with_the_filename_added(number: int) -> None:
    cause = OSError(number, "as the system puts it")
    with raises_errno(number) as caught:
        raise_translated(cause, "/data/a.log", "write")
    assert caught.value is cause
    assert cause.filename == "/data/a.log"


def test_filename_that_is_known_is_kept() -> None:
    with raises_errno(errno.EIO) as caught:
        raise_translated(OSError(errno.EIO, "x", "/data/a.tmp"), "/data/a", "rename")
    assert caught.value.filename == "/data/a.tmp"


def test_bad_descriptor_means_that_the_file_was_closed() -> None:
    with pytest.raises(ClosedError, match="/data/a: the file is closed"):
        raise_translated(OSError(errno.EBADF, "x"), "/data/a", "read")


def test_error_without_a_number_passes_through() -> None:
    with pytest.raises(OSError, match="odd"):
        raise_translated(OSError("odd"), "/data/a", "read")
