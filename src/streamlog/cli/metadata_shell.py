"""The shell of `streamlog shell`: the commands of ZooKeeper's shell on the metadata tree."""

from __future__ import annotations

import cmd
import json
import shlex

import click

from streamlog.broker.metadata_tree import MetadataTree
from streamlog.cli.failures import NOT_FOUND, USAGE
from streamlog.cli.output import to_json
from streamlog.errors import NoNodeError

_HELP = """\
ls [-R] [path]   the children of a path; with -R every path below it
get path         the value of a path
stat path        how long the value is, and how many children there are
help             this
quit             leave, as Ctrl-D does"""


class MetadataShell(cmd.Cmd):
    """Reads commands and answers as ZooKeeper's shell did. Interactive by `cmdloop`, one at a time by `run`."""

    doc_header = ""

    def __init__(self, tree: MetadataTree, name: str, *, as_json: bool = False) -> None:
        """*name* stands in the prompt."""
        super().__init__()
        self._tree = tree
        self._name = name
        self._as_json = as_json
        self._count = 0
        #: The exit code of the first command that failed; 0 while none has.
        self.exit_code = 0
        self._set_prompt()

    def run(self, line: str) -> bool:
        """Do what *line* says, and return whether it was the last."""
        return bool(self.onecmd(self.precmd(line)))

    # ---- the commands

    def do_ls(self, argument: str) -> None:
        """List the children of a path, or with -R every path below it."""
        words = self._words(argument)
        if words is None:
            return
        paths = [word for word in words if word != "-R"] or ["/"]
        if len(paths) > 1 or paths[0].startswith("-"):
            self._wrong("ls [-R] [path]")
            return
        try:
            found = list(self._tree.walk(paths[0])) if "-R" in words else self._tree.ls(paths[0])
        except (NoNodeError, ValueError) as error:
            self._failed(paths[0], error)
            return
        if self._as_json:
            self._say(to_json(found))
        else:
            self._say("\n".join(found) if "-R" in words else f"[{', '.join(found)}]")

    def do_get(self, argument: str) -> None:
        """Print the value of a path."""
        path = self._path(argument, "get path")
        if path is None:
            return
        try:
            value = self._tree.get(path)
        except (NoNodeError, ValueError) as error:
            self._failed(path, error)
            return
        if self._as_json:
            self._say(
                to_json({"path": path, "value": None if value is None else json.loads(value)})
            )
        else:
            self._say("null" if value is None else value)

    def do_stat(self, argument: str) -> None:
        """Print how long the value of a path is, and how many children it has."""
        path = self._path(argument, "stat path")
        if path is None:
            return
        try:
            length = len((self._tree.get(path) or "").encode())
            children = len(self._tree.ls(path))
        except (NoNodeError, ValueError) as error:
            self._failed(path, error)
            return
        if self._as_json:
            self._say(to_json({"path": path, "dataLength": length, "numChildren": children}))
        else:
            self._say(f"dataLength = {length}\nnumChildren = {children}")

    def do_help(self, arg: str) -> None:
        """Say which commands there are."""
        self._say(_HELP)

    def do_quit(self, argument: str) -> bool:
        """Leave."""
        return True

    do_exit = do_quit

    def do_EOF(self, argument: str) -> bool:  # noqa: N802 - the name is cmd's
        """Leave: the end of the input."""
        click.echo()
        return True

    # ---- how lines are read

    def emptyline(self) -> bool:
        """Do nothing: cmd would do the last command again."""
        return False

    def default(self, line: str) -> None:
        """Say that there is no such command."""
        self.exit_code = self.exit_code or USAGE
        click.echo(
            f"Command not found: {line.split(maxsplit=1)[0]} (help shows the commands)", err=True
        )

    def postcmd(self, stop: bool, line: str) -> bool:
        """Count the command in the prompt."""
        self._count += bool(line.strip())
        self._set_prompt()
        return stop

    def completenames(self, text: str, *ignored: object) -> list[str]:
        """Complete the name of a command."""
        return [
            f"{name} " for name in ("get", "help", "ls", "quit", "stat") if name.startswith(text)
        ]

    def completedefault(self, *ignored: object) -> list[str]:
        """Complete a path: the names below its last slash. *ignored* begins with the text."""
        text = str(ignored[0])
        parent, _, begun = text.rpartition("/")
        try:
            names = [name for name in self._tree.ls(parent or "/") if name.startswith(begun)]
            paths = [f"{parent}/{name}" for name in names]
            return [f"{path}/" if self._tree.ls(path) else f"{path} " for path in paths]
        except (NoNodeError, ValueError):
            return []

    def _set_prompt(self) -> None:
        self.prompt = f"[streamlog: {self._name} {self._count}] "

    def _words(self, argument: str) -> list[str] | None:
        try:
            return shlex.split(argument)
        except ValueError as error:
            self._failed(argument, error)
            return None

    def _path(self, argument: str, usage: str) -> str | None:
        words = self._words(argument)
        if words is not None and len(words) != 1:
            self._wrong(usage)
            return None
        return words[0] if words else None

    def _wrong(self, usage: str) -> None:
        self.exit_code = self.exit_code or USAGE
        click.echo(f"Usage: {usage}", err=True)

    def _failed(self, path: str, error: Exception) -> None:
        missing = isinstance(error, NoNodeError)
        self.exit_code = self.exit_code or (NOT_FOUND if missing else USAGE)
        click.echo(f"Node does not exist: {path}" if missing else str(error), err=True)

    def _say(self, text: str) -> None:
        click.echo(text)
