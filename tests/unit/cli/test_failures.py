from __future__ import annotations

import io
import sys

import click
import pytest

from streamlog.cli.failures import (
    DAMAGED,
    FAILED,
    IN_USE,
    INTERRUPTED,
    NOT_FOUND,
    OK,
    USAGE,
    Failure,
    exit_code_of,
)
from streamlog.errors import (
    AlreadyOpenError,
    CorruptLogError,
    DiskFullError,
    GroupIdNotFoundError,
    PolicyViolationError,
    StreamlogTimeoutError,
    UnknownTopicOrPartitionError,
)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PolicyViolationError("p"), FAILED),
        (PermissionError(13, "denied"), FAILED),
        (click.UsageError("u"), USAGE),
        (click.BadParameter("b"), USAGE),
        (click.FileError("f", "gone"), FAILED),
        (UnknownTopicOrPartitionError("t"), NOT_FOUND),
        (GroupIdNotFoundError("g"), NOT_FOUND),
        (AlreadyOpenError("open", path="d", pid=1, since=None), IN_USE),
        (CorruptLogError("damaged"), DAMAGED),
        (Failure("r", exit_code=NOT_FOUND), NOT_FOUND),
        (KeyboardInterrupt(), INTERRUPTED),
        (click.Abort(), INTERRUPTED),
        (BrokenPipeError(), OK),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_what_ended_a_command_gives_its_exit_code(error: BaseException, code: int) -> None:
    with exit_code_of() as outcome:
        raise error
    assert outcome.code == code


def test_a_command_that_ends_well_gives_0_and_one_that_chose_a_code_keeps_it() -> None:
    with exit_code_of() as outcome:
        pass
    assert outcome.code == OK
    with exit_code_of() as outcome:
        outcome.code = DAMAGED
    assert outcome.code == DAMAGED


def test_an_error_is_said_in_one_line_with_its_hint(capsys: pytest.CaptureFixture[str]) -> None:
    with exit_code_of():
        raise Failure("two\nlines", hint="do this")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "streamlog: two lines\nhint: do this\n")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            PermissionError(13, "Permission denied", "d/LOCK"),
            "d/LOCK: Permission denied\nhint: who only looks must be able to read all files, who writes to change them",
        ),
        (
            DiskFullError("[Errno 28] No room to write 108 bytes: 'd/STATE'", errno=28),
            "No room to write 108 bytes: 'd/STATE'\nhint: free some space, or delete records, and try again",
        ),
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError("strange"), "strange"),
        (OSError(), "OSError"),
    ],
)
def test_an_error_of_the_system_names_its_file(
    error: OSError, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with exit_code_of():
        raise error
    assert capsys.readouterr().err == f"streamlog: {reason}\n"


def test_an_error_that_came_of_another_has_the_hint_of_that_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = StreamlogTimeoutError("not appended: no room")
    error.__cause__ = DiskFullError("no room")
    with exit_code_of() as outcome:
        raise error
    assert outcome.code == FAILED
    assert capsys.readouterr().err == (
        "streamlog: not appended: no room\nhint: free some space, or delete records, and try again\n"
    )


def test_further_failures_of_one_call_are_said_too(capsys: pytest.CaptureFixture[str]) -> None:
    error = UnknownTopicOrPartitionError("no topic 'a'")
    error.__notes__ = ["no topic 'b'"]
    with exit_code_of():
        raise error
    assert capsys.readouterr().err.startswith("streamlog: no topic 'a'; no topic 'b'\n")


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(KeyError):
        with exit_code_of():
            raise KeyError("bug")


def test_a_pipe_that_is_closed_at_the_last_flush_ends_quietly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Closed(io.StringIO):
        def flush(self) -> None:
            raise BrokenPipeError

    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", Closed())
        with exit_code_of() as outcome:
            pass
    assert outcome.code == OK
    assert capsys.readouterr().err == ""
