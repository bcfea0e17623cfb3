from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from streamlog.cli.app import App
from streamlog.cli.command import Command, Group
from streamlog.cli.failures import USAGE
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


@things.command("choose")
@click.option("--one")
@click.option("--several", multiple=True)
@click.option("--flag", is_flag=True)
@click.option("--up", "way", flag_value="up")
@click.option("--down", "way", flag_value="down")
def choose(**_: object) -> None:
    pass


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--one", "a", "--one", "b"], "--one is given more than once"),
        (["--one=a", "--one=a"], "--one is given more than once"),
        (["--data", "d", "--data", "e"], "--data is given more than once"),
        (["--up", "--down"], "--up and --down exclude each other"),
    ],
)
def test_an_option_of_one_value_that_has_two_is_refused_and_none_of_them_dropped(
    arguments: list[str], reason: str
) -> None:
    done = CliRunner().invoke(program, ["things", "choose", *arguments])
    assert done.exit_code == USAGE
    assert (
        done.stderr
        == f"streamlog: {reason}\nhint: `streamlog things choose --help` shows the usage\n"
    )


@pytest.mark.parametrize(
    "arguments", [["--several", "a", "--several", "b"], ["--flag", "--flag"], ["--up", "--up"]]
)
def test_an_option_that_may_be_repeated_is(arguments: list[str]) -> None:
    assert CliRunner().invoke(program, ["things", "choose", *arguments]).exit_code == 0


@pytest.mark.parametrize("argument", ["--one", "--no-such"])
def test_a_wrong_option_is_explained_by_the_help_of_its_own_command(argument: str) -> None:
    done = CliRunner().invoke(program, ["things", "choose", argument])
    assert done.exit_code == USAGE
    assert done.stderr.endswith("hint: `streamlog things choose --help` shows the usage\n")


def test_a_command_of_a_group_is_of_our_class() -> None:
    assert isinstance(show, Command)
