"""Completion in the shell: the script for it, and the names that it offers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click.shell_completion import get_completion_class

from streamlog.cli.command import Command
from streamlog.cli.session import Session
from streamlog.errors import StreamlogError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from streamlog.client.admin import Admin

SHELLS = ("bash", "zsh", "fish")


@click.command("completion", cls=Command)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that lets SHELL complete commands, options, topics and groups.

    Examples:
      eval "$(streamlog completion bash)"                          # in ~/.bashrc
      eval "$(streamlog completion zsh)"                           # in ~/.zshrc
      streamlog completion fish > ~/.config/fish/completions/streamlog.fish
    """
    found = get_completion_class(shell)
    assert found is not None, shell
    program = ctx.find_root()
    assert isinstance(program.command, click.Group)
    click.echo(found(program.command, {}, "streamlog", "_STREAMLOG_COMPLETE").source())


def complete_topics(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the topics that begin with *incomplete*."""
    wants_internal = incomplete.startswith("_")
    return _names(ctx, incomplete, lambda admin: admin.list_topics(include_internal=wants_internal))


def complete_groups(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the groups that begin with *incomplete*."""
    return _names(
        ctx, incomplete, lambda admin: [group.group_id for group in admin.list_consumer_groups()]
    )


def _names(
    ctx: click.Context, incomplete: str, listed: Callable[[Admin], Iterable[str]]
) -> list[str]:
    """Return names, or nothing at all where none can be had: a shell that completes shows no errors."""
    try:
        with ctx.ensure_object(Session).open_admin(read_only=True) as admin:
            return [name for name in listed(admin) if name.startswith(incomplete)]
    except (StreamlogError, OSError, click.ClickException):
        return []
