from __future__ import annotations

from collections.abc import Iterator

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.broker.broker import Broker
from streamlog.broker.stored_arrays import (
    check_types,
    check_version,
    decode_records,
    read_batches,
    unpack_fields,
    unpack_long,
)
from streamlog.errors import UnsupportedFormatError
from streamlog.record import BatchView
from tests.support.sparse import Kept, append_cleaned

scalars = st.none() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=5)


@given(st.lists(scalars, max_size=40))
def test_long_array_is_what_was_packed(fields: list[object]) -> None:
    assert unpack_long(msgpack.packb(fields)) == fields


def test_short_array_has_at_most_16_fields() -> None:
    assert unpack_fields(msgpack.packb([7] * 16)) == [7] * 16
    with pytest.raises(ValueError, match="not msgpack"):
        unpack_fields(msgpack.packb([7] * 17))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        msgpack.packb({"a": 1}),
        msgpack.packb([1, [2]]),
        msgpack.packb([1, {"a": 2}]),
        msgpack.packb([1, b"2"]),
        msgpack.packb([1, 2])[:-1],
        msgpack.packb([1, 2]) + b"\x00",
        b"\xdd\xff\xff\xff\xff",
        b"\xdc\xff\xff" * 400,
    ],
)
def test_what_is_no_flat_array_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"not msgpack|expected 3 bytes"):
        unpack_long(data)


def test_missing_key_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="found null"):
        unpack_fields(None)


def test_version_above_the_newest_is_unsupported() -> None:
    assert check_version("t", [2, "x"], 2) == 2
    with pytest.raises(UnsupportedFormatError, match="t: expected value version 2, found 3"):
        check_version("t", [3], 2)
    for fields in ([], ["1"], [0], [True]):
        with pytest.raises(ValueError, match="expected a version"):
            check_version("t", fields, 2)


def test_fields_of_other_types_or_number_are_a_value_error() -> None:
    assert check_types([1, "a"], (int, str)) == [1, "a"]
    for fields in ([1], [1, "a", 2], ["a", 1]):
        with pytest.raises(ValueError, match="expected fields of types"):
            check_types(fields, (int, str))


# ---- of a log that was compacted


def test_records_that_compaction_left_are_read_and_nothing_else(broker: Broker) -> None:
    broker.create_topic("t")
    partition = broker.partition("t", 0)
    append_cleaned(partition, [], 3)
    append_cleaned(partition, [Kept(1, b"a", b"k"), Kept(4, b"b", b"l"), Kept(6, None)], 8)
    append_cleaned(partition, [], 3)

    def decode(batch: BatchView, start: int) -> Iterator[tuple[bytes | None, bytes | None]]:
        return decode_records("t", batch, start, lambda key, value: (key, value))

    found = list(read_batches(partition, decode, "a test"))
    assert found == [(b"k", b"a"), (b"l", b"b"), (None, None)]
    partition.delete_records(5)
    assert list(read_batches(partition, decode, "a test")) == found[1:]
