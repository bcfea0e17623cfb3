"""Damage a data directory in every way there is, and check each time that nothing wrong is read and nothing is lost in silence.

``python tests/crash/damage.py [--every N] [--random N] [--seed SEED] [--processes N]``
``python tests/crash/damage.py --state killed --case "flip /data/STATE 17 255"``

Three copies of one directory (closed, killed, without power) are damaged: every byte changed to two others, every sector zeroed,
cut at every length, junk behind the end, batches repeated, removed, reordered, files deleted, swapped, replaced by directories;
then several of these at once, at random. What must hold is in ``damage_oracle.py``. In memory, 2 to 4 ms each.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import random
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:  # run as a script
    sys.path.insert(0, str(ROOT))

from tests.crash.damage_cases import Case, apply, random_damages, single_damages  # noqa: E402
from tests.crash.damage_data import CLEAN, STATES, make_dataset  # noqa: E402
from tests.crash.damage_oracle import Oracle  # noqa: E402
from tests.reliability.results import print_figures  # noqa: E402

#: Longer than this is a hang, larger a leak.
TIMEOUT_S = 30.0
MAX_RSS_MIB = 256

#: One case in so many is also read by a consumer, appended to, killed, closed and opened again.
_THOROUGHLY_EVERY = 16

_MOST_FAILURES = 10

Cases = tuple[Case, ...]


class Result(NamedTuple):
    """What a share of the sweep gave."""

    #: How many, by state of the directory, kind of damage, and outcome.
    counts: Counter[tuple[str, str, str]]
    #: State, cases as text, error.
    failures: list[tuple[str, str, str]]


def sweep(state: str, damages: Iterable[Cases], *, most_failures: int = _MOST_FAILURES) -> Result:
    """Check each of *damages* to the directory left in *state*, until *most_failures* are found."""
    oracle = Oracle(make_dataset(state))
    counts: Counter[tuple[str, str, str]] = Counter()
    failures: list[tuple[str, str, str]] = []
    before = logging.root.manager.disable
    logging.disable(
        logging.CRITICAL
    )  # damage is logged, as it should be, a few hundred thousand times
    handler = signal.signal(signal.SIGALRM, _give_up)
    try:
        for number, cases in enumerate(damages):
            kind = cases[0].kind if len(cases) == 1 else "several"
            signal.setitimer(signal.ITIMER_REAL, TIMEOUT_S)
            try:
                damage = apply(oracle.dataset, cases)
                outcome = oracle.check(damage, thoroughly=number % _THOROUGHLY_EVERY == 0)
            except Exception as error:  # whatever it is, it is not what was promised
                outcome = "WRONG"
                text = " ; ".join(map(str, cases))
                failures.append((state, text, f"{type(error).__name__}: {error}"))
                if len(failures) >= most_failures:
                    return Result(counts, failures)
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            counts[state, kind, outcome] += 1
    finally:
        signal.signal(signal.SIGALRM, handler)
        logging.disable(before)
    return Result(counts, failures)


def _give_up(*_: Any) -> None:
    raise TimeoutError(f"took longer than {TIMEOUT_S} s")


def damages_to(
    state: str, every: int, several: int, seed: int, share: int = 0, shares: int = 1
) -> Iterator[Cases]:
    """Yield a share of the single damages, about one in *every* chosen by *seed*, and of *several* random ones."""
    dataset = make_dataset(state)
    rng = random.Random(f"{seed}-{state}-{share}")
    for case in islice(single_damages(dataset), share, None, shares):
        if every == 1 or rng.random() * every < 1:
            yield (case,)
    for _ in range(several // shares):
        yield random_damages(dataset, rng)


def describe(failure: tuple[str, str, str]) -> str:
    """Return what went wrong and how to see it again."""
    state, text, error = failure
    return f'{error}\n    again: python tests/crash/damage.py --state "{state}" --case "{text}"'


def _share(arguments: tuple[str, int, int, int, int, int]) -> Result:
    return sweep(arguments[0], damages_to(*arguments))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--every", type=int, default=1, help="check one single damage in so many")
    parser.add_argument(
        "--others", type=int, default=1, help="the same where the process died, times --every"
    )
    parser.add_argument(
        "--random", type=int, default=100_000, help="random damages, several at once"
    )
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    parser.add_argument("--processes", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--state", choices=STATES)
    parser.add_argument("--case", help="check just this one; several with ';' between them")
    options = parser.parse_args()
    states = [options.state] if options.state else list(STATES)
    if options.case:
        cases = tuple(Case.parse(text.strip()) for text in options.case.split(";"))
        results = [sweep(state, [cases]) for state in states]
    else:
        for state in states:
            dataset = make_dataset(state)
            print(f"{state}: {dataset.size_bytes} bytes in {len(dataset.files)} files")
        print(f"seed {options.seed}", flush=True)
        # Many small shares, so that no process ends long before the others.
        shares = 32 * options.processes
        several = options.random // len(states)
        work = [
            (
                state,
                options.every * (1 if state == CLEAN else options.others),
                several,
                options.seed,
                share,
                shares,
            )
            for state in states
            for share in range(shares)
        ]
        started = time.monotonic()
        with multiprocessing.Pool(options.processes) as pool:
            results = []
            for result in pool.imap_unordered(_share, work):
                results.append(result)
                for failure in result.failures:  # now, for the rest may take long
                    print(describe(failure), file=sys.stderr)
                done = sum(sum(r.counts.values()) for r in results)
                print(
                    f"{done} damages, {len(results)} of {len(work)} shares",
                    file=sys.stderr,
                    flush=True,
                )
        elapsed = time.monotonic() - started
        total = sum(sum(result.counts.values()) for result in results)
        print(
            f"{total} damages in {elapsed:.0f} s, {elapsed * options.processes / total * 1e3:.2f} ms each"
        )
    return _report(results, str(options.seed))


def _report(results: list[Result], seed: str) -> int:
    counts: Counter[tuple[str, str, str]] = sum((r.counts for r in results), Counter())
    for state in dict.fromkeys(key[0] for key in counts):
        print(f"{state}:")
        for kind in sorted({key[1] for key in counts if key[0] == state}):
            outcomes = sorted((k[2], n) for k, n in counts.items() if k[:2] == (state, kind))
            print(f"    {kind:10}", ", ".join(f"{outcome} {n}" for outcome, n in outcomes))
    usage = max(
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    print(f"greatest memory of a process: {usage // 1024} MiB")
    failures = [failure for result in results for failure in result.failures]
    for failure in failures[:20]:
        print(describe(failure))
    print(f"{len(failures)} wrong" if failures else "nothing wrong")
    print_figures(
        cases=sum(counts.values()),
        wrong=len(failures),
        greatest_memory_mib=usage // 1024,
        seed=seed,
    )
    return 1 if failures or usage // 1024 > MAX_RSS_MIB else 0


if __name__ == "__main__":
    sys.exit(main())
