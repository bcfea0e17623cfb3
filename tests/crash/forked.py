"""Processes that start in milliseconds: forked from one that has imported everything and opened nothing.

An interpreter takes a quarter of a second to start and import streamlog, a fork two milliseconds: a thousand kills are minutes
instead of the better part of an hour. The parent must have no threads and no broker.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable

FAILED_STATUS = 70
"""Exit status of a child that raised; its last line says what."""

_PR_SET_PDEATHSIG = 1


class Reporter:
    """Writes lines to the parent, each with one ``write``: what the parent reads has happened."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __call__(self, *words: object) -> None:
        """Report one line of *words*."""
        os.write(self._descriptor, (" ".join(map(str, words)) + "\n").encode())

    def raw(self, data: bytes) -> None:
        """Report bytes of any length."""
        while data:
            data = data[os.write(self._descriptor, data) :]

    def failed(self) -> None:
        """Report the exception being handled and end the process, whatever its other threads do."""
        self.raw(f"failed {json.dumps(traceback.format_exc()[-6000:])}\n".encode())
        os._exit(FAILED_STATUS)


class Child:
    """A forked process that runs *target* and whose reports are read line by line."""

    def __init__(self, target: Callable[[Reporter], None]) -> None:
        self._descriptor, write_end = os.pipe()
        self._rest = b""
        self._exit_code: int | None = None
        sys.stdout.flush()
        self.pid = os.fork()
        if not self.pid:
            _run(target, write_end)
        os.close(write_end)

    def read_lines(self, until_s: float) -> list[str]:
        """Return the lines that have come, at the latest at the monotonic time *until_s*; [] then, or at the end."""
        while True:
            left_s = until_s - time.monotonic()
            if not select.select([self._descriptor], [], [], max(left_s, 0))[0]:
                return []
            chunk = os.read(self._descriptor, 1 << 16)
            if not chunk:
                return []
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            if lines:
                return [line.decode() for line in lines]

    def read_all(self) -> bytes:
        """Return everything until the child ends."""
        parts = [self._rest]
        while chunk := os.read(self._descriptor, 1 << 20):
            parts.append(chunk)
        return b"".join(parts)

    def signal(self, number: int) -> None:
        """Send a signal; nothing happens when the child has ended."""
        if self._exit_code is None:
            os.kill(self.pid, number)

    def end(self) -> tuple[int, list[str]]:
        """Kill the child unless it has ended; return its exit code (negative: a signal) and the last lines.

        An unfinished last line does not count: nobody was told.
        """
        self.signal(signal.SIGKILL)
        code = self.wait()
        lines = self.read_all().split(b"\n")[:-1]
        os.close(self._descriptor)
        return code, [line.decode() for line in lines]

    def wait(self) -> int:
        """Wait until the child has ended and return its exit code."""
        if self._exit_code is None:
            self._exit_code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._exit_code


def _run(target: Callable[[Reporter], None], descriptor: int) -> None:
    reporter = Reporter(descriptor)
    try:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # nobody outlives the loop
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        target(reporter)
        os._exit(0)
    except BaseException:
        reporter.failed()
