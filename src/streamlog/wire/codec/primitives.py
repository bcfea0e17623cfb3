"""What the compiled coders call for what is not worth being written out: variable integers, skipping, errors."""

from __future__ import annotations

from streamlog.wire.codec.errors import MalformedMessageError, TooManyElementsError

MAX_ELEMENTS = 100_000
"""Of all arrays of one message together, and tagged fields. An element can be a byte on the wire and a hundred in memory: a frame
of the greatest size, full of them, would take a hundred times its size, and minutes."""
MAX_STRING_BYTES = 32_767
"""Of any string, as where its length takes two bytes. Kafka draws the same line."""


def read_varint(data: bytes, position: int) -> tuple[int, int]:
    """Return the unsigned variable integer at *position*, of at most five bytes, and the position behind it."""
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >= 1 << 32:
                break
            return value, position
        shift += 7
        if shift > 28:
            break
    raise MalformedMessageError(f"byte {position - 1}: variable integer of more than 32 bits")


def varint(value: int) -> bytes:
    """Return *value*, which is not negative, as an unsigned variable integer."""
    if value < 0x80:
        return bytes((value,))
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def skip_tags(data: bytes, position: int, budget: int) -> tuple[int, int]:
    """Return the position behind the tagged fields at *position*, of which none is known here, and what they leave of the *budget*."""
    count, position = read_varint(data, position)
    budget -= count
    if budget < 0:
        raise too_many()
    end = len(data)
    for _ in range(count):
        _, position = read_varint(data, position)
        size, position = read_varint(data, position)
        position += size
        if position > end:
            raise MalformedMessageError(f"tagged field ends at byte {position} of {end}")
    return position, budget


def bad_length(length: int, position: int, end: int) -> MalformedMessageError:
    """Return the error for a field that would reach behind the end, or has a length that none has."""
    return MalformedMessageError(
        f"byte {position}: length {length}: expected 0 to {end - position}"
    )


def bad_tag(tag: int, position: int, stop: int) -> MalformedMessageError:
    """Return the error for a tagged field that is not as long as it says."""
    return MalformedMessageError(f"tagged field {tag} ends at byte {position}, expected {stop}")


def bad_string(length: int, position: int) -> MalformedMessageError:
    """Return the error for a string that is longer than any may be."""
    return MalformedMessageError(
        f"byte {position}: string of {length} bytes: expected at most {MAX_STRING_BYTES}"
    )


def too_many() -> TooManyElementsError:
    """Return the error for a message of more elements than its reader is prepared for."""
    return TooManyElementsError("too many array elements or tagged fields")
