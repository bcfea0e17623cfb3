"""One thread at a time, and not after close: what every call of a consumer checks first."""

from __future__ import annotations

import copy
from types import TracebackType
from typing import NoReturn

from streamlog.errors import ConcurrentModificationError, IllegalStateError, StreamlogError
from streamlog.runtime.threads import RLock


class ThreadGuard:
    """``with guard:`` around each call. A second thread is refused instead of waiting (CON-2).

    The owner may enter again, from a rebalance listener or an interceptor. Hot paths use
    ``try_acquire`` and ``release`` themselves. Source: Kafka ``KafkaConsumer.acquire``.
    """

    __slots__ = ("_lock", "closing", "refusal", "release", "try_acquire")

    def __init__(self) -> None:
        self._reset_lock()
        self.refusal: StreamlogError | None = None
        """Why the consumer can no longer be used: closed, or forked. None while it can."""
        self.closing: StreamlogError | None = None
        """What a thread is told that comes while the broker closes the consumer in another one."""

    def _reset_lock(self) -> None:
        self._lock = RLock()
        self.try_acquire = self._lock.acquire
        self.release = self._lock.release

    def __enter__(self) -> None:
        if self.refusal is not None:
            self.refuse()
        if not self.try_acquire(False):
            self.refuse_thread()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    def refuse(self) -> NoReturn:
        """Raise why the consumer can no longer be used."""
        raise copy.copy(self.refusal or IllegalStateError("the consumer can be used"))

    def refuse_thread(self) -> NoReturn:
        """Raise `ConcurrentModificationError`, or ``closing`` if that is why the consumer is in use."""
        if self.closing is not None:
            raise copy.copy(self.closing)
        raise ConcurrentModificationError(
            "the consumer is in use by another thread: expected one thread at a time, only wakeup() "
            "and metrics() may be called from outside; give each thread a consumer of its own"
        )

    def forked(self, error: StreamlogError) -> None:
        """Refuse everything from now on; the lock may be held by a thread that is not here."""
        self._reset_lock()
        self.refusal = error
