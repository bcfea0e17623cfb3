from __future__ import annotations

import signal
from typing import Any

import pytest

from streamlog.cli.failures import Terminated
from streamlog.cli.termination import termination_as_ctrl_c


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signal_is_raised_as_ctrl_c_with_the_code_that_the_shell_has_for_it(number: int) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt) as caught, termination_as_ctrl_c():
        signal.raise_signal(number)
    assert isinstance(caught.value, Terminated)
    assert caught.value.code == 128 + number
    assert signal.getsignal(number) is before


def test_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with termination_as_ctrl_c():
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_signal_that_is_not_handled_by_python_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It cannot be put back: that it was tried hid what had ended the command."""
    before = signal.getsignal(signal.SIGTERM)
    set_handler = signal.signal
    calls: list[int] = []

    def set_over_foreign(number: int, handler: Any) -> None:
        calls.append(number)
        set_handler(number, handler)

    with monkeypatch.context() as patched:
        patched.setattr(signal, "getsignal", lambda _number: None)
        patched.setattr(signal, "signal", set_over_foreign)
        try:
            with pytest.raises(LookupError, match="its own"), termination_as_ctrl_c():
                raise LookupError("its own")
        finally:
            set_handler(signal.SIGTERM, before)
    assert calls == []
