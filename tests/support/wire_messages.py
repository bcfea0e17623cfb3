"""Random messages of any schema: real ones to the codec, nonsense to a broker."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from streamlog.wire.codec.schema import FIXED_FORMATS, Field

_BITS = {"b": 7, "h": 15, "i": 31, "q": 40}
#: What messages of clients are about; chance finds none of these.
_NAMES = ("t", "g", "range", "cleanup.policy", "delete", "consumer", "", "é" * 40)
_ERROR_CODES = (0, 1, 3, -1, 25, 79)


def random_struct(rng: random.Random, make: Any, fields: Sequence[Field], version: int) -> Any:
    """Return a *make* with chance values in what *version* has."""
    values: dict[str, Any] = {}
    for field in fields:
        if version not in field.versions or (field.tag is not None and rng.random() < 0.4):
            continue
        value = _value(rng, field, make, version)
        is_default = value is None and field.default is None
        if field.tag is not None and not field.kind and not field.is_array and is_default:
            continue
        values[field.name] = value
    return make(**values)


def _value(rng: random.Random, field: Field, make: Any, version: int) -> Any:
    is_nullable = version in field.nullable
    if field.is_array:
        if is_nullable and rng.random() < 0.2:
            return None
        return [_one(rng, field, make, version) for _ in range(rng.randrange(3))]
    if is_nullable and rng.random() < 0.3:
        return None
    return _one(rng, field, make, version)


def _one(rng: random.Random, field: Field, make: Any, version: int) -> Any:
    kind = field.kind
    if not kind:
        inner = getattr(make, "".join(part.capitalize() for part in field.name.split("_")))
        return random_struct(rng, inner, field.fields, version)
    if kind == "string":
        return rng.choice(_NAMES) if rng.random() < 0.7 else "x" * rng.randrange(200)
    if kind in ("bytes", "records"):
        return rng.randbytes(rng.randrange(9))
    if kind == "uuid":
        return rng.randbytes(16)
    if kind == "bool":
        return rng.random() < 0.5
    if kind == "float64":
        return rng.random()
    if "error_code" in field.name:
        return rng.choice(_ERROR_CODES)
    if rng.random() < 0.5:
        return rng.randrange(4)
    return rng.randrange(1 << _BITS.get(FIXED_FORMATS[kind], 15))
