"""Threads racing in one log: writers, readers, retention, eviction, syncs, closing; and Ctrl-C in the middle of it."""

from __future__ import annotations

import gc
import random
import signal
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from streamlog.errors import ClosedError, OffsetOutOfRangeError
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


class Interrupted(BaseException):
    """Ctrl-C."""


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs signals to a thread")
@pytest.mark.skipif(
    sys.gettrace() is not None,
    reason="an interrupt in the middle of coverage's tracer stops it for ever",
)
def test_ctrl_c_at_any_moment_leaves_a_log_that_works(memory_disk: Disk) -> None:
    """All of an append is there or nothing; the log's lock is free; nothing that looks like damage is left."""
    store = Store(memory_disk, segment_bytes=50_000, index_interval_bytes=100)
    log, main = store.log, threading.get_ident()
    # On a busy machine the keys are pressed late, and many records come in between.
    attempts, most = 400, 50_000
    interrupted = 0
    rng, armed, done = random.Random(17), False, False

    def interrupt(number: int, frame: object) -> None:
        nonlocal armed
        if armed:
            armed = False
            raise Interrupted

    def press_keys() -> None:
        while not done:
            for _ in range(rng.randrange(200)):  # a while
                pass
            if armed:
                signal.pthread_kill(main, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, interrupt)
    presser = threading.Thread(target=press_keys, daemon=True)
    presser.start()
    sent: list[bytes] = []
    # An interrupt in a callback of the collector (Hypothesis has one) is only printed.
    gc.disable()
    try:
        for attempt in range(attempts):
            try:
                armed = True
                while len(sent) < most:
                    value = b"%d-%d|" % (attempt, len(sent)) + b"x" * (len(sent) * 37 % 300)
                    sent.append(value)
                    if len(sent) % 2:
                        log.append_value(value, 0)
                    else:
                        store.append(value, timestamp_ms=0)
                armed = False
            except Interrupted:
                interrupted += 1
            assert not log.lock.locked(), "nobody could append any more"
    finally:
        gc.enable()
        armed, done = False, True
        presser.join(20)
        signal.signal(signal.SIGUSR1, before)
    assert interrupted
    store.append(b"last")
    found = store.values()
    # At most the interrupted one of each attempt is missing, and none is there twice or out of order.
    positions = {value: at for at, value in enumerate(sent)}
    order = [positions[value] for value in found[:-1]]  # type: ignore[index]
    assert order == sorted(set(order))
    assert len(sent) - len(order) <= interrupted
    check_log(store.log)
    store.kill_and_open()
    assert not store.recovery.damaged_ranges
    assert store.values() == found
    check_log(store.log)
    store.close()
