"""Running the ``console`` blocks of a document: a command after ``$ ``, then what it prints.

* ``streamlog ...`` runs in this process, what is piped into it or out of it in a shell
* ``... # exits with 3`` says the exit code, 0 otherwise
* output is compared when some is shown: ``...`` is anything, the width of gaps does not count
* a line that ends in a backslash goes on in the next one
"""

from __future__ import annotations

import doctest
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

from streamlog.cli.app import app

_EXIT = re.compile(r"\s+# exits with (\d+)$")


@dataclass
class Example:
    """One command of a document with what it should print."""

    section: str
    command: str
    exit_code: int
    expected: str


def examples_in(document: Path) -> list[Example]:
    """Return the commands in the console blocks of *document*, in order."""
    found: list[Example] = []
    section, is_console, continued = "", False, False
    for line in document.read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            is_console = line == "```console"
        elif not is_console:
            section = line[3:] if line.startswith("## ") else section
        elif continued:
            found[-1].command += line.lstrip()
        elif line.startswith("$ "):
            found.append(Example(section, line[2:], 0, ""))
        else:
            found[-1].expected += line + "\n"
            continue
        continued = is_console and line.endswith("\\")
        if continued:
            found[-1].command = found[-1].command[:-1]
    for example in found:
        said = _EXIT.search(example.command)
        if said:
            example.command, example.exit_code = example.command[: said.start()], int(said[1])
    return found


def run_example(example: Example, directory: Path) -> None:
    """Run it in *directory*, which is the current one; fail unless it does what the document says."""
    output, exit_code = run_line(example.command, directory)
    assert exit_code == example.exit_code, f"$ {example.command}\nexit code {exit_code}\n{output}"
    if not example.expected:
        return
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    same = doctest.OutputChecker().check_output(example.expected, output, flags)
    assert same, f"$ {example.command}\nexpected:\n{example.expected}\nprinted:\n{output}"


def run_line(command: str, directory: Path) -> tuple[str, int]:
    """Run one line, a pipeline perhaps; return what the terminal would show, and the exit code."""
    words, output, exit_code = [*_words(command), "|"], "", 0
    stage: list[str] = []
    for word in words:
        if word != "|":
            stage.append(word)
            continue
        if stage[0] == "streamlog":
            output, exit_code = _streamlog(stage[1:], output, directory)
        else:
            done = subprocess.run(
                ["bash", "-c", " ".join(stage)],
                input=output,
                cwd=directory,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=150,
                check=False,
            )
            output, exit_code = done.stdout, done.returncode
        stage = []
    return output, exit_code


def commands_run(example: Example) -> Iterator[list[str]]:
    """Yield the arguments of each ``streamlog`` in the line."""
    words = _words(example.command)
    for place, word in enumerate(words):
        if word == "streamlog" and (place == 0 or words[place - 1] == "|"):
            end = words.index("|", place) if "|" in words[place:] else len(words)
            yield [shlex.split(one)[0] for one in words[place + 1 : end] if one not in (">", "<")]


def _words(command: str) -> list[str]:
    """Split at spaces, pipes and redirections; quotes stay, for the shell."""
    lexer = shlex.shlex(command, posix=False, punctuation_chars="|<>")
    lexer.whitespace_split = True
    lexer.commenters = ""
    return list(lexer)


def _streamlog(words: list[str], given: str, directory: Path) -> tuple[str, int]:
    target = None
    if "<" in words:
        place = words.index("<")
        given = (directory / words[place + 1]).read_text(encoding="utf-8")
        del words[place : place + 2]
    if ">" in words:
        place = words.index(">")
        target = directory / words[place + 1]
        del words[place : place + 2]
    arguments = [shlex.split(word)[0] for word in words]
    done = CliRunner().invoke(app, arguments, input=given)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    if target is None:
        return done.output, done.exit_code
    target.write_text(done.stdout, encoding="utf-8")
    return done.stderr, done.exit_code
