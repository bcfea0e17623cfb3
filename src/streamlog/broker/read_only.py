"""What a broker that was opened with ``read_only=True`` does differently: it refuses to write, and looks for what others wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import ref

from streamlog.errors import ReadOnlyError
from streamlog.runtime.threads import Lock

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.runtime.scheduler import Scheduler
    from streamlog.runtime.timer import Timer


def refusal(what: str, path: str) -> ReadOnlyError:
    """Return the error for *what*, which would write into the directory at *path*."""
    return ReadOnlyError(
        f"{what}: {path} was opened with read_only=True, which changes nothing there; do it in the"
        " process that has it open for writing, or open it without read_only once nobody has"
    )


class RefreshTimer:
    """Looks every *interval_ms* while somebody waits, and not at all while nobody does.

    A process that writes cannot wake one that reads; so who waits here is woken by a look at the files. The scheduler knows the one who
    looks by a weak reference only. Threads: any.
    """

    def __init__(self, scheduler: Scheduler, interval_ms: float, look: Callable[[], bool]) -> None:
        """*look* returns whether somebody still waits; what it raises is logged, and it is called again."""
        self._scheduler = scheduler
        self._interval_ms = interval_ms
        self._look = look
        self._lock = Lock()
        self._timer: Timer | None = None

    def arm(self) -> None:
        """Somebody waits."""
        with self._lock:
            if self._timer is None:
                due = _Due(self)
                self._timer = self._scheduler.call_later(self._interval_ms, due)

    def fire(self) -> None:
        """Look now. Internal: called by the timer."""
        with self._lock:
            self._timer = None
        is_waited_for = True
        try:
            is_waited_for = self._look()
        finally:
            if is_waited_for:
                self.arm()


class _Due:
    """The callback: it keeps nobody alive."""

    __slots__ = ("_timer",)

    def __init__(self, timer: RefreshTimer) -> None:
        self._timer = ref(timer)

    def __call__(self) -> None:
        alive = self._timer()
        if alive is not None:
            alive.fire()
