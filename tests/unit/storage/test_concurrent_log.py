"""Threads racing in one log: writers, readers, retention, eviction, syncs, closing; and Ctrl-C in the middle of it."""

from __future__ import annotations

import random
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING

import pytest

from streamlog.errors import ClosedError, OffsetOutOfRangeError
from streamlog.testing import MemoryFileSystem
from tests.support.interrupts import interrupted_at, moments
from tests.support.storage import Disk, Store, check_log, read_values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.stress

WRITERS = 4


@pytest.fixture(autouse=True)
def frequent_switches() -> Iterator[None]:
    """Let threads take turns a thousand times as often as usual."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(before)


class Race:
    """Runs functions in threads of their own and raises what any of them raised."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self._errors: list[BaseException] = []

    def run(self, *workers: Callable[[], None], until: int) -> None:
        """Return when the first *until* of *workers* have returned and the others have been told to."""
        threads = [
            threading.Thread(target=self._guard, args=(worker,), daemon=True) for worker in workers
        ]
        for thread in threads:
            thread.start()
        for thread in threads[:until]:
            thread.join(50)
            assert not thread.is_alive(), "hangs"
        self.done.set()
        for thread in threads[until:]:
            thread.join(50)
            assert not thread.is_alive(), "hangs"
        if self._errors:
            raise self._errors[0]

    def _guard(self, worker: Callable[[], None]) -> None:
        try:
            worker()
        except BaseException as error:
            self._errors.append(error)
            self.done.set()


def writer(
    store: Store, name: int, count: int, acknowledged: dict[int, bytes]
) -> Callable[[], None]:
    def run() -> None:
        log, now_ms = store.log, store.clock.time_ms()
        for number in range(count):
            value = b"%d-%d" % (name, number)
            if number % 3:
                offset = log.append_value(value, now_ms + number)
            else:
                offset = store.append(value, timestamp_ms=now_ms + number)
            acknowledged[offset] = value

    return run


def check_all(store: Store, acknowledged: dict[int, bytes]) -> None:
    """Everything acknowledged is there once, and each writer's records are in its order."""
    start = store.log.log_start_offset
    assert dict(read_values(store.log)) == {o: v for o, v in acknowledged.items() if o >= start}
    assert sorted(acknowledged) == list(range(len(acknowledged)))
    last: dict[bytes, int] = {}
    for offset in sorted(acknowledged):
        name, number = acknowledged[offset].split(b"-")
        assert last.get(name, -1) < int(number)
        last[name] = int(number)
    check_log(store.log)


def test_writers_and_readers_of_a_log_that_rolls_and_gives_its_files_back(disk: Disk) -> None:
    store = Store(disk, segment_bytes=2048, index_interval_bytes=200)
    store.directory._open_segments.capacity = 2  # every file goes and comes back all the time
    log, race = store.log, Race()
    acknowledged: dict[int, bytes] = {}

    def follow() -> None:
        """Read from the start on, again and again; nothing is ever missing, torn or out of order."""
        offset, by_batches = 0, False
        while not race.done.is_set() or offset < log.log_end_offset:
            end = log.log_end_offset
            batches = log.read_batches(offset, 300) if by_batches else None
            pairs = (
                read_values(log, offset, max_bytes=300)
                if batches is None
                else [(b.base_offset, b.values()[0]) for b in batches]
            )
            if offset < end:
                assert pairs, "what was acknowledged can be read"
            for found, value in pairs:
                assert found == offset
                assert acknowledged.get(found, value) == value
                offset += 1
            if offset == log.log_end_offset and not race.done.is_set():
                offset, by_batches = offset // 2, not by_batches

    def look_around() -> None:
        while not race.done.is_set():
            end = log.log_end_offset
            if end:
                found = log.offset_of_max_timestamp()
                assert found is not None
                assert log.offset_for_timestamp(0) is not None
                assert log.read(end - 1, 1)

    def sync() -> None:
        while not race.done.is_set():
            end = log.log_end_offset
            log.sync()
            assert log.durable_end_offset >= end
            store.directory.checkpoint()

    writers = [writer(store, name, 150, acknowledged) for name in range(WRITERS)]
    race.run(*writers, follow, follow, look_around, sync, until=WRITERS)
    check_all(store, acknowledged)
    store.kill_and_open()
    check_all(store, acknowledged)
    store.reopen()
    check_all(store, acknowledged)
    store.close()


def test_readers_of_a_log_whose_beginning_is_deleted(disk: Disk) -> None:
    store = Store(disk, segment_bytes=1024, index_interval_bytes=0, retention_bytes=2048)
    store.directory._open_segments.capacity = 2
    log, race = store.log, Race()
    acknowledged: dict[int, bytes] = {}
    out_of_range: list[int] = []

    def retain() -> None:
        while not race.done.is_set():
            log.delete_expired(0, log.log_end_offset)

    def delete_records() -> None:
        while not race.done.is_set():
            end = log.log_end_offset
            if end % 3 == 0:
                log.advance_log_start(end // 2)

    def read_old() -> None:
        while not race.done.is_set():
            offset = log.log_start_offset
            try:
                for found, value in read_values(log, offset, max_bytes=500)[:50]:
                    assert acknowledged.get(found, value) == value
                log.offset_for_timestamp(0)
                log.offset_of_max_timestamp()
            except OffsetOutOfRangeError:
                out_of_range.append(offset)  # RET-7: it was deleted in between
                assert log.log_start_offset > offset

    writers = [writer(store, name, 150, acknowledged) for name in range(WRITERS)]
    race.run(*writers, retain, delete_records, read_old, read_old, until=WRITERS)
    assert log.log_start_offset > 0
    check_all(store, acknowledged)
    store.kill_and_open()
    check_all(store, acknowledged)
    store.close()


@pytest.mark.parametrize("attempt", range(5))
def test_closing_between_appends_loses_nothing_acknowledged(disk: Disk, attempt: int) -> None:
    store = Store(disk, segment_bytes=2048)
    race, acknowledged = Race(), dict[int, bytes]()
    started = threading.Semaphore(0)

    def write(name: int) -> Callable[[], None]:
        once = writer(store, name, 100_000, acknowledged)

        def run() -> None:
            started.release()
            with pytest.raises(ClosedError):
                once()

        return run

    def read() -> None:
        started.release()
        try:
            while store.directory._open:
                read_values(store.log)
        except ClosedError:
            return

    def close() -> None:
        for _ in range(WRITERS + 1):
            assert started.acquire(timeout=20)
        while len(acknowledged) < 100 * attempt:
            pass
        store.close()

    race.run(*[write(name) for name in range(WRITERS)], read, close, until=WRITERS + 2)
    store.open()
    assert store.directory.recovery_report.clean
    assert store.recovery.scanned_bytes == 0
    assert dict(read_values(store.log)) == acknowledged
    check_log(store.log)
    store.close()


def test_many_threads_that_each_wait_for_the_disk(disk: Disk) -> None:
    store = Store(disk, segment_bytes=4096)
    log, race = store.log, Race()
    acknowledged: dict[int, bytes] = {}

    def write(name: int) -> Callable[[], None]:
        def run() -> None:
            for number in range(30):
                value = b"%d-%d" % (name, number)
                offset = log.append_value(value, number)
                log.sync(offset + 1)
                assert log.durable_end_offset > offset
                acknowledged[offset] = value

        return run

    race.run(*map(write, range(8)), until=8)
    assert log.durable_end_offset == 240
    check_all(store, acknowledged)
    store.close()


def test_ctrl_c_at_any_moment_leaves_a_log_that_works() -> None:
    """All of an append is there or nothing; the log's lock is free; nothing that looks like damage is left."""

    def new_store() -> Store:
        filesystem = MemoryFileSystem()
        filesystem.make_dir("/root")
        return Store(Disk(filesystem, "/root"), segment_bytes=400, index_interval_bytes=100)

    def append_and_sync(store: Store, sent: list[bytes]) -> None:
        for number in range(8):
            sent.append(b"%d|" % number + b"x" * (number * 37 % 100))
            if number % 2:
                store.log.append_value(sent[-1], 0)
            else:
                store.append(sent[-1], timestamp_ms=0)
        store.log.sync()
        store.directory.checkpoint()
        store.log.delete_expired(0, store.log.log_end_offset)

    all_moments = moments(partial(append_and_sync, new_store(), []), of_each=1)
    assert len(all_moments) > 200
    for moment in random.Random(17).sample(all_moments, 100):
        store, sent = new_store(), list[bytes]()
        interrupted_at(moment, partial(append_and_sync, store, sent))
        assert not store.log.lock.locked(), f"moment {moment}: nobody could append any more"
        store.append(b"last")
        store.log.sync()
        found = store.values()
        # At most the interrupted one is missing, and none is there twice or out of order.
        assert found in (sent + [b"last"], sent[:-1] + [b"last"]), f"moment {moment}"
        check_log(store.log)
        store.kill_and_open()
        assert not store.recovery.damaged_ranges
        assert store.values() == found
        check_log(store.log)
        store.close()
