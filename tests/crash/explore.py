"""Explore crash states: ``python -m tests.crash.explore STATES [--seed N] [--processes N]``, or one program again with ``--program``.

First every program of one call, then of two, then as many of three as STATES allows, with long random ones all along; each process
takes its share. ``--calls 3`` runs all of up to three calls and nothing else. A failure prints the command that shows it again.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import multiprocessing
import random
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from tests.crash.explorer import QUICK, THOROUGH, CrashStateError, Effort, Explorer
from tests.crash.programs import FLUSHES, KINDS, long_programs, program, short_programs
from tests.reliability.results import print_figures

Result = tuple[Counter[str], Counter[str], int, int, int, str]


def all_programs(seed: int) -> Iterator[str]:
    """Yield names of programs without end: the short ones first, then those of three calls, and long ones all along."""
    three = [name for kind in KINDS for flush in FLUSHES for name in short_programs(3, flush, kind)]
    random.Random(seed).shuffle(three)
    long = long_programs(seed)
    for number, name in enumerate(itertools.chain(exhausted(2), three)):
        yield name
        if number % 4 == 0:
            yield next(long)
    yield from long


def exhausted(calls: int, kinds: Iterable[str] = KINDS) -> Iterator[str]:
    """Yield the names of all programs of up to so many calls."""
    for number in range(calls + 1):
        for kind, flush in itertools.product(kinds, FLUSHES):
            yield from short_programs(number, flush, kind)


def explore_share(
    share: int, shares: int, states: int, seed: int, calls: int | None, kinds: Sequence[str]
) -> Result:
    """Explore every *shares*-th program until *states* disks were opened; with *calls* all of up to that many, however many disks."""
    explorer = Explorer(seed, Effort() if calls is None else QUICK)
    by_kind: Counter[str] = Counter()
    programs: Counter[str] = Counter()
    failure = ""
    names = all_programs(seed) if calls is None else exhausted(calls, kinds)
    for number, name in enumerate(names):
        if calls is None and explorer.counts.total >= states:
            break
        if number % shares != share:
            continue
        before = explorer.counts.total
        kind = name.split("/")[0]
        if kind in KINDS:
            what = "programs" if kind == "calls" else kind
            kind = f"{what} of {len([c for c in name.split('/')[2].split(',') if c])} calls"
        try:
            explorer.explore(program(name))
        except CrashStateError as error:
            failure = str(error)
        by_kind[kind] += explorer.counts.total - before
        programs[kind] += 1
        if failure:
            break
    counts = explorer.counts
    return by_kind, programs, counts.total, counts.steps, counts.checks, failure


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("states", nargs="?", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--calls", type=int, help="all programs of up to so many calls instead")
    parser.add_argument("--kind", choices=KINDS, help="with --calls, programs of this kind alone")
    parser.add_argument("--program", help="run this one alone")
    parser.add_argument("--step", type=int, help="and crash it at this step alone")
    arguments = parser.parse_args(argv)
    if arguments.kind and arguments.calls is None:
        parser.error("--kind needs --calls")
    seed = random.SystemRandom().randrange(1 << 20) if arguments.seed is None else arguments.seed
    if arguments.program:
        return explore_one(arguments.program, arguments.step, seed)
    print(f"seed {seed}", flush=True)
    started = time.monotonic()
    shares = arguments.processes
    states = -(-arguments.states // shares)
    kinds = [arguments.kind] if arguments.kind else list(KINDS)
    work = [(share, shares, states, seed, arguments.calls, kinds) for share in range(shares)]
    if shares == 1:
        results = [explore_share(*work[0])]
    else:
        with multiprocessing.get_context("spawn").Pool(shares, quiet) as pool:
            results = pool.starmap(explore_share, work)
    seconds = time.monotonic() - started
    by_kind: Counter[str] = sum((result[0] for result in results), Counter())
    programs: Counter[str] = sum((result[1] for result in results), Counter())
    for kind in sorted(by_kind):
        print(f"{kind:24} {programs[kind]:6} programs {by_kind[kind]:9,} states")
    states, steps, checks = (sum(result[n] for result in results) for n in (2, 3, 4))
    print(
        f"{states:,} states ({states / seconds:.0f}/s, {seconds:.0f} s), {steps:,} crash points, "
        f"{checks:,} checks, seed {seed}"
    )
    failures = [result[5] for result in results if result[5]]
    print_figures(
        states=states,
        crash_points=steps,
        checks=checks,
        a_second=round(states / seconds),
        wrong=len(failures),
        seed=str(seed),
    )
    for failure in failures:
        print(failure)
    print("FAILED" if failures else "every invariant held")
    return 1 if failures else 0


def quiet() -> None:
    """Recovery logs what it finds; here that is no news."""
    logging.getLogger("streamlog").setLevel(logging.CRITICAL)


def explore_one(name: str, step: int | None, seed: int) -> int:
    explorer = Explorer(seed, Effort())
    for effort in (Effort(), THOROUGH):
        explorer.effort = effort
        try:
            explorer.explore(program(name), only_step=step)
        except CrashStateError as error:
            print(error)
            return 1
    print(f"{explorer.counts.total:,} states of {name}: every invariant held, seed {seed}")
    return 0


if __name__ == "__main__":
    quiet()
    sys.exit(main())
