from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from streamlog.broker.broker import Broker
from streamlog.runtime import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def broker(clock: VirtualClock) -> Iterator[Broker]:
    """A broker in memory whose time stands still until something waits."""
    with Broker(clock=clock, seed=1) as broker:
        yield broker
