"""The records in a Kafka batch, from and to columns.

A record is: length, attributes (one byte, 0), timestamp delta, offset delta, key, value, number of headers, headers; a key, value or
header value is a length, -1 for null, and its bytes, and so is a header name, which is never null. All numbers but the attributes are zigzag
variable integers: the sign in the lowest bit, seven bits a byte, the lowest first. Source: Kafka ``DefaultRecord``, ``ByteUtils``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import repeat
from typing import NamedTuple

from streamlog.errors import RecordDecodeError
from streamlog.record.columns import Headers

#: Length, attributes, two deltas, three counts.
MIN_RECORD_BYTES = 7

_NULL = b"\x01"
_NO_HEADERS = b"\x00"

#: So many numbers from 0 on are encoded by a look into a list.
_SMALL = 4096


class KafkaColumns(NamedTuple):
    """What the records of a batch hold, by column; a column that has nothing but nulls or zeros is None, but for the values."""

    offset_deltas: list[int]
    timestamp_deltas: list[int] | None
    keys: list[bytes | None] | None
    values: list[bytes | None]
    headers: list[Headers] | None


def decode_kafka_records(data: bytes, records_count: int) -> KafkaColumns:
    """Return the *records_count* records that *data*, uncompressed, is made of.

    Never trusts a length or a count: raises RecordDecodeError for bytes that are anything else, before it allocates for what they claim.
    """
    if records_count * MIN_RECORD_BYTES > len(data):
        raise RecordDecodeError(
            f"record batch: {records_count} records in {len(data)} bytes: expected at least {MIN_RECORD_BYTES} for each"
        )
    try:
        columns, end = _decode(data, records_count)
    except (IndexError, UnicodeDecodeError) as error:
        raise RecordDecodeError(f"record batch: {error}") from error
    if end != len(data):
        raise RecordDecodeError(
            f"record batch: {records_count} records end at byte {end} of {len(data)}"
        )
    return columns


def _decode(data: bytes, records_count: int) -> tuple[KafkaColumns, int]:
    # One-byte numbers are decoded where they stand: a call for each would be half of the time.
    offset_deltas: list[int] = []
    timestamp_deltas: list[int] = []
    keys: list[bytes | None] = []
    values: list[bytes | None] = []
    headers: list[Headers] = []
    has_headers = False
    position = 0
    for _ in range(records_count):
        length = data[position]
        position += 1
        if length > 127:
            length, position = _read_varint(data, position - 1)
        else:
            length = (length >> 1) ^ -(length & 1)
        end = position + length
        position += 1  # attributes: none are defined
        delta = data[position]
        position += 1
        if delta > 127:
            delta, position = _read_varint(data, position - 1)
        else:
            delta = (delta >> 1) ^ -(delta & 1)
        timestamp_deltas.append(delta)
        delta = data[position]
        position += 1
        if delta > 127:
            delta, position = _read_varint(data, position - 1)
        else:
            delta = (delta >> 1) ^ -(delta & 1)
        offset_deltas.append(delta)
        size = data[position]
        position += 1
        if size > 127:
            size, position = _read_varint(data, position - 1)
        else:
            size = (size >> 1) ^ -(size & 1)
        if size < 0:
            keys.append(None)
        else:
            stop = position + size
            keys.append(data[position:stop])
            position = stop
        size = data[position]
        position += 1
        if size > 127:
            size, position = _read_varint(data, position - 1)
        else:
            size = (size >> 1) ^ -(size & 1)
        if size < 0:
            values.append(None)
        else:
            stop = position + size
            values.append(data[position:stop])
            position = stop
        if data[position]:
            has_headers = True
            found, position = _read_headers(data, position, end)
            headers.append(found)
        else:
            position += 1
            headers.append(())
        # A field that reached too far, a negative length, a record that says another size: all end up here.
        if position != end:
            raise RecordDecodeError(
                f"record batch: record {len(values) - 1}: expected it to end at byte {end}, found {position}"
            )
    columns = KafkaColumns(
        offset_deltas,
        timestamp_deltas if any(timestamp_deltas) else None,
        None if keys.count(None) == len(keys) else keys,
        values,
        headers if has_headers else None,
    )
    return columns, position


def _read_headers(data: bytes, position: int, end: int) -> tuple[Headers, int]:
    count, position = _read_varint(data, position)
    # Each takes two bytes at least.
    if not 0 <= count <= (end - position) // 2:
        raise RecordDecodeError(f"record batch: {count} headers in {end - position} bytes")
    found: list[tuple[str, bytes | None]] = []
    for _ in range(count):
        size, position = _read_varint(data, position)
        stop = position + size
        if size < 0 or stop > end:
            raise RecordDecodeError(f"record batch: header name of {size} bytes")
        name = str(data[position:stop], "utf-8")
        size, position = _read_varint(data, stop)
        stop = position + max(size, 0)
        if stop > end:
            raise RecordDecodeError(f"record batch: header value of {size} bytes")
        found.append((name, None if size < 0 else data[position:stop]))
        position = stop
    return tuple(found), position


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    """Return the zigzag number of at most ten bytes at *position*, and the position behind it."""
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), position
        shift += 7
        if shift > 63:
            raise RecordDecodeError(f"record batch: byte {position}: number of more than 64 bits")


def _varint(number: int) -> bytes:
    value = (number << 1) ^ (number >> 63)
    raw = bytearray()
    while value > 0x7F:
        raw.append(value & 0x7F | 0x80)
        value >>= 7
    raw.append(value)
    return bytes(raw)


def encode_kafka_records(
    offset_deltas: Sequence[int],
    timestamp_deltas: Sequence[int] | None,
    keys: Sequence[bytes | None] | None,
    values: Sequence[bytes | None],
    headers: Sequence[Headers] | None,
) -> bytes:
    """Return the records, uncompressed; columns are as long as each other, None where every element is null or 0."""
    count = len(values)
    small, limit = _small_varints(), _SMALL
    parts: list[bytes] = []
    for offset, delta, key, value, found in zip(
        offset_deltas,
        repeat(0, count) if timestamp_deltas is None else timestamp_deltas,
        repeat(None, count) if keys is None else keys,
        values,
        repeat((), count) if headers is None else headers,
        strict=True,
    ):
        # Attributes, deltas and the size of the key: what stands in front of the first bytes that are the user's.
        head = b"\0" + (small[delta] if 0 <= delta < limit else _varint(delta))
        head += small[offset] if offset < limit else _varint(offset)
        if key is None:
            head += _NULL
            key = b""
        else:
            size = len(key)
            head += small[size] if size < limit else _varint(size)
        if value is None:
            middle = _NULL
            value = b""
        else:
            size = len(value)
            middle = small[size] if size < limit else _varint(size)
        tail = _encode_headers(found) if found else _NO_HEADERS
        size = len(head) + len(key) + len(middle) + len(value) + len(tail)
        parts += (small[size] if size < limit else _varint(size), head, key, middle, value, tail)
    return b"".join(parts)


@cache
def _small_varints() -> list[bytes]:
    """Return the encodings of 0 to _SMALL - 1. Not made before somebody needs it: a process without a listener never does."""
    return [_varint(number) for number in range(_SMALL)]


def _encode_headers(headers: Headers) -> bytes:
    parts = [_varint(len(headers))]
    for name, value in headers:
        raw = name.encode()
        parts += (_varint(len(raw)), raw)
        if value is None:
            parts.append(_NULL)
        else:
            parts += (_varint(len(value)), value)
    return b"".join(parts)
