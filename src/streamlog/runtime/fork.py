"""Telling objects that they woke up in a forked child."""

from __future__ import annotations

import logging
import os
from typing import Protocol
from weakref import WeakValueDictionary

_log = logging.getLogger("streamlog")


class ForkAware(Protocol):
    """What `on_fork_in_child` accepts: anything weakly referable with this method."""

    def _forked(self) -> None:
        """Give up what belongs to the parent: drop files and locks unflushed, refuse further use.

        Runs in the child before ``os.fork()`` returns, in its only thread. Locks may be held by
        threads that exist in the parent only, so take none: replace them.
        """


# By id and not in a WeakSet: objects with value equality need not be hashable.
_objects: WeakValueDictionary[int, ForkAware] = WeakValueDictionary()


def on_fork_in_child(obj: ForkAware) -> None:
    """Call ``obj._forked()`` in every child forked from now on, for as long as *obj* lives.

    Children are told in the order of registration; one that fails is logged and stops no other.
    Nothing happens for ``subprocess`` or the ``spawn`` method, which start from scratch.

    Threads: any.
    """
    _objects[id(obj)] = obj


def _after_fork_in_child() -> None:
    for obj in list(_objects.values()):
        try:
            obj._forked()
        except Exception:  # noqa: BLE001 - the rest must be told all the same
            _log.exception("Could not put %r out of use in a forked child", obj)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
