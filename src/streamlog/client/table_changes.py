"""Telling an application which keys of a table view changed."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from streamlog.errors import ClosedError, StreamlogError, UnknownTopicOrPartitionError
from streamlog.runtime.threads import Lock, get_ident

if TYPE_CHECKING:
    from types import TracebackType

    from streamlog.client.table_contents import Value
    from streamlog.record.serialization import Deserializer
    from streamlog.runtime import Scheduler, Signal

ChangeCallback = Callable[[Any, Any, Any], object]
"""Called with key, old value and new value; None stands for no value."""

_SLICE = 500
"""Changes told in one go; between two of them the broker's other timers have their turn."""

_logger = logging.getLogger("streamlog")


class ChangeListener:
    """One callback of `TableView.on_change`, until closed. Use it in a ``with`` block or call `close`.

    Threads: any.
    """

    __slots__ = ("_callback", "_feed", "_since")

    def __init__(self, feed: ChangeFeed, callback: ChangeCallback, since: int) -> None:
        self._feed: ChangeFeed | None = feed
        self._callback = callback
        self._since = since

    def __repr__(self) -> str:
        return f"<ChangeListener {self._callback!r}{', closed' if self.closed else ''}>"

    @property
    def closed(self) -> bool:
        """Whether the callback is called no more."""
        return self._feed is None

    def close(self) -> None:
        """Call the callback no more; one call may be under way in another thread. Closing again changes
        nothing.
        """
        feed, self._feed = self._feed, None
        if feed is not None:
            feed.remove(self)

    def tell(self, number: int, key: Any, old: Any, new: Any) -> None:
        """Call the callback if change *number* came after it was added. What it raises is logged."""
        if self._feed is None or number <= self._since:
            return
        try:
            self._callback(key, old, new)
        except Exception:  # one callback must not keep the others from knowing
            _logger.exception("on_change: %r failed for key %.100r", self._callback, key)

    def __enter__(self) -> ChangeListener:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class ChangeFeed:
    """The changes that were applied and not told yet, and those who want to know.

    Whoever applies records puts the changes in; they are told by a timer of the broker, in that order,
    one at a time. *look* applies what is new.
    """

    def __init__(
        self, scheduler: Scheduler, look: Callable[[], object], decode: Deserializer | None
    ) -> None:
        self._scheduler = scheduler
        self._look = look
        self._decode = decode
        self._listeners: tuple[ChangeListener, ...] = ()
        self._lock = Lock()
        self._changes: deque[tuple[int, Any, Value, Value]] = deque()
        self.count = 0
        """Changes put in so far."""
        self._told = 0
        self._teller = 0
        self.waiting: tuple[Signal, ...] = ()
        """Set after changes were told."""
        self._is_armed = False
        self._telling = Lock()
        self._has_asked = False
        self._reported = ""

    @property
    def is_wanted(self) -> bool:
        """Whether anybody wants to know."""
        return bool(self._listeners)

    def has_told(self, count: int) -> bool:
        """Return whether the first *count* changes were told, or nobody wants to know, or it is a callback that
        asks, which would wait for itself.
        """
        return self._told >= count or not self._listeners or self._teller == get_ident()

    def add(self, callback: ChangeCallback) -> ChangeListener:
        """Call *callback* for each change put in from now on. The caller sees to it that none is put in
        meanwhile.
        """
        listener = ChangeListener(self, callback, self.count)
        with self._lock:
            self._listeners = (*self._listeners, listener)
        return listener

    def remove(self, listener: ChangeListener) -> None:
        """Undo `add`."""
        with self._lock:
            self._listeners = tuple(one for one in self._listeners if one is not listener)
            if not self._listeners:
                self._changes.clear()

    def close(self) -> None:
        """Close all listeners; what was not told is dropped."""
        for listener in self._listeners:
            listener.close()

    def put(self, key: Any, old: Value, new: Value) -> None:
        """Tell of a change, in its turn. One thread at a time."""
        self.count += 1
        self._changes.append((self.count, key, old, new))
        self.arm()

    def arm(self) -> None:
        """Have the timer look for news and tell of them, as soon as it can. Any lock may be held."""
        if self._listeners and not self._is_armed:
            self._is_armed = True
            self._scheduler.call_later(0, self._run)

    def _run(self) -> None:
        self._is_armed = False
        # Set before trying: who is at it in another thread looks again after it is done.
        self._has_asked = True
        if not self._telling.acquire(blocking=False):
            return
        try:
            self._has_asked = False
            self._teller = get_ident()
            self._look_for_news()
            self._tell_some()
        finally:
            self._teller = 0
            self._telling.release()
            if self._changes or self._has_asked:
                self.arm()
            for signal in self.waiting:
                signal.set()

    def _look_for_news(self) -> None:
        try:
            self._look()
        except (UnknownTopicOrPartitionError, ClosedError):
            pass  # the topic was deleted, which the changes tell; or nobody wants to know any more
        except (StreamlogError, OSError) as error:
            # Of damage, at each record that comes in behind it.
            if str(error) != self._reported:
                self._reported = str(error)
                _logger.exception("on_change: could not read what is new")

    def _tell_some(self) -> None:
        for _ in range(_SLICE):
            try:
                number, key, old, new = self._changes.popleft()
            except IndexError:
                return
            self._tell(number, key, old, new)
            self._told = number

    def _tell(self, number: int, key: Any, old: Any, new: Any) -> None:
        try:
            if self._decode is not None:
                old, new = self._decode(old), self._decode(new)
        except StreamlogError:
            _logger.exception("on_change: could not deserialize a value of key %.100r", key)
            return
        for listener in self._listeners:
            listener.tell(number, key, old, new)
