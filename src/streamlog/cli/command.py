"""What every command has: the options `--data` and `--json`, and `-h`."""

from __future__ import annotations

import re
from typing import Any

import click

from streamlog.cli.session import Session

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def _set_data(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    session = ctx.ensure_object(Session)
    if value is not None:  # said after the command it wins over what was said before it
        session.data = value


def _set_json(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    session = ctx.ensure_object(Session)
    session.json = session.json or value


def _keep_examples(text: str | None) -> str:
    """Mark the paragraph ``Examples:`` of a docstring, so that click does not fill its lines."""
    return re.sub(r"\n\n( *)(Examples?:\n)", "\n\n\\1\b\n\\1\\2", text or "")


def shared_options(environment: str | None = None) -> list[click.Parameter]:
    """Return `--data` and `--json`, which go into the `Session`; *environment* may name the directory."""
    return [
        click.Option(
            ["--data"],
            metavar="DIR",
            type=click.Path(file_okay=False),
            envvar=environment,
            expose_value=False,
            callback=_set_data,
            help="The data directory; STREAMLOG_DATA otherwise.",
        ),
        click.Option(
            ["--json"],
            is_flag=True,
            expose_value=False,
            callback=_set_json,
            help="Print JSON.",
        ),
    ]


class Command(click.Command):
    """A command that takes `--data` and `--json` after its name as well as before.

    The lines below ``Examples:`` at the end of its docstring are shown as they are.
    """

    def __init__(self, *args: Any, **attributes: Any) -> None:
        attributes.setdefault("context_settings", SETTINGS)
        attributes["help"] = _keep_examples(attributes.get("help"))
        super().__init__(*args, **attributes)
        self.params += shared_options()


class Group(click.Group):
    """Several commands under one name; each takes the shared options, and the group does too."""

    command_class = Command
    group_class = type
    environment: str | None = None
    """The variable that names the data directory; asked once, by the outermost group."""

    def __init__(self, *args: Any, **attributes: Any) -> None:
        attributes.setdefault("context_settings", SETTINGS)
        attributes["help"] = _keep_examples(attributes.get("help"))
        super().__init__(*args, **attributes)
        self.params += shared_options(self.environment)
