"""Errors as one line with a hint, and the exit codes. The codes are explained in docs/cli.md."""

from __future__ import annotations

import os
import re
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs
import click

from streamlog.errors import (
    AlreadyOpenError,
    CorruptLogError,
    DiskFullError,
    GroupIdNotFoundError,
    GroupNotEmptyError,
    InvalidConfigurationError,
    NotStreamlogDirectoryError,
    StreamlogError,
    TopicAlreadyExistsError,
    TransactionalIdNotFoundError,
    UnknownTopicOrPartitionError,
    UnsupportedFormatError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

OK = 0
FAILED = 1
USAGE = 2
NOT_FOUND = 3
IN_USE = 4
DAMAGED = 5
INTERRUPTED = 130

_BY_ERROR: list[tuple[type[Exception], int, str | None]] = [
    (AlreadyOpenError, IN_USE, "close the program that has it open; only one may write at a time"),
    (UnknownTopicOrPartitionError, NOT_FOUND, "`streamlog topics list` shows the topics"),
    (GroupIdNotFoundError, NOT_FOUND, "`streamlog groups list` shows the groups"),
    (TransactionalIdNotFoundError, NOT_FOUND, "`streamlog transactions list` shows them"),
    (NotStreamlogDirectoryError, FAILED, "--data wants the directory that a Broker was opened on"),
    (UnsupportedFormatError, FAILED, "use the version of streamlog that wrote it"),
    (CorruptLogError, DAMAGED, "`streamlog verify` shows what is damaged"),
    (DiskFullError, FAILED, "free some space, or delete records, and try again"),
    (TopicAlreadyExistsError, FAILED, "--if-not-exists makes this no error"),
    (GroupNotEmptyError, FAILED, "stop the members of the group first"),
    (
        InvalidConfigurationError,
        FAILED,
        "`streamlog configs describe --all` shows the settings there are",
    ),
    (StreamlogError, FAILED, None),
    (
        PermissionError,
        FAILED,
        "who only looks must be able to read all files, who writes to change them",
    ),
    (OSError, FAILED, None),
]
"""From special to general: the first that fits says the exit code and the hint."""


class Failure(click.ClickException):
    """What a command could not do: *reason* in one line, what to do about it, and the exit code."""

    def __init__(self, reason: str, *, hint: str | None = None, exit_code: int = FAILED) -> None:
        super().__init__(reason)
        self.hint = hint
        self.code = exit_code


class Terminated(KeyboardInterrupt):
    """A signal that wants the command to end, taken as Ctrl-C is; the exit code is the shell's for that signal."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.code = 128 + number


class ReaderLeft(Exception):
    """Nobody reads stdout any more. Not BrokenPipeError, which click answers with exit code 1."""


@attrs.define
class Outcome:
    """How a run ends; the code is set by who runs it, or by the error that ended it."""

    code: int | None = None


@contextmanager
def exit_code_of() -> Iterator[Outcome]:
    """Turn whatever ends a command into a line on stderr and ``Outcome.code``.

    A bug (any other exception) keeps its traceback. A reader that has read enough, such as ``head``,
    ends a command without a word and with 0.
    """
    outcome = Outcome()
    try:
        yield outcome
        sys.stdout.flush()  # here a closed pipe can still be taken for what it is
    except (BrokenPipeError, ReaderLeft):
        _forget_stdout()
        outcome.code = OK
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        outcome.code = USAGE
    except (KeyboardInterrupt, click.Abort) as error:
        cause = error.__cause__  # click has an error of its own for it
        outcome.code = cause.code if isinstance(cause, Terminated) else INTERRUPTED
    except Exception as error:
        said = explain(error)
        if said is None:
            raise
        reason, hint, outcome.code = said
        _say(f"streamlog: {reason}")
        if hint:
            _say(f"hint: {hint}")
    outcome.code = outcome.code or OK


def explain(error: Exception) -> tuple[str, str | None, int] | None:
    """Return reason, hint and exit code for *error*, None when it can only be a bug of ours."""
    if isinstance(error, Failure):
        return _one_line(error.message), error.hint, error.code
    if isinstance(error, click.UsageError):
        path = "streamlog" if error.ctx is None else error.ctx.command_path
        return _one_line(error.format_message()), f"`{path} --help` shows the usage", USAGE
    if isinstance(error, click.ClickException):
        return _one_line(error.format_message()), None, error.exit_code
    for kind, code, hint in _BY_ERROR:
        if isinstance(error, kind):
            hint = hint or _hint_of_cause(error)
            notes = getattr(error, "__notes__", ())  # the other failures of one call
            return _one_line("; ".join([_reason(error) or kind.__name__, *notes])), hint, code
    return None


def _hint_of_cause(error: BaseException) -> str | None:
    """Return what helps against that which *error* came of: a full disk, when it says that time was over."""
    cause = error.__cause__
    if not isinstance(cause, StreamlogError):
        return None
    said = explain(cause)
    return None if said is None else said[1]


def _reason(error: Exception) -> str:
    """Return what *error* says, without the number that the system has for it."""
    if isinstance(error, OSError) and not isinstance(error, StreamlogError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    return re.sub(r"\[Errno \d+\] ", "", str(error))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _say(line: str) -> None:
    try:
        click.echo(line, err=True)
    except OSError:  # nobody listens there either
        pass


def _forget_stdout() -> None:
    """Send what is still buffered nowhere, so that the interpreter's last flush does not fail."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    except (OSError, ValueError):  # a stdout that is no file, as in a test
        pass
