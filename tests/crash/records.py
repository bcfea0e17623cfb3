"""Records that can be told from all others by themselves: everything in them follows from their name.

A name is ``<run>-<thread>-<number>``. The value begins with it and is padded to an awkward length; key, headers and timestamp
are computed from the value, except for the plain records of threads from PLAIN on, which have a value and nothing else. So a process that finds a record knows whether anybody sent it, and whether all of it is there.
"""

from __future__ import annotations

import zlib

Headers = list[tuple[str, bytes | None]]

PLAIN = 100
"""Threads numbered from here on send records that are a value and nothing else."""

FIRST_TIMESTAMP_MS = 1_700_000_000_000


def value_for(run: int, thread: int, number: int) -> bytes:
    """Return the value of one record: its name, then padding whose length depends on it."""
    name = b"%d-%d-%d|" % (run, thread, number)
    return name + b"." * (zlib.crc32(name) % 300)


def run_of(value: bytes) -> int:
    """Return the run that sent *value*; ValueError when nobody did."""
    run, thread, number = map(int, value.split(b"|")[0].split(b"-"))
    if value != value_for(run, thread, number):
        raise ValueError(value)
    return run


def is_plain(value: bytes) -> bool:
    """Return whether *value* is all that its record says."""
    return int(value.split(b"-", 2)[1]) >= PLAIN


def key_for(value: bytes) -> bytes | None:
    """Return the key that goes with *value*; most have one."""
    crc = zlib.crc32(value)
    return b"key-%d" % (crc % 20) if crc % 5 else None


def headers_for(value: bytes) -> Headers:
    """Return the headers that go with *value*; a few have some."""
    crc = zlib.crc32(value)
    return [("name", value.split(b"|")[0]), ("none", None)] if crc % 7 == 0 else []


def timestamp_for(value: bytes) -> int:
    """Return the timestamp that goes with *value*: in no order."""
    return FIRST_TIMESTAMP_MS + zlib.crc32(value) % 1_000_000
