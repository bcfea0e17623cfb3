"""The user's view of a rebalance."""

from __future__ import annotations

import inspect
from collections.abc import Collection

from streamlog.structs import TopicPartition


class RebalanceListener:
    """Told by `Consumer.poll`, in its thread, what is taken away and what is new (CON-13).

    Subclass it and override what you need; any object with some of the three methods will do as
    well. Inside them the consumer may be used: commit what was processed in `on_partitions_revoked`,
    ``seek`` in `on_partitions_assigned`. Only ``poll`` itself, and whatever changes the subscription,
    is refused. An exception ends the poll as a `StreamlogError` with it as the cause; the rebalance
    is completed all the same. Source: Kafka ``ConsumerRebalanceListener``.
    """

    def on_partitions_assigned(self, partitions: Collection[TopicPartition]) -> None:
        """*partitions* were added, and nothing was read from them yet. Sorted; empty when a rebalance
        brought none, because the group had none left to give or only took some away.
        """

    def on_partitions_revoked(self, partitions: Collection[TopicPartition]) -> None:
        """*partitions* will go to others as soon as this returns. Sorted, never empty. Positions can
        still be committed, which auto-commit has done already.
        """

    def on_partitions_lost(self, partitions: Collection[TopicPartition]) -> None:
        """*partitions* were taken away some time ago, and others may be reading them: the group
        evicted this member (CON-14). Sorted, never empty. A commit would fail. Without an override
        it does what `on_partitions_revoked` does.
        """
        self.on_partitions_revoked(partitions)


class _Adapted(RebalanceListener):
    """An object with some of the methods, made a listener."""

    def __init__(self, listener: object) -> None:
        for name in _METHODS:
            method = getattr(listener, name, None)
            if callable(method):
                setattr(self, name, method)


_METHODS = ("on_partitions_assigned", "on_partitions_revoked", "on_partitions_lost")


def as_listener(listener: object | None) -> RebalanceListener | None:
    """Return *listener* as a `RebalanceListener`.

    Raises TypeError when it has none of the methods, is a class, or has one that is a coroutine
    function: `Consumer.poll` calls them and awaits nothing.
    """
    if listener is None:
        return None
    if isinstance(listener, type):
        raise TypeError(f"listener: give an object, not the class {listener.__name__}")
    for name in _METHODS:
        if inspect.iscoroutinefunction(getattr(listener, name, None)):
            raise TypeError(
                f"listener: expected {type(listener).__name__}.{name} to be a plain function, found "
                "a coroutine function, which nobody would await"
            )
    if isinstance(listener, RebalanceListener):
        return listener
    if not any(callable(getattr(listener, name, None)) for name in _METHODS):
        raise TypeError(
            f"listener: expected an object with {', '.join(_METHODS)} or some of them, "
            f"found {type(listener).__name__}"
        )
    return _Adapted(listener)
