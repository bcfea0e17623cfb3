from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from streamlog import __version__
from streamlog.cli.app import COMMANDS, App, app
from streamlog.cli.command import Command, Group

run = CliRunner().invoke


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_each_command_of_the_table_can_be_loaded_and_takes_the_shared_options(name: str) -> None:
    command = app.get_command(click.Context(app), name)
    assert isinstance(command, Command | Group)
    assert command.name == name
    assert {"data", "json"} <= {parameter.name for parameter in command.params}


def test_help_lists_every_command_and_ends_well() -> None:
    done = run(app, ["--help"])
    assert done.exit_code == 0
    assert [name for name in COMMANDS if f"  {name} " not in done.stdout] == []


def test_no_command_at_all_shows_the_help_on_stderr_and_is_wrong_usage() -> None:
    done = run(app, [])
    assert (done.exit_code, done.stdout) == (2, "")
    assert "Usage: streamlog" in done.stderr


def every_command(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from every_command(command, f"{path} {name}")


def test_the_help_of_every_command_says_what_it_does_and_gives_an_example() -> None:
    bad = []
    for path, command in every_command(app, "streamlog"):
        with click.Context(command, info_name=path) as context:
            text = command.get_help(context)
        if f"  {path}" not in text.partition("Example")[2]:
            bad.append(path)
        bad += [
            f"{path} {parameter.name}"
            for parameter in command.params
            if isinstance(parameter, click.Option) and not parameter.help
        ]
    assert bad == []


def test_the_lines_of_an_example_stay_lines() -> None:
    assert "\n    export STREAMLOG_DATA=DIR\n    streamlog topics list\n" in run(app, ["-h"]).stdout


def test_a_command_whose_reader_has_read_enough_ends_quietly_with_0() -> None:
    class Endless(App):
        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
            def print_much() -> None:
                raise BrokenPipeError

            return Command(cmd_name, callback=print_much)

    done = run(Endless("streamlog"), ["much"])
    assert (done.exit_code, done.output) == (0, "")


def test_version_is_the_librarys() -> None:
    assert run(app, ["--version"]).stdout == f"streamlog {__version__}\n"


def test_an_unknown_command_is_wrong_usage_in_one_line_with_a_hint() -> None:
    done = run(app, ["topicz"])
    assert (done.exit_code, done.stdout) == (2, "")
    reason, hint = done.stderr.splitlines()
    assert reason.startswith("streamlog: No such command 'topicz'.")
    assert hint == "hint: `streamlog --help` shows the usage"
