"""One call about several things, each on its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from streamlog.errors import StreamlogError

K = TypeVar("K")
T = TypeVar("T")
V = TypeVar("V")


def for_each(items: Mapping[K, T], action: Callable[[T], V]) -> dict[K, V]:
    """Apply *action* to every item; return the results by key, or raise the first error at the end."""
    results: dict[K, V] = {}
    errors: list[StreamlogError | OSError] = []
    for key, item in items.items():
        try:
            results[key] = action(item)
        except (StreamlogError, OSError) as error:
            errors.append(error)
    if errors:
        first, *others = errors
        if others:
            # PEP 678, which Python 3.10 keeps and does not show.
            notes = [f"and: {type(error).__name__}: {error}" for error in others]
            first.__dict__["__notes__"] = notes
        raise first
    return results
