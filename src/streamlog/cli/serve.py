"""`streamlog serve`: a data directory for Kafka's clients."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from streamlog.cli.command import Command
from streamlog.cli.failures import FAILED, Failure
from streamlog.cli.output import note
from streamlog.cli.session import Session, pass_session
from streamlog.errors import InvalidConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from streamlog.wire.settings import ListenOptions

_ENVIRONMENT = "KAFKA_BOOTSTRAP_SERVERS"
#: What a shell adds to the number of a signal.
_SIGNALLED = 128


@click.command("serve", cls=Command, context_settings={"allow_interspersed_args": False})
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=9092,
    show_default=True,
    help="0: any free one.",
)
@click.option("--allow-remote", is_flag=True, help="Needed for any address but a loopback one.")
@click.option(
    "--advertised",
    metavar="HOST:PORT",
    help="What clients are told to connect to. Needed with --host 0.0.0.0.",
)
@click.option("--node-id", type=click.IntRange(0), help="The broker's number. [broker_id]")
@click.option(
    "--partitions",
    type=click.IntRange(1),
    help="Of topics that come into being by being used. [num_partitions]",
)
@click.option("--no-auto-create", is_flag=True, help="Topics come into being by request only.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@pass_session
def serve(
    session: Session,
    host: str,
    port: int,
    allow_remote: bool,
    advertised: str | None,
    node_id: int | None,
    partitions: int | None,
    no_auto_create: bool,
    command: tuple[str, ...],
) -> None:
    """Let clients of Kafka, in any language, use a data directory; without --data, a broker in memory.

    The address is printed once it is listened at. SIGTERM ends it with 0, Ctrl-C with 130. With a COMMAND it serves while that runs,
    which finds the address in KAFKA_BOOTSTRAP_SERVERS, and ends with its exit code. There is no TLS, no SASL and no access control:
    whoever can connect may do anything.

    Examples:
      streamlog --data DIR serve --port 9092
      streamlog serve --port 0 -- pytest tests
    """
    options: ListenOptions = {"allow_remote": allow_remote}
    if advertised is not None:
        options["advertised"] = advertised
    if node_id is not None:
        options["node_id"] = node_id
    if partitions is not None:
        options["default_partitions"] = partitions
    if no_auto_create:
        options["auto_create"] = False
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    with session.open_or_in_memory() as broker:
        try:
            listener = broker.listen(shown, **options)
        except InvalidConfigurationError as error:
            raise Failure(str(error), hint="`streamlog serve --help` shows the options") from error
        code = 0
        if command:
            note(f"listening at {listener.bootstrap_servers}")
            code = _run(command, listener.bootstrap_servers)
        else:
            _wait(listener.bootstrap_servers)
    if code:
        sys.exit(code)


@contextmanager
def _signals(*numbers: signal.Signals) -> Iterator[Callable[[], int]]:
    """Take *numbers* for the length of the block; yield what waits for a signal and returns its number.

    Neither `signal.pause` nor `os.waitpid` would do: the system may hand the signal to the listener's thread, or in the moment
    before the main thread begins to wait, and neither ends a wait. What is in a pipe ends it whenever and wherever it came.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    previous = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    before = {number: signal.signal(number, _ignore) for number in numbers}
    try:
        yield lambda: os.read(reader, 1)[0]
    finally:
        for number, handler in before.items():
            # None is one that was not set from Python, which cannot put it back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        signal.set_wakeup_fd(previous)
        os.close(reader)
        os.close(writer)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: the number is in the pipe."""


def _wait(bootstrap_servers: str) -> None:
    """Say that we listen, and return when SIGTERM comes."""
    with _signals(signal.SIGTERM) as next_signal:
        # Only now, for whoever reads it may end us at once.
        click.echo(bootstrap_servers)
        while next_signal() != signal.SIGTERM:
            pass


def _run(command: tuple[str, ...], bootstrap_servers: str) -> int:
    """Run *command* to its end, which Ctrl-C and SIGTERM bring about as well; return its exit code."""
    environment = {**os.environ, _ENVIRONMENT: bootstrap_servers}
    # Ctrl-C needs no more than to be outlived: the terminal told the child as well.
    with _signals(signal.SIGCHLD, signal.SIGTERM, signal.SIGINT) as next_signal:
        try:
            child = os.posix_spawnp(command[0], command, environment)
        except OSError as error:
            raise Failure(f"{command[0]}: {error.strerror}", exit_code=FAILED) from error
        while True:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                break
            if next_signal() == signal.SIGTERM:
                os.kill(child, signal.SIGTERM)
    code = os.waitstatus_to_exitcode(status)
    return _SIGNALLED - code if code < 0 else code
