"""Fixtures for the runtime's tests: every file system, and a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, NamedTuple

import pytest

from streamlog.runtime import FileSystem, MemoryFileSystem, OsFileSystem
from streamlog.testing import CrashFileSystem

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Disk(NamedTuple):
    """A file system and an empty directory in it."""

    filesystem: FileSystem
    root: str

    def path(self, name: str) -> str:
        return f"{self.root}/{name}"


@pytest.fixture(params=["os", "memory", "crash"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Disk:
    if request.param == "os":
        return Disk(OsFileSystem(), str(tmp_path))
    return _in_memory(MemoryFileSystem() if request.param == "memory" else CrashFileSystem())


def _in_memory(filesystem: FileSystem) -> Disk:
    filesystem.make_dir("/root")
    return Disk(filesystem, "/root")


@pytest.fixture(params=["os", "memory"])
def mapped_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Disk:
    """Those whose maps are memory, so that there are views of them, and whose power nobody cuts."""
    if request.param == "os":
        return Disk(OsFileSystem(), str(tmp_path))
    return _in_memory(MemoryFileSystem())


@pytest.fixture
def run_python() -> Callable[..., str]:
    """Run code in a fresh interpreter and return what it printed.

    For what must not happen to the test process: forks beside other threads, resource limits.
    """

    def run(code: str, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(code)]
            + list(arguments),
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run
