"""Cut the power of a disk under a working process, again and again, and check what is left each time.

``python tests/crash/power_cuts.py [CUTS] [--seed SEED] [--mode WORKLOAD] [--flush FLUSH] [--threads N]``

The process works on an ext4 file system in an image file. It is stopped, at any time or before a call that changes a file, some of what
it has not synced is written back as the kernel might, and the image is copied: that is the disk after a power cut. The copy is
mounted (its journal replayed) and opened as after a restart of the machine. What was acknowledged as durable must be there: with
flush_messages=1 every record, otherwise what came before a sync; topics as they were when a change of them returned. Of everything
else a prefix is there, and a group skips nothing. Then the process goes on, or another one does with what the cut has left.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from copy import deepcopy
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:  # run as a script
    sys.path.insert(0, str(ROOT))

from tests.crash.child import run_plan  # noqa: E402
from tests.crash.forked import Child, Reporter  # noqa: E402
from tests.crash.ledger import KINDS, Broken, Ledger  # noqa: E402
from tests.crash.loop_disk import (  # noqa: E402
    MOUNT_OPTIONS,
    LoopDisk,
    NotPossibleError,
    enter_own_mounts,
)
from tests.crash.plan import FLUSHES, THREADS, WORKLOADS, Plan, make_plan  # noqa: E402
from tests.crash.reading import Contents  # noqa: E402
from tests.crash.seam_files import SeamFileSystem, pass_by  # noqa: E402
from tests.crash.verification import Verification  # noqa: E402
from tests.reliability.results import print_figures  # noqa: E402

#: Cuts before the next disk starts from nothing.
GENERATIONS = 25

TIMEOUT_S = 60.0

SKIPPED_STATUS = 77


class StopAt:
    """A hook in the child that stops its process before every *step*-th changing call, as long as it is wanted."""

    def __init__(self, report: Reporter, step: int) -> None:
        self._report = report
        self._step = step
        self._count = 0

    def __call__(self, call: str, path: str) -> None:
        self._count += 1
        if self._count % self._step == 0:
            self._report("seam", call)
            os.kill(os.getpid(), signal.SIGSTOP)


class Worker:
    """One process at work on the disk, and what it was promised."""

    def __init__(self, plan: Plan, path: str, boot: str, ledger: Ledger) -> None:
        self.plan = plan
        self.ledger = ledger
        self._rng = plan.random("cuts")
        self._stops_itself = self._rng.random() < 0.5
        step = int(200 ** self._rng.random())

        def work(report: Reporter) -> None:
            logging.getLogger("streamlog").setLevel(
                logging.ERROR
            )  # that a log was cut is nothing new
            hook = StopAt(report, step) if self._stops_itself else pass_by
            run_plan(path, plan, report, filesystem=SeamFileSystem(hook, boot))

        ledger.begin(
            plan.run,
            had_retention=plan.workload == "retention",
            acks_are_durable=plan.flush == "ack",
        )
        self._child = Child(work)

    def stop(self) -> None:
        """Wait until the process is stopped, by itself or after some time, and note all that it was promised until then."""
        life_s = 0.02 * self._rng.expovariate(1)
        deadline = time.monotonic() + (TIMEOUT_S if self._stops_itself else life_s)
        while not self._is_stopped():
            left_s = deadline - time.monotonic()
            if left_s > 0:
                self.ledger.note(self._child.read_lines(time.monotonic() + min(left_s, 0.001)))
            elif self._stops_itself:
                break  # there are workloads that change no file for a while
            else:
                self._child.signal(signal.SIGSTOP)
        while lines := self._child.read_lines(0):
            self.ledger.note(lines)

    def _is_stopped(self) -> bool:
        pid, status = os.waitpid(self._child.pid, os.WUNTRACED | os.WNOHANG)
        if pid and not os.WIFSTOPPED(status):
            self.ledger.note([line.decode() for line in self._child.read_all().split(b"\n")[:-1]])
            raise Broken("wrong", f"the process ended by itself with status {status}")
        return bool(pid)

    def go_on(self) -> None:
        """Let the process continue."""
        self._child.signal(signal.SIGCONT)

    def end(self) -> None:
        """Kill the process, stopped or not."""
        self._child.end()


class PowerCuts:
    """Disks, one after the other, and what came of them. Use as a context manager: leaving it unmounts everything."""

    def __init__(self, seed: int, chosen: dict[str, object]) -> None:
        self._seed = seed
        self._chosen = chosen
        self._directory = tempfile.mkdtemp(
            prefix="streamlog-cuts-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        )
        self._names = 0
        self._live: LoopDisk | None = None
        self._worker: Worker | None = None
        self._ledger = Ledger()
        self._boots = 0
        self._generation = 0
        self.rows: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.total: Counter[str] = Counter()
        self.failures: list[str] = []

    def __enter__(self) -> PowerCuts:
        return self

    def __exit__(self, *_: object) -> None:
        self._drop_live()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _drop_live(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.end()
        live, self._live = self._live, None
        if live is not None:
            live.remove()

    def _new_disk(self, rng: random.Random) -> LoopDisk:
        self._names += 1
        return LoopDisk(self._directory, f"disk-{self._names}", rng.choice(MOUNT_OPTIONS))

    def _start(self, run: int, rng: random.Random) -> Worker:
        """Return the process at work, a new one on a new disk if need be."""
        if self._generation >= GENERATIONS:
            self._drop_live()
        if self._live is None:
            self._live = self._new_disk(rng)
            self._live.format()
            self._live.mount()
            self._ledger, self._generation = Ledger(), 0
        if self._worker is None:
            plan = make_plan(run, self._seed, 0, death="kill", **self._chosen)
            path = f"{self._live.path}/data"
            self._worker = Worker(plan, path, self._boot(), self._ledger)
        return self._worker

    def _boot(self) -> str:
        return f"boot-{self._boots}"

    def cut(self, run: int) -> None:
        """Do one cut."""
        rng = random.Random(f"{self._seed}/{run}/cut")
        worker = self._start(run, rng)
        live = self._live
        assert live is not None
        self._generation += 1
        self._ledger.counts.clear()
        kind = ""
        copy = self._new_disk(rng)
        try:
            worker.stop()
            live.write_back_some(rng)
            live.copy_to(copy)
            self._verify(copy, worker, rng)
        except Broken as error:
            kind = error.kind
            kept = f"{tempfile.gettempdir()}/streamlog-cut-{self._seed}-{run}.img"
            if Path(copy.image).exists():
                shutil.copyfile(copy.image, kept)
            self.failures.append(
                f"seed {self._seed}, cut {run}, {worker.plan}, disk {kept}: {error}"
            )
            print(f"  {self.failures[-1]}", flush=True)
            copy.remove()
            self._drop_live()
        self._count(worker.plan, kind)

    def _verify(self, copy: LoopDisk, worker: Worker, rng: random.Random) -> None:
        """Look at the copy as after the cut; then the process goes on, or another one does in the copy."""
        copy.mount()
        path = f"{copy.path}/data"
        self._boots += 1
        contents: Contents | None = None
        if Path(path).exists():
            verification = Verification(
                path, deepcopy(self._ledger), boot=self._boot(), lost_power=True
            )
            contents = verification.run(dies_first=rng.random() < 0.3)
            self._ledger.counts.update(contents.counts)
        elif any(not topic.may_be_absent for topic in self._ledger.topics.values()):
            raise Broken("lost", "the whole directory is gone")
        if contents is None or rng.random() < 0.7:
            self._boots -= 1
            copy.remove()
            worker.go_on()
            return
        self._drop_live()
        self._live = copy
        self._ledger.take_over(contents)
        self._ledger.generation = 0  # what nobody synced may be given again
        self._ledger.generations_now = []
        self.total["went on with what the cut left"] += 1

    def _count(self, plan: Plan, kind: str) -> None:
        ledger = self._ledger
        rows = [
            f"workload {plan.workload}",
            f"flush {plan.flush}",
            f"threads {plan.threads}",
            f"while {ledger.phase or 'starting'}",
        ]
        if ledger.died_at:
            rows.append(f"before {ledger.died_at}")
            ledger.died_at = ""
        counted = Counter({"cuts": 1, "acked": ledger.counts["acked"]})
        if kind:
            counted[kind] = 1
        for row in rows:
            self.rows[row].update(counted)
        self.total.update(counted)
        self.total.update({k: n for k, n in ledger.counts.items() if k != "acked"})

    def print_table(self) -> None:
        """Print what was counted, by workload, flush mode, number of threads, and moment."""
        columns = ("cuts", "acked", *KINDS)
        print(f"{'':<22}" + "".join(f"{column:>12}" for column in columns))
        for row in [*sorted(self.rows), "all"]:
            counts = self.rows.get(row, self.total)
            print(f"{row:<22}" + "".join(f"{counts[column]:>12,}" for column in columns))
        for name in sorted(self.total.keys() - set(columns)):
            print(f"{self.total[name]:>14,}  {name}")


def main() -> int:
    """Cut from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("cuts", nargs="?", type=int, default=50)
    parser.add_argument("--seed", type=int, default=None, help="default: chosen and printed")
    parser.add_argument("--mode", dest="workload", choices=sorted(set(WORKLOADS)), default=None)
    parser.add_argument("--flush", choices=FLUSHES, default=None)
    parser.add_argument("--threads", type=int, choices=THREADS, default=None)
    parser.add_argument("--first", action="store_true", help="end at the first broken promise")
    arguments = vars(parser.parse_args())
    first = arguments.pop("first")
    cuts, seed = arguments.pop("cuts"), arguments.pop("seed")
    seed = random.SystemRandom().randrange(1 << 31) if seed is None else seed
    print(f"seed {seed}", flush=True)
    started = time.monotonic()
    signal.signal(signal.SIGTERM, partial(_leave))
    try:
        enter_own_mounts()
        with PowerCuts(seed, arguments) as power:
            for run in range(cuts):
                power.cut(run)
                if first and power.failures:
                    break
    except NotPossibleError as error:
        print(f"skipped: {error}")
        return SKIPPED_STATUS
    power.print_table()
    print(f"seed {seed}, {len(power.failures)} broken promises, {time.monotonic() - started:.0f} s")
    print_figures(
        cuts=power.total["cuts"],
        acknowledged=power.total["acked"],
        **{kind: power.total[kind] for kind in KINDS},
        seed=str(seed),
    )
    if power.failures:
        print(f'again: make powercuts N={cuts} CUT_ARGS="--seed {seed}"')
    return bool(power.failures)


def _leave(number: int, frame: object) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
