"""No loop under a lock jumps back where Ctrl-C may come out past the ``with`` (python/cpython gh-108214, gh-130279).

Since Python 3.12 the jump back behind a condition at the end of a loop, or of a comprehension, belongs to no block: what comes out
there leaves the function at once, and the lock is kept for good. In a function of its own such a loop does no harm, for what comes
out of that comes out of the call.
"""

from __future__ import annotations

import ast
import dis
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "streamlog"
FILES = sorted(path for path in SOURCE.rglob("*.py") if "cli" not in path.parts)
WHAT_IS_HELD = ("lock", "guard", "task")

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="every jump back belongs to its block here"
)


def functions(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from functions(constant)


def lines_under_a_lock(tree: ast.AST) -> set[int]:
    return {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.With)
        and any(ast.unparse(one.context_expr).endswith(WHAT_IS_HELD) for one in node.items)
        for line in range(node.body[0].lineno, (node.body[-1].end_lineno or 0) + 1)
    }


def lone_jumps(source: str, path: str = "") -> list[str]:
    """Return where jumps back under a lock belong to no block of their function."""
    locked = lines_under_a_lock(ast.parse(source))
    found = []
    for code in functions(compile(source, path, "exec")):
        bytecode = dis.Bytecode(code)
        blocks = bytecode.exception_entries  # type: ignore[attr-defined]
        if not blocks or code.co_name.startswith("<"):  # a generator has one of its own
            continue
        for instruction in bytecode:
            line = instruction.positions.lineno if instruction.positions else None  # type: ignore[attr-defined]
            if (
                instruction.opname == "JUMP_BACKWARD"
                and line in locked
                and not any(one.start <= instruction.offset < one.end for one in blocks)
            ):
                found.append(f"{path}:{line} in {code.co_name}")
    return found


def test_what_is_looked_for_is_found() -> None:
    source = """
def bad(lock, items):
    with lock:
        for item in items:
            if item:
                items.remove(item)

def good(lock, items):
    with lock:
        for item in items:
            items.remove(item)
"""
    assert lone_jumps(source) == [":5 in bad"]


def test_no_loop_under_a_lock_can_be_left_with_the_lock_held() -> None:
    assert not [
        jump for path in FILES for jump in lone_jumps(path.read_text(encoding="utf-8"), str(path))
    ]
