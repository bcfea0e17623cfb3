from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.broker.stored_arrays import check_types, check_version, unpack_fields, unpack_long
from streamlog.errors import UnsupportedFormatError

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
