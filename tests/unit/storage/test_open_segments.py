"""Least recently used segments give their descriptors back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.runtime import fd_limit
from streamlog.storage.open_segments import OpenSegments
from tests.support.hooked_files import CallLog, HookedFileSystem
from tests.support.storage import Disk, Store, check_log

if TYPE_CHECKING:
    import pytest


class Fake:
    """A segment that can be busy."""

    def __init__(self, name: str, *, uses: int = 0) -> None:
        self.name = name
        self.uses = uses  # how often it still refuses to leave
        self.asked = 0

    def __repr__(self) -> str:
        return self.name

    def try_release_files(self) -> bool:
        self.asked += 1
        if self.uses:
            self.uses -= 1
            return False
        return True


def test_nobody_is_asked_to_leave_while_there_is_room() -> None:
    segments, first, second = OpenSegments(2), Fake("a"), Fake("b")
    segments.opened(first)
    segments.opened(second)
    segments.opened(second)  # counted once
    assert len(segments) == 2
    assert first.asked == second.asked == 0


def test_the_oldest_leaves_first() -> None:
    segments, fakes = OpenSegments(2), [Fake(name) for name in "abcd"]
    for fake in fakes:
        segments.opened(fake)
    assert [fake.asked for fake in fakes] == [1, 1, 0, 0]
    assert len(segments) == 2


def test_one_that_was_used_gets_a_second_chance() -> None:
    segments = OpenSegments(2)
    used, idle, new = Fake("used", uses=1), Fake("idle"), Fake("new")
    for fake in (used, idle, new):
        segments.opened(fake)
    assert (used.asked, idle.asked) == (1, 1)
    assert len(segments) == 2


def test_all_used_once_the_second_round_finds_one() -> None:
    segments, fakes = OpenSegments(2), [Fake(name, uses=1) for name in "abc"]
    for fake in fakes:
        segments.opened(fake)
    assert len(segments) == 2
    assert fakes[2].asked == 0, "the new one is never asked"


def test_when_all_are_busy_there_are_too_many_for_a_while() -> None:
    segments, fakes = OpenSegments(2), [Fake(name, uses=100) for name in "abc"]
    for fake in fakes:
        segments.opened(fake)
    assert len(segments) == 3
    for fake in fakes:
        fake.uses = 0
    segments.opened(Fake("d"))
    assert len(segments) == 2


def test_one_that_is_opened_again_while_it_leaves_stays_counted() -> None:
    # It was removed from the count after it had let go: opened again in between, it was never asked to leave again.
    segments = OpenSegments(1)

    class Reopened(Fake):
        def try_release_files(self) -> bool:
            if not self.asked:
                self.asked = 1
                segments.opened(self)
            return True

    first, second = Reopened("first"), Fake("second")
    segments.opened(first)
    segments.opened(second)
    assert first.asked == 1
    assert len(segments) == 1


def test_a_closed_segment_is_forgotten() -> None:
    segments, fake = OpenSegments(2), Fake("a")
    segments.opened(fake)
    segments.closed(fake)
    segments.closed(fake)
    assert len(segments) == 0


def test_the_default_leaves_most_descriptors_to_the_host_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert OpenSegments().capacity == max(fd_limit() // 8, 8)
    monkeypatch.setattr("streamlog.storage.open_segments.fd_limit", lambda: 16)
    assert OpenSegments().capacity == 8


def test_a_log_that_only_ever_rolls_keeps_no_more_files_open_than_allowed(
    memory_disk: Disk,
) -> None:
    # Its sealed segments could not leave while a roll held the log's lock: one descriptor more for each roll.
    store = _store(memory_disk)
    store.fill(200)
    assert len(store.log.segments) > 20
    assert sum(s._file is not None for s in store.log.segments) <= 5
    assert len(store.values()) == 200
    assert sum(s._file is not None for s in store.log.segments) <= 5
    check_log(store.log)
    store.close()


def test_an_evicted_log_is_appended_to_and_read_as_before(disk: Disk) -> None:
    store = _store(disk, capacity=1)
    logs = [store.log]
    for partition in range(1, 5):
        store.directory.create_log_directory("t", partition)
        logs.append(store.open_log(partition))
    for number in range(40):
        for log in logs:
            log.append_value(b"%d" % number, store.clock.time_ms())
    for log in logs:
        store.log = log
        assert store.values() == [b"%d" % number for number in range(40)]
        check_log(log)
    assert len(store.directory._open_segments) <= 3
    store.close()
    assert len(store.directory._open_segments) == 0


def _store(disk: Disk, capacity: int = 4) -> Store:
    hooked = HookedFileSystem(disk.filesystem, CallLog())
    store = Store(Disk(hooked, disk.root), segment_bytes=1024, index_interval_bytes=0)
    store.directory._open_segments.capacity = capacity
    return store
