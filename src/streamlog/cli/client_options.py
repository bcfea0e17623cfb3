"""The options by which a command takes the configuration of its producer or consumer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click

from streamlog.cli.properties import parse_properties, read_properties_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_Function = TypeVar("_Function", bound="Callable[..., Any]")


def client_options(kind: str) -> Callable[[_Function], _Function]:
    """Return the decorator that adds the options of a *kind*, ``producer`` or ``consumer``.

    The command gets ``command_property`` and ``command_config``; both names that Kafka gave them work.
    """

    def decorate(command: _Function) -> _Function:
        for option in (
            click.option(
                "--command-config",
                f"--{kind}.config",
                "command_config",
                type=click.File(encoding="utf-8"),
                metavar="FILE",
                help=f"Configuration of the {kind}: lines of key=value.",
            ),
            click.option(
                "--command-property",
                f"--{kind}-property",
                "command_property",
                multiple=True,
                metavar="KEY=VALUE",
                help=f"Configuration of the {kind}, such as linger.ms=5; wins over the file."
                if kind == "producer"
                else f"Configuration of the {kind}, such as fetch.max.bytes=1000; wins over the file.",
            ),
        ):
            command = option(command)
        return command

    return decorate


def client_config(
    command_property: Iterable[str], command_config: TextIO | None, **plain: object
) -> dict[str, object]:
    """Return the keys of the file, of the properties and of the *plain* options; later ones win.

    A plain option that is None was not given. Keys are written with underscores.
    """
    config: dict[str, object] = {}
    if command_config is not None:
        config.update(_underscored(read_properties_file("--command-config", command_config)))
    config.update(_underscored(parse_properties("--command-property", command_property)))
    config.update((key, value) for key, value in plain.items() if value is not None)
    return config


def refuse_transactions(config: Mapping[str, object]) -> None:
    """Raise click.UsageError for a producer's *config* that asks for transactions."""
    if config.get("transactional_id") is not None:
        raise click.UsageError("transactional.id: this command sends no transactions")


def _underscored(properties: Mapping[str, str]) -> dict[str, str]:
    return {key.replace(".", "_").replace("-", "_"): value for key, value in properties.items()}
