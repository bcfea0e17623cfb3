"""Replacing a small file as a whole: the order of steps that a crash cannot spoil."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.runtime.paths import parent_path

if TYPE_CHECKING:
    from streamlog.runtime.filesystem import File, FileSystem


def replace_file(
    filesystem: FileSystem, path: str, data: bytes, temporary: str, file: File
) -> None:
    """Put *data* in place of *path*, by way of *file*, which was just made under the name *temporary*.

    Here once, because every file system that has steps at all must take these: what
    `FileSystem.write_atomically` promises is decided by their order.
    """
    try:
        try:
            file.write_at(0, data)
            file.sync()  # before the name: a power cut may keep the rename and lose the bytes
        finally:
            file.close()
        filesystem.rename(temporary, path)
    except BaseException:
        try:
            filesystem.unlink(temporary)
        except OSError:
            pass  # the first error matters; the next start removes the file by its suffix
        raise
    filesystem.sync_dir(parent_path(path))
