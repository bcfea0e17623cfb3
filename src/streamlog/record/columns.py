"""The body of a batch: four msgpack columns behind a small directory.

====== ==== ====== ================ =====================================================================
offset size type   field            meaning
====== ==== ====== ================ =====================================================================
0      4    u32    values_size      bytes of the values column; 0 = no records
4      4    u32    keys_size        bytes of the keys column; 0 = every key is null
8      4    u32    timestamps_size  bytes of the timestamps column; 0 = every record has first_timestamp
12     ..   msgpack values          array of bin or nil, one element a record
..     ..   msgpack keys            array of bin or nil, one element a record
..     ..   msgpack timestamps      array of int: timestamp - first_timestamp
..     ..   msgpack headers         the rest of the body; none = no record has headers. An array with one element a
                                    record: nil, or a flat array ``[name, value, name, value, ...]`` in order
====== ==== ====== ================ =====================================================================

By column, because a column packs 1.8 times and unpacks 1.5 times as fast as rows, and because a reader that wants values alone
never touches the rest. Null and empty are different things everywhere: nil and a bin of length 0.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, cast

import msgpack

from streamlog.errors import RecordDecodeError

Headers = tuple[tuple[str, "bytes | None"], ...]

_DIRECTORY = struct.Struct("<III")
_UNPACK_DIRECTORY = _DIRECTORY.unpack_from
DIRECTORY_SIZE = _DIRECTORY.size

#: What the empty body of a batch without records stands for.
_NO_COLUMNS = memoryview(bytes(DIRECTORY_SIZE))

# One packer for the process: packb() makes a new one, with a fresh 256 KiB buffer, at each call. pack() keeps the GIL from start
# to end (only bytes, str, int and None ever reach it), so threads cannot meet inside.
_pack = msgpack.Packer(autoreset=True).pack

_SINGLE_BIN_8 = b"\x91\xc4"

#: What the body of one plain value of up to 255 bytes starts with, by the length of the value: directory, array of 1, bin 8.
SINGLE_VALUE_PREFIXES = [
    _DIRECTORY.pack(n + 3, 0, 0) + _SINGLE_BIN_8 + bytes((n,)) for n in range(256)
]


def encode_columns(
    values: Sequence[bytes | None],
    keys: Sequence[bytes | None] | None,
    timestamp_deltas: Sequence[int] | None,
    headers: Sequence[Headers] | None,
) -> bytes:
    """Return the body of a batch of ``len(values)`` records; a column given as None is left out.

    All columns have the same length; the elements must be of exactly the types named (the caller checked them).
    """
    packed_values = _pack(values)
    packed_keys = _pack(keys) if keys is not None else b""
    packed_timestamps = _pack(timestamp_deltas) if timestamp_deltas is not None else b""
    directory = _DIRECTORY.pack(len(packed_values), len(packed_keys), len(packed_timestamps))
    if headers is None:
        return directory + packed_values + packed_keys + packed_timestamps
    flat = [[part for header in record for part in header] or None for record in headers]
    return b"".join((directory, packed_values, packed_keys, packed_timestamps, _pack(flat)))


def single_value_size(value_size: int) -> int:
    """Return how long the body of :func:`encode_single_value` is for a value of *value_size* bytes."""
    marker = 2 if value_size < 1 << 8 else 3 if value_size < 1 << 16 else 5
    return DIRECTORY_SIZE + 1 + marker + value_size


def encode_single_value(value: bytes) -> bytes:
    """Return the body of a batch of one record that has a value and nothing else."""
    size = len(value)
    if size < 256:
        return SINGLE_VALUE_PREFIXES[size] + value
    return encode_columns([value], None, None, None)


def plain_value(body: bytes) -> bytes | None:
    """Return the value when *body* is what `encode_single_value` makes of one of up to 255 bytes; None for any other body."""
    size = len(body) - 15
    if 0 <= size < 256 and body[:15] == SINGLE_VALUE_PREFIXES[size]:
        return body[15:]
    return None


def decode_values(body: bytes, record_count: int) -> list[bytes | None]:
    """Return the values of an uncompressed body: `ColumnReader.values` without the reader, for the hot path."""
    try:
        values_size, keys_size, timestamps_size = _UNPACK_DIRECTORY(body)
        values_end = DIRECTORY_SIZE + values_size
        if values_end + keys_size + timestamps_size <= len(body):
            if record_count == 1 and body[12:14] == _SINGLE_BIN_8 and body[14] + 3 == values_size:
                # As for plain_value(), with whatever other columns there are.
                return [body[15:values_end]]
            column = msgpack.unpackb(
                memoryview(body)[DIRECTORY_SIZE:values_end],
                max_array_len=record_count,
                max_str_len=0,
                max_map_len=0,
                max_ext_len=0,
            )
            if type(column) is list and len(column) == record_count > 0:
                return column
    except Exception:  # noqa: BLE001, S110 - the reader below finds it again, and says what it is
        pass
    return ColumnReader(memoryview(body), record_count).values()


def body_has_values_only(body: bytes) -> bool:
    """Whether *body* has no column but the values. False, not an error, for a body too short to say so."""
    if len(body) < DIRECTORY_SIZE:
        return False
    values_size, keys_size, timestamps_size = _UNPACK_DIRECTORY(body)
    # The headers are what follows the three: there are none.
    return bool(keys_size + timestamps_size == 0 and DIRECTORY_SIZE + values_size == len(body))


class ColumnReader:
    """Reads the columns of one body. Never trusts a size or a count; every failure is a :class:`RecordDecodeError`.

    *body* is the uncompressed body, *record_count* what the header says; without records it may be empty. Threads: any, it keeps no
    state between calls.
    """

    __slots__ = (
        "_body",
        "_keys_at",
        "_headers_at",
        "_timestamps_at",
        "_values_end",
        "record_count",
    )

    def __init__(self, body: memoryview, record_count: int) -> None:
        if not body and not record_count:
            body = _NO_COLUMNS
        if len(body) < DIRECTORY_SIZE:
            raise RecordDecodeError(
                f"batch body: expected at least {DIRECTORY_SIZE} bytes, found {len(body)}"
            )
        values_size, keys_size, timestamps_size = _DIRECTORY.unpack_from(body)
        self._values_end = self._keys_at = DIRECTORY_SIZE + values_size
        self._timestamps_at = self._keys_at + keys_size
        self._headers_at = self._timestamps_at + timestamps_size
        if self._headers_at > len(body):
            raise RecordDecodeError(
                f"batch body: columns of {self._headers_at} bytes in a body of {len(body)}"
            )
        # Each element takes a byte at least, so a count above this is a lie, and believing it would allocate for it.
        if record_count > values_size:
            raise RecordDecodeError(
                f"batch body: {record_count} records in a values column of {values_size} bytes"
            )
        self._body = body
        self.record_count = record_count

    @property
    def has_values_only(self) -> bool:
        """Whether there is no column but the values."""
        return bool(self._values_end == len(self._body))

    def values(self) -> list[bytes | None]:
        """Return the values, null as None, in offset order."""
        if self.record_count == 0:
            return []
        packed = self._body[DIRECTORY_SIZE : self._values_end]
        return cast("list[bytes | None]", unpack_column(packed, self.record_count, "values"))

    def keys(self) -> list[bytes | None] | None:
        """Return the keys in offset order, or None when every key is null."""
        if self._keys_at == self._timestamps_at:
            return None
        packed = self._body[self._keys_at : self._timestamps_at]
        return cast("list[bytes | None]", unpack_column(packed, self.record_count, "keys"))

    def timestamp_deltas(self) -> list[int] | None:
        """Return the differences to the first timestamp (ms) in offset order, or None when all are 0."""
        if self._timestamps_at == self._headers_at:
            return None
        packed = self._body[self._timestamps_at : self._headers_at]
        return cast("list[int]", unpack_column(packed, self.record_count, "timestamps"))

    def headers(self) -> list[Headers] | None:
        """Return the headers of each record in offset order, or None when no record has any."""
        if self._headers_at == len(self._body):
            return None
        packed = self._body[self._headers_at :]
        rows = unpack_column(packed, self.record_count, "headers", max_str_len=len(packed))
        try:
            return [
                () if row is None else tuple(zip(row[::2], row[1::2], strict=True)) for row in rows
            ]
        except (TypeError, ValueError) as error:
            raise RecordDecodeError(f"batch body: headers column is malformed: {error}") from error

    def check(self) -> None:
        """Decode everything and check the type of every element: for fuzzing and for tools, not for the read path.

        The read path relies on the checksum for this: bytes whose CRC-32C is right are bytes that a builder wrote.
        """
        blobs = {bytes, type(None)}
        for name, column, types in (
            ("values", self.values(), blobs),
            ("keys", self.keys(), blobs),
            ("timestamps", self.timestamp_deltas(), {int}),
        ):
            if column is not None and not set(map(type, column)) <= types:
                raise RecordDecodeError(
                    f"batch body: an element of the {name} column has the wrong type"
                )
        for record in self.headers() or ():
            for name, value in record:
                if type(name) is not str or not (value is None or type(value) is bytes):
                    raise RecordDecodeError("batch body: a header is not a name with bytes or nil")


def unpack_column(
    packed: memoryview, record_count: int, name: str, max_str_len: int = 0
) -> list[Any]:
    """Return the array of *record_count* elements in *packed*, whatever their types; *name* is for the error, a RecordDecodeError.

    With *max_str_len* there may be strings of up to that length, and arrays inside the array.
    """
    # Every limit is explicit: msgpack's defaults equal the input length and accept extension types.
    try:
        column = msgpack.unpackb(
            packed,
            max_array_len=len(packed) if max_str_len else max(record_count, 1),
            max_str_len=max_str_len,
            max_map_len=0,
            max_ext_len=0,
        )
    except (
        Exception
    ) as error:  # the ValueError family, UnicodeDecodeError, RecursionError, MemoryError, ...
        raise RecordDecodeError(
            f"batch body: {name} column is not valid msgpack: {error!r}"
        ) from error
    if type(column) is not list or len(column) != record_count:
        found = f"{len(column)} elements" if type(column) is list else type(column).__name__
        raise RecordDecodeError(
            f"batch body: {name} column: expected {record_count} elements, found {found}"
        )
    return column
