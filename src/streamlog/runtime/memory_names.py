"""The directories of a file system in memory."""

from __future__ import annotations

import errno
import os
import posixpath
from typing import TYPE_CHECKING

from streamlog.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamlog.runtime.memory_file import MemoryContent

Directory = dict[str, "Directory | MemoryContent"]


class MemoryNames:
    """A tree of names. A directory is a dict; anything else in one is a file's content.

    Raises what the operating system would: FileNotFoundError, FileExistsError, NotADirectoryError,
    IsADirectoryError, or OSError with ENOTEMPTY.

    Threads: one at a time; `MemoryFileSystem` holds its lock.
    """

    __slots__ = ("_root",)

    def __init__(self) -> None:
        self._root: Directory = {}

    def entry(self, path: str) -> Directory | MemoryContent:
        """Return what *path* names."""
        found: Directory | MemoryContent = self._root
        for name in _components(path):
            if not isinstance(found, dict):
                raise os_error(errno.ENOTDIR, path)
            if name not in found:
                raise os_error(errno.ENOENT, path)
            found = found[name]
        return found

    def find(self, path: str) -> Directory | MemoryContent | None:
        """Return what *path* names, or None."""
        try:
            return self.entry(path)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def directory(self, path: str) -> Directory:
        """Return the directory *path*."""
        found = self.entry(path)
        if not isinstance(found, dict):
            raise os_error(errno.ENOTDIR, path)
        return found

    def file(self, path: str) -> MemoryContent:
        """Return the content of the file *path*."""
        found = self.entry(path)
        if isinstance(found, dict):
            raise StorageError(f"{path} is not a regular file", errno=errno.EISDIR)
        return found

    def files(self) -> Iterator[tuple[str, MemoryContent]]:
        """Yield the path and content of every file."""
        directories = [("", self._root)]
        while directories:
            path, directory = directories.pop()
            for name, entry in directory.items():
                if isinstance(entry, dict):
                    directories.append((f"{path}/{name}", entry))
                else:
                    yield f"{path}/{name}", entry

    def put_file(self, path: str, content: MemoryContent) -> None:
        """Give *content* the name *path*, replacing a file of that name."""
        directory, name = self._place(path)
        if isinstance(directory.get(name), dict):
            raise os_error(errno.EISDIR, path)
        directory[name] = content

    def remove_file(self, path: str) -> None:
        """Remove the name *path* of a file."""
        directory, name = self._place(path)
        if name not in directory:
            raise os_error(errno.ENOENT, path)
        if isinstance(directory[name], dict):
            raise os_error(errno.EISDIR, path)
        del directory[name]

    def make_dir(self, path: str) -> None:
        """Make the directory *path* and its missing parents."""
        directory = self._root
        for name in _components(path):
            entry = directory.setdefault(name, {})
            if not isinstance(entry, dict):
                is_last = entry is self.find(path)
                raise os_error(errno.EEXIST if is_last else errno.ENOTDIR, path)
            directory = entry

    def remove_dir(self, path: str) -> None:
        """Remove the empty directory *path*."""
        if self.directory(path):
            raise os_error(errno.ENOTEMPTY, path)
        directory, name = self._place(path)
        del directory[name]

    def rename(self, source: str, target: str) -> None:
        """Give *source* the name *target*, replacing a file or an empty directory of that name."""
        old_directory, old_name = self._place(source)
        new_directory, new_name = self._place(target)
        moved = self.entry(source)
        replaced = self.find(target)
        if moved is replaced:
            return
        if isinstance(moved, dict):
            if _components(target)[: len(_components(source))] == _components(source):
                raise os_error(errno.EINVAL, target)  # into itself
            if replaced is not None and not isinstance(replaced, dict):
                raise os_error(errno.ENOTDIR, target)
            if replaced:
                raise os_error(errno.ENOTEMPTY, target)
        elif isinstance(replaced, dict):
            raise os_error(errno.EISDIR, target)
        del old_directory[old_name]
        new_directory[new_name] = moved

    def _place(self, path: str) -> tuple[Directory, str]:
        """Return the directory that *path* is in, and its name there."""
        names = _components(path)
        if not names:
            raise os_error(errno.EBUSY, path)  # the root itself
        return self.directory("/".join(names[:-1])), names[-1]


def _components(path: str) -> list[str]:
    # With "/" in front, ".." cannot lead out of the tree.
    return [name for name in posixpath.normpath("/" + path).split("/") if name]


def os_error(number: int, path: str) -> OSError:
    """Return the error the operating system would raise for *path*."""
    return OSError(number, os.strerror(number), path)
