"""The one object that a group member and its coordinator share: news one way, signs of life the other."""

from __future__ import annotations

from streamlog.runtime import Signal


class MemberSession:
    """What a member looks at on each poll instead of calling the coordinator; another one for each join.

    The member writes ``last_poll_ms`` and reads ``news``; the coordinator does the reverse. Each of
    the two is a single attribute store, so neither side needs a lock. Threads: any.
    """

    __slots__ = ("last_poll_ms", "max_poll_interval_ms", "news", "signal")

    def __init__(self, signal: Signal, max_poll_interval_ms: float, now_ms: float) -> None:
        self.signal = signal
        """Set whenever ``news`` grows, so that a member waiting in poll looks at once."""
        self.news = 0
        """Grows when the coordinator has something for the member: it should send a heartbeat."""
        self.last_poll_ms = now_ms
        """When the member last entered or left poll (monotonic clock); infinity while it is inside
        a waiting one. The eviction timer compares it with ``max_poll_interval_ms`` (CON-14).
        """
        self.max_poll_interval_ms = max_poll_interval_ms

    def renewed(self) -> MemberSession:
        """Return a session for the next join. Who still watches this one watches a member that is silent
        from now on.
        """
        return MemberSession(self.signal, self.max_poll_interval_ms, self.last_poll_ms)

    def notify(self) -> None:
        """Tell the member that a heartbeat would change something. The coordinator holds its lock."""
        self.news += 1
        self.signal.set()
