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
# Data never becomes code (durability 3.22), in runtime neither.
CODE_FROM_DATA = {"eval", "exec", "compile", "__import__", "builtins", "importlib", "runpy", "code"}
CODE_FROM_DATA |= {"pickle", "marshal", "shelve", "dill", "cloudpickle", "jsonpickle", "yaml"}
CODE_FROM_DATA |= {"pkgutil", "zipimport"}
MAY_LOAD = {"cli/app.py": {"pkgutil"}, "wire/codec/source.py": {"exec", "compile"}}
"""The commands are loaded by their names in a table of that file, and by nothing that comes from outside; the readers and writers of
messages are compiled from the tables in `streamlog.wire.messages`, before the first byte of a client is looked at."""
EVERY_FILE = sorted(SOURCE.rglob("*.py"))


MAY_IMPORT = {
    "aio": {"asyncio"},
    "cli": {"io", "os", "select", "signal"},
    "wire": {"asyncio", "socket"},
}
"""What a package is about: to run in somebody's event loop; to talk to a terminal, pipes and files that a
person names; to serve sockets. The data directory, time and threads reach the command line through `streamlog.runtime` too."""


FORBIDDEN = OUTSIDE | OUTSIDE_CALLS | CODE_FROM_DATA


def violations(tree: ast.AST, forbidden: Collection[str] = FORBIDDEN) -> Iterator[str]:
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            if name.partition(".")[0] in forbidden:
                yield f"line {node.lineno}: imports {name}"
        if isinstance(node, ast.Call) and (called := ast.unparse(node.func)) in forbidden:
            yield f"line {node.lineno}: calls {called}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_module_touches_the_outside_world_through_runtime_only(path: Path) -> None:
    name = path.relative_to(SOURCE)
    allowed = MAY_IMPORT.get(name.parts[0], set()) | MAY_LOAD.get(name.as_posix(), set())
    assert list(violations(ast.parse(path.read_text()), FORBIDDEN - allowed)) == []


@pytest.mark.parametrize("path", EVERY_FILE, ids=lambda path: str(path.relative_to(SOURCE)))
def test_module_makes_no_code_from_data(path: Path) -> None:
    allowed = MAY_LOAD.get(path.relative_to(SOURCE).as_posix(), set())
    assert list(violations(ast.parse(path.read_text()), CODE_FROM_DATA - allowed)) == []


@pytest.mark.parametrize(
    "line",
    [
        "import time",
        "from os import path",
        "import os.path",
        "open('x')",
        "datetime.now()",
        "eval('1')",
        "import pickle",
        "from importlib import import_module",
        "__import__(name)",
    ],
)
def test_a_violation_is_found(line: str) -> None:
    assert len(list(violations(ast.parse(line)))) == 1


def test_no_file_is_longer_than_five_hundred_lines() -> None:
    lengths = {
        str(p.relative_to(SOURCE)): len(p.read_text().splitlines()) for p in SOURCE.rglob("*.py")
    }
    assert {name: length for name, length in lengths.items() if length > 500} == {}


# ---- the order of things: a set has another one under another PYTHONHASHSEED

ORDER_DOES_NOT_MATTER = {"all", "any", "frozenset", "len", "max", "min", "set", "sorted", "sum"}


def is_set_type(annotation: ast.expr | None) -> bool:
    """Whether it says set or frozenset, or one of several of these."""
    if isinstance(annotation, ast.BinOp):
        return is_set_type(annotation.left) and is_set_type(annotation.right)
    if isinstance(annotation, ast.Subscript):
        annotation = annotation.value
    return isinstance(annotation, ast.Name) and annotation.id in ("set", "frozenset")


def names_of_sets(tree: ast.AST) -> set[str]:
    """Return the names and attributes that the module says are sets, and nowhere something else."""
    said: dict[str, bool] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and node.annotation is not None:
            name, annotation = node.arg, node.annotation
        elif isinstance(node, ast.AnnAssign):
            name, annotation = ast.unparse(node.target), node.annotation
        else:
            continue
        said[name] = said.get(name, True) and is_set_type(annotation)
    return {name for name, is_set in said.items() if is_set}


def is_set(node: ast.expr, sets: set[str]) -> bool:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub | ast.BitOr | ast.BitAnd):
        if isinstance(node.op, ast.Sub) and isinstance(node.left, ast.Call):
            return ast.unparse(node.left.func).endswith(".keys")
        return is_set(node.left, sets) or is_set(node.right, sets)
    if isinstance(node, ast.Call):
        return ast.unparse(node.func) in ("set", "frozenset")
    return isinstance(node, ast.Set | ast.SetComp) or ast.unparse(node) in sets


def unsorted_sets(tree: ast.AST) -> Iterator[str]:
    """Yield the places that take the elements of a set in an order that may show."""
    sets = names_of_sets(tree)
    harmless: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ORDER_DOES_NOT_MATTER:
            harmless.update(node.args)
        found: list[ast.expr] = []
        if isinstance(node, ast.For):
            found = [node.iter]
        elif isinstance(node, ast.ListComp | ast.DictComp | ast.GeneratorExp):
            found = [] if node in harmless else [part.iter for part in node.generators]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("list", "tuple", "iter"):
            found = node.args
        for one in found:
            if is_set(one, sets):
                yield f"line {node.lineno}: takes the elements of a set in its order: {ast.unparse(one)}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_module_sorts_a_set_before_its_order_can_show(path: Path) -> None:
    assert list(unsorted_sets(ast.parse(path.read_text()))) == []


@pytest.mark.parametrize(
    ("lines", "count"),
    [
        ("for name in {1, 2}: print(name)", 1),
        ("for name in sorted({1, 2}): print(name)", 0),
        ("def f(names: set[str] | frozenset[str]):\n for name in names: print(name)", 1),
        ("names: set[str] = set()\nlist(names)", 1),
        ("names: set[str] = set()\nsorted(name for name in names)", 0),
        ("names: set[str] = set()\n{name for name in names}", 0),
        ("names: set[str] = set()\n{name: 1 for name in names - {1}}", 1),
        ("for name in a.keys() - b: print(name)", 1),
        ("names: list[str] = []\nfor name in names: print(name)", 0),
    ],
)
def test_an_order_that_shows_is_found(lines: str, count: int) -> None:
    assert len(list(unsorted_sets(ast.parse(lines)))) == count
