"""The names of the files in a partition directory (LOG-1)."""

from __future__ import annotations

LOG_SUFFIX = ".log"
OFFSET_INDEX_SUFFIX = ".idx"
TIME_INDEX_SUFFIX = ".tix"
TRANSACTION_INDEX_SUFFIX = ".txn"
SNAPSHOT_SUFFIX = ".snap"
DELETED_SUFFIX = ".deleted"
CLEANED_SUFFIX = ".cleaned"
TEMPORARY_SUFFIX = ".tmp"

SEGMENT_SUFFIXES = (
    LOG_SUFFIX,
    OFFSET_INDEX_SUFFIX,
    TIME_INDEX_SUFFIX,
    TRANSACTION_INDEX_SUFFIX,
)

_MAX_OFFSET = 2**63 - 1


def segment_stem(base_offset: int) -> str:
    """Return the file stem of the segment at *base_offset*: 20 digits, so that names sort as offsets do."""
    return f"{base_offset:020d}"


def base_offset_of(name: str) -> int | None:
    """Return the base offset in a log file's *name*, or None when it is not the name of a log file."""
    return _offset_in(name, LOG_SUFFIX)


def snapshot_offset_of(name: str) -> int | None:
    """Return the offset in a producer snapshot's *name*, or None when it is not the name of one."""
    return _offset_in(name, SNAPSHOT_SUFFIX)


def _offset_in(name: str, suffix: str) -> int | None:
    stem = name.removesuffix(suffix)
    if stem == name or len(stem) != 20 or not (stem.isascii() and stem.isdigit()):
        return None
    base_offset = int(stem)
    return base_offset if base_offset <= _MAX_OFFSET else None


def join(directory: str, name: str) -> str:
    """Return the path of *name* inside *directory*."""
    return f"{directory}/{name}"
