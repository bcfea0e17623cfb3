"""What a partition holds in place of a log that cannot be used."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from streamlog.errors import StreamlogError


class RefusedLog:
    """Raises one error for whatever is asked of it: damaged, deleted, closed, forked.

    Replacing the log instead of asking for a state on each call costs the hot path nothing, and no
    call can be forgotten. Threads: any; each caller gets a copy of the error, so that two
    tracebacks never mix.
    """

    __slots__ = ("_error",)

    def __init__(self, error: StreamlogError) -> None:
        self._error = error

    @property
    def error(self) -> StreamlogError:
        """A fresh copy of the error, to raise."""
        return copy.copy(self._error)

    def __getattr__(self, name: str) -> NoReturn:
        raise self.error
