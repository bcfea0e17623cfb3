"""One table for each configuration class: what every key defaults to, accepts and refuses."""

from __future__ import annotations

from typing import Any, NamedTuple

import attrs
import pytest

from streamlog.config import Config
from streamlog.errors import InvalidConfigurationError

INT_MAX = 2**31 - 1
LONG_MAX = 2**63 - 1


class Case(NamedTuple):
    """One key. *good* maps what is given to what is stored; *bad* is refused."""

    default: Any
    good: tuple[tuple[Any, Any], ...]
    bad: tuple[Any, ...]


def integer(default: int, minimum: int, maximum: int = LONG_MAX) -> Case:
    good = tuple((n, n) for n in {minimum, min(minimum + 1, maximum), maximum})
    return Case(default, good, (minimum - 1, maximum + 1, None, "5", 5.0, True, [], b"5"))


GZIP_LEVEL = Case(-1, ((-1, -1), (1, 1), (9, 9)), (-2, 0, 10, None, "5", 5.0, True))
LZ4_LEVEL = integer(9, 1, 17)
ZSTD_LEVEL = integer(3, -131_072, 22)
"""Kafka's ranges and defaults (KIP-390)."""


def nullable_integer(default: int | None, minimum: int) -> Case:
    good = ((None, None), (minimum, minimum), (LONG_MAX, LONG_MAX))
    return Case(default, good, (LONG_MAX + 1, "5", 5.0, True, []))


def number(default: float, minimum: float, maximum: float | None = None) -> Case:
    good = tuple((n, n) for n in (minimum, minimum + 0.5, 1 if maximum is None else maximum))
    bad = (minimum - 0.5, float("nan"), float("inf"), None, "5", True, [], 1j)
    return Case(default, good, bad if maximum is None else (*bad, maximum + 0.5))


def boolean(default: bool) -> Case:
    return Case(default, ((True, True), (False, False)), (0, 1, None, "true", [], 0.0))


def text(default: str | None) -> Case:
    return Case(default, (("a", "a"), ("ü b", "ü b")), (5, b"a", True, [], object()))


def only(value: bool | None, *bad: Any) -> Case:
    return Case(value, ((value, value),), (*bad, 0, "", "x", []))


def choice(default: str, others: tuple[str, ...], *bad: Any) -> Case:
    good = tuple((value, value) for value in (default, *others))
    return Case(default, good, (*bad, default.upper() + "?", "", None, 0, True, [default]))


def plugin(stock: tuple[str, ...], method: str) -> Case:
    class Own:
        pass

    setattr(Own, method, lambda self, *args: None)
    own = Own()

    def function(*args: Any) -> None:
        return None

    good = ((None, None), (own, own), (function, function), *((name, name) for name in stock))
    return Case(None, good, (Own, "avro", "", 5, b"json", [], object()))


def objects(*methods: str) -> Case:
    def own(method: str) -> Any:
        return type("Own", (), {method: lambda self, record: record})()

    some = [own(method) for method in methods]
    good = (((), ()), (some, tuple(some)), (tuple(some), tuple(some)))
    return Case((), good, (some[0], [object()], [type(some[0])], "x", None, 5, {}))


def check_every_way(config: type[Config], key: str, case: Case, **needed: Any) -> None:
    """Give every good and bad value in every way there is, and look at what is stored or said. *needed*
    are the other keys that good values need next to them.
    """
    dotted = key.replace("_", ".")
    assert getattr(config(), key) == case.default
    for given, stored in case.good:
        for made in (
            config(**{key: given}, **needed),
            config.from_options(**{key: given}, **needed),
            config.from_options({key: given, **needed}),
            config.from_options({dotted: given}, **needed),
            config.from_options(**{dotted: given}, **needed),
        ):
            found = getattr(made, key)
            assert found == stored
            assert type(found) is type(stored)
    for given in case.bad:
        message = f"^{config.__name__}: {key}: expected .*, found "
        with pytest.raises(InvalidConfigurationError, match=message):
            config(**{key: given})
        with pytest.raises(InvalidConfigurationError, match=message):
            config.from_options(**{key: given})
        if isinstance(given, str):
            continue  # in a mapping, text may stand for a number
        with pytest.raises(InvalidConfigurationError, match=message):
            config.from_options({dotted: given})


def check_complete(config: type[Config], cases: dict[str, Case]) -> None:
    """No key without a case, in the same order."""
    assert [field.name for field in attrs.fields(config)] == list(cases)


def check_unsupported(config: type[Config]) -> None:
    """Each key of the table is refused with its reason, dotted or not; none is a real key as well."""
    known = {line.key for line in config.describe()} | set(config.aliases)
    for key, reason in config.unsupported.items():
        assert reason
        example = key.replace("*", "example")
        assert example not in known
        for name in (example, example.replace("_", ".")):
            with pytest.raises(InvalidConfigurationError) as caught:
                config.from_options({name: 1})
            assert name in str(caught.value)
            assert "does not support" in str(caught.value)
            assert reason in str(caught.value)
    for pattern in config.unsupported:
        if pattern.endswith("*"):
            assert not [key for key in known if key.startswith(pattern[:-1])]
