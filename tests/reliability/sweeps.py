"""The long runs that stand behind the promises, each with its size for a release."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs

OTHERS = 8
"""Of the directories of a process that died one single damage in so many is tried."""


@attrs.frozen
class Sweep:
    """One command with a size. It prints its figures as `results.print_figures` does."""

    name: str
    """Also its make target."""
    title: str
    size: int
    """What a full run is asked for: so many units; of the fuzzer so many seconds for each target, and of `compaction-crashes` so many
    disks for each step."""
    counted: str
    """The figure that says how much was done."""
    unit: str
    """What that figure counts."""
    arguments: Callable[[int], list[str]]
    """The arguments of the interpreter for a run of so many units."""
    environment: Callable[[int], Mapping[str, str]] = lambda size: {}
    prints_figures: bool = True
    """False for a run of pytest, which has done what it was asked for when it succeeds."""


SWEEPS: dict[str, Sweep] = {
    sweep.name: sweep
    for sweep in (
        Sweep(
            "crash",
            "build what a kill or a power loss can leave at every step of a workload, and open it; crash again while it is being opened",
            100_000,
            "states",
            "crash states",
            lambda size: ["-m", "tests.crash.explore", str(size)],
        ),
        Sweep(
            "errors",
            "let the n-th call to the disk fail, for each n and each error, once and from then on",
            5_000,
            "injections",
            "injected errors",
            lambda size: ["tests/crash/error_loop.py", str(size)],
        ),
        Sweep(
            "damage",
            f"flip, zero, cut, repeat, swap and remove every byte and every file of a closed data directory, and read it; one such damage in"
            f" {OTHERS} in directories of a process that died, and damages at random",
            10_000,
            "cases",
            "damages",
            lambda size: [
                "tests/crash/damage.py",
                "--others",
                str(OTHERS),
                "--random",
                str(size),
            ],
        ),
        Sweep(
            "kills",
            "let a working process die, at any moment and at the k-th call to the disk, and go on in its directory",
            1_000,
            "kills",
            "dead processes",
            lambda size: ["tests/crash/kill_loop.py", str(size)],
        ),
        Sweep(
            "compaction-crashes",
            "build what a kill or a power loss can leave at every step of a compaction, and hold what each key shows against what was sent",
            20,
            "states",
            "crash states",
            lambda size: [
                "-m",
                "pytest",
                "-q",
                "-s",
                "tests/integration/test_compaction_crashes.py",
            ],
            lambda size: {"STREAMLOG_COMPACTION_STATES": str(size)},
        ),
        Sweep(
            "exactly-once",
            "let a process that consumes, transforms and produces in transactions die at any moment, and hold its output against its input",
            500,
            "kills",
            "dead processes",
            lambda size: ["tests/crash/exactly_once.py", str(size)],
        ),
        Sweep(
            "powercuts",
            "cut the power of a real ext4 under a working process, mount what is left, and read it",
            200,
            "cuts",
            "power cuts",
            lambda size: ["tests/crash/power_cuts.py", str(size)],
        ),
        Sweep(
            "model",
            "hold the whole public surface against lists and dicts, and check every structure after every step",
            2_000,
            "programs",
            "programs of 50 calls",
            lambda size: ["-m", "pytest", "-q", "tests/property/test_model.py", "--timeout=0"],
            lambda size: {"MODEL_EXAMPLES": str(size)},
            prints_figures=False,
        ),
        Sweep(
            "transactions",
            "hold transactions, zombies, timeouts, restarts and resends against lists, under both isolation levels",
            2_000,
            "programs",
            "programs of 40 calls",
            lambda size: [
                "-m",
                "pytest",
                "-q",
                "tests/property/test_transactions.py",
                "--timeout=0",
            ],
            lambda size: {"MODEL_EXAMPLES": str(size)},
            prints_figures=False,
        ),
        Sweep(
            "fuzz",
            "feed garbage to everything that reads bytes, guided by coverage",
            60,
            "executions",
            "inputs",
            lambda size: ["tests/fuzz/run.py", "--seconds", str(size)],
        ),
        Sweep(
            "wire-frames",
            "send a listener malformed frames: real requests with every byte at extreme numbers, changed ones, cut ones, noise; in memory and"
            " over sockets",
            10_000_000,
            "frames",
            "malformed frames",
            lambda size: ["-m", "tests.fuzz.frames", str(size)],
        ),
        Sweep(
            "mutants",
            "break streamlog in named ways, and see which part of the net catches it",
            1,
            "caught",
            "broken builds, all caught",
            lambda size: ["-m", "tests.crash.mutant_table"],
        ),
    )
}
