from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from streamlog.runtime import boot_id, fd_limit, host, pid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def fresh_boot_id() -> Iterator[None]:
    boot_id.cache_clear()
    yield
    boot_id.cache_clear()


def test_pid_is_this_process() -> None:
    assert pid() == os.getpid()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems may have none")
def test_boot_id_is_the_same_at_each_call() -> None:
    assert len(boot_id()) == 36
    assert boot_id() == boot_id()


@pytest.mark.usefixtures("fresh_boot_id")
def test_boot_id_is_empty_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_BOOT_ID_FILE", "/nonexistent/boot_id")
    assert boot_id() == ""


def test_fd_limit_is_the_soft_limit_or_a_million(run_python: Callable[..., str]) -> None:
    assert 0 < fd_limit() <= 1_048_576
    answer = run_python(
        """
        import resource
        from streamlog.runtime import fd_limit
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
        print(fd_limit())
        """
    )
    assert answer == "100"


def test_fd_limit_without_limit_is_a_million(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    monkeypatch.setattr(resource, "getrlimit", lambda _: unlimited)
    assert fd_limit() == 1_048_576
