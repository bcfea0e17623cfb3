"""A class for each struct of a message: slots, defaults, and the classes of the structs inside it."""

from __future__ import annotations

from typing import Any

from streamlog.wire.codec.schema import Field
from streamlog.wire.codec.source import Source


class Struct:
    """What the structs of messages have in common: made with keywords, compared and shown by their fields.

    A class per struct, for all versions of its message: a field that a version lacks keeps its default when read, and is left out when
    written. Those inside it are its attributes, ``FetchResponse.Responses.Partitions``. Mutable; a handler fills in what it knows.
    """

    __slots__: tuple[str, ...] = ()

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and all(
            getattr(self, name) == getattr(other, name) for name in self.__slots__
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"{type(self).__name__}({fields})"


def struct_type(name: str, fields: tuple[Field, ...]) -> Any:
    """Return a new class for the struct *name* of these *fields*, with one for each struct inside."""
    inner = {
        _class_name(f.name): struct_type(_class_name(f.name), f.fields)
        for f in fields
        if not f.kind
    }
    names = tuple(field.name for field in fields)
    source = Source()
    source.globals.update({f"default_{field.name}": field.default for field in fields})
    arguments = ", ".join(f"{name}=default_{name}" for name in names)
    # Written out: a loop over the names costs four times as much.
    with source.block(f"def __init__(self, *, {arguments}):" if names else "def __init__(self):"):
        source.add(*([f"self.{name} = {name}" for name in names] or ["pass"]))
    make = source.compile("__init__", name)
    return type(name, (Struct,), {"__slots__": names, "__init__": make, **inner})


def inner_type(struct: Any, field: Field) -> Any:
    """Return the class of the struct that *field* holds."""
    return getattr(struct, _class_name(field.name))


def _class_name(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))
