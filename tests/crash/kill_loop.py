"""Kill a working process, again and again in one directory, and check what is left each time.

``python tests/crash/kill_loop.py [KILLS] [--seed SEED] [--mode WORKLOAD] [--flush FLUSH] [--threads N] [--death DEATH]``

After each death the directory is opened in a fresh process and read whole. Every record that was acknowledged in any run so far
must be there: same bytes, same offset, once. (Records that were sent and not acknowledged may be there; they must be whole.) What
was there once stays there for good. Topics that were created exist, deleted ones do not, commits that returned hold, and a group
never skips a record. Then the next run continues in the same directory, for some generations.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:  # run as a script
    sys.path.insert(0, str(ROOT))

from tests.crash.child import run_plan  # noqa: E402
from tests.crash.forked import FAILED_STATUS, Child, Reporter  # noqa: E402
from tests.crash.ledger import KINDS, Broken, Ledger  # noqa: E402
from tests.crash.plan import DEATHS, FLUSHES, THREADS, WORKLOADS, Plan, make_plan  # noqa: E402
from tests.crash.seam_files import SeamFileSystem  # noqa: E402
from tests.crash.verification import Verification  # noqa: E402
from tests.reliability.results import print_figures  # noqa: E402

#: Deaths in one directory before the next one starts from nothing.
GENERATIONS = 50

#: A child that does not come to life, or not to its end, within this time hangs.
TIMEOUT_S = 60.0

#: How many places to die at the script has, about.
SCRIPT_CALLS = 110

_EXIT_STATUS = 3


class Dying:
    """The child's side of its death."""

    def __init__(self, plan: Plan, report: Reporter) -> None:
        self._plan = plan
        self._report = report
        self._count = 0
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    def at_seam(self, call: str, path: str) -> None:
        """Die instead of the changing call whose turn it is."""
        with self._lock:
            if self._count == self._plan.kill_at:
                self._report("seam", call)
                os.kill(os.getpid(), signal.SIGKILL)
            self._count += 1

    def when_open(self) -> None:
        """Let the end come in a while, from another thread; once is enough."""
        end = {"exit": self._exit, "abort": os.abort, "segv": _touch_nothing, "memory": self._hoard}
        death = end.get(self._plan.death)
        if death is not None and self._timer is None:
            self._timer = threading.Timer(self._plan.life_ms / 1000, death)
            self._timer.daemon = True
            self._timer.start()

    def _exit(self) -> None:
        os._exit(_EXIT_STATUS)

    def _hoard(self) -> None:
        """Take all memory, so that everybody else gets MemoryError for a while, then exit."""
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        ends_at = time.monotonic() + 0.03
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize(),) * 2)
        hoard: list[object] = []
        for size in (1 << 20, 1 << 14, 1 << 9, 64):
            try:
                while True:
                    hoard.append(bytes(size))
            except MemoryError:
                pass
        while time.monotonic() < ends_at:
            del hoard[-1000:]  # a little comes free again, for somebody
            time.sleep(0.001)
        os._exit(_EXIT_STATUS)


def _touch_nothing() -> None:
    import ctypes

    ctypes.string_at(0)


def _forgives(plan: Plan, error: BaseException) -> bool:
    """Return whether *error* is how a want of memory shows: what was interrupted by it was not acknowledged."""
    return plan.death == "memory" and isinstance(error, Exception)


def _run_child(path: str, plan: Plan, report: Reporter) -> None:
    if plan.death == "memory":
        # The interpreter has a lot to say when it has no memory, and so has the log.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    dying = Dying(plan, report)
    run_plan(
        path,
        plan,
        report,
        filesystem=SeamFileSystem(dying.at_seam) if plan.death == "seam" else None,
        when_open=dying.when_open,
        forgives=partial(_forgives, plan),
    )


def run_and_kill(path: str, plan: Plan, ledger: Ledger) -> bool:
    """Let a child work until its death; return whether it died (a script may have come to its end)."""
    child = Child(partial(_run_child, path, plan))
    started = time.monotonic()
    hangs_at = started + TIMEOUT_S
    by_clock = plan.death in ("kill", "pause")
    kill_at = started + plan.life_ms / 1000 if plan.dies_early else hangs_at
    is_open = plan.dies_early
    failure: Broken | None = None
    while lines := child.read_lines(kill_at):
        failure = failure or _note(ledger, lines)
        if not is_open and "phase running" in lines and by_clock:
            is_open, kill_at = True, time.monotonic() + plan.life_ms / 1000
    hangs = time.monotonic() >= hangs_at
    if plan.death == "pause":
        _pause(child, plan, ledger)
    code, lines = child.end()
    failure = failure or _note(ledger, lines)
    if failure is not None:
        raise failure
    if hangs:
        raise Broken("wrong", f"the child hangs in phase {ledger.phase!r}")
    check_end(plan, code)
    return code != 0


def _note(ledger: Ledger, lines: list[str]) -> Broken | None:
    try:
        ledger.note(lines)
    except Broken as error:
        return error
    return None


def _pause(child: Child, plan: Plan, ledger: Ledger) -> None:
    """Stop the child, and let it go on for another while in some runs: the kill comes out of a stop in the others."""
    rng = plan.random("pause")
    child.signal(signal.SIGSTOP)
    if rng.random() < 0.5:
        child.signal(signal.SIGCONT)
        until = time.monotonic() + plan.life_ms / 1000
        while lines := child.read_lines(until):
            ledger.note(lines)


def check_end(plan: Plan, code: int) -> None:
    """Raise Broken when a child did not end as planned."""
    expected = {
        "kill": {-signal.SIGKILL},
        "pause": {-signal.SIGKILL},
        "seam": {-signal.SIGKILL, 0} if plan.workload == "script" else {-signal.SIGKILL},
        "exit": {_EXIT_STATUS},
        "abort": {-signal.SIGABRT},
        "segv": {-signal.SIGSEGV},
        # The interpreter itself may give up when it has no memory for what it cannot do without.
        "memory": {_EXIT_STATUS, -signal.SIGABRT, -signal.SIGSEGV, 1},
    }[plan.death]
    if code not in expected:
        what = "raised" if code == FAILED_STATUS else f"ended with {code}"
        raise Broken("wrong", f"the child {what}, expected one of {sorted(expected)}")


class Loop:
    """Directories, one after the other, and what came of them."""

    def __init__(self, seed: int, chosen: dict[str, object]) -> None:
        self._seed = seed
        self._chosen = chosen
        self._directory = ""
        self._ledger = Ledger()
        self._generation = 0
        self._script_position = random.Random(seed).randrange(SCRIPT_CALLS)
        #: Row of the table -> what was counted.
        self.rows: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.total: Counter[str] = Counter()
        self.failures: list[str] = []

    def __enter__(self) -> Loop:
        return self

    def __exit__(self, *_: object) -> None:
        self._forget_directory()

    def _forget_directory(self) -> None:
        if self._directory:
            shutil.rmtree(self._directory)
        self._directory = ""

    def kill(self, run: int) -> None:
        """Do one run."""
        if not self._directory or self._generation == GENERATIONS:
            self._forget_directory()
            self._directory = tempfile.mkdtemp(prefix="streamlog-kills-")
            self._ledger, self._generation = Ledger(), 0
        self._generation += 1
        plan = make_plan(run, self._seed, self._script_position, **self._chosen)
        died, kind = True, ""
        self._ledger.counts.clear()
        try:
            died = self._run(plan)
        except Broken as error:
            kind = error.kind
            # Not removed: somebody will want to look at it.
            kept, self._directory = self._directory, ""
            self.failures.append(
                f"seed {self._seed}, kill {run}, {plan}, directory {kept}: {error}"
            )
            print(f"  {self.failures[-1]}", flush=True)
        if plan.workload == "script" and plan.death == "seam":
            self.total["furthest call of the script"] = max(
                self.total["furthest call of the script"], self._script_position
            )
            self._script_position = self._script_position + 1 if died else 0
        self._count(plan, died, kind)

    def _run(self, plan: Plan) -> bool:
        ledger = self._ledger
        ledger.begin(plan.run, had_retention=plan.workload == "retention")
        died = run_and_kill(f"{self._directory}/data", plan, ledger)
        if Path(self._directory, "data").exists():
            dies_first = plan.random("verify").random() < 0.3
            verification = Verification(f"{self._directory}/data", ledger)
            ledger.take_over(verification.run(dies_first=dies_first))
        return died

    def _count(self, plan: Plan, died: bool, kind: str) -> None:
        ledger = self._ledger
        where = ledger.phase or "starting"
        rows = [
            f"workload {plan.workload}",
            f"death {plan.death}",
            f"flush {plan.flush}",
            f"threads {plan.threads}",
            f"while {where}",
        ]
        if ledger.died_at:
            rows.append(f"before {ledger.died_at}")
        counted = Counter({"kills": int(died), "acked": ledger.counts["acked"]})
        if kind:
            counted[kind] = 1
        for row in rows:
            self.rows[row].update(counted)
        self.total.update(counted)
        self.total.update({k: n for k, n in ledger.counts.items() if k != "acked"})

    def print_table(self) -> None:
        """Print what was counted, by workload, death, flush mode, number of threads, and moment."""
        columns = ("kills", "acked", *KINDS)
        print(f"{'':<22}" + "".join(f"{column:>12}" for column in columns))
        for row in [*sorted(self.rows), "all"]:
            counts = self.rows.get(row, self.total)
            print(f"{row:<22}" + "".join(f"{counts[column]:>12,}" for column in columns))
        for name in sorted(self.total.keys() - set(columns)):
            print(f"{self.total[name]:>14,}  {name}")


def main() -> int:
    """Run the loop from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("kills", nargs="?", type=int, default=50)
    parser.add_argument("--seed", type=int, default=None, help="default: chosen and printed")
    parser.add_argument("--mode", dest="workload", choices=sorted(set(WORKLOADS)), default=None)
    parser.add_argument("--flush", choices=FLUSHES, default=None)
    parser.add_argument("--threads", type=int, choices=THREADS, default=None)
    parser.add_argument("--death", choices=DEATHS, default=None)
    parser.add_argument("--first", action="store_true", help="end at the first broken promise")
    arguments = vars(parser.parse_args())
    first = arguments.pop("first")
    kills, seed = arguments.pop("kills"), arguments.pop("seed")
    seed = random.SystemRandom().randrange(1 << 31) if seed is None else seed
    print(f"seed {seed}", flush=True)
    started = time.monotonic()
    with Loop(seed, arguments) as loop:
        run = 0
        while loop.total["kills"] < kills and not (first and loop.failures):
            loop.kill(run)
            run += 1
    loop.print_table()
    print(f"seed {seed}, {len(loop.failures)} broken promises, {time.monotonic() - started:.0f} s")
    print_figures(
        kills=loop.total["kills"],
        acknowledged=loop.total["acked"],
        **{kind: loop.total[kind] for kind in KINDS},
        seed=str(seed),
    )
    if loop.failures:
        print(f'again: make kills N={kills} KILL_ARGS="--seed {seed}"')
    return bool(loop.failures)


if __name__ == "__main__":
    sys.exit(main())
