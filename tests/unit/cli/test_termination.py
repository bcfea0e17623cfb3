from __future__ import annotations

import signal

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
