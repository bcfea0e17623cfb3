"""A share of the crash states that `python -m tests.crash.explore` goes through, and that the net holds water.

Everything is named and seeded: a failure prints the command that shows the one state again.
"""

from __future__ import annotations

import itertools
import logging

import pytest

from streamlog.testing import CrashFileSystem
from tests.crash import compaction_mutants, mutants, transaction_state_mutants
from tests.crash.explore import main
from tests.crash.explorer import LIGHT, QUICK, SHALLOW, CrashStateError, Effort, Explorer
from tests.crash.mutants import IN_RECOVERY, MUTANTS
from tests.crash.observation import observe
from tests.crash.programs import FLUSHES, KINDS, WORKLOADS, program, short_programs
from tests.crash.session import Session

SEED = 1
CAUGHT_BY = {
    **mutants.CAUGHT_BY,
    **transaction_state_mutants.CAUGHT_BY,
    **compaction_mutants.CAUGHT_BY,
}


@pytest.fixture(autouse=True)
def quiet_recoveries(caplog: pytest.LogCaptureFixture) -> None:
    """Thousands of recoveries tell what they found."""
    caplog.set_level(logging.CRITICAL, "streamlog")


@pytest.mark.crash
@pytest.mark.parametrize(
    ("flush", "kind"),
    [
        *itertools.product(FLUSHES, [kind for kind in KINDS if kind != "compaction"]),
        ("background", "compaction"),
    ],
)
def test_every_call_survives_a_crash_at_each_of_its_steps(flush: str, kind: str) -> None:
    efforts = {
        "calls": QUICK,
        "transactions": LIGHT,
        "compaction": LIGHT,
    }
    explorer = Explorer(SEED, efforts[kind])
    for name in itertools.chain(short_programs(0, flush, kind), short_programs(1, flush, kind)):
        explorer.explore(program(name))
    assert explorer.counts.programs == 1 + len(KINDS[kind][0])
    assert explorer.counts.total > 200


@pytest.mark.crash
@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_workload_survives_a_crash_at_each_of_its_steps(workload: str) -> None:
    explorer = Explorer(SEED, LIGHT if workload in ("W5", "W7") else QUICK)
    flush = list(FLUSHES)[list(WORKLOADS).index(workload) % len(FLUSHES)]
    explorer.explore(program(f"{workload}/{flush}/{SEED}"))
    assert explorer.counts.steps > 30


def test_every_broken_build_has_a_program() -> None:
    assert CAUGHT_BY.keys() == MUTANTS.keys()


@pytest.mark.crash
@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_build_is_caught(name: str) -> None:
    effort = Effort() if name in IN_RECOVERY else SHALLOW
    with MUTANTS[name]():
        with pytest.raises(CrashStateError, match="again: python -m tests.crash.explore") as caught:
            Explorer(SEED, effort).explore(program(CAUGHT_BY[name]))
    # A breakage that cannot even be called proves nothing about the net.
    for kind in ("TypeError", "AttributeError", "NameError"):
        assert f"the program itself: {kind}" not in str(caught.value)


def test_a_failure_is_found_again_at_its_step_alone() -> None:
    name = "calls/asked/reopen"
    with MUTANTS["CLEAN written before the logs are closed"]():
        with pytest.raises(CrashStateError) as caught:
            Explorer(SEED, QUICK).explore(program(name))
        step = int(str(caught.value).partition(" step ")[2].partition(" ")[0])
        with pytest.raises(CrashStateError, match=f"step {step} "):
            Explorer(SEED, QUICK).explore(program(name), only_step=step)


@pytest.mark.parametrize("name", ["W3/background/5", "W12/ack/2", "W13/background/2"])
def test_the_same_program_makes_the_same_steps_each_time(name: str) -> None:
    def steps() -> list[str]:
        chosen, seen = program(name), []
        session = chosen.start()
        session.on_step = seen.append
        for operation in chosen.operations:
            session.run(operation)
        session.on_step = None
        session.close()
        return seen

    first = steps()
    assert len(first) > 100
    assert steps() == first


def test_a_disk_that_holds_something_else_is_an_error_and_no_crash() -> None:
    disk = CrashFileSystem()
    disk.make_dir("/data/photos")
    assert observe(disk).error.startswith("NotStreamlogDirectoryError")


def test_a_program_of_an_unknown_call_is_refused() -> None:
    with pytest.raises(ValueError, match="found \\['sned'\\]"):
        program("calls/ack/sned")


def test_a_session_that_does_nothing_owes_nothing() -> None:
    session = Session("nothing", {})
    session.run("send")  # there is no topic: nothing happens
    session.close()
    assert session.model.topics == {}


def test_the_command_explores_and_says_what_it_did(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["100", "--seed", "5", "--processes", "1"]) == 0
    said = capsys.readouterr().out
    assert "seed 5" in said
    assert "every invariant held" in said


def test_the_command_goes_through_all_programs_of_so_many_calls(
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ["--kind", "calls", "--seed", "5", "--processes", "1"]
    assert main(["--calls", "0", *options]) == 0
    assert f"programs of 0 calls           {len(FLUSHES)} programs" in capsys.readouterr().out


def test_the_command_says_what_failed_and_how_to_see_it_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with MUTANTS["ack before sync"]():
        assert main(["100", "--seed", "5", "--processes", "1"]) == 1
        said = capsys.readouterr().out
        again = said.partition("again: python -m tests.crash.explore ")[2].splitlines()[0]
        assert main(again.split()) == 1
    assert main(again.split()) == 0
