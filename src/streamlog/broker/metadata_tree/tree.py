"""Looking at the metadata by path, as ZooKeeper's shell does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from streamlog.errors import NoNodeError

if TYPE_CHECKING:
    from streamlog.broker.metadata_tree.node import Node


class MetadataTree:
    """The metadata as a tree of paths such as ``/brokers/topics/orders/partitions/0/state``.

    * `ls`, `get`, `exists`: one path
    * `walk`: everything below it

    Read-only, and never out of date: each call looks at the broker as it is. A path begins with ``/``; one more at its end does not
    matter. Threads: any. Source: Kafka ``ZkData``, ZooKeeper ``ls`` and ``get``.
    """

    def __init__(self, root: Node) -> None:
        self._root = root

    def __repr__(self) -> str:
        return f"<MetadataTree with {', '.join(self.ls())}>"

    def ls(self, path: str = "/") -> list[str]:
        """Return the names of the children of *path*, sorted as ZooKeeper's shell sorts them, by character.

        Raises `NoNodeError` when there is no such node, ValueError for what is no path.
        """
        return sorted(self._node(path).children())

    def get(self, path: str) -> str | None:
        """Return the value of *path*: JSON, or a number in digits; None for a node without one. Raises as `ls`."""
        return self._node(path).value

    def exists(self, path: str) -> bool:
        """Return whether there is such a node. Raises ValueError for what is no path."""
        try:
            self._node(path)
        except NoNodeError:
            return False
        return True

    def walk(self, path: str = "/") -> Iterator[str]:
        """Yield *path* and then every path below it, each before its children. Raises as `ls`, at the first step."""
        start = "/" + "/".join(_names(path))
        yield from _walk(start, self._node(path))

    def _node(self, path: str) -> Node:
        node: Node | None = self._root
        for name in _names(path):
            node = node.children().get(name) if node is not None else None
        if node is None:
            raise NoNodeError(f"{path}: there is no such node")
        return node


def _walk(path: str, node: Node) -> Iterator[str]:
    yield path
    children = node.children()
    for name in sorted(children):
        yield from _walk(f"{path.rstrip('/')}/{name}", children[name])


def _names(path: str) -> list[str]:
    if type(path) is not str or not path.startswith("/"):
        raise ValueError(f"expected a path that starts with '/', found {path!r:.100}")
    if path == "/":
        return []
    names = path[1:].removesuffix("/").split("/")
    if "" in names:
        raise ValueError(f"expected a path without empty names, found {path!r:.100}")
    return names
