"""Paths: what is one, what is found, what is not."""

from __future__ import annotations

import pytest

from streamlog.broker.metadata_tree.node import Node, folder
from streamlog.broker.metadata_tree.tree import MetadataTree
from streamlog.errors import NoNodeError

TREE = MetadataTree(
    folder({"b": Node("2"), "a": folder({"x": Node("1"), "y": Node()}), "B": Node("3")})
)


def test_ls_sorts_by_character_as_zookeeper_does() -> None:
    assert TREE.ls() == TREE.ls("/") == ["B", "a", "b"]


def test_a_slash_at_the_end_does_not_matter() -> None:
    assert TREE.ls("/a/") == TREE.ls("/a") == ["x", "y"]
    assert TREE.get("/a/x/") == "1"


def test_a_node_without_a_value_has_none() -> None:
    assert TREE.get("/a") is None
    assert TREE.get("/a/y") is None


@pytest.mark.parametrize("path", ["/c", "/a/z", "/b/x", "/a/x/1"])
def test_a_path_that_is_not_there_is_named(path: str) -> None:
    assert not TREE.exists(path)
    for look in (TREE.ls, TREE.get):
        with pytest.raises(NoNodeError, match=f"^{path}: "):
            look(path)
    with pytest.raises(NoNodeError):
        next(TREE.walk(path))


def test_exists_is_true_of_nodes_with_and_without_a_value() -> None:
    assert all(map(TREE.exists, ["/", "/a", "/a/y", "/b"]))


@pytest.mark.parametrize("path", ["", "a", "brokers/ids", "//", "/a//x", " /a"])
def test_what_is_no_path_is_refused(path: str) -> None:
    for look in (TREE.ls, TREE.get, TREE.exists):
        with pytest.raises(ValueError, match="expected a path"):
            look(path)


def test_walk_yields_each_node_before_its_children() -> None:
    assert list(TREE.walk()) == ["/", "/B", "/a", "/a/x", "/a/y", "/b"]
    assert list(TREE.walk("/a/")) == ["/a", "/a/x", "/a/y"]
