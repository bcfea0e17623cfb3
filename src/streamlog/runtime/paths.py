"""Paths as plain strings, for layers that may not import `os`."""

from __future__ import annotations

import os
from typing import Union

StrPath = Union[str, "os.PathLike[str]"]
"""What a public parameter that names a file or directory accepts."""


def path_string(path: StrPath) -> str:
    """Return *path* as an absolute, normalised string. Symbolic links are not followed."""
    return os.path.abspath(os.fspath(path))


def join_path(directory: str, *names: str) -> str:
    """Return the path of *names* below *directory*."""
    return os.path.join(directory, *names)


def base_name(path: str) -> str:
    """Return the last component of *path*."""
    return os.path.basename(path)


def parent_path(path: str) -> str:
    """Return the directory that holds *path*; "." for a bare name."""
    return os.path.dirname(path) or "."
