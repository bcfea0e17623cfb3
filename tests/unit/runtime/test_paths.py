from __future__ import annotations

import os
from pathlib import Path

import pytest

from streamlog.runtime import base_name, join_path, parent_path, path_string


@pytest.mark.parametrize("path", ["data", Path("data"), "./data", "x/../data/"])
def test_path_string_is_absolute_and_normalised(path: str | os.PathLike[str]) -> None:
    assert path_string(path) == os.path.join(os.getcwd(), "data")


def test_path_string_does_not_follow_links(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    assert path_string(tmp_path / "link") == str(tmp_path / "link")


def test_path_string_of_something_else_is_refused() -> None:
    with pytest.raises(TypeError):
        path_string(7)  # type: ignore[arg-type]


def test_joining_and_splitting_are_inverse() -> None:
    path = join_path("/data", "topics", "orders")
    assert path == "/data/topics/orders"
    assert (parent_path(path), base_name(path)) == ("/data/topics", "orders")
    assert parent_path("orders") == "."
