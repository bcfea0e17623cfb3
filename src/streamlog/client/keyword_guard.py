"""Arguments that are given by name, without what Python charges for saying so."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

GUARD = "_keywords_follow"
"""The parameter that takes what is given by position too much. Its default is ``...``."""


def keywords_after_guard(function: F) -> F:
    """Show the parameters of *function* after `GUARD` as keyword-only ones, and the guard not at all.

    To Python they are ordinary ones: a call that leaves out keyword-only parameters looks up the default
    of each in a dict, which costs `Producer.send` 40 ns and the guard 8 (decision 8). The function
    itself has to look whether the guard is still ``...``, and calls `refuse_positional` if not.
    """
    signature = inspect.signature(function)
    names = list(signature.parameters)
    behind = names[names.index(GUARD) + 1 :]
    shown = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) if name in behind else parameter
        for name, parameter in signature.parameters.items()
        if name != GUARD
    ]
    function.__signature__ = signature.replace(parameters=shown)  # type: ignore[attr-defined]
    return function


def refuse_positional(call: str, found: object) -> NoReturn:
    """Raise TypeError: *found* was given by position, behind the last argument that may be."""
    raise TypeError(
        f"{call}: expected everything after the value by name, such as key=..., partition=..., found"
        f" {found!r:.80} by position"
    )
