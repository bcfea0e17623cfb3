from __future__ import annotations

import logging
import subprocess
import sys
from importlib.abc import MetaPathFinder

import pytest

from streamlog.cli.__main__ import main
from streamlog.cli.failures import INTERRUPTED
from streamlog_command import main as script


class Interrupted(MetaPathFinder):
    def find_spec(self, name: str, *_: object) -> None:
        if name == "streamlog.cli.app":
            raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def _log_goes_nowhere_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program's own handler writes to what was its stderr, into that of whatever test comes later."""
    monkeypatch.setattr(logging.getLogger("streamlog"), "handlers", [])


def test_ctrl_c_while_the_program_is_being_loaded_ends_it_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "streamlog.cli.app", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupted(), *sys.meta_path])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == INTERRUPTED


def test_ctrl_c_while_the_library_is_being_loaded_ends_the_script_without_a_traceback() -> None:
    """In a process of its own, where nothing of the library is there yet."""
    program = """
import sys

class Interrupted:
    def find_spec(name, *_):
        if name == "streamlog.errors":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupted)
from streamlog_command import main
main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (INTERRUPTED, b"")


def test_the_script_is_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["streamlog", "--version"])
    with pytest.raises(SystemExit) as ended:
        script()
    assert ended.value.code == 0
