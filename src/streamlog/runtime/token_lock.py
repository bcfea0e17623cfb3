"""A mutual exclusion lock for the one place where a lock is a tenth of the work: appending a single record."""

from __future__ import annotations

from types import TracebackType

from streamlog.runtime.threads import Condition


class TokenLock:
    """A lock whose token is the only element of a list: who pops it holds the lock, who appends it lets go.

    ``list.pop`` and ``list.append`` are atomic, and without contention they take 30 ns together where a ``threading.Lock`` takes
    70 to 200. Under contention a real condition does the waiting. Not re-entrant; threads: any.

    Barging is allowed, which is what makes it fast, but not for ever: a thread that was woken and found somebody else faster is
    handed the token at the next release. Without that, a holder that spends its time in system calls (rolling segments, say)
    would take the lock again before a waiter can get the GIL, every time.

    Hot paths inline it, with `take` and `give` kept in attributes of their own::

        try:
            take()
        except IndexError:
            lock.wait()
        try:
            ...
        finally:
            give(None)
            if lock.waiting:
                lock.wake()

    No wake-up is lost: a waiter counts itself *before* it looks for the token, and who lets go returns the token *before*
    looking for waiters; so one of the two sees the other.
    """

    __slots__ = ("_condition", "_handed_over", "_overtaken", "_tokens", "give", "take", "waiting")

    def __init__(self) -> None:
        self._condition = Condition()
        self._tokens: list[None] = [None]
        self.take = self._tokens.pop
        """Take the lock at once; raises IndexError when somebody has it."""
        self.give = self._tokens.append
        """Let the lock go; ``give(None)``. Look at `waiting` afterwards."""
        self.waiting = 0
        """How many threads are in `wait`."""
        # Both under the condition's lock.
        self._overtaken = False  # a waiter was woken in vain
        self._handed_over = False  # the token is not in the list, and a waiter's to take

    def wait(self) -> None:
        """Take the lock, however long that takes."""
        condition = self._condition
        with condition:
            self.waiting += 1
            woken = False
            try:
                while True:
                    # A newcomer may not take what was handed over: it may well be the one that handed it over.
                    if woken and self._handed_over:
                        self._handed_over = False
                        break
                    try:
                        self._tokens.pop()
                        break
                    except IndexError:
                        # Whoever holds it sees us counted, and wakes us later.
                        self._overtaken |= woken
                    condition.wait()
                    woken = True
                self._overtaken = False
            except BaseException:  # Ctrl-C: what was meant for us goes to another waiter, or back
                if self._handed_over and self.waiting == 1:
                    self._handed_over = False
                    self._tokens.append(None)
                condition.notify()
                raise
            finally:
                self.waiting -= 1

    def wake(self) -> None:
        """Wake one thread in `wait`; harmless when there is none."""
        with self._condition:
            if self._overtaken and self.waiting:
                try:
                    self._tokens.pop()
                except IndexError:
                    pass  # somebody has it already, and will come by here
                else:
                    self._overtaken = False
                    self._handed_over = True
            self._condition.notify()

    def acquire(self, blocking: bool = True) -> bool:
        """Take the lock and return True; return False at once when it is held and *blocking* is False."""
        try:
            self.take()
        except IndexError:
            if not blocking:
                return False
            self.wait()
        return True

    def release(self) -> None:
        """Let the lock go. Only for who holds it."""
        self.give(None)
        if self.waiting:
            self.wake()

    def locked(self) -> bool:
        """Return whether somebody holds the lock, or is about to."""
        return not self._tokens

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()
