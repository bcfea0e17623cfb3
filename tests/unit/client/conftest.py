"""Fixtures for the clients' tests: a clock that jumps, a broker in memory, a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from streamlog.broker.broker import Broker
from streamlog.runtime import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def broker(clock: VirtualClock) -> Iterator[Broker]:
    """A broker in memory whose time stands still until *clock* is advanced."""
    with Broker(clock=clock, seed=1) as broker:
        yield broker


@pytest.fixture
def run_python() -> Callable[..., str]:
    """Run code in a fresh interpreter and return what it printed on standard output."""

    def run(code: str, *arguments: str) -> str:
        command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run
