"""A mutual exclusion lock for the one place where a lock is a tenth of the work: appending a single record."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from streamlog.runtime.threads import Condition

TOKEN = (None,)
"""What is in the list of a lock that nobody has."""

_LOST_WAKE_UP_S = 1.0


class _HasLock(Protocol):
    @property
    def lock(self) -> TokenLock: ...


_Owner = TypeVar("_Owner", bound=_HasLock)
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class TokenLock:
    """A lock whose token is the only element of a list: who deletes it holds the lock, who puts it back lets go.

    ``del tokens[0]`` and ``tokens += TOKEN`` are atomic, and without contention they take 30 ns together where a
    ``threading.Lock`` takes 70 to 200. Under contention a real condition does the waiting. Not re-entrant; threads: any.

    Barging is allowed, which is what makes it fast, but not for ever: a thread that was woken and found somebody else faster is
    handed the token at the next release. Without that, a holder that spends its time in system calls (rolling segments, say)
    would take the lock again before a waiter can get the GIL, every time.

    Hot paths inline it::

        tokens = lock.tokens
        try:
            del tokens[0]
        except IndexError:
            lock.wait()
        try:
            ...
        finally:
            tokens += TOKEN
            if lock.waiting:
                lock.wake()

    Methods that are not hot are `locked` instead. Statements and not calls, because the interpreter delivers Ctrl-C when a call
    ends: between ``acquire()`` and the ``try:`` behind it an interrupt would keep the lock for ever. (Python 3.10 may deliver it there all the same.)

    No wake-up is lost: a waiter counts itself *before* it looks for the token, and who lets go returns the token *before*
    looking for waiters; so one of the two sees the other.
    """

    __slots__ = ("_condition", "_handed_over", "_overtaken", "tokens", "waiting")

    def __init__(self) -> None:
        self._condition = Condition()
        self.tokens = list(TOKEN)
        """Empty while somebody has the lock. To take it ``del tokens[0]``, which raises IndexError when it is empty; to let go
        ``tokens += TOKEN`` on a local name, then look at `waiting`."""
        self.waiting = 0
        """How many threads are in `wait`."""
        # Both under the condition's lock.
        self._overtaken = False  # a waiter was woken in vain
        self._handed_over = False  # the token is not in the list, and a waiter's to take

    def wait(self) -> None:
        """Take the lock, however long that takes."""
        condition, tokens = self._condition, self.tokens
        taken = False
        try:
            with condition:
                self.waiting += 1
                woken = False
                try:
                    while True:
                        # A newcomer may not take what was handed over: it may well be the one that handed it over.
                        if woken and self._handed_over:
                            taken = True
                            self._handed_over = False
                            break
                        try:
                            del tokens[0]
                            taken = True
                            break
                        except IndexError:
                            # Whoever holds it sees us counted, and wakes us later.
                            self._overtaken |= woken
                        # The limit is for a holder that Ctrl-C hit between letting go and waking us.
                        condition.wait(_LOST_WAKE_UP_S)
                        woken = True
                    self._overtaken = False
                except (
                    BaseException
                ):  # Ctrl-C: what was meant for us goes to another waiter, or back
                    if self._handed_over and self.waiting == 1:
                        self._handed_over = False
                        tokens += TOKEN
                    condition.notify()
                    raise
                finally:
                    self.waiting -= 1
        except BaseException:
            if taken:
                self.release()
            raise

    def wake(self) -> None:
        """Wake one thread in `wait`; harmless when there is none."""
        with self._condition:
            if self._overtaken and self.waiting:
                try:
                    del self.tokens[0]
                except IndexError:
                    pass  # somebody has it already, and will come by here
                else:
                    self._overtaken = False
                    self._handed_over = True
            self._condition.notify()

    def acquire(self, blocking: bool = True) -> bool:
        """Take the lock and return True; return False at once when it is held and *blocking* is False."""
        try:
            del self.tokens[0]
        except IndexError:
            if not blocking:
                return False
            self.wait()
        return True

    def release(self) -> None:
        """Let the lock go. Only for who holds it."""
        tokens = self.tokens
        tokens += TOKEN
        if self.waiting:
            self.wake()

    def locked(self) -> bool:
        """Return whether somebody holds the lock, or is about to."""
        return not self.tokens


def locked(
    method: Callable[Concatenate[_Owner, _Arguments], _Result],
) -> Callable[Concatenate[_Owner, _Arguments], _Result]:
    """Have *method* run with the lock of its object, ``self.lock``, held.

    What ``with`` would be for, but that the interpreter looks for Ctrl-C on entering any function of Python, ``__exit__`` too.
    """

    @wraps(method)
    def holding(self: _Owner, /, *args: _Arguments.args, **options: _Arguments.kwargs) -> _Result:
        lock = self.lock
        tokens = lock.tokens
        try:
            del tokens[0]
        except IndexError:
            lock.wait()
        try:
            return method(self, *args, **options)
        finally:
            tokens += TOKEN
            if lock.waiting:
                lock.wake()

    return holding
