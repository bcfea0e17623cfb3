"""Keys and values to bytes and back: the stock formats and the caller's own.

================  ====================================  =================================
name              bytes                                 Kafka's serializer
================  ====================================  =================================
``bytes``, None   as they are                           ``ByteArraySerializer``
``str``           UTF-8                                 ``StringSerializer``
``int``           8 bytes, big endian, signed           ``LongSerializer``
``int32``         4 bytes, big endian, signed           ``IntegerSerializer``
``float``         8 bytes, IEEE 754, big endian         ``DoubleSerializer``
``json``          compact, UTF-8, no NaN                none
``msgpack``       str keys in maps, no extension types  none
================  ====================================  =================================

The caller's own is ``function(value)``, or an object with ``serialize(topic, value)`` or
``deserialize(topic, data)`` as in Kafka.

None is never serialized: a null value stays null, which is a tombstone (REC-1). That holds for
``json`` as well, so no record ever holds the JSON text ``null``. There is no pickle, since a log is
read by other programs and its bytes may come from anyone. Threads: any, if the caller's own allow
it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

import msgpack

from streamlog.errors import InvalidConfigurationError, RecordDecodeError, SerializationError

Serializer = Callable[[Any], "bytes | None"]
Deserializer = Callable[["bytes | None"], Any]

MAX_MSGPACK_BYTES = 16 * 1024 * 1024
"""The longest string or byte string accepted inside a msgpack value: the largest batch."""
MAX_MSGPACK_ITEMS = 131_072
"""The longest list or map accepted inside a msgpack value. A reader makes room for the length that
a list claims before it sees the items, and lists nest, so the claim must be bounded.
"""


def resolve_serializer(spec: Any, topic: str = "", part: str = "value") -> Serializer | None:
    """Return the function that serializes *part* (``"key"`` or ``"value"``) of records of *topic*.

    None means that nothing needs to be done but `check_bytes`, so that hot paths can skip the call.
    The function raises SerializationError, with the cause chained, when *spec* fails or gives
    something other than bytes. InvalidConfigurationError when *spec* is no serializer.
    """
    if spec is None or spec == "bytes":
        return None
    encode: Callable[[Any], Any]
    if isinstance(spec, str):
        encode = _codec(spec)[0]
    elif callable(getattr(spec, "serialize", None)):
        encode = _bind_topic(spec.serialize, topic)
    elif callable(spec):
        encode = spec
    else:
        raise InvalidConfigurationError(
            f"{part}_serializer: expected {_expected('serialize')}, found {type(spec).__name__}"
        )

    def serialize(value: Any) -> bytes | None:
        if value is None:
            return None
        try:
            data = encode(value)
        except Exception as error:  # the caller's code may raise anything
            raise SerializationError(
                f"topic {topic!r}: cannot serialize the {part} ({type(value).__name__}) with"
                f" {_label(spec)}: {_summary(error)}"
            ) from error
        if type(data) is bytes:
            return data
        return check_bytes(data, topic, part, _label(spec))

    return serialize


def resolve_deserializer(spec: Any, topic: str = "", part: str = "value") -> Deserializer | None:
    """Return the function that deserializes *part* of records of *topic*; None means bytes as they
    are.

    The function returns None for None and raises RecordDecodeError, with the cause chained and
    ``origin`` set; who knows the record's place adds it. InvalidConfigurationError when *spec* is
    no deserializer.
    """
    if spec is None or spec == "bytes":
        return None
    decode: Callable[[bytes], Any]
    if isinstance(spec, str):
        decode = _codec(spec)[1]
    elif callable(getattr(spec, "deserialize", None)):
        decode = _bind_topic(spec.deserialize, topic)
    elif callable(spec):
        decode = spec
    else:
        raise InvalidConfigurationError(
            f"{part}_deserializer: expected {_expected('deserialize')}, found {type(spec).__name__}"
        )

    def deserialize(data: bytes | None) -> Any:
        if data is None:
            return None
        try:
            return decode(data)
        except Exception as error:  # hostile bytes must not end a poll loop
            raise RecordDecodeError(
                f"topic {topic!r}: cannot deserialize the {part} ({len(data)} bytes) with"
                f" {_label(spec, 'deserializer')}: {_summary(error)}",
                origin=part,
            ) from error

    return deserialize


def check_bytes(
    data: Any,
    topic: str = "",
    part: str = "value",
    source: str | None = None,
    *,
    where: str | None = None,
) -> bytes | None:
    """Return *data* as bytes; None stays None, a bytearray or memoryview is copied (REC-1).

    Anything else raises SerializationError that names the topic and the type found. *source* names
    the serializer that gave *data*; without one, it is what the caller sent. *where* says which of
    several it was.
    """
    if data is None or type(data) is bytes:
        return data
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    found = type(data).__name__
    if source is None:
        raise SerializationError(
            f"topic {topic!r}: {where or part}: expected bytes or None, since no {part}_serializer is"
            f" set; found {found}"
        )
    raise SerializationError(
        f"topic {topic!r}: {part}: expected bytes or None from {source}, found {found}"
    )


def _bind_topic(method: Callable[[str, Any], Any], topic: str) -> Callable[[Any], Any]:
    def with_topic(value: Any) -> Any:
        return method(topic, value)

    return with_topic


def _codec(name: str) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
    try:
        return _CODECS[name]
    except KeyError:
        names = ", ".join(map(repr, ("bytes", *_CODECS)))
        raise InvalidConfigurationError(
            f"unknown serializer {name!r}: expected one of {names}"
        ) from None


def _expected(method: str) -> str:
    names = ", ".join(map(repr, ("bytes", *_CODECS)))
    return f"None, one of {names}, a callable, or an object with {method}()"


def _label(spec: Any, kind: str = "serializer") -> str:
    if isinstance(spec, str):
        return f"{kind} {spec!r}"
    return str(getattr(spec, "__qualname__", type(spec).__qualname__))


def _summary(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200]


def _expect(value: Any, types: tuple[type, ...]) -> None:
    if not isinstance(value, types) or isinstance(value, bool):
        raise TypeError(f"expected {types[0].__name__}, found {type(value).__name__}")


def _encode_str(value: Any) -> bytes:
    _expect(value, (str,))
    text: str = value
    return text.encode("utf-8")


def _decode_str(data: bytes) -> str:
    return data.decode("utf-8")


def _encode_int(value: Any) -> bytes:
    _expect(value, (int,))
    number: int = value
    return number.to_bytes(8, "big", signed=True)


def _encode_int32(value: Any) -> bytes:
    _expect(value, (int,))
    number: int = value
    return number.to_bytes(4, "big", signed=True)


def _decode_int(data: bytes) -> int:
    return _decode_fixed(data, 8)


def _decode_int32(data: bytes) -> int:
    return _decode_fixed(data, 4)


def _decode_fixed(data: bytes, size: int) -> int:
    if len(data) != size:
        raise ValueError(f"expected {size} bytes, found {len(data)}")
    return int.from_bytes(data, "big", signed=True)


_DOUBLE = struct.Struct(">d")


def _encode_float(value: Any) -> bytes:
    _expect(value, (float, int))
    return _DOUBLE.pack(value)


def _decode_float(data: bytes) -> float:
    if len(data) != _DOUBLE.size:
        raise ValueError(f"expected {_DOUBLE.size} bytes, found {len(data)}")
    number: float = _DOUBLE.unpack(data)[0]
    return number


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


_json_text = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_json_value = json.JSONDecoder(parse_constant=_refuse_constant).decode


def _encode_json(value: Any) -> bytes:
    return _json_text(value).encode("utf-8")


def _decode_json(data: bytes) -> Any:
    # Not json.loads: given bytes, it would guess UTF-16 and UTF-32 as well.
    return _json_value(data.decode("utf-8"))


def _encode_msgpack(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value)
    return packed


def _refuse_extension(code: int, data: bytes) -> Any:
    raise ValueError(f"extension type {code} is not accepted")


def _decode_msgpack(data: bytes) -> Any:
    # An item takes at least one byte, so a claim above the input's length is always a lie.
    longest = min(len(data), MAX_MSGPACK_BYTES)
    most = min(len(data), MAX_MSGPACK_ITEMS)
    return msgpack.unpackb(
        data,
        strict_map_key=True,
        ext_hook=_refuse_extension,
        max_str_len=longest,
        max_bin_len=longest,
        max_array_len=most,
        max_map_len=most,
        max_ext_len=0,
    )


_CODECS: dict[str, tuple[Callable[[Any], bytes], Callable[[bytes], Any]]] = {
    "str": (_encode_str, _decode_str),
    "int": (_encode_int, _decode_int),
    "int32": (_encode_int32, _decode_int32),
    "float": (_encode_float, _decode_float),
    "json": (_encode_json, _decode_json),
    "msgpack": (_encode_msgpack, _decode_msgpack),
}
