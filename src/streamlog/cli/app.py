"""The program `streamlog`: the table of its commands, loaded when they are asked for."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

import click

from streamlog import __version__
from streamlog.cli.command import Group
from streamlog.cli.failures import ReaderLeft, exit_code_of

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMANDS: dict[str, str] = {
    "bench": "streamlog.cli.bench.group:bench",
    "compact": "streamlog.cli.compact:compact",
    "completion": "streamlog.cli.completion:completion",
    "configs": "streamlog.cli.configs:configs",
    "consume": "streamlog.cli.consume:consume",
    "demo": "streamlog.cli.demo.command:demo",
    "dump": "streamlog.cli.dump:dump",
    "groups": "streamlog.cli.groups:groups",
    "offsets": "streamlog.cli.offsets:offsets",
    "produce": "streamlog.cli.produce:produce",
    "records": "streamlog.cli.records:records",
    "retain": "streamlog.cli.retain:retain",
    "serve": "streamlog.cli.serve:serve",
    "shell": "streamlog.cli.shell:shell",
    "top": "streamlog.cli.top:top",
    "topics": "streamlog.cli.topics:topics",
    "transactions": "streamlog.cli.transactions:transactions",
    "verify": "streamlog.cli.verify:verify",
}
"""Name to ``module:attribute``. One line a command; what nobody asks for is not imported."""


class App(Group):
    """The outermost group: loads a command from `COMMANDS`, and turns errors into exit codes."""

    environment = "STREAMLOG_DATA"

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the table, sorted."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command; None when the table has no such name."""
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        # Names from the table above only: nothing that a user types is imported.
        command = resolve_name(place)
        assert isinstance(command, click.Command), place
        return command

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Read the command line up to the command; `--help` prints here."""
        with _reader():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that the command line names."""
        with _reader():
            return super().invoke(ctx)

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run a command line and exit: the tests' runner and the process come the same way."""
        extra["standalone_mode"] = False  # errors and exit codes are ours
        with exit_code_of() as outcome:
            outcome.code = super().main(*args, **extra)
        sys.exit(outcome.code)


@contextmanager
def _reader() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise ReaderLeft from None


@click.group("streamlog", cls=App)
@click.version_option(__version__, message="%(prog)s %(version)s")
def app() -> None:
    """An embeddable Kafka: look at, fill and look after a data directory.

    Examples:
      streamlog --data DIR topics create --topic orders --partitions 3
      export STREAMLOG_DATA=DIR
      streamlog topics list
    """
