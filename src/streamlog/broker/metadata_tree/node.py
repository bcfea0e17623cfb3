"""One place in the metadata tree."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs


def _nothing() -> Mapping[str, Node]:
    return {}


@attrs.frozen
class Node:
    """What ZooKeeper calls a znode: a value, if it has one, and children by name.

    Children are a function, so that a look at one path costs that path and not the tree.
    """

    value: str | None = None
    """JSON or plain text; None for a node that only holds others."""
    children: Callable[[], Mapping[str, Node]] = _nothing


def folder(children: Mapping[str, Node] | Callable[[], Mapping[str, Node]]) -> Node:
    """Return a node without a value that holds *children*."""
    return Node(None, children if callable(children) else lambda: children)
