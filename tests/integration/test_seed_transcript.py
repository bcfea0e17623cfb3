"""docs/seed-transcript.md is typed through a pseudo-terminal, and prints what it says."""

from __future__ import annotations

import doctest
import os
import re
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pexpect
import pytest

from tests.support.programs import ROOT

DOCUMENT = ROOT / "docs" / "seed-transcript.md"
PROMPT = re.compile(r"(>|\[streamlog: \S+ \d+\] )(.*)")
KEYS = {"^C": "\x03", "^D": "\x04"}
ECHOES = {"^C": "^C\n", "^D": ""}


@dataclass
class Step:
    """A command line, and then in turn: what is printed, what is typed at the prompt behind it."""

    command: str
    lines: list[str] = field(default_factory=list)


def steps_in(text: str) -> list[Step]:
    steps: list[Step] = []
    for block in re.findall(r"```terminal\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", "").splitlines():
            if line.startswith("$ "):
                steps.append(Step(line[2:]))
            else:
                steps[-1].lines.append(line)
    return steps


def run(step: Step) -> None:
    words = shlex.split(step.command)
    if words[0] == "export":
        name, _, value = words[1].partition("=")
        os.environ[name] = value
        return
    if words[0] == "streamlog":
        words[:1] = [sys.executable, "-W", "error", "-m", "streamlog.cli"]
    child = pexpect.spawn(words[0], words[1:], timeout=100, encoding="utf-8", dimensions=(40, 500))
    expected, exit_code = "", 0
    for line in step.lines:
        typed = PROMPT.fullmatch(line)
        if typed:
            child.expect_exact(typed[1])
            same(step, expected, child.before)
            expected = ECHOES.get(typed[2], typed[2] + "\n")
            child.send(KEYS.get(typed[2], typed[2] + "\n"))
        elif line in KEYS:
            child.expect_exact(step.lines[step.lines.index(line) - 1])
            same(step, expected, child.before + child.after)
            expected, exit_code = ECHOES[line], 130
            child.send(KEYS[line])
        else:
            expected += line + "\n"
    child.expect(pexpect.EOF)
    same(step, expected, child.before)
    child.close()
    assert child.exitstatus == exit_code, step.command


def same(step: Step, expected: str, printed: str) -> None:
    printed = printed.replace("^D\b\b", "").replace("\r", "")
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert doctest.OutputChecker().check_output(expected, printed, flags), (
        f"$ {step.command}\nexpected:\n{expected}\nprinted:\n{printed}"
    )


def test_the_chapter_can_be_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("STREAMLOG_DATA", "")
    steps = steps_in(DOCUMENT.read_text(encoding="utf-8"))
    for step in steps:
        run(step)
    typed = " ".join(step.command for step in steps)
    for command in ("topics create", "produce", "consume", "shell"):
        assert f"streamlog {command}" in typed


def test_a_wrong_line_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (right,) = steps_in("```terminal\n$ cat\n```\n")
    assert right == Step("cat")
    for lines in (["one", "two"], [">one"]):
        with pytest.raises((AssertionError, pexpect.EOF)):
            run(Step("echo one", lines))
    with pytest.raises(AssertionError):
        run(Step("false"))
