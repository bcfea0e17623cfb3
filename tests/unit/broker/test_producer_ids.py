"""Producer ids: unique over threads, reopening, crashes and the loss of STATE."""

from __future__ import annotations

import errno
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from streamlog.broker.broker import Broker
from streamlog.broker.producer_ids import IDS_PER_GENERATION, ProducerIds
from streamlog.errors import ClosedError, DiskFullError
from streamlog.record import ProducerStamp
from streamlog.runtime import FileSystem, MemoryFileSystem, RandomSource, Runtime, VirtualClock
from streamlog.storage.data_directory import DataDirectory
from streamlog.testing import FaultPlan, FaultyFileSystem

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW_MS = 1_700_000_000_000


def open_directory(filesystem: FileSystem) -> DataDirectory:
    runtime = Runtime(clock=VirtualClock(), filesystem=filesystem, random=RandomSource(1))
    return DataDirectory.open("/data", runtime)


@pytest.fixture
def filesystem() -> MemoryFileSystem:
    return MemoryFileSystem()


@pytest.fixture
def directory(filesystem: MemoryFileSystem) -> Iterator[DataDirectory]:
    opened = open_directory(filesystem)
    yield opened
    opened.close()


def test_ids_are_those_of_the_generation_in_order(directory: DataDirectory) -> None:
    """IDM-1."""
    ids = ProducerIds(directory)
    first = directory.generation * IDS_PER_GENERATION
    assert [ids.take() for _ in range(3)] == [first, first + 1, first + 2]


def test_an_exhausted_block_raises_the_generation_durably(
    directory: DataDirectory, filesystem: MemoryFileSystem
) -> None:
    """IDM-1."""
    ids = ProducerIds(directory)
    last = [ids.take() for _ in range(IDS_PER_GENERATION)][-1]
    generation = directory.generation
    assert ids.take() == last + 1 == (generation + 1) * IDS_PER_GENERATION
    assert directory.generation == generation + 1
    directory.close()
    again = open_directory(filesystem)
    assert again.generation == generation + 2
    again.close()


def test_nothing_is_given_out_while_the_generation_cannot_be_raised() -> None:
    """IDM-1: what might be given again after a crash must not be given at all."""
    plan = FaultPlan()
    directory = open_directory(FaultyFileSystem(MemoryFileSystem(), plan))
    ids = ProducerIds(directory)
    first = ids.take()
    plan.fail("write_at", errno.ENOSPC, path="*/STATE*")
    with pytest.raises(DiskFullError):
        ids.pass_over(first + 5 * IDS_PER_GENERATION)
    assert ids.take() == first + 1
    ids.pass_over(first + 5 * IDS_PER_GENERATION)
    assert ids.take() > first + 5 * IDS_PER_GENERATION
    directory.close()


def test_ids_found_in_use_are_passed_over(directory: DataDirectory) -> None:
    """IDM-1."""
    ids = ProducerIds(directory)
    taken = ids.take()
    generation = directory.generation
    ids.pass_over(taken)
    assert directory.generation == generation  # they were smaller: nothing to do
    ids.pass_over(taken + 1)
    assert ids.take() == (generation + 1) * IDS_PER_GENERATION
    ids.pass_over(7 * IDS_PER_GENERATION + 5)
    assert ids.take() == 8 * IDS_PER_GENERATION == directory.generation * IDS_PER_GENERATION


def test_threads_get_different_ids(directory: DataDirectory) -> None:
    """IDM-1."""
    ids = ProducerIds(directory)
    found: list[list[int]] = []

    def take() -> None:
        found.append([ids.take() for _ in range(2000)])

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one for some in found for one in some}) == 8000
    assert all(some == sorted(some) for some in found)


def test_a_reopened_directory_gives_out_other_ids(data_dir: str) -> None:
    """IDM-1."""
    with Broker(data_dir) as broker:
        before = [broker.new_producer_id() for _ in range(3)]
    with Broker(data_dir) as broker:
        after = [broker.new_producer_id() for _ in range(3)]
    assert max(before) < min(after)


def test_after_kill_9_other_ids_are_given_out(data_dir: str) -> None:
    """IDM-1: STATE named the generation before the first id was given out."""
    killed = Broker(data_dir, clock=VirtualClock())  # no thread that would outlive it
    before = killed.new_producer_id()
    killed.abandon(ClosedError("killed"))
    with Broker(data_dir) as broker:
        assert broker.new_producer_id() > before


def test_a_closed_broker_gives_out_none() -> None:
    broker = Broker()
    broker.close()
    with pytest.raises(ClosedError):
        broker.new_producer_id()


def test_ids_that_the_logs_tell_of_are_not_given_out_again_after_state_was_lost(
    data_dir: str,
) -> None:
    """The generation begins again then where the clock is wrong, and so would the ids."""
    with Broker(data_dir, clock=VirtualClock(0)) as broker:
        broker.create_topic("orders")
        producer_id = broker.new_producer_id()
        broker.partition("orders", 0).append_value(b"v", 0, ProducerStamp(producer_id, 0))
    (Path(data_dir) / "STATE").write_bytes(b"lost")
    with Broker(data_dir, clock=VirtualClock(0)) as broker:
        assert broker.new_producer_id() >= producer_id + IDS_PER_GENERATION


def test_ids_of_which_nothing_tells_are_not_given_out_again_after_state_was_lost(
    data_dir: str,
) -> None:
    """A transactional id may have one and not have written yet. The clock is ahead of any generation."""
    given: list[int] = []
    for turn in range(6):
        with Broker(data_dir, clock=VirtualClock(NOW_MS + turn * 2_000)) as broker:
            given.append(broker.new_producer_id())
        if turn % 2:
            (Path(data_dir) / "STATE").write_bytes(b"lost")
    assert given == sorted(set(given))
