"""What a configuration value may be: one function for each kind of value.

Parsing gives the value in its one canonical form, and parsing that again changes nothing. *is_text*
says that the value came from a mapping, where Kafka's properties files make everything a string, so
that ``"5"`` may stand for 5.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence, Set

import attrs

from streamlog.config.id_text import id_fault

INT_MAX = 2**31 - 1
"""Greatest value of a Kafka INT key."""
LONG_MAX = 2**63 - 1
"""Greatest value of a Kafka LONG key; stands for "no limit" in several of them."""

_INTEGER = re.compile(r"[+-]?[0-9]{1,20}")
_NUMBER = re.compile(r"[+-]?[0-9]{1,20}(\.[0-9]{1,20})?")


class RejectedValueError(Exception):
    """A kind refused a value. ``reason`` is empty when the kind's ``expected`` says it all."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


@attrs.frozen
class Kind:
    """One kind of configuration value."""

    name: str
    """The type as the documentation writes it."""
    expected: str
    """What is accepted, to follow the word "expected" in an error message."""
    parse: Callable[[object, bool], object]
    """``parse(value, is_text)`` returns the canonical value or raises `RejectedValueError`."""


def integer(minimum: int, maximum: int = LONG_MAX, *, also: Sequence[int] = ()) -> Kind:
    """Return the kind of whole numbers, bounds included, and of those in *also*. ``bool`` is refused."""

    def parse(value: object, is_text: bool) -> object:
        # Stripped for int() as well, which leaves a few separators that strip() takes.
        if is_text and isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
            value = int(value.strip())
        if not isinstance(value, int) or isinstance(value, bool):
            raise RejectedValueError
        if not minimum <= value <= maximum and value not in also:
            raise RejectedValueError
        return int(value)

    bounds = " or ".join([_bounds(minimum, maximum), *map(str, also)])
    return Kind(f"int {bounds}", f"an int {bounds}", parse)


def number(minimum: float, maximum: float = math.inf) -> Kind:
    """Return the kind of whole or fractional numbers, bounds included; NaN, infinity are refused."""

    def parse(value: object, is_text: bool) -> object:
        if is_text and isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
            value = float(value.strip()) if "." in value else int(value.strip())
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise RejectedValueError
        if not minimum <= value <= maximum or not math.isfinite(value):
            raise RejectedValueError
        return value

    bounds = _bounds(minimum, maximum)
    return Kind(f"number {bounds}", f"a finite number {bounds}", parse)


def _bounds(minimum: float, maximum: float) -> str:
    if maximum in (LONG_MAX, math.inf):
        return f"of at least {minimum:_}"
    return f"from {minimum:_} to {maximum:_}"


def boolean() -> Kind:
    """Return the kind of True and False; 0 and 1 are refused."""

    def parse(value: object, is_text: bool) -> object:
        if is_text and isinstance(value, str) and value.strip().lower() in ("true", "false"):
            return value.strip().lower() == "true"
        if not isinstance(value, bool):
            raise RejectedValueError
        return value

    return Kind("bool", "True or False", parse)


def text(*, may_be_blank: bool = True) -> Kind:
    """Return the kind of strings."""

    def parse(value: object, is_text: bool) -> object:
        if not isinstance(value, str) or not (may_be_blank or value.strip()):
            raise RejectedValueError
        return value

    return Kind("str", "a str" if may_be_blank else "a str that is not blank", parse)


def id_text() -> Kind:
    """Return the kind of ids of groups, of their static members and of transactional producers."""

    def parse(value: object, is_text: bool) -> object:
        if not isinstance(value, str) or not value.strip():
            raise RejectedValueError
        fault = id_fault(value)
        if fault is not None:
            raise RejectedValueError(fault)
        return value

    return Kind("str", "a str that is not blank", parse)


def checked_text(expected: str, check: Callable[[str], object]) -> Kind:
    """Return the kind of strings for which *check* raises no ValueError."""

    def parse(value: object, is_text: bool) -> object:
        if not isinstance(value, str):
            raise RejectedValueError
        try:
            check(value)
        except ValueError as error:
            raise RejectedValueError(str(error)) from error
        return value

    return Kind(expected, expected, parse)


def choice(
    values: Sequence[object],
    *,
    spellings: Mapping[object, object] | None = None,
    refused: Mapping[str, str] | None = None,
) -> Kind:
    """Return the kind of a few fixed values.

    *spellings* maps other ways to write them; *refused* maps values that Kafka knows and streamlog
    does not support to the reason.
    """
    also = spellings or {}
    reasons = refused or {}

    def parse(value: object, is_text: bool) -> object:
        for candidate in values:
            # `is` for booleans: True == 1 and False == 0, but nobody means that.
            if candidate is value or (candidate == value and not isinstance(value, bool)):
                return candidate
        if isinstance(value, (str, int)) and not isinstance(value, bool):
            if value in also:
                return also[value]
            if isinstance(value, str) and value in reasons:
                raise RejectedValueError(reasons[value])
        raise RejectedValueError

    name = " or ".join(map(_literal, values))
    return Kind(name, name, parse)


def _literal(value: object) -> str:
    return repr(str(value)) if isinstance(value, str) else repr(value)


def only(value: bool | None, reason: str) -> Kind:
    """Return the kind of the one value there is as long as *reason* holds."""

    def parse(found: object, is_text: bool) -> object:
        if found is value or (
            is_text and isinstance(found, str) and found.lower() == str(value).lower()
        ):
            return value
        raise RejectedValueError(reason)

    return Kind(repr(value), repr(value), parse)


def words(
    values: Sequence[str],
    *,
    may_be_empty: bool = False,
    refused: Mapping[str, str] | None = None,
) -> Kind:
    """Return the kind of lists of words out of *values*, given as a sequence, a set or text with
    commas; parsing gives a sorted tuple without duplicates.
    """
    reasons = refused or {}

    def parse(value: object, is_text: bool) -> object:
        if isinstance(value, str):
            value = [word for word in map(str.strip, value.split(",")) if word]
        if not isinstance(value, (Sequence, Set)) or not (value or may_be_empty):
            raise RejectedValueError
        for word in value:
            if word in values:
                continue
            raise RejectedValueError(reasons.get(word, "") if isinstance(word, str) else "")
        return tuple(sorted(set(value)))

    count = "any of" if may_be_empty else "one or more of"
    expected = f"{count} {', '.join(map(repr, values))}"
    return Kind(f"list of {expected}", expected, parse)


def plugins(what: str, names: Sequence[str], method: str) -> Kind:
    """Return the kind of lists of stock names, of classes and of objects that have *method*, in the
    order of preference; text with commas is a list of names, and one class or object stands for a list
    of itself. Parsing gives a tuple.
    """

    def parse(value: object, is_text: bool) -> object:
        if isinstance(value, str):
            value = [word for word in map(str.strip, value.split(",")) if word]
        elif callable(getattr(value, method, None)):
            value = [value]
        if not isinstance(value, (list, tuple)) or not value:
            raise RejectedValueError
        for item in value:
            if not (
                item in names if isinstance(item, str) else callable(getattr(item, method, None))
            ):
                raise RejectedValueError
            if value.count(item) > 1:
                raise RejectedValueError(f"{item!r} is named twice")
        return tuple(value)

    listed = ", ".join(map(repr, names))
    expected = f"one or more of {listed}, or {what} with {method}()"
    return Kind(f"list of {expected}", f"a list of {expected}", parse)


def nullable(kind: Kind, meaning: str, *, spellings: Sequence[int] = ()) -> Kind:
    """Return *kind* with None added; *spellings* also mean None, such as Kafka's -1."""
    numbers = integer(-LONG_MAX)

    def parse(value: object, is_text: bool) -> object:
        if value is None:
            return None
        if spellings:
            try:
                if numbers.parse(value, is_text) in spellings:
                    return None
            except RejectedValueError:
                pass  # then the inner kind judges it
        return kind.parse(value, is_text)

    none = " or ".join(["None", *map(str, spellings)])
    return Kind(f"{kind.name} or None", f"{kind.expected}, or {none} ({meaning})", parse)


def plugin(what: str, names: Sequence[str], method: str) -> Kind:
    """Return the kind of exchangeable parts: None, a stock name, a callable, or an object with
    *method*.
    """

    def parse(value: object, is_text: bool) -> object:
        if value is None or (isinstance(value, str) and value in names):
            return value
        if isinstance(value, (str, bytes, bytearray)):
            raise RejectedValueError  # they have a partition() of their own
        if isinstance(value, type) and callable(getattr(value, method, None)):
            raise RejectedValueError(f"give an object, not the class {value.__name__}")
        if callable(value) or callable(getattr(value, method, None)):
            return value
        raise RejectedValueError

    allowed = f"None, {', '.join(map(repr, names))}, a callable, or an object with {method}()"
    return Kind(allowed, f"{what}: {allowed}", parse)


def objects(methods: Sequence[str]) -> Kind:
    """Return the kind of lists of the caller's objects that have at least one of *methods*; parsing
    gives a tuple in the same order.
    """

    def parse(value: object, is_text: bool) -> object:
        if not isinstance(value, (list, tuple)):
            raise RejectedValueError
        for item in value:
            if isinstance(item, type):
                raise RejectedValueError(f"give objects, not the class {item.__name__}")
            if not any(callable(getattr(item, method, None)) for method in methods):
                raise RejectedValueError
        return tuple(value)

    calls = " or ".join(f"{method}()" for method in methods)
    return Kind(f"list of objects with {calls}", f"a list of objects with {calls}", parse)
