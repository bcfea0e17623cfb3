"""Python source as it is being written, with the constants that it uses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Source:
    """Lines with their indent, variables with numbers for names, and the globals of what comes out."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._depth = 0
        self._variables = 0
        self.globals: dict[str, Any] = {}

    def add(self, *lines: str) -> None:
        """Write *lines* at the present depth."""
        self._lines += ["    " * self._depth + line for line in lines]

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """Write *head*, and what is written meanwhile one level deeper."""
        self.add(head)
        self._depth += 1
        yield
        self._depth -= 1

    def variable(self) -> str:
        """Return a name that was not used before."""
        self._variables += 1
        return f"v{self._variables}"

    def constant(self, value: object) -> str:
        """Return a name under which *value* is known to the function."""
        name = f"c{len(self.globals)}"
        self.globals[name] = value
        return name

    @property
    def text(self) -> str:
        """What was written so far."""
        return "\n".join(self._lines) + "\n"

    def compile(self, function: str, what: str) -> Callable[..., Any]:
        """Return the *function* that was written; *what* names it in tracebacks."""
        # Nothing in the source comes from outside: it is made of the tables in this package.
        exec(compile(self.text, f"<{what}>", "exec"), self.globals)  # noqa: S102
        found: Callable[..., Any] = self.globals[function]
        return found
