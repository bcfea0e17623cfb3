"""The README and the guide to testing run as written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.programs import ROOT, run_program

README = (ROOT / "README.md").read_text()
GUIDE = (ROOT / "docs" / "testing.md").read_text()


def code_blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


PROGRAMS = [*code_blocks(README, "python"), *code_blocks(GUIDE, "python")]
FIRST_RUN = code_blocks(README, "text")[0]


@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_a_program_of_the_documents_runs_as_written(number: int, tmp_path: Path) -> None:
    for client in ("aiokafka", "confluent_kafka"):
        if client in PROGRAMS[number]:
            pytest.importorskip(client)
    program = tmp_path / "program.py"
    program.write_text(PROGRAMS[number])
    if "def test_" in PROGRAMS[number]:
        pytest_itself = tmp_path / "run.py"
        pytest_itself.write_text("import pytest\n\nraise SystemExit(pytest.main(['program.py']))\n")
        assert "1 passed" in run_program(pytest_itself, cwd=tmp_path)
    else:
        run_program(program, cwd=tmp_path)


def test_the_first_program_prints_what_the_readme_says_and_goes_on_when_run_again(
    tmp_path: Path,
) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAMS[0])
    assert run_program(program, cwd=tmp_path) == FIRST_RUN
    again = FIRST_RUN.replace("offset 0", "offset 2").replace("offset 1", "offset 3")
    assert run_program(program, cwd=tmp_path) == again


def test_the_first_program_is_the_first_example() -> None:
    example = (ROOT / "examples" / "01_hello.py").read_text()
    assert example.partition('"""\n\n')[2] == PROGRAMS[0]


def test_the_commands_at_the_top_are_targets_of_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z-]+)", README))
    assert {"demo", "test"} <= named <= targets
    assert README.index("make demo") < README.index("make test") < README.index("import ")
