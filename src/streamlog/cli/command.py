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


def _check_options(command: click.Command, ctx: click.Context, args: list[str]) -> None:
    """Raise click.UsageError for an option that takes one value and has several: click would drop all but the last.

    What is wrong with *args* otherwise is raised as well, with the command that it is about.
    """
    if ctx.resilient_parsing:  # somebody is still typing it
        return
    try:
        given = command.make_parser(ctx).parse_args(list(args))[2]
    except click.UsageError as error:
        error.ctx = error.ctx or ctx
        raise
    seen: dict[str | None, click.Option] = {}
    for option in given:
        if not isinstance(option, click.Option) or option.multiple or option.count:
            continue
        before = seen.setdefault(option.name, option)
        if before is not option:
            raise click.UsageError(f"{before.opts[0]} and {option.opts[0]} exclude each other", ctx)
        if given.count(option) > 1 and not option.is_flag:
            raise click.UsageError(f"{option.opts[0]} is given more than once", ctx)


class Command(click.Command):
    """A command that takes `--data` and `--json` after its name as well as before.

    The lines below ``Examples:`` at the end of its docstring are shown as they are.
    """

    def __init__(self, *args: Any, **attributes: Any) -> None:
        attributes.setdefault("context_settings", SETTINGS)
        attributes["help"] = _keep_examples(attributes.get("help"))
        super().__init__(*args, **attributes)
        self.params += shared_options()

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does, but what it would silently ignore is an error."""
        _check_options(self, ctx, args)
        return super().parse_args(ctx, args)


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

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does, but what it would silently ignore is an error."""
        _check_options(self, ctx, args)
        return super().parse_args(ctx, args)
