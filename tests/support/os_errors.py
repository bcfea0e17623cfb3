"""Expecting an error of the operating system by its number."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def raises_errno(*numbers: int) -> Iterator[pytest.ExceptionInfo[OSError]]:
    """Expect an OSError, of whatever class, with one of *numbers*."""
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the number says it, checked below
        yield caught
    found = caught.value.errno
    assert found in numbers, f"expected {numbers}, found {errno.errorcode.get(found or 0)}"
