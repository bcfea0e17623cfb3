from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from streamlog.cli.app import App
from streamlog.cli.command import Command, Group
from streamlog.cli.session import Session, pass_session


class OneCommand(App):
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return things


@click.group(cls=Group)
def things() -> None:
    pass


@things.command("show")
@pass_session
def show(session: Session) -> None:
    click.echo(f"{session.data} {session.json}")


program = OneCommand("streamlog")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--data", "d", "--json", "things", "show"],
        ["things", "--data", "d", "--json", "show"],
        ["things", "show", "--data", "d", "--json"],
        ["--json", "things", "show", "--data", "d"],
        ["--data", "other", "things", "show", "--data", "d", "--json"],
    ],
)
def test_shared_options_are_taken_before_and_after_the_command(arguments: list[str]) -> None:
    assert CliRunner().invoke(program, arguments).stdout == "d True\n"


def test_data_directory_of_the_environment_is_taken_when_no_option_names_one() -> None:
    environment = {"STREAMLOG_DATA": "e"}
    assert CliRunner(env=environment).invoke(program, ["things", "show"]).stdout == "e False\n"
    done = CliRunner(env=environment).invoke(program, ["--data", "d", "things", "show"])
    assert done.stdout == "d False\n"


def test_a_command_of_a_group_is_of_our_class() -> None:
    assert isinstance(show, Command)
