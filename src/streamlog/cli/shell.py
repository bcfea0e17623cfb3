"""`streamlog shell`: the metadata as ZooKeeper's shell showed it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import click

from streamlog.cli.command import Command
from streamlog.cli.metadata_shell import MetadataShell
from streamlog.cli.session import Session, pass_session

readline: ModuleType | None
try:
    import readline as _readline
except ImportError:  # pragma: no cover - a Python without it still has a shell, without completion
    readline = None
else:
    readline = _readline

_HISTORY_LINES = 1000


@click.command("shell", cls=Command)
@click.option(
    "-c", "--command", "commands", multiple=True, help="Do this and leave; may be given again."
)
@pass_session
@click.pass_context
def shell(ctx: click.Context, session: Session, commands: tuple[str, ...]) -> None:
    """Look around in the metadata: topics, partitions, configurations, committed offsets.

    The paths are those that ZooKeeper had under a Kafka, the values have Kafka's fields, and the commands are those of ZooKeeper's
    shell: ls, get, stat, help, quit. Nothing can be changed, and the directory may be in use. On a terminal there is completion
    with the Tab key, and a history. Commands may come from a pipe, a line each.

    Examples:
      streamlog shell
      streamlog shell -c 'ls /brokers/topics' -c 'get /controller'
      echo 'ls /' | streamlog shell
    """
    with session.open_broker(read_only=True) as broker:
        name = os.path.basename(session.directory().rstrip("/")) or "/"
        answering = MetadataShell(broker.metadata, name, as_json=session.json)
        if commands or not sys.stdin.isatty():
            for line in commands or sys.stdin:
                if answering.run(line.strip()):
                    break
        else:
            with _history():
                _talk(answering)
                return  # what was answered on the screen is no failure of the shell
    ctx.exit(answering.exit_code)


def _talk(answering: MetadataShell) -> None:
    if readline is not None:
        readline.set_completer_delims(" \t\n")  # a path is one word
    while True:
        try:
            answering.cmdloop()
        except KeyboardInterrupt:  # what was typed is given up, as in other shells
            click.echo("^C")
            continue
        return


@contextmanager
def _history() -> Iterator[None]:
    """Remember what was typed, from one shell to the next, where that is possible."""
    if readline is None:
        yield
        return
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    path = os.path.join(state, "streamlog", "shell_history")
    try:
        readline.read_history_file(path)
    except OSError:
        pass  # the first time
    try:
        yield
    finally:
        try:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            readline.set_history_length(_HISTORY_LINES)
            readline.write_history_file(path)
        except OSError:
            pass  # no home to write to
