"""One sync for all who wait. Threads meet at events, never at times."""

from __future__ import annotations

import threading
from types import NoneType
from typing import TYPE_CHECKING

import pytest

from streamlog.errors import DurabilityError
from streamlog.storage import group_commit
from streamlog.storage.group_commit import GroupCommit
from tests.support.interrupts import interrupted_at, moments

if TYPE_CHECKING:
    from collections.abc import Callable


class Disk:
    """A sync that waits until it is let go on, and covers what was appended when it began."""

    def __init__(self) -> None:
        self.end_offset = 0
        self.syncs = 0
        self.started = threading.Semaphore(0)
        self.go_on = threading.Semaphore(0)
        self.failure: BaseException | None = None

    def sync(self) -> int:
        reached = self.end_offset
        self.syncs += 1
        self.started.release()
        assert self.go_on.acquire(timeout=20)
        if self.failure is not None:
            raise self.failure
        return reached


class Waiter(threading.Thread):
    """Waits for an offset in a thread of its own."""

    def __init__(self, group: GroupCommit, end_offset: int) -> None:
        super().__init__(daemon=True)
        self.group, self.end_offset = group, end_offset
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.group.wait_for(self.end_offset)
        except BaseException as error:
            self.error = error

    def result(self) -> BaseException | None:
        self.join(20)
        assert not self.is_alive()
        return self.error


def waiting_in(group: GroupCommit, count: int) -> None:
    """Return once *count* threads wait in the group."""
    while True:
        if len(group._waiting) >= count:
            return


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def group(disk: Disk) -> GroupCommit:
    return GroupCommit(disk.sync, lambda: "t-0")


def test_what_is_durable_already_costs_no_sync(group: GroupCommit, disk: Disk) -> None:
    group.durable_end_offset = 10
    group.wait_for(10)
    group.wait_for(3)
    assert disk.syncs == 0


def test_a_lone_waiter_syncs_by_itself(group: GroupCommit, disk: Disk) -> None:
    disk.end_offset = 5
    disk.go_on.release()
    group.wait_for(5)
    assert (disk.syncs, group.durable_end_offset) == (1, 5)
    group.wait_for(5)
    assert disk.syncs == 1


def test_who_comes_during_a_sync_shares_the_next_one(group: GroupCommit, disk: Disk) -> None:
    disk.end_offset = 1
    first = Waiter(group, 1)
    assert disk.started.acquire(timeout=20)
    disk.end_offset = 11  # ten more records, ten more threads
    others = [Waiter(group, 2 + n) for n in range(10)]
    waiting_in(group, 10)
    assert disk.syncs == 1
    disk.go_on.release()
    assert first.result() is None
    assert disk.started.acquire(timeout=20)
    disk.go_on.release()
    assert [other.result() for other in others] == [None] * 10
    assert (disk.syncs, group.durable_end_offset) == (2, 11)


def test_a_failed_sync_fails_all_who_wait_and_is_final(group: GroupCommit, disk: Disk) -> None:
    disk.end_offset = 1
    first = Waiter(group, 1)
    assert disk.started.acquire(timeout=20)
    disk.end_offset = 2
    second = Waiter(group, 2)
    waiting_in(group, 1)
    disk.failure = OSError(5, "Input/output error")
    disk.go_on.release()
    for waiter in (first, second):
        error = waiter.result()
        assert isinstance(error, DurabilityError)
        assert "t-0" in str(error)
        assert "Input/output error" in str(error)
    disk.failure = None
    disk.go_on.release()
    with pytest.raises(DurabilityError):
        group.wait_for(1)
    assert disk.syncs == 1, "a later success would prove nothing"
    assert group.failure is not None
    group.durable_end_offset = 1
    group.wait_for(1)  # what was durable before stays so


def test_the_first_failure_is_the_one_that_is_told(group: GroupCommit) -> None:
    group.fail(OSError(5, "first"))
    group.fail(OSError(28, "second"))
    with pytest.raises(DurabilityError, match="first") as caught:
        group.wait_for(1)
    assert caught.value.errno == 5


def test_another_error_of_the_sync_is_not_final(group: GroupCommit, disk: Disk) -> None:
    # Closing the log, or Ctrl-C: says nothing about the disk.
    disk.end_offset = 1
    disk.failure = KeyboardInterrupt()
    disk.go_on.release()
    with pytest.raises(KeyboardInterrupt):
        group.wait_for(1)
    disk.failure = None
    disk.go_on.release()
    group.wait_for(1)
    assert group.durable_end_offset == 1


def test_when_the_leader_is_interrupted_another_takes_over(group: GroupCommit, disk: Disk) -> None:
    disk.end_offset = 2
    first = Waiter(group, 1)
    assert disk.started.acquire(timeout=20)
    second = Waiter(group, 2)
    waiting_in(group, 1)
    disk.failure = KeyboardInterrupt()
    disk.go_on.release()
    assert isinstance(first.result(), KeyboardInterrupt)
    assert disk.started.acquire(timeout=20)
    disk.failure = None
    disk.go_on.release()
    assert second.result() is None


def test_a_waiter_that_is_interrupted_keeps_nobody_asleep(
    group: GroupCommit, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk.end_offset = 1
    first = Waiter(group, 1)
    assert disk.started.acquire(timeout=20)
    disk.end_offset = 4
    # Woken together by the second sync, in a chain whose middle is broken by Ctrl-C.
    others = []
    for end_offset in (2, 3, 4):
        others.append(Waiter(group, end_offset))
        waiting_in(group, len(others))
    opened = group_commit._Waiter.open_next
    interrupted = group._waiting[1]

    def open_next(waiter: group_commit._Waiter) -> None:
        if waiter is interrupted and not seen:
            seen.append(waiter)
            raise KeyboardInterrupt
        opened(waiter)

    seen: list[group_commit._Waiter] = []
    monkeypatch.setattr(group_commit._Waiter, "open_next", open_next)
    for _ in range(2):
        disk.go_on.release()
    results = [waiter.result() for waiter in (first, *others)]
    assert [type(result) for result in results] == [NoneType, NoneType, KeyboardInterrupt, NoneType]
    assert disk.syncs == 2
    assert not group._is_taken


def test_an_interrupted_wake_up_is_done_again(group: GroupCommit, disk: Disk) -> None:
    disk.end_offset = 1
    first = Waiter(group, 1)
    assert disk.started.acquire(timeout=20)
    second = Waiter(group, 1)
    waiting_in(group, 1)
    opened = group._waiting[0].open
    calls = []

    class Interrupting(group_commit._Waiter):
        __slots__ = ()

        def open(self) -> None:
            calls.append(self)
            if len(calls) == 1:
                raise KeyboardInterrupt
            opened()

    group._waiting[0].__class__ = Interrupting
    disk.go_on.release()
    assert isinstance(first.result(), KeyboardInterrupt)
    assert second.result() is None
    assert group.durable_end_offset == 1


def test_an_offset_beyond_the_end_is_given_up_after_one_sync(
    group: GroupCommit, disk: Disk
) -> None:
    disk.end_offset = 3
    disk.go_on.release()
    group.wait_for(1_000)
    assert (disk.syncs, group.durable_end_offset) == (1, 3)


def test_a_pause_waits_for_the_sync_under_way_and_keeps_others_out(
    group: GroupCommit, disk: Disk
) -> None:
    disk.end_offset = 1
    first = Waiter(group, 1)
    assert disk.started.acquire(timeout=20)
    order: list[str] = []
    paused, leave = threading.Event(), threading.Event()

    def pause() -> None:
        with group.paused():
            order.append(f"paused after {disk.syncs} sync, durable {group.durable_end_offset}")
            paused.set()
            assert leave.wait(20)

    pausing = threading.Thread(target=pause, daemon=True)
    pausing.start()
    waiting_in(group, 1)
    disk.go_on.release()
    assert first.result() is None
    assert paused.wait(20)
    disk.end_offset = 2
    second = Waiter(group, 2)
    waiting_in(group, 1)
    assert disk.syncs == 1
    leave.set()
    assert disk.started.acquire(timeout=20)
    disk.go_on.release()
    assert second.result() is None
    pausing.join(20)
    assert order == ["paused after 1 sync, durable 1"]


def test_there_is_no_pause_after_a_failure(group: GroupCommit) -> None:
    group.fail(OSError(5, "Input/output error"))
    with pytest.raises(DurabilityError), group.paused():
        pytest.fail("entered")


@pytest.mark.stress
def test_many_threads_need_far_fewer_syncs_than_acknowledgements() -> None:
    lock = threading.Lock()
    end_offset = syncs = 0
    syncing = threading.Lock()

    def sync() -> int:
        nonlocal syncs
        assert syncing.acquire(blocking=False), "one at a time"
        reached = end_offset
        syncs += 1
        for _ in range(2000):  # takes a while, and other threads run meanwhile
            pass
        syncing.release()
        return reached

    group = GroupCommit(sync, lambda: "t-0")
    failures: list[int] = []

    def run() -> None:
        nonlocal end_offset
        for _ in range(100):
            with lock:
                end_offset += 1
                mine = end_offset
            group.wait_for(mine)
            if group.durable_end_offset < mine:
                failures.append(mine)

    run_all([run] * 8)
    assert not failures
    assert group.durable_end_offset == 800
    assert syncs <= 800


def run_all(targets: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=target, daemon=True) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


class Gate:
    """Lets the second one to come in be interrupted by Ctrl-C, after something happened."""

    def __init__(self, happens: Callable[[], object]) -> None:
        self.happens, self.count = happens, 0

    def acquire(self) -> None:
        self.count += 1
        if self.count == 2:
            self.happens()
            raise KeyboardInterrupt

    def release(self) -> None:
        """Nobody sleeps here."""


@pytest.mark.parametrize("has_turn", [False, True])
def test_a_waiter_that_is_interrupted_asleep_gives_up_its_place(
    group: GroupCommit, disk: Disk, monkeypatch: pytest.MonkeyPatch, has_turn: bool
) -> None:
    disk.end_offset = 1
    first = Waiter(group, 1)
    assert disk.started.acquire(timeout=20)

    def turn_is_handed_on() -> None:
        if has_turn:
            disk.go_on.release()
            first.result()

    monkeypatch.setattr(group_commit, "Lock", lambda: Gate(turn_is_handed_on))
    with pytest.raises(KeyboardInterrupt):
        group.wait_for(2)
    monkeypatch.undo()
    assert group._waiting == []
    if not has_turn:
        disk.go_on.release()
    assert first.result() is None
    disk.end_offset = 2
    disk.go_on.release()
    group.wait_for(2)
    group._check()


def test_whoever_comes_while_the_sync_that_helps_it_ends_does_not_sync(group: GroupCommit) -> None:
    group.durable_end_offset = 3  # since it looked without the lock
    waiter = group_commit._Waiter(3)
    group._take_turn(waiter)
    assert waiter.turn is None
    group._check()


@pytest.mark.parametrize("call", ["wait_for", "paused"])
def test_ctrl_c_on_the_way_back_with_the_turn_keeps_nobody_out(
    group: GroupCommit, disk: Disk, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Python 3.10 lets it out when a function has returned, before its caller goes on."""
    take = GroupCommit._take_turn

    def interrupted(self: GroupCommit, waiter: group_commit._Waiter) -> None:
        take(self, waiter)
        raise KeyboardInterrupt

    monkeypatch.setattr(GroupCommit, "_take_turn", interrupted)
    with pytest.raises(KeyboardInterrupt):
        if call == "wait_for":
            group.wait_for(1)
        else:
            with group.paused():
                pytest.fail("entered")
    monkeypatch.undo()
    group._check()
    disk.end_offset = 1
    disk.go_on.release()
    group.wait_for(1)


def test_a_gate_may_be_opened_twice() -> None:
    waiter = group_commit._Waiter(1)
    waiter.open()
    waiter.open()
    assert waiter.gate.acquire(blocking=False)


def test_a_pause_that_is_interrupted_at_its_end_keeps_nobody_out(
    group: GroupCommit, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = GroupCommit._end_turn

    def end_turn(self: GroupCommit, turn: int, reached: int) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(GroupCommit, "_end_turn", end_turn)
    with pytest.raises(KeyboardInterrupt), group.paused():
        pass
    assert GroupCommit._end_turn is original
    group._check()
    disk.end_offset = 1
    disk.go_on.release()
    group.wait_for(1)


@pytest.mark.stress
@pytest.mark.parametrize("call", ["wait_for", "paused"])
def test_ctrl_c_at_any_moment_leaves_the_turn_to_the_next(call: str) -> None:
    def make() -> tuple[GroupCommit, Callable[[], None]]:
        group = GroupCommit(lambda: 5, lambda: "t-0")

        def pause() -> None:
            with group.paused():
                pass

        return group, pause if call == "paused" else lambda: group.wait_for(5)

    all_moments = moments(make()[1], of_each=1)
    assert len(all_moments) > 10
    for moment in all_moments:
        group, work = make()
        interrupted_at(moment, work)
        group._check()
        group.wait_for(5)
