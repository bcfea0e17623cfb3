"""docs/cli.md: every command is there, with an example that does what the document says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from streamlog.cli.app import app
from tests.support.console import Example, commands_run, examples_in, run_example
from tests.support.programs import ROOT

DOCUMENT = ROOT / "docs" / "cli.md"
EXAMPLES = examples_in(DOCUMENT)
SECTIONS = list(dict.fromkeys(example.section for example in EXAMPLES))


@pytest.mark.parametrize("section", SECTIONS)
def test_the_examples_of_a_section_do_what_is_written(
    section: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STREAMLOG_DATA", "data")
    for example in EXAMPLES:
        if example.section == section:
            run_example(example, tmp_path)


def leaves(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from leaves(command, (*path, name))
        else:
            yield *path, name


def test_every_command_has_an_example_that_runs() -> None:
    shown = [tuple(arguments) for example in EXAMPLES for arguments in commands_run(example)]
    missing = [
        " ".join(path)
        for path in leaves(app)
        if not any(arguments[: len(path)] == path for arguments in shown)
    ]
    assert missing == [], "no example in docs/cli.md"


def test_a_wrong_example_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for wrong in (
        Example("", "streamlog --version", 0, "streamlog 99\n"),
        Example("", "streamlog --version", 1, ""),
        Example("", "echo a | cat", 0, "b\n"),
    ):
        with pytest.raises(AssertionError):
            run_example(wrong, tmp_path)


def test_a_line_may_have_pipes_files_quotes_and_a_second_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = tmp_path / "document.md"
    document.write_text(
        "## One\n```console\n$ printf 'a|b > c\\n' | \\\n    cat\na|b   > ...\n"
        "$ streamlog --version > file\n$ cat file\nstreamlog ...\n$ false   # exits with 1\n```\n"
    )
    monkeypatch.chdir(tmp_path)
    for example in examples_in(document):
        run_example(example, tmp_path)
    assert list(commands_run(examples_in(document)[1])) == [["--version", "file"]]
