"""What a message may be made of: its reader is told in few bytes to make much."""

from __future__ import annotations

import pytest

from streamlog.wire.codec.errors import MalformedMessageError, TooManyElementsError
from streamlog.wire.codec.primitives import MAX_ELEMENTS, MAX_STRING_BYTES, varint
from streamlog.wire.codec.record_parts import RecordParts
from streamlog.wire.messages import BY_NAME

METADATA = BY_NAME["Metadata"].request
EMPTY_TOPIC = bytes(16) + b"\0\0"
"""Id, no name, no tagged fields."""


def metadata(topics: int, tail: bytes = b"\1\0\0") -> bytes:
    return varint(topics + 1) + EMPTY_TOPIC * topics + tail


def test_elements_are_limited() -> None:
    assert len(METADATA.decode(metadata(MAX_ELEMENTS), 12).topics) == MAX_ELEMENTS
    with pytest.raises(TooManyElementsError, match="more than 100000 array elements"):
        METADATA.decode(metadata(MAX_ELEMENTS + 1), 12)


def test_reader_may_be_prepared_for_less() -> None:
    assert len(METADATA.decode(metadata(10), 12, 0, 10).topics) == 10
    with pytest.raises(TooManyElementsError, match="Metadata.*more than 10 array elements"):
        METADATA.decode(metadata(11), 12, 0, 10)


@pytest.mark.parametrize("name", ["Metadata", "Fetch"])
def test_tagged_fields_count_as_elements(name: str) -> None:
    """A frame of 100 MiB may have 50 million of them, which were skipped one by one while everybody waited."""
    request = BY_NAME[name].request
    made = b"".join(request.encode(request.make(), 12))
    assert made[-1] == 0, "ends with the number of tagged fields"
    tags = b"".join(varint(number) + b"\0" for number in range(100, 120))
    data = made[:-1] + varint(20) + tags
    request.decode(data, 12, 0, 21)
    with pytest.raises(TooManyElementsError):
        request.decode(data, 12, 0, 19)


def test_string_is_no_longer_than_where_its_length_has_two_bytes() -> None:
    """Kafka's readers draw the same line."""
    coordinator = BY_NAME["FindCoordinator"].request
    for length in (MAX_STRING_BYTES, MAX_STRING_BYTES + 1):
        data = varint(length + 1) + b"x" * length + b"\0\0"
        if length > MAX_STRING_BYTES:
            with pytest.raises(MalformedMessageError, match="string of 32768 bytes"):
                coordinator.decode(data, 3)
        else:
            assert len(coordinator.decode(data, 3).key) == length


def test_records_in_parts_are_written_as_if_they_were_joined() -> None:
    fetch = BY_NAME["Fetch"].response
    parts = RecordParts([b"abc", bytearray(b"de")], 5)
    assert len(parts) == 5
    made = []
    for records in (parts, b"abcde"):
        partition = fetch.make.Responses.Partitions(records=records)
        topic = fetch.make.Responses(topic="t", partitions=[partition])
        made.append(fetch.encode(fetch.make(responses=[topic]), 12))
    assert b"".join(made[0]) == b"".join(made[1])
    assert made[0][1] is parts.parts[0], "and not copied"
