"""Promises P7 and P11: an error of the disk, at whatever call, loses, doubles and halves nothing, and nothing is stuck (L2)."""

from __future__ import annotations

import errno
import logging
import os
import random
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamlog import Broker, DurabilityError, Producer
from streamlog.testing import CrashFileSystem, FaultPlan, FaultyFileSystem
from streamlog.testing.crash_images import power_images
from tests.crash.error_loop import (
    KINDS,
    LAYERS,
    Case,
    every_case,
    main,
    run_case,
    run_one,
    run_some,
)
from tests.crash.error_session import Broken
from tests.crash.error_workloads import WORKLOADS
from tests.crash.process_mutants import MUTANTS
from tests.support.producing import values

ERROR_LOOP = "tests/crash/error_loop.py --only "
RUNS = int(os.environ.get("STREAMLOG_ERRORS", "150"))

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for leaks in /proc")


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.crash
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_any_call_that_fails_in_any_way_loses_doubles_and_halves_nothing() -> None:
    seed = random.SystemRandom().randrange(1 << 31)
    print(f"seed {seed}")
    counts = run_some(RUNS, seed)
    print(f"{counts['injections']} injections in {counts['runs']} runs")
    assert counts["injections"] >= counts["runs in which a call failed"] >= RUNS


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
@pytest.mark.parametrize("layer", LAYERS)
def test_workload_keeps_its_promises_on_a_healthy_disk_as_well(
    layer: str, workload: object, tmp_path: Path
) -> None:
    case = Case(layer, workload.name, "EIO", False, 0)  # type: ignore[attr-defined]
    assert run_case(case, str(tmp_path)) == 0


def test_every_case_is_tried_until_no_call_is_left_to_fail() -> None:
    cases = every_case()
    case, seen = next(cases), []
    while case.kind == KINDS[0] and case.workload == WORKLOADS[0].name:
        seen.append((case.is_sticky, case.number))
        case = cases.send(case.number < 3)
    assert seen == [(False, 1), (False, 2), (False, 3), (True, 1), (True, 2), (True, 3)]
    assert case.kind == KINDS[1]
    assert Case.parse(str(case)) == case


@pytest.mark.crash
@pytest.mark.slow
def test_sync_that_fails_and_then_succeeds_never_acknowledges(tmp_path: Path) -> None:
    """The fsyncgate case: every call of the workload in turn fails once, each sync among them, and the next one would succeed."""
    for number in range(1, 400):
        if not run_case(Case("power", "produce-to-disk", "EIO", False, number), str(tmp_path)):
            break
    else:
        raise AssertionError("the workload never ended")


@pytest.mark.parametrize(
    "at", [1, 2, 5, 8]
)  # a thread waits 8 times, so there are as many syncs at least
def test_threads_that_share_a_sync_that_fails_are_acknowledged_by_none_that_follows(
    at: int,
) -> None:
    """Group commit: all who wait for a sync get its error, whoever comes later as well, and the other partition goes on."""
    plan = FaultPlan()
    disk = CrashFileSystem()
    acknowledged: dict[int, bytes] = {}
    refused = []
    with Broker("data", filesystem=FaultyFileSystem(disk, plan)) as broker:
        broker.create_topic("t", partitions=2, configs={"flush_messages": 1})
        plan.fail("sync*", errno.EIO, path="*/t-0/*.log", at=at)
        with Producer(broker) as producer:

            def send(thread: int) -> None:
                for number in range(8):
                    value = b"%d-%d" % (thread, number)
                    try:
                        metadata = producer.send("t", value, partition=0).result(timeout=30)
                    except DurabilityError as error:
                        refused.append(error.errno)
                    else:
                        acknowledged[metadata.offset] = value

            threads = [threading.Thread(target=send, args=(number,)) for number in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(30)
            assert len(acknowledged) + len(refused) == 48
            assert refused
            assert set(refused) == {errno.EIO}
            assert producer.send("t", b"well", partition=1).result(timeout=30).offset == 0
        with pytest.raises(DurabilityError):
            broker.close()
    image = next(power_images(disk, random.Random(1)))
    assert image.description == "nothing unsynced"
    with Broker("data", filesystem=image.filesystem()) as broker:
        found = dict(enumerate(values(broker)))
        assert {offset: found.get(offset) for offset in acknowledged} == acknowledged


@pytest.mark.crash
@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name for name in MUTANTS if MUTANTS[name].catcher.startswith(ERROR_LOOP)]
)
def test_mutant_is_caught_by_failing_one_call_after_the_other(name: str) -> None:
    with MUTANTS[name].patch(), pytest.raises(Broken, match="again: python tests/crash/error_loop"):
        run_one(MUTANTS[name].catcher.removeprefix(ERROR_LOOP))


def test_a_case_that_fails_says_how_to_run_it_again(capsys: pytest.CaptureFixture[str]) -> None:
    name = "another file is synced"
    with MUTANTS[name].patch():
        assert main([*MUTANTS[name].catcher.split()[1:], "--seed", "7"]) == 1
    said = capsys.readouterr().out
    assert said.startswith("  seed 7: ")
    again = said.split("--only ")[1].splitlines()[0].strip()
    assert main(["--only", again]) == 0
