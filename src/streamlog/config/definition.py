"""The machinery all configuration classes share: keys with documentation, and strict parsing.

How to add a key: one line ``name: type = option(kind, default, "what it does")`` in the class,
remove it from ``unsupported.py`` if it is there, and run ``python docs/generate_configuration.py``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, NamedTuple, TypeVar

import attrs

from streamlog.config.kinds import Kind, RejectedValueError
from streamlog.errors import InvalidConfigurationError

C = TypeVar("C", bound="Config")

_KIND = "kind"
_DOC = "doc"


def option(kind: Kind, default: object, doc: str) -> Any:
    """Declare one configuration key, as the right-hand side of an attrs class body line."""
    return attrs.field(default=default, metadata={_KIND: kind, _DOC: doc})


class KeyDescription(NamedTuple):
    """One line of the configuration reference."""

    key: str
    type: str
    default: object
    doc: str


@attrs.frozen
class Config:
    """Base of the configuration classes: frozen attrs classes whose fields are made by `option`.

    Every way to make one checks every value. Threads: any, instances never change.
    """

    aliases: ClassVar[Mapping[str, str]] = {}
    """Other accepted names of a key."""
    unsupported: ClassVar[Mapping[str, str]] = {}
    """Keys that Kafka knows and streamlog refuses, with the reason; ``name_*`` covers a family."""

    @classmethod
    def from_options(
        cls: type[C], config: Mapping[str, object] | None = None, /, **options: object
    ) -> C:
        """Return a configuration from a mapping, keyword arguments, or both.

        Names may be dotted (``linger.ms``). In the mapping, numbers and booleans may be text, as in
        a properties file. A key given twice must have one value. InvalidConfigurationError names
        the key, what was expected and what was found; for an unknown key, the nearest known one.
        """
        return cls(**cls.complete(cls.parse_options(config, options)))

    @classmethod
    def parse_options(
        cls, config: Mapping[str, object] | None, options: Mapping[str, object]
    ) -> dict[str, object]:
        """Return the checked values of the keys given, and only those, by canonical name.

        Plain values (str, int, float, bool, None, tuples of str) unless the key takes the caller's
        objects, so that a broker can store them. Same errors as `from_options`.
        """
        parsed: dict[str, object] = {}
        if config is not None and not isinstance(config, Mapping):
            raise TypeError(
                f"{cls.__name__}: expected a mapping from keys to values, found {config!r:.80}"
            )
        for source, is_text in ((config or {}, True), (options, False)):
            for given_name, value in source.items():
                key = cls._canonical(given_name)
                checked = cls._check(key, value, is_text=is_text)
                if key in parsed and parsed[key] != checked:
                    raise InvalidConfigurationError(
                        f"{cls.__name__}: {key} is given twice, as {parsed[key]!r} and {checked!r}"
                    )
                parsed[key] = checked
        return parsed

    @classmethod
    def complete(cls, given: dict[str, object]) -> dict[str, object]:
        """Return *given* plus the defaults that depend on it. Only the keys given are in *given*.

        Override it where Kafka treats "set to the default" and "not set" differently.
        """
        return given

    @classmethod
    def describe(cls) -> list[KeyDescription]:
        """Return every key with its type, default and meaning, in the order of the class."""
        return [
            KeyDescription(
                field.name, field.metadata[_KIND].name, field.default, field.metadata[_DOC]
            )
            for field in attrs.fields(cls)
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return all keys and their values, in the order of the class."""
        return {field.name: getattr(self, field.name) for field in attrs.fields(type(self))}

    def check_together(self) -> None:
        """Raise InvalidConfigurationError when keys contradict each other. Override where they can."""

    def __attrs_post_init__(self) -> None:
        for field in attrs.fields(type(self)):
            value = self._check(field.name, getattr(self, field.name), is_text=False)
            object.__setattr__(self, field.name, value)
        self.check_together()

    @classmethod
    def _check(cls, key: str, value: object, *, is_text: bool) -> object:
        kind: Kind = getattr(attrs.fields(cls), key).metadata[_KIND]
        try:
            return kind.parse(value, is_text)
        except RejectedValueError as rejected:
            found = f"found {value!r} ({type(value).__name__})"
            reason = rejected.reason and f": {rejected.reason}"
            raise InvalidConfigurationError(
                f"{cls.__name__}: {key}: expected {kind.expected}, {found}{reason}"
            ) from rejected

    @classmethod
    def _canonical(cls, given_name: str) -> str:
        """Return the canonical key for a name as given, or raise saying what is wrong with it."""
        if not isinstance(given_name, str):
            raise InvalidConfigurationError(
                f"{cls.__name__}: keys are str, found {given_name!r} ({type(given_name).__name__})"
            )
        name = given_name.replace(".", "_")
        name = cls.aliases.get(name, name)
        known = [field.name for field in attrs.fields(cls)]
        if name in known:
            return name
        reason = _reason(name, cls.unsupported)
        if reason is not None:
            raise InvalidConfigurationError(
                f"{cls.__name__}: {given_name} is a Kafka key that streamlog does not support: {reason}"
            )
        nearest = difflib.get_close_matches(name, [*known, *cls.aliases], n=1)
        elsewhere = {
            other.__name__
            for other in Config.__subclasses__()
            if any(field.name == name for field in attrs.fields(other))
        }
        place = f", which is one of {' and '.join(sorted(elsewhere))}" if elsewhere else ""
        hint = ""
        if nearest and (not elsewhere or nearest[0].endswith(name)):
            hint = f"; did you mean {nearest[0]}?"
        raise InvalidConfigurationError(f"{cls.__name__}: unknown key {given_name}{place}{hint}")


def _reason(name: str, unsupported: Mapping[str, str]) -> str | None:
    if name in unsupported:
        return unsupported[name]
    for pattern, reason in unsupported.items():
        if pattern.endswith("*") and name.startswith(pattern[:-1]):
            return reason
    return None


def unsupported_keys(reasons: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Turn a table {reason: keys} into {key: reason}, keys sorted; each key has one reason."""
    pairs = sorted((key, reason) for reason, keys in reasons.items() for key in keys)
    table = dict(pairs)
    assert len(table) == len(pairs), "a key stands in two places"
    return table
