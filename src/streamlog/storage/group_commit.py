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
        if self.durable_end_offset >= end_offset or not self._take_turn(end_offset):
            return
        reached = 0
        failure: OSError | None = None
        try:
            reached = self._sync()
        except OSError as error:
            failure = error
            self.fail(error)
        finally:
            self._end_turn(reached)
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
        self._take_turn(math.inf)
        try:
            yield
        finally:
            self._end_turn(0)

    def _take_turn(self, end_offset: float) -> bool:
        """Wait until nobody has the turn, and take it; return False when *end_offset* became durable before that."""
        with self._lock:
            if self.durable_end_offset >= end_offset:
                return False
            if self._failure is not None:
                raise self.error()
            if not self._is_taken:
                self._is_taken = True
                return True
            waiter = _Waiter(end_offset)
            self._waiting.append(waiter)
        try:
            waiter.gate.acquire()
            waiter.open_next()
        except BaseException:  # Ctrl-C
            with self._lock:
                if waiter in self._waiting:
                    self._waiting.remove(waiter)
            waiter.open_next()
            if waiter.has_turn:
                self._end_turn(0)
            raise
        if not waiter.has_turn and self.durable_end_offset < end_offset:
            raise self.error()
        return waiter.has_turn

    def _end_turn(self, reached: int) -> None:
        """Publish that everything below *reached* is durable, and give the turn to the next one if there is one."""
        try:
            self._wake(reached)
        except BaseException:  # Ctrl-C in the middle of it: nobody must be left asleep
            self._wake(reached)
            raise

    def _wake(self, reached: int) -> None:
        with self._lock:
            self.durable_end_offset = max(self.durable_end_offset, reached)
            if not self._waiting:
                self._is_taken = False
                return
            done, rest = self._waiting, []
            if self._failure is None:
                rest = [w for w in self._waiting if w.end_offset > self.durable_end_offset]
                done = [w for w in self._waiting if w.end_offset <= self.durable_end_offset]
            if rest:
                # First of all: the disk is idle until the next one asks it.
                rest[0].has_turn = True
                rest[0].open()
            for waiter, following in pairwise(done):
                waiter.next = following
            if done:
                done[0].open()
            self._is_taken = bool(rest)
            self._waiting = rest[1:]

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

    __slots__ = ("end_offset", "gate", "has_turn", "next")

    def __init__(self, end_offset: float) -> None:
        self.end_offset = end_offset
        #: Whether it is its turn to sync.
        self.has_turn = False
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
