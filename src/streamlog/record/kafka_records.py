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

    timestamp_deltas: list[int] | None
    keys: list[bytes | None] | None
    values: list[bytes | None]
    headers: list[Headers] | None


def decode_kafka_records(data: bytes, records_count: int) -> KafkaColumns:
    """Return the *records_count* records that *data*, uncompressed, is made of; they take one offset each, from 0 on.

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
    # Numbers of one and two bytes are decoded where they stand: a call for each would be half of the time. What the sign bit is set
    # in is negative: a null where there may be one, and elsewhere wrong, as the check at the end of each record finds.
    timestamp_deltas: list[int] = []
    keys: list[bytes | None] = []
    values: list[bytes | None] = []
    headers: list[Headers] = []
    has_keys = has_headers = False
    position = 0
    for doubled_offset in range(0, 2 * records_count, 2):
        raw = data[position]
        position += 1
        if raw > 127:
            following = data[position]
            if following < 128:
                raw += (following << 7) - 128
                position += 1
            else:
                raw, position = _read_raw(data, position - 1)
        doubled_end = 2 * position + raw
        position += 1  # attributes: none are defined
        raw = data[position]
        position += 1
        if raw > 127:
            following = data[position]
            if following < 128:
                raw += (following << 7) - 128
                position += 1
            else:
                raw, position = _read_raw(data, position - 1)
        timestamp_deltas.append((raw >> 1) ^ -(raw & 1))
        raw = data[position]
        position += 1
        if raw > 127:
            following = data[position]
            if following < 128:
                raw += (following << 7) - 128
                position += 1
            else:
                raw, position = _read_raw(data, position - 1)
        if raw != doubled_offset:
            raise RecordDecodeError(
                f"record batch: record {len(values)}: expected that number as its offset delta, found {(raw >> 1) ^ -(raw & 1)}"
            )
        raw = data[position]
        position += 1
        if raw == 1:
            keys.append(None)
        else:
            if raw > 127:
                raw, position = _read_raw(data, position - 1)
            stop = position + (raw >> 1 if not raw & 1 else _negative(raw))
            keys.append(data[position:stop])
            position = stop
            has_keys = True
        raw = data[position]
        position += 1
        if raw == 1:
            values.append(None)
        else:
            if raw > 127:
                following = data[position]
                if following < 128:
                    raw += (following << 7) - 128
                    position += 1
                else:
                    raw, position = _read_raw(data, position - 1)
            stop = position + (raw >> 1 if not raw & 1 else _negative(raw))
            values.append(data[position:stop])
            position = stop
        if data[position]:
            if not has_headers:
                has_headers = True
                headers = [()] * (len(values) - 1)
            found, position = _read_headers(data, position, doubled_end >> 1)
            headers.append(found)
        else:
            position += 1
            if has_headers:
                headers.append(())
        # A field that reached too far, a negative length, a record that says another size: all end up here.
        if 2 * position != doubled_end:
            raise RecordDecodeError(
                f"record batch: record {len(values) - 1}: expected it to end at byte {doubled_end / 2:g}, found {position}"
            )
    columns = KafkaColumns(
        timestamp_deltas if any(timestamp_deltas) else None,
        keys if has_keys else None,
        values,
        headers if has_headers else None,
    )
    return columns, position


def _negative(raw: int) -> int:
    raise RecordDecodeError(f"record batch: expected a length of -1 or more, found {~(raw >> 1)}")


def _read_headers(data: bytes, position: int, end: int) -> tuple[Headers, int]:
    raw, position = _read_raw(data, position)
    count = (raw >> 1) ^ -(raw & 1)
    # Each takes two bytes at least.
    if not 0 <= count <= (end - position) // 2:
        raise RecordDecodeError(f"record batch: {count} headers in {end - position} bytes")
    found: list[tuple[str, bytes | None]] = []
    for _ in range(count):
        raw = data[position]
        position += 1
        if raw > 127:
            raw, position = _read_raw(data, position - 1)
        stop = position + (raw >> 1)
        if raw & 1 or stop > end:
            raise RecordDecodeError(f"record batch: header name of {(raw >> 1) ^ -(raw & 1)} bytes")
        name = data[position:stop].decode()
        raw = data[stop]
        position = stop + 1
        if raw == 1:
            found.append((name, None))
            continue
        if raw > 127:
            raw, position = _read_raw(data, stop)
        stop = position + (raw >> 1)
        if raw & 1 or stop > end:
            raise RecordDecodeError(
                f"record batch: header value of {(raw >> 1) ^ -(raw & 1)} bytes"
            )
        found.append((name, data[position:stop]))
        position = stop
    return tuple(found), position


def _read_raw(data: bytes, position: int) -> tuple[int, int]:
    """Return the number of at most ten bytes at *position*, its sign still in the lowest bit, and the position behind it."""
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
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
    small, limit = _small_varints(), _SMALL
    size = len(headers)
    parts = [small[size] if size < limit else _varint(size)]
    for name, value in headers:
        raw = name.encode()
        size = len(raw)
        parts += (small[size] if size < limit else _varint(size), raw)
        if value is None:
            parts.append(_NULL)
        else:
            size = len(value)
            parts += (small[size] if size < limit else _varint(size), value)
    return b"".join(parts)
