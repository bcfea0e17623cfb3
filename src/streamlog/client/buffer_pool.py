"""How many bytes wait in a producer: ``buffer_memory`` handed out and taken back."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from streamlog.runtime import Lock, Signal

if TYPE_CHECKING:
    from streamlog.client.producer_batch import ProducerBatch
    from streamlog.runtime import Clock


class BufferPool:
    """A number of bytes, shared by all batches of one producer (PRD-6).

    * `try_take` at once or not at all, `take` waiting its turn, `give_back`
    * `available_bytes`, `waiting`

    Only counted, not allocated: the records themselves are the caller's objects. First come, first
    served: while somebody waits nobody overtakes, however little is asked for, so a large request
    is not starved by small ones. Threads: any. Source: Kafka ``BufferPool``.

    What is taken is added to a list of one number of the caller's, in the moment when it is taken: Ctrl-C can come out
    on the way back to the caller, who gives back what is in the list.
    """

    __slots__ = (
        "_clock",
        "_lock",
        "_waiters",
        "available_bytes",
        "total_bytes",
    )

    def __init__(self, total_bytes: int, clock: Clock) -> None:
        self.total_bytes = total_bytes
        """``buffer_memory``."""
        self.available_bytes = total_bytes
        """What is not taken now."""
        self._clock = clock
        self._lock = Lock()
        self._waiters: deque[_Waiter] = deque()

    @property
    def waiting(self) -> int:
        """How many threads wait for room."""
        return len(self._waiters)

    def try_take(self, size_bytes: int, taken: list[int]) -> bool:
        """Take *size_bytes* if they are free and nobody waits; return whether they were *taken*."""
        with self._lock:
            if self._waiters or size_bytes > self.available_bytes:
                return False
            self.available_bytes -= size_bytes
            taken[0] += size_bytes
        return True

    def take(self, size_bytes: int, taken: list[int], timeout_ms: float) -> bool:
        """Take *size_bytes*, waiting up to *timeout_ms* behind those who came before; return whether
        they were *taken*.

        More than ``total_bytes`` is never free: the caller refuses that first.
        """
        waiter = _Waiter(size_bytes, taken)
        try:
            with self._lock:
                self._waiters.append(waiter)
                self._serve()
            if self._clock.wait_until(waiter.is_granted, waiter.signal, timeout_ms):
                return True
            return self._give_up(waiter)
        except BaseException:  # Ctrl-C: who is not there any more must not be waited for
            self._give_up(waiter)
            raise

    def give_back(self, size_bytes: int) -> None:
        """Return *size_bytes* that were taken, and serve those who wait."""
        with self._lock:
            self.available_bytes += size_bytes
            if self._waiters:
                self._serve()

    def give_back_of(self, batch: ProducerBatch) -> None:
        """Return what *batch* holds, once, even if Ctrl-C comes in between and it is done again."""
        with self._lock:
            self.available_bytes += batch.reserved_bytes
            batch.reserved_bytes = 0
            if self._waiters:
                self._serve()

    def _give_up(self, waiter: _Waiter) -> bool:
        """Let *waiter* wait no more; return whether it was served nevertheless."""
        with self._lock:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
                self._serve()  # whoever is next may ask for less
        return waiter.granted

    def _check(self) -> None:
        """Assert what holds while no call is under way. For tests."""
        assert not self._lock.locked()
        assert 0 <= self.available_bytes <= self.total_bytes
        assert not self._waiters

    def _serve(self) -> None:
        """Give the first waiters what they asked for as far as it goes. The caller holds the lock."""
        waiters = self._waiters
        while waiters:
            waiter = waiters[0]
            if not waiter.granted:  # else Ctrl-C came out of this loop after it was
                if waiter.size_bytes > self.available_bytes:
                    break
                self.available_bytes -= waiter.size_bytes
                waiter.taken[0] += waiter.size_bytes
                waiter.granted = True
            waiter.signal.set()
            waiters.popleft()


class _Waiter:
    __slots__ = ("granted", "signal", "size_bytes", "taken")

    def __init__(self, size_bytes: int, taken: list[int]) -> None:
        self.size_bytes = size_bytes
        self.taken = taken
        self.granted = False
        self.signal = Signal()

    def is_granted(self) -> bool:
        return self.granted
