"""Group commit: many waiting for the disk, one asking it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

from streamlog.errors import DurabilityError
from streamlog.runtime import Lock


class GroupCommit:
    """Makes a log durable up to an offset, with one ``fdatasync`` for all who wait meanwhile.

    The first to come is the leader: it syncs without holding anything, publishes how far that reached, makes one of those who
    came during the sync the next leader, and wakes whom it helped. No artificial delay: with 16 threads on one partition the
    natural one already gives eight acknowledgements a sync.

    Each waiter sleeps at a gate of its own, knows what it has to know when the gate opens, and opens the next one: with one
    interpreter's lock to get, a crowd that wakes together mostly wakes to wait again. With 16 threads this is worth a quarter of
    the acknowledgements over a condition, which has all of them take its lock once more besides.

    After a failed sync nothing is known about what is on the disk, and a later success would prove nothing (the kernel reports
    an error of writeback once and then forgets the pages). So the failure is final: everybody gets DurabilityError from then on.

    Threads: any.
    """

    def __init__(self, sync: Callable[[], int], describe: Callable[[], str]) -> None:
        """*sync* makes everything durable and returns the end offset that this covers; OSError from it is final."""
        self._sync = sync
        self._describe = describe
        # Guards what follows, for a few steps at a time. Whose turn it is may sync, or keep others from it.
        self._lock = Lock()
        self._is_taken = False
        self._turn = 0  # counts them; the present one, or the next
        self._woken: list[_Waiter] = []
        self._waiting: list[_Waiter] = []
        self._failure: OSError | None = None
        #: Everything below this offset survives a power loss. Only grows, except by truncation.
        self.durable_end_offset = 0

    @property
    def failure(self) -> OSError | None:
        """The error that ended this log's durability, or None."""
        return self._failure

    def wait_for(self, end_offset: int) -> None:
        """Return once every record below *end_offset* survives a power loss. Raises DurabilityError when that is unknown."""
        if self.durable_end_offset >= end_offset:
            return
        # It knows of its turn from the moment on in which it has it, wherever Ctrl-C comes out.
        waiter = _Waiter(end_offset)
        reached = 0
        failure: OSError | None = None
        try:
            self._take_turn(waiter)
            if waiter.turn is not None:
                try:
                    reached = self._sync()
                except OSError as error:
                    failure = error
                    self.fail(error)
        finally:
            if waiter.turn is not None or waiter.is_waiting:  # most were helped by another's turn
                try:
                    self._leave(waiter, reached)
                except BaseException:
                    # Ctrl-C, perhaps before its first line: nobody must be left asleep.
                    self._leave(waiter, reached)
                    raise
        if failure is not None:
            raise self.error() from failure

    def fail(self, failure: OSError) -> None:
        """Note that a sync failed, before :meth:`wait_for` gets to know: from now on `failure` says so."""
        with self._lock:
            if self._failure is None:
                self._failure = failure

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Keep every sync out: a truncation moves what they would sync. Waits for the one under way."""
        waiter = _Waiter(math.inf)  # nothing is durable up to infinity: it gets its turn
        try:
            self._take_turn(waiter)
            yield
        finally:
            try:
                self._leave(waiter, 0)
            except BaseException:
                self._leave(waiter, 0)
                raise

    def _take_turn(self, waiter: _Waiter) -> None:
        """Wait until nobody has the turn, and give it to *waiter*, or until what it waits for is durable.

        Whatever comes of it, `_leave` has to follow.
        """
        with self._lock:
            if self.durable_end_offset >= waiter.end_offset:
                return
            if self._failure is not None:
                raise self.error()
            if not self._is_taken:
                waiter.turn = self._turn
                self._is_taken = True
                return
            waiter.is_waiting = True
            self._waiting.append(waiter)
        waiter.gate.acquire()
        waiter.open_next()
        waiter.is_waiting = False
        if waiter.turn is None and self.durable_end_offset < waiter.end_offset:
            raise self.error()

    def _leave(self, waiter: _Waiter, reached: int) -> None:
        """End the turn of *waiter*, if it has it, and its waiting. Done again after Ctrl-C in the middle of it."""
        if waiter.is_waiting:  # Ctrl-C
            with self._lock:
                if waiter in self._waiting:
                    self._waiting.remove(waiter)
            waiter.open_next()
        if waiter.turn is not None:
            self._end_turn(waiter.turn, reached)

    def _end_turn(self, turn: int, reached: int) -> None:
        """Publish that everything below *reached* is durable, and give the turn to the next one if there is one.

        Done again after Ctrl-C in the middle of it; nothing happens if *turn* has ended.
        """
        with self._lock:
            if self._turn == turn:
                reached = max(self.durable_end_offset, reached)
                done, rest = self._waiting, list[_Waiter]()
                if self._failure is None:
                    done, rest = _split(self._waiting, reached)
                for waiter, following in pairwise(done):
                    waiter.next = following
                # The next one first of all: the disk is idle until it is asked.
                woken, still_waiting = rest[:1] + done[:1], rest[1:]
                # No call from here to the end of the turn: all of it is seen, or nothing.
                self.durable_end_offset = reached
                self._waiting = still_waiting
                self._woken = woken
                self._is_taken = rest != []
                self._turn += 1
                if self._is_taken:
                    rest[0].turn = self._turn
            for waiter in self._woken:
                waiter.open()

    def _check(self) -> None:
        """Assert what holds while no call is under way. For tests."""
        assert not self._lock.locked()
        assert not self._is_taken
        assert not self._waiting
        assert self.durable_end_offset >= 0

    def error(self) -> DurabilityError:
        """Return the DurabilityError to raise after a failed sync."""
        failure = self._failure
        return DurabilityError(
            f"{self._describe()}: sync failed ({failure}); whether the records behind offset "
            f"{self.durable_end_offset} are on the disk is unknown. No more is appended: close the broker and open it again",
            errno=None if failure is None else failure.errno,
        )


class _Waiter:
    """A thread asleep. What it has to know is set before its gate opens."""

    __slots__ = ("end_offset", "gate", "is_waiting", "next", "turn")

    def __init__(self, end_offset: float) -> None:
        self.end_offset = end_offset
        #: The number of the turn to sync that it was given.
        self.turn: int | None = None
        #: Whether somebody else may still count on it.
        self.is_waiting = False
        #: Who is to be woken by this one.
        self.next: _Waiter | None = None
        self.gate = Lock()
        self.gate.acquire()

    def open(self) -> None:
        try:
            self.gate.release()
        except RuntimeError:
            pass  # open already: what was interrupted is done again

    def open_next(self) -> None:
        if self.next is not None:
            self.next.open()


def _split(waiting: list[_Waiter], reached: int) -> tuple[list[_Waiter], list[_Waiter]]:
    """Return who is done, and who is not."""
    done = [waiter for waiter in waiting if waiter.end_offset <= reached]
    return done, [waiter for waiter in waiting if waiter.end_offset > reached]
