from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder

import pytest

from streamlog.cli.__main__ import main
from streamlog.cli.failures import INTERRUPTED


class Interrupted(MetaPathFinder):
    def find_spec(self, name: str, *_: object) -> None:
        if name == "streamlog.cli.app":
            raise KeyboardInterrupt


def test_ctrl_c_while_the_program_is_being_loaded_ends_it_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "streamlog.cli.app", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupted(), *sys.meta_path])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == INTERRUPTED
