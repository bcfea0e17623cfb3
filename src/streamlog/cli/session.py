"""What the commands share: which directory, which way of printing, and how a broker is opened."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs
import click

from streamlog.broker.broker import Broker
from streamlog.cli.failures import NOT_FOUND, Failure
from streamlog.client.admin import Admin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Unpack

    from streamlog.config.options import BrokerOptions


@attrs.define
class Session:
    """One run of the program; commands get it by `pass_session`."""

    data: str | None = None
    """The directory of `--data` or STREAMLOG_DATA; None while nobody named one."""
    json: bool = False
    """Whether `--json` was given."""

    def directory(self, *, create: bool = False) -> str:
        """Return the data directory. Unless *create* it has to exist already.

        Raises click.UsageError without `--data`, `Failure` when there is no such directory.
        """
        if self.data is None:
            raise click.UsageError("which data directory? Say --data DIR, or set STREAMLOG_DATA.")
        # An empty directory is none: opening it for writing would make it one.
        if not create and not (os.path.isdir(self.data) and os.listdir(self.data)):
            raise Failure(
                f"{self.data}: no such data directory",
                hint="`streamlog topics create` and `streamlog produce` make a new one",
                exit_code=NOT_FOUND,
            )
        return self.data

    @contextmanager
    def open_broker(
        self, *, read_only: bool = False, create: bool = False, **config: Unpack[BrokerOptions]
    ) -> Iterator[Broker]:
        """Open the broker of the data directory, and close it in the end.

        *read_only* for commands that change nothing. *create* lets the directory be a new one;
        without it a typing error would leave an empty broker behind. Raises as `directory` and
        `Broker` do.
        """
        with Broker(self.directory(create=create), read_only=read_only, **config) as broker:
            yield broker

    @contextmanager
    def open_or_in_memory(self) -> Iterator[Broker]:
        """Open the broker of the data directory, which may be a new one; without one a broker in memory."""
        if self.data is None:
            with Broker() as broker:
                yield broker
            return
        with self.open_broker(create=True) as broker:
            yield broker

    @contextmanager
    def open_admin(self, *, read_only: bool = False, create: bool = False) -> Iterator[Admin]:
        """Open the broker as `open_broker` does, and an `Admin` of it; close both in the end."""
        with self.open_broker(read_only=read_only, create=create) as broker, Admin(broker) as admin:
            yield admin


pass_session = click.make_pass_decorator(Session, ensure=True)
"""Decorator: the command's first argument is the `Session`."""
