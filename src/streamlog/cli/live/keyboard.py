"""Single keys of a terminal, as they are pressed."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager

try:
    import termios
    import tty
except ImportError:  # pragma: no cover - a system without them: there are no keys then
    _HAS_TERMIOS = False
else:
    _HAS_TERMIOS = True

_READ_BYTES = 64


class Keyboard:
    """Standard input while it gives keys one by one. Made by `keyboard`."""

    def __init__(self, fd: int | None) -> None:
        self._fd = fd

    def wait(self, seconds: float) -> str:
        """Return the keys that were pressed, as soon as there are any; "" when *seconds* went by without one."""
        if self._fd is None:
            select.select([], [], [], seconds)
            return ""
        ready, _, _ = select.select([self._fd], [], [], seconds)
        if not ready:
            return ""
        data = os.read(self._fd, _READ_BYTES)
        if not data:  # nobody is there any more
            raise EOFError
        return data.decode("utf-8", "replace")


@contextmanager
def keyboard() -> Iterator[Keyboard]:
    """Let standard input give its keys at once and unseen while the block runs; Ctrl-C still works. Without a terminal there are none."""
    if not _HAS_TERMIOS or not sys.stdin.isatty():
        yield Keyboard(None)
        return
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    try:
        tty.setcbreak(fd)
        yield Keyboard(fd)
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
