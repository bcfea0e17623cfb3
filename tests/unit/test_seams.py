"""Time, chance, threads and files come in through `streamlog.runtime` and nowhere else.

That is what lets a test replay any scenario exactly, so it is checked on the source itself.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "streamlog"
FILES = sorted(path for path in SOURCE.rglob("*.py") if "runtime" not in path.parts)

# Modules that touch the outside world; `datetime` and `uuid` are plain values but for a few calls.
OUTSIDE = {
    "_thread",
    "atexit",
    "asyncio",
    "fcntl",
    "io",
    "mmap",
    "multiprocessing",
    "os",
}
OUTSIDE |= {
    "pathlib",
    "queue",
    "random",
    "sched",
    "secrets",
    "select",
    "shutil",
    "signal",
    "socket",
}
OUTSIDE |= {"subprocess", "tempfile", "threading", "time"}
OUTSIDE_CALLS = {"open", "input", "datetime.now", "datetime.utcnow", "datetime.today", "date.today"}
OUTSIDE_CALLS |= {"uuid.uuid1", "uuid.uuid4", "uuid1", "uuid4"}
CODE_FROM_DATA = {"eval", "exec", "compile", "__import__", "pickle", "marshal", "shelve"}


MAY_IMPORT = {"aio": {"asyncio"}}
"""What a package is about: its whole purpose is to run in somebody's event loop."""


def violations(tree: ast.AST, allowed: Collection[str] = ()) -> Iterator[str]:
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            if name.partition(".")[0] in (OUTSIDE | CODE_FROM_DATA).difference(allowed):
                yield f"line {node.lineno}: imports {name}"
        if isinstance(node, ast.Call) and (called := ast.unparse(node.func)) in (
            OUTSIDE_CALLS | CODE_FROM_DATA
        ):
            yield f"line {node.lineno}: calls {called}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_module_touches_the_outside_world_through_runtime_only(path: Path) -> None:
    allowed = MAY_IMPORT.get(path.relative_to(SOURCE).parts[0], set())
    assert list(violations(ast.parse(path.read_text()), allowed)) == []


@pytest.mark.parametrize(
    "line",
    [
        "import time",
        "from os import path",
        "import os.path",
        "open('x')",
        "datetime.now()",
        "eval('1')",
    ],
)
def test_a_violation_is_found(line: str) -> None:
    assert len(list(violations(ast.parse(line)))) == 1


def test_no_file_is_longer_than_five_hundred_lines() -> None:
    lengths = {
        str(p.relative_to(SOURCE)): len(p.read_text().splitlines()) for p in SOURCE.rglob("*.py")
    }
    assert {name: length for name, length in lengths.items() if length > 500} == {}
