"""Kill a process that consumes, transforms and produces in transactions, again and again: its output is the input, once.

``python tests/crash/exactly_once.py [KILLS] [--seed SEED] [--flush FLUSH] [--threads N] [--death DEATH]``

After each death the directory is opened in a fresh process. Of each partition of the input exactly what lies below the group's offset
must be in the output, transformed, in order and once, as a read_committed consumer sees it; and the offset is not behind any commit that
returned. Then the next child goes on in the same directory. In the end one is left alone until it has read everything.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:  # run as a script
    sys.path.insert(0, str(ROOT))

from streamlog import TopicPartition  # noqa: E402
from tests.crash.exactly_once_work import (  # noqa: E402
    GROUP,
    INPUT,
    OUTPUT,
    PARTITIONS,
    finish,
    open_broker,
    transformed,
    work,
)
from tests.crash.forked import Child, Reporter  # noqa: E402
from tests.crash.kill_loop import TIMEOUT_S, Dying, check_end  # noqa: E402
from tests.crash.ledger import Broken  # noqa: E402
from tests.crash.plan import DEATHS, FLUSHES, THREADS, Plan, make_plan  # noqa: E402
from tests.crash.seam_files import SeamFileSystem  # noqa: E402
from tests.reliability.results import print_figures  # noqa: E402
from tests.support.transaction_view import read_topic  # noqa: E402

#: Deaths in one directory before the next one starts from nothing.
GENERATIONS = 25


def _work_and_die(path: str, plan: Plan, report: Reporter) -> None:
    dying = Dying(plan, report)
    filesystem = SeamFileSystem(dying.at_seam) if plan.death == "seam" else None
    work(path, plan, report, filesystem=filesystem, when_open=dying.when_open)


class Ledger:
    """What the children of one directory said."""

    def __init__(self) -> None:
        #: By partition, the least offset that the group must have.
        self.committed: Counter[int] = Counter()
        self.counts: Counter[str] = Counter()
        self.phase = "starting"
        self.died_at = ""

    def note(self, lines: list[str]) -> None:
        """Take note of *lines*. Raises Broken when one of them says that a child failed."""
        for line in lines:
            word, _, rest = line.partition(" ")
            if word == "failed":
                raise Broken("wrong", json.loads(rest))
            if word == "phase":
                self.phase = rest
            elif word == "seam":
                self.died_at = rest
            elif word == "committed":
                partition, offset = map(int, rest.split())
                self.committed[partition] = max(self.committed[partition], offset)
                self.counts["commits"] += 1
            else:
                self.counts["aborts"] += 1


def run_and_kill(path: str, plan: Plan, ledger: Ledger) -> None:
    """Let a child work until its death. Raises Broken."""
    child = Child(partial(_work_and_die, path, plan))
    started = time.monotonic()
    hangs_at = started + TIMEOUT_S
    by_clock = plan.death in ("kill", "pause")
    kill_at = started + plan.life_ms / 1000 if plan.dies_early else hangs_at
    runs = plan.dies_early
    said: list[str] = []
    while lines := child.read_lines(kill_at):
        said += lines
        if not runs and by_clock and "phase running" in lines:
            runs, kill_at = True, time.monotonic() + plan.life_ms / 1000
    hangs = time.monotonic() >= hangs_at
    if plan.death == "pause":
        child.signal(signal.SIGSTOP)
    code, lines = child.end()
    ledger.note(said + lines)
    if hangs:
        raise Broken("wrong", f"the child hangs in phase {ledger.phase!r}")
    check_end(plan, code)


def verify(path: str, ledger: Ledger, *, is_done: bool = False) -> None:
    """Open the directory and compare. Raises Broken."""
    with open_broker(path) as broker:
        if broker.recovery_report.damaged_partitions:
            raise Broken("lost", f"recovery reports damage: {broker.recovery_report}")
        if OUTPUT not in broker.topics():
            if ledger.committed:
                raise Broken("lost", "the topics are gone")
            return
        read = read_topic(broker, INPUT, "read_uncommitted")
        written = read_topic(broker, OUTPUT, "read_committed")
        places = [TopicPartition(INPUT, number) for number in range(PARTITIONS)]
        offsets = broker.group_coordinator.fetch_offsets(GROUP, places)
        for number, place in enumerate(places):
            found = offsets[place]
            offset = found.offset if found else 0
            if offset < ledger.committed[number]:
                raise Broken(
                    "lost", f"{place}: committed {ledger.committed[number]}, found {offset}"
                )
            expected = [transformed(number, at, value) for at, value in read[number] if at < offset]
            _compare(place, expected, [value for _, value in written[number]])
            if is_done and offset != len(read[number]):
                raise Broken("lost", f"{place}: {len(read[number])} records, read up to {offset}")
            partition = broker.partition(OUTPUT, number)
            if partition.last_stable_offset != partition.log_end_offset:
                raise Broken(
                    "wrong",
                    f"{OUTPUT}-{number}: readers are stuck at {partition.last_stable_offset} of {partition.log_end_offset}",
                )


def _compare(place: TopicPartition, expected: list[bytes], found: list[bytes]) -> None:
    if found == expected:
        return
    missing, strange = Counter(expected) - Counter(found), Counter(found) - Counter(expected)
    where = f"{place}: read {len(expected)} records, {len(found)} came of it"
    if missing:
        raise Broken("lost", f"{where}: {len(missing)} are missing, such as {min(missing)!r}")
    if strange:
        raise Broken("doubled", f"{where}: {len(strange)} too much, such as {min(strange)!r}")
    raise Broken("wrong", f"{where}: in another order")


def _in_child(target: partial[None]) -> None:
    """Run *target* in a process of its own. Raises the Broken that it raised."""

    def answer(report: Reporter) -> None:
        logging.getLogger("streamlog").setLevel(logging.ERROR)
        try:
            target()
        except Broken as error:
            report("broken", json.dumps([error.kind, error.message]))

    child = Child(answer)
    said = child.read_all().decode()
    code, _ = child.end()
    if said.startswith("broken "):
        raise Broken(*json.loads(said.partition(" ")[2]))
    if code:
        raise Broken("unopenable", f"verifying ended with {code}: {said}")


class Loop:
    """Directories, one after the other, and what came of them."""

    def __init__(self, seed: int, chosen: dict[str, object]) -> None:
        self._seed = seed
        self._chosen = chosen
        self._directory = ""
        self._generation = 0
        self._ledger = Ledger()
        self.rows: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.failures: list[str] = []

    def __enter__(self) -> Loop:
        return self

    def __exit__(self, *_: object) -> None:
        if self._directory:
            shutil.rmtree(self._directory)

    def kill(self, run: int) -> None:
        """Do one run, and look."""
        if not self._directory:
            self._directory = tempfile.mkdtemp(prefix="streamlog-exactly-once-")
            self._ledger, self._generation = Ledger(), 0
        self._generation += 1
        deaths = [death for death in DEATHS if death != "memory"]
        plan = make_plan(run, self._seed, 0, workload="exactly-once", **self._chosen)
        if plan.death == "memory":
            plan = plan._replace(death=plan.random("death").choice(deaths))
        ledger = self._ledger
        ledger.phase, ledger.died_at = "starting", ""
        ledger.counts.clear()
        path = f"{self._directory}/data"
        try:
            run_and_kill(path, plan, ledger)
            if Path(path).exists():
                _in_child(partial(verify, path, ledger))
            if self._generation == GENERATIONS:
                self.finish()
        except Broken as error:
            kept, self._directory = self._directory, ""  # somebody will want to look at it
            told = f"seed {self._seed}, kill {run}, {plan}, directory {kept}: {error}"
            self.failures.append(told)
            print(f"  {told}", flush=True)
        self._count(plan)

    def finish(self) -> None:
        """Let a child read the rest, and look for the last time. Raises Broken."""
        if not self._directory:
            return
        path = f"{self._directory}/data"
        if Path(path).exists():
            child = Child(partial(finish, path))
            said = child.read_all().decode().splitlines()
            code, _ = child.end()
            self._ledger.note(said)
            if code:
                raise Broken("wrong", f"the last child ended with {code}")
            _in_child(partial(verify, path, self._ledger, is_done=True))
        shutil.rmtree(self._directory)
        self._directory = ""

    def _count(self, plan: Plan) -> None:
        ledger = self._ledger
        rows = [f"death {plan.death}", f"flush {plan.flush}", f"while {ledger.phase}", "all"]
        if ledger.died_at:
            rows.append(f"before {ledger.died_at}")
        for row in rows:
            self.rows[row].update({"kills": 1, **ledger.counts})

    def print_table(self) -> None:
        """Print what was counted, by death, flush mode, and moment."""
        columns = ("kills", "commits", "aborts")
        print(f"{'':<22}" + "".join(f"{column:>12}" for column in columns))
        for row in [*sorted(self.rows.keys() - {"all"}), "all"]:
            print(f"{row:<22}" + "".join(f"{self.rows[row][column]:>12,}" for column in columns))


def main() -> int:
    """Run the loop from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("kills", nargs="?", type=int, default=50)
    parser.add_argument("--seed", type=int, default=None, help="default: chosen and printed")
    parser.add_argument("--flush", choices=FLUSHES, default=None)
    parser.add_argument("--threads", type=int, choices=THREADS, default=None)
    parser.add_argument("--death", choices=DEATHS, default=None)
    parser.add_argument("--first", action="store_true", help="end at the first broken promise")
    arguments = vars(parser.parse_args())
    first, kills, seed = (arguments.pop(name) for name in ("first", "kills", "seed"))
    seed = random.SystemRandom().randrange(1 << 31) if seed is None else seed
    print(f"seed {seed}", flush=True)
    started = time.monotonic()
    with Loop(seed, arguments) as loop:
        for run in range(kills):
            loop.kill(run)
            if first and loop.failures:
                break
        try:
            loop.finish()
        except Broken as error:
            loop.failures.append(f"seed {seed}, at the end: {error}")
            print(f"  {loop.failures[-1]}", flush=True)
    loop.print_table()
    failures = loop.failures
    print(f"seed {seed}, {len(failures)} broken promises, {time.monotonic() - started:.0f} s")
    counts = loop.rows["all"]
    print_figures(
        kills=counts["kills"],
        commits=counts["commits"],
        wrong=len(failures),
        seed=str(seed),
    )
    if failures:
        print(f'again: make exactly-once KILLS={kills} KILL_ARGS="--seed {seed}"')
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
