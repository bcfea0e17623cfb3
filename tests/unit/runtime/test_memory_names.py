from __future__ import annotations

import errno

import pytest

from streamlog.runtime.memory_file import MemoryContent
from streamlog.runtime.memory_names import MemoryNames
from tests.support.os_errors import raises_errno


def content() -> MemoryContent:
    return MemoryContent(lambda *_: None, lambda: 0)


@pytest.mark.parametrize("path", ["/x/a", "x/a", "//x//a", "/x/../x/./a", "/../x/a", "x/a/"])
def test_every_spelling_of_a_path_is_the_same_name(path: str) -> None:
    names = MemoryNames()
    names.make_dir("/x")
    file = content()
    names.put_file("/x/a", file)
    assert names.find(path) is file
    assert list(names.files()) == [("/x/a", file)]


@pytest.mark.parametrize("path", ["", "/", ".."])
def test_root_is_always_there_and_cannot_go(path: str) -> None:
    names = MemoryNames()
    names.make_dir(path)
    assert names.directory(path) == {}
    with raises_errno(errno.EBUSY):
        names.remove_dir(path)


def test_files_are_found_at_every_depth() -> None:
    names = MemoryNames()
    names.make_dir("/x/y")
    for path in ("/a", "/x/b", "/x/y/c"):
        names.put_file(path, content())
    assert sorted(path for path, _ in names.files()) == ["/a", "/x/b", "/x/y/c"]
