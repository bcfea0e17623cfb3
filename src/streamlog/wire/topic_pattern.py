"""Regular expressions of clients, matched in time that does not grow with more than the name."""

from __future__ import annotations

import re
from typing import Any

import attrs

_INSTALL_HINT = "pip install 'streamlog-broker[wire]'"

#: Of patterns that are matched by backtracking. A step is one character of the pattern that is tried at one place of a name, in one of the
#: ways in which the characters before it may match. So many take a millisecond or two.
_MAX_STEPS, _MAX_LENGTH = 500_000, 1000
#: Ways in which a repeat may match in a name of a topic, which has 249 characters at most.
_WAYS_OF_REPEAT = 250
#: A class of characters is tried in one step up to this length. Longer ones may be searched member by member.
_STEP_OF_CLASS = 16
_REPEATS = "*+?{"
_EXACTLY = re.compile(r"\{[0-9]+\}")
_PLAIN_GROUP = "(?:"
#: What ``re`` warns of within classes, as it may come to mean operations on sets.
_SET_OPERATIONS = ("--", "&&", "||", "~~")
_TOO_LONG = "may take for ever to match"


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
    # First of all, for to compile what is refused may take long too, or warn, which is an exception where warnings are errors.
    if reason := _why_not(text):
        raise InvalidTopicPatternError(f"{reason}: {_INSTALL_HINT}")
    try:
        return TopicPattern(text, re.compile(text).fullmatch)
    except (re.error, OverflowError, RecursionError) as error:
        raise InvalidTopicPatternError(str(error)) from error


@attrs.define
class _Group:
    """A group that is open, or the whole pattern. In ways to match: one alternative is as good as another for what comes behind."""

    before: int
    """Ways in which what is before the group may match."""
    ended: int = 0
    """Those in which that and one of the alternatives that have ended may."""


def _why_not(text: str) -> str:
    """Return why *text* is not matched by backtracking, nothing if that takes few steps.

    Of a text that is no pattern it may say either: that is for ``re`` to find.
    """
    if len(text) > _MAX_LENGTH:
        return f"more than {_MAX_LENGTH} characters {_TOO_LONG}"
    #: In how many ways all before this position may match: each is tried in turn, with all that follows, when a name does not match.
    ways, steps, position = 1, 0, 0
    weight = 1  # steps to try the last character once
    groups = [_Group(1)]
    while position < len(text):
        character = text[position]
        if character in _REPEATS:
            end = position + 1
            if exactly := _EXACTLY.match(text, position):
                end = exactly.end()
                steps += ways * weight * _WAYS_OF_REPEAT
            elif character == "?":  # also one that makes a repeat reluctant
                ways *= 2
            else:
                ways *= _WAYS_OF_REPEAT
            steps += ways * weight
        else:
            end, weight = position + 1, 1
            if character == "\\":
                if text[position + 1 : position + 2].isdigit():
                    return f"a back reference {_TOO_LONG}"
                end += 1
            elif character == "[":
                end = _end_of_class(text, position)
                if operation := _set_operation(text[position:end]):
                    return f"{operation!r} within [] has two meanings"
                weight += (end - position) // _STEP_OF_CLASS
            elif character == "(":
                if text.startswith(_PLAIN_GROUP, position):
                    end = position + len(_PLAIN_GROUP)
                elif text.startswith("(?", position):
                    return f"{text[position : position + 3]!r} {_TOO_LONG}"
                groups.append(_Group(ways))
            elif character == "|":
                groups[-1].ended += ways
                ways = groups[-1].before
            elif character == ")":
                if len(groups) == 1:
                    return ""  # and no pattern
                if text[end : end + 1] and text[end] in _REPEATS:
                    return f"a group that is repeated {_TOO_LONG}"
                ways += groups.pop().ended
            steps += ways * weight
        position = end
    # A way that matches, but not to the end of the name, is given up only there.
    if steps + ways + groups[0].ended > _MAX_STEPS:
        return f"repeats and alternatives that match in more than {_MAX_STEPS} steps {_TOO_LONG}"
    return ""


def _end_of_class(text: str, start: int) -> int:
    """Return where the text goes on behind the character class that begins at *start*."""
    position = start + 1
    if text.startswith("^", position):
        position += 1
    if text.startswith("]", position):  # the first one is a character like any other
        position += 1
    while position < len(text) and text[position] != "]":
        position += 2 if text[position] == "\\" else 1
    return position + 1


def _set_operation(text: str) -> str:
    """Return what may be one on sets in the class *text*, nothing if there is none."""
    members = text[2:] if text.startswith("[^") else text[1:]
    if members.startswith("["):
        return "[["
    position = 0
    while position < len(members):
        if members.startswith(_SET_OPERATIONS, position):
            return members[position : position + 2]
        position += 2 if members[position] == "\\" else 1
    return ""
