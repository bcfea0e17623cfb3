"""Which calls to the file system go wrong, and how."""

from __future__ import annotations

import difflib
from collections import Counter
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final, NamedTuple

from streamlog.runtime import RLock

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streamlog.runtime import VirtualClock

FILE_SYSTEM_CALLS: Final = frozenset(
    {
        "allocate",
        "close",
        "exists",
        "file_size",
        "free_bytes",
        "is_dir",
        "list_dir",
        "lock_dir",
        "make_dir",
        "map",
        "modified_ms",
        "open",
        "read_at",
        "read_file",
        "remove_dir",
        "rename",
        "size",
        "sync",
        "sync_data",
        "sync_dir",
        "truncate",
        "unlink",
        "write_at",
    }
)
"""The calls of `FileSystem` and `File` that can fail. ``write_atomically`` is made of the others."""

_WILDCARDS = frozenset("*?[")


class Injection(NamedTuple):
    """One call that went wrong."""

    number: int
    """Which of all calls that the plan was asked about it was, from 1."""

    call: str
    path: str


class Fault:
    """One rule of a `FaultPlan`, which makes it: what goes wrong, and how often it did so far."""

    __slots__ = ("at", "call", "errno", "injected", "is_short", "path", "seen", "slow_ms", "times")

    def __init__(
        self,
        call: str,
        path: str,
        at: int,
        times: int | None,
        *,
        errno: int | None = None,
        is_short: bool = False,
        slow_ms: float = 0.0,
    ) -> None:
        self.call = call
        self.path = path
        self.at = at
        self.times = times
        self.errno = errno
        """The system's number of the error; None for a call that only takes long."""
        self.is_short = is_short
        """Whether half of the data is written before the error."""
        self.slow_ms = slow_ms
        self.seen = 0
        """How many calls matched."""
        self.injected = 0
        """How many of them went wrong."""

    def end(self) -> None:
        """Let every call succeed from now on, as far as this rule goes."""
        self.times = self.injected

    def _applies(self, call: str, path: str) -> bool:
        """Count a call, and return whether it goes wrong."""
        if not (fnmatchcase(call, self.call) and fnmatchcase(path, self.path)):
            return False
        self.seen += 1
        if self.seen < self.at or (self.times is not None and self.injected >= self.times):
            return False
        self.injected += 1
        return True

    def __repr__(self) -> str:
        what = f"errno {self.errno}" if self.errno is not None else f"{self.slow_ms:g} ms"
        short = " after half of the data" if self.is_short else ""
        return f"<Fault {self.call} {self.path}: {what}{short}, {self.injected} of {self.seen}>"


class FaultPlan:
    """Decides for each call to a `FaultyFileSystem` whether it goes wrong.

    * add rules: `fail`, `write_short`, `slow`, each for the calls and paths that match
    * end them: `Fault.end`, `clear`
    * look: `calls` counts every call by its name, `injections` lists those that went wrong

    A rule's *call* is a name out of `FILE_SYSTEM_CALLS` or a pattern such as ``"sync*"``; *path* is a
    pattern for the whole path, such as ``"*.log"``, where ``*`` matches slashes as well. It begins with
    the *at*-th call that matches, counted from the moment it was added, and holds for *times* calls;
    None means from then on. When several rules fit, the first one with an error decides; delays add up.

    >>> import errno
    >>> from streamlog.testing import FaultyFileSystem, MemoryFileSystem
    >>> plan = FaultPlan()
    >>> files = FaultyFileSystem(MemoryFileSystem(), plan)
    >>> broken = plan.fail("sync*", errno.EIO, path="/*.log", at=2)
    >>> file = files.open("/a.log", create=True)
    >>> file.sync()
    >>> file.sync_data()
    Traceback (most recent call last):
    ...
    OSError: [Errno 5] Input/output error: '/a.log'
    >>> file.sync_data()
    >>> plan.injections, plan.calls["sync_data"]
    ([Injection(number=3, call='sync_data', path='/a.log')], 2)

    Threads: any. *clock* is needed for `slow` only; *calls* are the names that exist, for another
    place to inject errors than `FaultyFileSystem`.
    """

    def __init__(
        self, clock: VirtualClock | None = None, *, calls: Iterable[str] = FILE_SYSTEM_CALLS
    ) -> None:
        self.calls: Counter[str] = Counter()
        """How often each call was made, whether it went wrong or not."""
        self.injections: list[Injection] = []
        """Every call that failed or took long, in order."""
        self._clock = clock
        self._known = frozenset(calls)
        self._faults: tuple[Fault, ...] = ()
        # The collector may run in here and close a file, which is a call as well.
        self._lock = RLock()
        self._count = 0

    @property
    def count(self) -> int:
        """How many calls were made."""
        return self._count

    def fail(
        self, call: str, errno: int, *, path: str = "*", at: int = 1, times: int | None = 1
    ) -> Fault:
        """Let calls raise the error that the system numbers *errno*, such as ``errno.ENOSPC``.

        It arrives as it would from a real disk: no space, quota or file size left as `DiskFullError`,
        anything else as the `OSError` of that number. The call has done nothing by then, except for
        ``close``, which always lets go of the file. Raises ValueError for a call that does not exist.
        """
        return self._add(Fault(self._checked(call), path, at, times, errno=errno))

    def write_short(
        self, errno: int, *, path: str = "*", at: int = 1, times: int | None = 1
    ) -> Fault:
        """Let ``write_at`` store the first half of its data and then raise, as a disk does that fills up."""
        return self._add(Fault("write_at", path, at, times, errno=errno, is_short=True))

    def slow(
        self, call: str, ms: float, *, path: str = "*", at: int = 1, times: int | None = None
    ) -> Fault:
        """Let calls take *ms* milliseconds of the virtual clock and then succeed.

        Timers that fall due meanwhile run when somebody waits or moves the clock next, as if the
        thread had been busy. Raises ValueError without a clock.
        """
        if self._clock is None:
            raise ValueError(
                "A slow call needs a clock: expected FaultPlan(VirtualClock()), found none"
            )
        return self._add(Fault(self._checked(call), path, at, times, slow_ms=ms))

    def clear(self) -> None:
        """End every rule. Counts and injections stay."""
        with self._lock:
            self._faults = ()

    def check(self, call: str, path: str) -> Fault | None:
        """Count a call, let its delays pass, and return the rule it has to fail by, or None.

        For whoever makes the calls: `FaultyFileSystem`.
        """
        with self._lock:
            self._count += 1
            self.calls[call] += 1
            if not self._faults:
                return None
            failing, slow_ms = self._inject(call, path)
        if slow_ms and self._clock is not None:
            self._clock.elapse(slow_ms)
        return failing

    def _inject(self, call: str, path: str) -> tuple[Fault | None, float]:
        """Return the rule it has to fail by, and for how long it takes."""
        failing: Fault | None = None
        slow_ms = 0.0
        for fault in self._faults:
            if failing is not None and fault.errno is not None:
                continue
            if fault._applies(call, path):
                self.injections.append(Injection(self._count, call, path))
                slow_ms += fault.slow_ms
                if fault.errno is not None:
                    failing = fault
        return failing, slow_ms

    def _add(self, fault: Fault) -> Fault:
        if fault.at < 1:
            raise ValueError(f"at: expected 1 for the next call, or more, found {fault.at}")
        with self._lock:
            self._faults = (*self._faults, fault)
        return fault

    def _checked(self, call: str) -> str:
        if call not in self._known and not _WILDCARDS.intersection(call):
            nearest = difflib.get_close_matches(call, self._known, n=1)
            hint = f", did you mean {nearest[0]!r}?" if nearest else ""
            raise ValueError(f"call: expected one of {sorted(self._known)}, found {call!r}{hint}")
        return call

    def __repr__(self) -> str:
        return f"<FaultPlan {len(self.injections)} of {self._count} calls went wrong>"
