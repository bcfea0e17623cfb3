"""The files of a data directory around its logs: made so that they last, told from somebody else's, removed."""

from __future__ import annotations

import logging

from streamlog.errors import CorruptLogError, NotStreamlogDirectoryError, UnsupportedFormatError
from streamlog.runtime import LOCK_FILE_NAME, TEMPORARY_SUFFIX, FileSystem, parent_path
from streamlog.storage.checkpoint_file import read_checkpoint
from streamlog.storage.directory_state import STATE_NAME
from streamlog.storage.file_names import join

_logger = logging.getLogger("streamlog")

FORMAT_NAME, META_NAME = "FORMAT", "META"
TOPICS_NAME, QUARANTINE_NAME = "topics", "quarantine"
_KNOWN_NAMES = {LOCK_FILE_NAME, FORMAT_NAME, STATE_NAME, META_NAME, TOPICS_NAME, QUARANTINE_NAME}

#: How the name of a log directory ends that we ourselves renamed to be deleted.
DELETE_SUFFIX = "-delete"
_ASIDE_NAME_LENGTH = 200


def refuse_foreign(filesystem: FileSystem, path: str) -> None:
    """Raise NotStreamlogDirectoryError when there is something at *path* that is not, or not just, a streamlog directory."""
    if not filesystem.exists(path):
        return
    names = filesystem.list_dir(path)
    if FORMAT_NAME in names:
        return
    foreign = [n for n in names if n not in _KNOWN_NAMES and not n.endswith(TEMPORARY_SUFFIX)]
    # FORMAT is written last: without it there may be the files of a directory that was never finished, which are empty.
    if not foreign and TOPICS_NAME in names and filesystem.list_dir(join(path, TOPICS_NAME)):
        foreign = [f"logs without a {FORMAT_NAME} file"]
    if not foreign and META_NAME in names and not _is_empty_manifest(filesystem, path):
        foreign = [f"a list of topics without a {FORMAT_NAME} file"]
    if foreign:
        raise NotStreamlogDirectoryError(
            f"{path}: expected a streamlog directory (with a {FORMAT_NAME} file) or an empty one, "
            f"found {', '.join(foreign[:5])}"
        )


def _is_empty_manifest(filesystem: FileSystem, path: str) -> bool:
    try:
        return read_checkpoint(filesystem, join(path, META_NAME), META_NAME) == {}
    except (CorruptLogError, UnsupportedFormatError):
        return False


def make_durable_directory(filesystem: FileSystem, path: str) -> None:
    """Make the directory at *path* with its missing parents, so that none of them is gone after a power loss.

    Does nothing where a data directory is already. From the top down, each made only when the name above it is on the disk: an
    earlier attempt that failed on the way has then left at most the lowest one there is without that, and that is made up for.
    """
    if filesystem.exists(join(path, FORMAT_NAME)):
        return
    missing: list[str] = []
    at = path
    while not filesystem.exists(at):
        missing.append(at)
        at = parent_path(at)
    for directory in (at, *reversed(missing)):
        if directory is not at:
            filesystem.make_dir(directory)
        try:
            filesystem.sync_dir(parent_path(directory))
        except PermissionError as error:  # one may be allowed to write into it and not to read it
            _logger.warning("%s: its name may not survive a power loss: %s", directory, error)


def delete_log_directory(filesystem: FileSystem, path: str, generation: int) -> None:
    """Delete the log directory at *path*: rename, then remove. A crash in between leaves a name that says what it is."""
    number = 0
    # Cut: with the suffix, the longest legal topic name would be longer than a file name may be.
    stem = path[: path.rindex("/") + _ASIDE_NAME_LENGTH]
    while filesystem.exists(aside := f"{stem}.{generation}.{number}{DELETE_SUFFIX}"):
        number += 1
    filesystem.rename(path, aside)
    remove_tree(filesystem, aside)


def remove_tree(filesystem: FileSystem, path: str) -> None:
    """Remove the directory at *path* and what is in it."""
    for name in filesystem.list_dir(path):
        inner = join(path, name)
        if filesystem.is_dir(inner):
            remove_tree(filesystem, inner)
        else:
            filesystem.unlink(inner)
    filesystem.remove_dir(path)
