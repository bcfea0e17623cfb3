"""Records of the broker's own topics: keys and values are msgpack arrays, and reading them is strict.

The first element of a key says what the record is about, the first of a value is the version of its
layout. Total: whatever the bytes, what cannot be read is a ValueError or `UnsupportedFormatError`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import msgpack

from streamlog.errors import CorruptRecordError, RecordDecodeError, UnsupportedFormatError
from streamlog.record import BatchView, split_batches

if TYPE_CHECKING:
    from streamlog.broker.partition import Partition

Layouts = tuple[tuple[Any, ...], ...]
"""The types of the fields of each version of a value, from version 1 on; the version itself is one."""

_READ_BYTES = 1 << 20
_MAX_FIELDS = 16

_log = logging.getLogger("streamlog")
_T = TypeVar("_T")


def unpack_fields(data: bytes | None) -> list[Any]:
    """Return the array in *data*, of at most 16 fields. Raises ValueError."""
    if data is None:
        raise ValueError("expected a key, found null")
    try:
        fields = msgpack.unpackb(
            data, max_array_len=_MAX_FIELDS, max_map_len=0, max_ext_len=0, max_bin_len=0
        )
    except Exception as error:  # ValueError and its kin, UnicodeDecodeError, RecursionError, ...
        raise ValueError(f"not msgpack: {error!r}") from error
    if type(fields) is not list:
        raise ValueError(f"expected an array, found {type(fields).__name__}")
    return fields


def unpack_long(data: bytes) -> list[Any]:
    """Return the array in *data*, of any length, in which nothing is nested. Raises ValueError.

    One field at a time: arrays within arrays could claim more memory than there is.
    """
    unpacker = msgpack.Unpacker(
        max_buffer_size=max(len(data), 1),
        max_array_len=0,
        max_map_len=0,
        max_ext_len=0,
        max_bin_len=0,
    )
    try:
        unpacker.feed(data)
        fields = [unpacker.unpack() for _ in range(unpacker.read_array_header())]
    except Exception as error:
        raise ValueError(f"not msgpack: {error!r}") from error
    if unpacker.tell() != len(data):
        raise ValueError(f"expected {unpacker.tell()} bytes, found {len(data)}")
    return fields


def check_version(topic: str, fields: list[Any], newest: int) -> int:
    """Return the version of a value. Raises ValueError for none, `UnsupportedFormatError` above *newest*."""
    version = fields[0] if fields else None
    if type(version) is not int or version < 1:
        raise ValueError(f"expected a version, found {fields!r:.100}")
    if version > newest:
        raise UnsupportedFormatError(
            f"{topic}: expected value version {newest}, found {version}: written by a newer version"
        )
    return version


def check_types(fields: list[Any], types: tuple[Any, ...]) -> list[Any]:
    """Return *fields* if they are of these types. Raises ValueError."""
    if len(fields) != len(types) or not all(map(isinstance, fields, types)):
        raise ValueError(f"expected fields of types {types}, found {fields!r:.100}")
    return fields


def read_batches(
    partition: Partition,
    decode: Callable[[BatchView, int], Iterator[_T]],
    what: str,
    start_offset: int = 0,
    end_offset: int | None = None,
) -> Iterator[_T]:
    """Yield what *decode* makes of each batch, from *start_offset* or the log start, whichever is later, to *end_offset* (None: the
    end of the log now).

    *decode* is given a batch, checked, and the first of its offsets that counts. Raises `CorruptLogError`
    naming partition and offset for anything that cannot be read as *what*.
    """
    offset = max(partition.log_start_offset, start_offset)
    end = partition.high_watermark if end_offset is None else end_offset
    while offset < end:
        try:
            for batch in split_batches(partition.read(offset, _READ_BYTES)):
                batch.check()
                yield from decode(batch, offset)
                offset = batch.next_offset
        except (CorruptRecordError, RecordDecodeError, ValueError) as error:
            raise partition.damage_at(offset, f"offset {offset}: not {what}: {error}") from error


def decode_records(
    topic: str,
    batch: BatchView,
    start: int,
    decode: Callable[[bytes | None, bytes | None], _T | None],
) -> Iterator[_T]:
    """Yield what *decode* makes of each key and value from offset *start* on. None means a kind that
    this version does not know: skipped with a warning, as Kafka does.
    """
    keys = batch.keys() or [None] * batch.record_count
    for offset, key, value in zip(batch.offsets(), keys, batch.values(), strict=True):
        if offset < start:
            continue
        record = decode(key, value)
        if record is None:
            _log.warning(
                "%s: skipped the record at offset %d: a kind written by a newer version",
                topic,
                offset,
            )
        else:
            yield record
