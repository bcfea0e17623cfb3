from __future__ import annotations

import attrs
import pytest

import streamlog.runtime
from streamlog.runtime import MemoryFileSystem, RandomSource, Runtime, VirtualClock


def test_bundle_holds_clock_files_and_chance_and_cannot_be_changed() -> None:
    clock, filesystem, random = VirtualClock(), MemoryFileSystem(), RandomSource(1)
    runtime = Runtime(clock=clock, filesystem=filesystem, random=random)
    assert (runtime.clock, runtime.filesystem, runtime.random) == (clock, filesystem, random)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        runtime.clock = VirtualClock()  # type: ignore[misc]


def test_everything_the_door_offers_is_there_once() -> None:
    offered = streamlog.runtime.__all__
    assert len(offered) == len(set(offered))
    assert all(hasattr(streamlog.runtime, name) for name in offered)
