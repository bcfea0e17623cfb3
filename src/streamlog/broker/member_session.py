"""The one object that a group member and its coordinator share: news one way, signs of life the other."""

from __future__ import annotations

import math
from typing import ClassVar

from streamlog.runtime import Signal


class MemberSession:
    """What a member looks at on each poll instead of calling the coordinator; another one for each join.

    The member writes ``last_poll_ms`` and reads ``news``; the coordinator does the reverse. Each of
    the two is a single attribute store, so neither side needs a lock. Threads: any.
    """

    __slots__ = ("last_poll_ms", "max_poll_interval_ms", "news", "signal")

    is_remote: ClassVar[bool] = False
    """Whether the member is known by its requests alone; see `RemoteSession`."""

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

    def heard(self, now_ms: float) -> None:
        """The member sent a request that it is alive by. Changes nothing for one of this process: whether it
        polls is what counts (CON-14).
        """


#: Set for members that nobody can wake: they ask by themselves.
_NOBODY = Signal()


class RemoteSession(MemberSession):
    """Of a member elsewhere, which is alive for as long as it sends requests: ``last_poll_ms`` is the last of them, and
    ``max_poll_interval_ms`` its session time-out. Threads: whoever holds the coordinator's lock.
    """

    __slots__ = ("rebalance_timeout_ms", "revoke_by_ms")

    is_remote: ClassVar[bool] = True

    def __init__(
        self, session_timeout_ms: float, rebalance_timeout_ms: float, now_ms: float
    ) -> None:
        super().__init__(_NOBODY, session_timeout_ms, now_ms)
        self.rebalance_timeout_ms = rebalance_timeout_ms
        """How long it may take to give partitions back, in a KIP-848 group; negative in a request that says nothing of it."""
        self.revoke_by_ms = math.inf
        """When that is over; infinity while it has nothing to give back."""

    def heard(self, now_ms: float) -> None:
        """It has its whole session time-out again."""
        self.last_poll_ms = now_ms

    def notify(self) -> None:
        """Do nothing: its next heartbeat tells it."""
