"""Serializers and deserializers: Kafka's bytes, strict types, and errors that name the topic."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.config.plugin_names import SERDE_NAMES
from streamlog.errors import InvalidConfigurationError, RecordDecodeError, SerializationError
from streamlog.record.serialization import (
    MAX_MSGPACK_ITEMS,
    check_bytes,
    resolve_deserializer,
    resolve_serializer,
)

STOCK = [name for name in SERDE_NAMES if name != "bytes"]


def serialize(spec: Any, value: Any) -> bytes | None:
    function = resolve_serializer(spec, "orders")
    assert function is not None
    return function(value)


def deserialize(spec: Any, data: bytes | None) -> Any:
    function = resolve_deserializer(spec, "orders")
    assert function is not None
    return function(data)


@pytest.mark.parametrize(
    ("name", "value", "data"),
    [
        ("str", "grün", b"gr\xc3\xbcn"),
        ("str", "", b""),
        ("int", 1, b"\0\0\0\0\0\0\0\1"),
        ("int", -2, b"\xff" * 7 + b"\xfe"),
        ("int", 2**63 - 1, b"\x7f" + b"\xff" * 7),
        ("int", -(2**63), b"\x80" + b"\0" * 7),
        ("int32", 258, b"\0\0\1\2"),
        ("int32", -(2**31), b"\x80\0\0\0"),
        ("float", 1.5, struct.pack(">d", 1.5)),
        ("json", {"id": 7, "name": "grün"}, '{"id":7,"name":"grün"}'.encode()),
        ("json", [1, 2.5, "x", None, True], b'[1,2.5,"x",null,true]'),
        ("msgpack", {"id": 7, "raw": b"\0"}, b"\x82\xa2id\x07\xa3raw\xc4\x01\x00"),
    ],
)
def test_stock_formats_have_the_bytes_they_promise(name: str, value: Any, data: bytes) -> None:
    assert serialize(name, value) == data
    assert deserialize(name, data) == value


def test_an_int_may_be_given_where_a_float_is_stored() -> None:
    assert deserialize("float", serialize("float", 3)) == 3.0


def test_every_name_the_configuration_accepts_is_implemented() -> None:
    assert [name for name in SERDE_NAMES if resolve_serializer(name) is None] == ["bytes"]
    assert [name for name in SERDE_NAMES if resolve_deserializer(name) is None] == ["bytes"]


@pytest.mark.parametrize("spec", [None, "bytes"])
def test_bytes_need_no_function(spec: str | None) -> None:
    assert resolve_serializer(spec) is None
    assert resolve_deserializer(spec) is None


@pytest.mark.parametrize("spec", [*STOCK, lambda value: 1 / 0])
def test_null_stays_null_without_calling_anything(spec: Any) -> None:
    """REC-1: None is a tombstone, under json too."""
    assert serialize(spec, None) is None
    assert deserialize(spec, None) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("str", value) for value in (b"x", 5, ["x"], "\ud800")),
        *(("int", value) for value in (True, 1.0, "1", 2**63, -(2**63) - 1)),
        *(("int32", value) for value in (True, 2**31, -(2**31) - 1, "1")),
        *(("float", value) for value in (True, "1", 10**400, b"x")),
        *(("json", value) for value in (b"x", {1, 2}, math.nan, math.inf, object(), "\ud800")),
        *(("msgpack", value) for value in ({1, 2}, 2**64, object(), "\ud800")),
    ],
)
def test_a_value_the_format_cannot_hold_is_refused_with_its_cause(name: str, value: Any) -> None:
    """PRD-4."""
    found = type(value).__name__
    with pytest.raises(
        SerializationError, match=rf"'orders': .* value \({found}\) .*'{name}'"
    ) as c:
        serialize(name, value)
    assert c.value.__cause__ is not None


def test_a_value_nested_without_end_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    for name in ("json", "msgpack"):
        with pytest.raises(SerializationError, match="orders"):
            serialize(name, value)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("str", b"\xff"),
        *(("int", data) for data in (b"", b"\0" * 7, b"\0" * 9)),
        *(("int32", data) for data in (b"", b"\0" * 8)),
        *(("float", data) for data in (b"", b"\0" * 4)),
        *(("json", data) for data in (b"", b"{", b"NaN", b"-Infinity", b"1 2", b"\xff\xfe1\0")),
        *(("json", data) for data in ("1".encode("utf-16-le"), b"[" * 100_000, b"9" * 10_000)),
        *(("msgpack", data) for data in (b"", b"\x92\x01", b"\x01\x02", b"\xc1", b"\xa1\xff")),
        *(("msgpack", data) for data in (b"\x91" * 100_000, b"\x81\x01\x02", b"\x81\x90\x02")),
    ],
)
def test_bytes_that_are_no_value_are_refused_with_the_cause(name: str, data: bytes) -> None:
    with pytest.raises(RecordDecodeError, match=rf"'orders': .* value \({len(data)} bytes\)") as c:
        deserialize(name, data)
    assert c.value.__cause__ is not None
    assert c.value.origin == "value"
    assert c.value.offset is None
    assert len(str(c.value)) < 400


@pytest.mark.parametrize(
    "data",
    [
        msgpack.packb(msgpack.ExtType(5, b"x")),
        msgpack.packb(msgpack.ExtType(5, b"")),
        msgpack.packb(msgpack.Timestamp(1, 0)),
        b"\xdd" + struct.pack(">I", 2**32 - 1),
        b"\xdf" + struct.pack(">I", 2**32 - 1),
        b"\xc6" + struct.pack(">I", 2**32 - 1),
        (b"\xdd" + struct.pack(">I", 2**24)) * 500,
        b"\xdd" + struct.pack(">I", MAX_MSGPACK_ITEMS + 1) + b"\0" * (MAX_MSGPACK_ITEMS + 1),
    ],
    ids=["ext", "empty-ext", "time", "list", "map", "bin", "bomb", "long-list"],
)
def test_msgpack_that_asks_for_too_much_is_refused(data: bytes) -> None:
    with pytest.raises(RecordDecodeError, match="msgpack"):
        deserialize("msgpack", data)


def test_msgpack_at_the_limit_is_read() -> None:
    value = [0] * MAX_MSGPACK_ITEMS
    assert deserialize("msgpack", serialize("msgpack", value)) == value


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


@given(JSON)
def test_what_json_and_msgpack_take_they_give_back(value: Any) -> None:
    for name in ("json", "msgpack"):
        assert deserialize(name, serialize(name, value)) == value


@given(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.text())
def test_scalars_come_back_as_they_were(number: int, fraction: float, text: str) -> None:
    assert deserialize("int", serialize("int", number)) == number
    assert deserialize("float", serialize("float", fraction)) == fraction
    assert deserialize("str", serialize("str", text)) == text


@given(st.sampled_from(STOCK), st.binary(max_size=64))
def test_any_bytes_give_a_value_or_a_decode_error(name: str, data: bytes) -> None:
    try:
        deserialize(name, data)
    except RecordDecodeError as error:
        assert error.__cause__ is not None  # noqa: PT017


def test_a_function_is_called_with_the_value() -> None:
    assert serialize(lambda value: value.encode("latin-1"), "ü") == b"\xfc"
    assert deserialize(lambda data: data.decode("latin-1"), b"\xfc") == "ü"


def test_an_object_is_called_with_the_topic_as_in_kafka() -> None:
    class Own:
        def serialize(self, topic: str, value: Any) -> bytes:
            return f"{topic}:{value}".encode()

        def deserialize(self, topic: str, data: bytes) -> Any:
            return topic, data

    assert serialize(Own(), 5) == b"orders:5"
    assert deserialize(Own(), b"x") == ("orders", b"x")


def test_a_serializer_may_give_null_or_anything_like_bytes() -> None:
    assert serialize(lambda value: None, 5) is None
    for data in (bytearray(b"x"), memoryview(b"x")):
        found = serialize(lambda value, data=data: data, 5)
        assert found == b"x"
        assert type(found) is bytes


def test_a_serializer_that_gives_something_else_is_refused() -> None:
    """PRD-4."""
    with pytest.raises(
        SerializationError, match=r"'orders': value: .* from JSONEncoder.* found str"
    ):
        serialize(json.JSONEncoder().encode, {"id": 7})


def test_an_error_in_the_callers_code_is_chained_and_its_text_kept_short() -> None:
    def fail(value: Any) -> bytes:
        raise LookupError("x" * 10_000)

    with pytest.raises(SerializationError, match="fail: LookupError: xxx") as caught:
        serialize(fail, 5)
    assert isinstance(caught.value.__cause__, LookupError)
    assert len(str(caught.value)) < 400
    with pytest.raises(RecordDecodeError, match="fail: LookupError: xxx"):
        deserialize(fail, b"")


def test_interrupts_pass_through() -> None:
    def interrupt(value: Any) -> bytes:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        serialize(interrupt, 5)
    with pytest.raises(KeyboardInterrupt):
        deserialize(interrupt, b"")


def test_the_key_is_named_as_such() -> None:
    function = resolve_serializer("str", "orders", "key")
    assert function is not None
    with pytest.raises(SerializationError, match=r"cannot serialize the key \(int\)"):
        function(5)
    back = resolve_deserializer("str", "orders", "key")
    assert back is not None
    with pytest.raises(RecordDecodeError) as caught:
        back(b"\xff")
    assert caught.value.origin == "key"


@pytest.mark.parametrize("spec", ["avro", "", "JSON", "pickle", 5, b"json", object()])
def test_what_is_no_serializer_is_refused(spec: Any) -> None:
    for resolve in (resolve_serializer, resolve_deserializer):
        with pytest.raises(InvalidConfigurationError, match="expected"):
            resolve(spec)


@pytest.mark.parametrize("data", [b"", b"x", None])
def test_bytes_and_null_pass_unchanged(data: bytes | None) -> None:
    """REC-1: b"" is not None."""
    assert check_bytes(data) is data


@pytest.mark.parametrize("data", [bytearray(b"xy"), memoryview(b"-xy-")[1:3]])
def test_anything_like_bytes_is_copied(data: Any) -> None:
    found = check_bytes(data)
    assert found == b"xy"
    assert type(found) is bytes


def test_a_subclass_of_bytes_becomes_bytes() -> None:
    class Text(bytes):
        pass

    assert type(check_bytes(Text(b"x"))) is bytes


@pytest.mark.parametrize("data", ["x", 5, 0, False, [1], {"id": 7}, object()])
def test_what_is_not_bytes_is_refused_by_topic_and_type(data: Any) -> None:
    """PRD-4."""
    message = f"'orders': key: expected bytes or None, .*found {type(data).__name__}"
    with pytest.raises(SerializationError, match=message):
        check_bytes(data, "orders", "key")
