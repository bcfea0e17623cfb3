"""One public door: what is importable from `streamlog`, and nothing by accident."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import streamlog
import streamlog.errors
import streamlog.structs

ROOT = Path(__file__).parents[2]

PINNED = {"Broker", "Producer", "Consumer", "ConsumerRecord", "ConsumerRecords", "RecordFuture"}
PINNED |= {"RecordMetadata", "TopicPartition", "ProducerRecord", "StreamlogError", "RetriableError"}


def test_all_names_are_there_and_none_twice() -> None:
    assert [name for name in streamlog.__all__ if not hasattr(streamlog, name)] == []
    assert len(streamlog.__all__) == len(set(streamlog.__all__))


def test_the_pinned_names_are_public() -> None:
    assert set(streamlog.__all__) >= PINNED


def test_every_error_and_every_struct_is_public() -> None:
    errors = {
        name
        for name, value in vars(streamlog.errors).items()
        if inspect.isclass(value) and issubclass(value, streamlog.errors.StreamlogError)
    }
    assert sorted((errors | set(streamlog.structs.__all__)) - set(streamlog.__all__)) == []


def test_nothing_is_public_that_is_not_announced() -> None:
    public = {
        name
        for name, value in vars(streamlog).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert sorted(public - set(streamlog.__all__)) == []


def test_star_import_gives_exactly_all() -> None:
    names: dict[str, object] = {}
    exec("from streamlog import *", names)
    assert set(names) - {"__builtins__"} == set(streamlog.__all__)


def test_examples_use_the_public_door_only() -> None:
    imported = set()
    for path in ROOT.glob("examples/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("streamlog"):
                imported.add(node.module)
            if isinstance(node, ast.Import):
                imported |= {n.name for n in node.names if n.name.startswith("streamlog")}
    assert imported <= {"streamlog", "streamlog.aio", "streamlog.testing"}


def test_importing_streamlog_starts_no_thread_and_opens_no_file() -> None:
    program = (
        "import os, threading\n"
        "import streamlog\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
        "held = [os.readlink(f'/proc/self/fd/{fd}') for fd in os.listdir('/proc/self/fd') if int(fd) > 2\n"
        "        and os.path.exists(f'/proc/self/fd/{fd}')]\n"
        "assert not [path for path in held if 'streamlog' in path], held\n"
        "import sys; assert 'streamlog.testing' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], timeout=150, check=False)
    assert done.returncode == 0


def test_the_version_is_the_packages() -> None:
    import importlib.metadata

    assert streamlog.__version__ == importlib.metadata.version("streamlog-broker")
