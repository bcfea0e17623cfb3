"""The command line in memory: each command opens the same directory anew, and time stands still."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any
from unittest.mock import patch

from click.testing import CliRunner, Result

from streamlog import Broker
from streamlog.cli.app import app
from streamlog.cli.session import Session
from streamlog.runtime import MemoryFileSystem, VirtualClock

START_MS = 1_700_000_000_000


class Terminal:
    """Runs commands on one data directory, which is in memory; no process, no disk, no waiting."""

    def __init__(self) -> None:
        self.clock = VirtualClock(START_MS)
        self._filesystem = MemoryFileSystem()
        self._attached: Broker | None = None

    @contextmanager
    def broker(self, **config: Any) -> Iterator[Broker]:
        """Open the directory, as a program would before and after the commands."""
        with self._open("/data", **config) as broker:
            yield broker

    @contextmanager
    def attached(self, broker: Broker) -> Iterator[None]:
        """Let commands use *broker*, which is open already, as reading beside another process would."""
        self._attached = broker
        try:
            yield
        finally:
            self._attached = None

    def run(self, *arguments: str, given: str | None = None) -> Result:
        """Run a command; an exception that is no exit is a bug, and raised."""
        with (
            patch("streamlog.cli.session.Broker", self._open),
            patch.object(Session, "directory", lambda self, create=False: "/data"),
        ):
            return CliRunner(catch_exceptions=False).invoke(app, arguments, input=given)

    def lines(self, *arguments: str, given: str | None = None) -> list[list[str]]:
        """Run a command that has to succeed; return the words of each line of stdout."""
        result = self.run(*arguments, given=given)
        assert result.exit_code == 0, result.output
        return [line.split("\t") for line in result.stdout.splitlines()]

    def json(self, *arguments: str, given: str | None = None) -> Any:
        """Run a command that has to succeed with `--json`; return what it printed."""
        result = self.run(*arguments, "--json", given=given)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def failure(self, *arguments: str, given: str | None = None) -> tuple[int, str]:
        """Run a command that has to fail, with nothing on stdout; return the exit code and the reason."""
        result = self.run(*arguments, given=given)
        assert (result.exit_code != 0, result.stdout) == (True, "")
        reason = result.stderr.splitlines()[-2 if "\nhint: " in result.stderr else -1]
        assert reason.startswith("streamlog: "), result.stderr
        return result.exit_code, reason.removeprefix("streamlog: ")

    def _open(self, path: str, **config: Any) -> AbstractContextManager[Broker]:
        if self._attached is not None:
            return nullcontext(self._attached)
        return Broker(path, filesystem=self._filesystem, clock=self.clock, seed=1, **config)
