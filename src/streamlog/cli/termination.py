"""SIGTERM and SIGHUP, for a command that has something to bring to an end first."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from streamlog.cli.failures import Terminated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextmanager
def termination_as_ctrl_c() -> Iterator[None]:
    """Raise `Terminated`, a KeyboardInterrupt, where SIGTERM or SIGHUP finds the main thread, for the length of the block.

    What is ignored, as by ``nohup``, stays ignored. What is handled by other than Python, as in a program that embeds it, stays so: that
    could not be put back.
    """
    before = {}
    try:
        for number in _SIGNALS:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                before[number] = signal.signal(number, _terminate)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _terminate(number: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated(number)
