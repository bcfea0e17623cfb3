"""Regular expressions of clients, matched in time that does not grow with more than the name."""

from __future__ import annotations

import re
from typing import Any

import attrs

_INSTALL_HINT = "pip install 'streamlog-broker[wire]'"

#: Of patterns that are matched by backtracking. Each place where a match may go on in several ways multiplies what a name costs that does
#: not match; two of them are half a millisecond.
_MAX_REPEATS, _MAX_CHOICES, _MAX_LENGTH = 2, 1, 1000
_REPEATS = "*+?{"
_PLAIN_GROUP = "(?:"


class InvalidTopicPatternError(ValueError):
    """A regular expression that is none, or cannot be matched in bounded time here."""


@attrs.frozen
class TopicPattern:
    """A regular expression that whole names of topics are matched against. Equal to those of the same text. Threads: any."""

    pattern: str
    """Its text."""
    _match: Any = attrs.field(eq=False, repr=False)

    def fullmatch(self, name: str) -> object:
        """Return something that is true if all of *name* matches."""
        return self._match(name)


def compile_pattern(text: str) -> TopicPattern:
    """Return the pattern; raises `InvalidTopicPatternError` with what is wrong with it.

    It is one of RE2, as in Kafka, if that library is installed (extra ``wire``). Else one of Python's ``re``, which tries one way of
    matching after the other, and only if those are few. Source: Kafka ``SubscribedTopicRegex``, which is RE2/J.
    """
    try:
        import re2
    except ImportError:
        return _by_backtracking(text)
    options = re2.Options()
    options.log_errors = False
    try:
        return TopicPattern(text, re2.compile(text, options).fullmatch)
    except re2.error as error:
        reason = error.args[0] if error.args else "it is not valid"
        raise InvalidTopicPatternError(
            reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        ) from error


def _by_backtracking(text: str) -> TopicPattern:
    try:
        found = re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise InvalidTopicPatternError(str(error)) from error
    if reason := _why_it_may_take_long(text):
        raise InvalidTopicPatternError(f"{reason} may take for ever to match: {_INSTALL_HINT}")
    return TopicPattern(text, found.fullmatch)


def _why_it_may_take_long(text: str) -> str:
    """Return what is in the valid pattern *text* that takes long to match by backtracking, nothing if it is simple."""
    if len(text) > _MAX_LENGTH:
        return f"more than {_MAX_LENGTH} characters"
    repeats = choices = position = 0
    #: Of each group that is open, whether it has alternatives.
    groups: list[bool] = []
    while position < len(text):
        character = text[position]
        if character == "\\":
            if text[position + 1].isdigit():
                return "a back reference"
            position += 1
        elif character == "[":
            position = _end_of_class(text, position)
        elif character == "(":
            if text.startswith("(?", position) and not text.startswith(_PLAIN_GROUP, position):
                return f"{text[position : position + 3]!r}"
            if text.startswith(_PLAIN_GROUP, position):
                position += len(_PLAIN_GROUP) - 1
            groups.append(False)
        elif character == "|" and groups:
            groups[-1] = True
        elif character == ")":
            choices += groups.pop()
            if text[position + 1 : position + 2] and text[position + 1] in _REPEATS:
                return "a group that is repeated"
        elif character in _REPEATS:
            repeats += 1
        position += 1
    if repeats > _MAX_REPEATS:
        return f"more than {_MAX_REPEATS} repeats"
    if choices > _MAX_CHOICES:
        return f"more than {_MAX_CHOICES} group of alternatives"
    return ""


def _end_of_class(text: str, start: int) -> int:
    """Return where the character class ends that begins at *start*."""
    position = start + 1
    if text[position] == "^":
        position += 1
    if text[position] == "]":  # the first one is a character like any other
        position += 1
    while text[position] != "]":
        position += 2 if text[position] == "\\" else 1
    return position
