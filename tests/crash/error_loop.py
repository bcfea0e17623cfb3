"""Fail each call to the disk in turn, with every error, once and from then on, and check what is left (durability.md, L2).

``python tests/crash/error_loop.py [RUNS] [--seed SEED] [--only CASE]``

For each workload, each error and each layer a fresh directory is prepared, call number n fails (or all from n on), the broker is
closed or killed, and the directory is opened healthy: nothing acknowledged may be lost, doubled or halved, and everything must
work again. Without RUNS every case there is; otherwise so many runs, chosen by the seed. The layers:

memory  `FaultyFileSystem` over a file system in memory
system  the system's own calls, below `OsFileSystem`; looks for descriptors, maps and threads left behind as well
power   as memory, and the power goes at the end: what was acknowledged as on the disk must be there
"""

from __future__ import annotations

import argparse
import errno
import gc
import itertools
import logging
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:  # run as a script
    sys.path.insert(0, str(ROOT))

from streamlog import Broker, Consumer, TopicPartition  # noqa: E402
from streamlog.runtime import MemoryFileSystem, OsFileSystem  # noqa: E402
from streamlog.testing import (  # noqa: E402
    CrashFileSystem,
    FaultPlan,
    FaultyFileSystem,
    VirtualClock,
)
from streamlog.testing.crash_images import _Moment, power_images  # noqa: E402
from streamlog.testing.fault_plan import Fault  # noqa: E402
from tests.crash.error_session import BROKER_CONFIG, Broken, Session  # noqa: E402
from tests.crash.error_workloads import WORKLOADS, Workload, go_on  # noqa: E402
from tests.reliability.results import print_figures  # noqa: E402
from tests.support.system_faults import NUMBERS, SYSTEM_CALLS, faulty_system  # noqa: E402
from tests.support.transaction_view import read_topic  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamlog.runtime import FileSystem

LAYERS = ("memory", "system", "power")
SHORT, SLOW = "short", "slow"
KINDS = (*(errno.errorcode[number] for number in NUMBERS), SHORT, SLOW)
SLOW_MS = 3_000.0
_WORKLOADS = {workload.name: workload for workload in WORKLOADS}


class Case(NamedTuple):
    """One run: which call fails how."""

    layer: str
    workload: str
    kind: str
    is_sticky: bool
    number: int

    def __str__(self) -> str:
        times = "sticky" if self.is_sticky else "once"
        return f"{self.layer}:{self.workload}:{self.kind}:{times}:{self.number}"

    @classmethod
    def parse(cls, text: str) -> Case:
        layer, workload, kind, times, number = text.split(":")
        return cls(layer, workload, kind, times == "sticky", int(number))

    @property
    def is_killed(self) -> bool:
        """Whether the broker is killed instead of closed."""
        return self.number % 3 == 0


def arm(plan: FaultPlan, case: Case) -> None:
    """Have *plan* do what *case* says, from now on."""
    times = None if case.is_sticky else 1
    if case.kind == SLOW:
        plan.slow("*", SLOW_MS, at=case.number, times=times)
    elif case.kind == SHORT:
        call = "pwrite" if case.layer == "system" else "write_at"
        plan._add(Fault(call, "*", case.number, times, errno=errno.ENOSPC, is_short=True))
    else:
        plan.fail("*", getattr(errno, case.kind), at=case.number, times=times)


def run_case(case: Case, root: str) -> int:
    """Run one case in the empty directory *root*; return how many calls went wrong. Raises Broken, naming the case."""
    workload = _WORKLOADS[case.workload]
    session = new_session(case.layer, workload, root)
    try:
        if case.layer != "system":
            return _run(session, workload, case)
        with faulty_system(session.plan):
            count = _run(session, workload, case)
        if held(root):
            gc.collect()
            if found := held(root):
                raise Broken(f"still held: {found}")
        return count
    except Exception as error:
        session.kill()
        raise Broken(f"{error}\n  again: python tests/crash/error_loop.py --only {case}") from error


def new_session(layer: str, workload: Workload, root: str) -> Session:
    """Return a session on an empty disk; where it is a real one, in the directory *root*."""
    clock, capacity_bytes = VirtualClock(), workload.capacity_bytes
    if layer == "system":
        plan = FaultPlan(clock, calls=SYSTEM_CALLS)
        return Session(OsFileSystem(), f"{root}/data", plan, clock)
    disk = (
        CrashFileSystem(capacity_bytes=capacity_bytes)
        if layer == "power"
        else MemoryFileSystem(capacity_bytes)
    )
    plan = FaultPlan(clock)
    session = Session(FaultyFileSystem(disk, plan), "/data", plan, clock)
    session.is_small = capacity_bytes is not None
    return session


def _run(session: Session, workload: Workload, case: Case) -> int:
    workload.prepare(session)
    if session.errors:
        raise Broken(f"the preparation failed: {session.errors}")
    session.is_sticky = case.is_sticky
    if case.kind != SLOW:
        session.number = errno.ENOSPC if case.kind == SHORT else getattr(errno, case.kind)
    if case.number:
        arm(session.plan, case)
    workload.run(session)
    go_on(session)
    if case.layer == "system":
        check_room(session)
    if case.is_killed:
        session.kill()
    else:
        session.close()
    count = len(session.plan.injections)
    session.plan.clear()
    if case.layer == "power" and case.number % 2:
        # Another life before that, in which all is well: what it calls durable is, whatever failed before.
        session.is_sticky = False
        session.open()
        go_on(session)
        session.close()
    if case.layer == "power":
        cut_power(session, case)
    if session.is_small:
        give_room(session)
    verify(session)
    return count


def check_room(session: Session) -> None:
    """Raise Broken when a file has grown by what an allocation took before it failed (ext4 does that, and so does our system)."""
    if session.broker is None or session.is_sticky:
        return  # where every call fails, cutting the file back does as well
    for name, count in session.topics.items():
        for number in range(count):
            partition = session.broker.partition(name, number)
            active = None if partition.is_refused else partition.log.segments[-1]
            # With a map to store through, it is known how much room there is.
            if active is not None and active._words is not None:
                size = os.path.getsize(active.path)
                if size > active._allocated:
                    raise Broken(
                        f"{active.path}: {size} bytes, of which {active._allocated} were wanted"
                    )


def give_room(session: Session) -> None:
    """Let the disk be as large as need be: somebody has removed something else."""
    assert isinstance(session.filesystem, FaultyFileSystem)
    disk = session.filesystem.inner
    if isinstance(disk, CrashFileSystem):
        disk.journal.capacity_bytes = None
    elif isinstance(disk, MemoryFileSystem):
        disk._capacity_bytes = None


def cut_power(session: Session, case: Case) -> None:
    """Put the disk in place that the next boot may find, and expect only what was promised to be on it."""
    assert isinstance(session.filesystem, FaultyFileSystem)
    disk = session.filesystem.inner
    assert isinstance(disk, CrashFileSystem)
    rng = random.Random(str(case))
    # The first ones are nothing and everything, and making them all takes as long as the square of what was not synced.
    images = list(itertools.islice(power_images(disk, rng), 2))
    image = rng.choice((images[0], images[1], _Moment(disk).random_image(0, rng)))
    session.filesystem = FaultyFileSystem(image.filesystem(), session.plan)
    session.keep_only_durable()


def verify(session: Session) -> None:
    """Open the directory healthy and hold it against what was promised; then use it, close it and look again."""
    with healthy(session) as broker:
        report = broker.recovery_report
        if report.damaged_partitions:
            raise Broken(f"damage reported: {report}")
        _settle_doubts(session, broker)
        _check_all(session, broker)
        session.broker = broker
        producer = session.producer()
        for name, count in session.topics.items():
            for number in range(count):
                tp = TopicPartition(name, number)
                # A life of its own: failed syncs of the last one are over.
                session._first_injection = len(session.plan.injections)
                if not session.exchange(producer, tp):
                    raise Broken(f"{tp}: does not take records after a healthy open")
        session.producers.clear()
        producer.close()
        _check_commits(session, broker)
    with healthy(session) as broker:
        if not broker.recovery_report.clean or broker.recovery_report.scanned_bytes:
            raise Broken(f"not clean after a healthy close: {broker.recovery_report}")
        _check_all(session, broker)
    leftovers = [name for name in _walk(session.filesystem, session.path) if name.endswith(".tmp")]
    if leftovers:
        raise Broken(f"left behind for good: {leftovers}")


def healthy(session: Session) -> Broker:
    return Broker(
        session.path,
        filesystem=session.filesystem,
        clock=session.clock,
        seed=2,
        config=BROKER_CONFIG,
    )


def _settle_doubts(session: Session, broker: Broker) -> None:
    found = broker.topics()
    if missing := sorted(set(session.topics) - set(found)):
        raise Broken(f"topics lost: {missing}")
    for name, count in list(session.in_doubt.items()):
        if name not in found:
            session.forget(name)
        else:
            partitions = len(broker.describe_topic(name).partitions)
            session.topics[name] = min(count, partitions)
            session.in_doubt.pop(name)
    if unknown := sorted(set(found) - set(session.topics)):
        raise Broken(f"topics that nobody created, or that were deleted: {unknown}")


def _check_all(session: Session, broker: Broker) -> None:
    _check_transactions(session, broker)
    for name, count in session.topics.items():
        for number in range(count if name not in session.transactional else 0):
            tp = TopicPartition(name, number)
            with Consumer(broker, auto_offset_reset="earliest") as consumer:
                consumer.assign([tp])
                found: list[tuple[int, bytes]] = []
                while records := consumer.poll(0, max_records=10_000):
                    found += [(record.offset, record.value) for record in records]
                start = consumer.beginning_offsets([tp])[tp]
                end = consumer.end_offsets([tp])[tp]
            if name in session.compacted:
                session.check_compacted(tp, found)
                if start:
                    raise Broken(f"{tp}: the log of a compacted topic starts at {start}")
                continue
            if [offset for offset, _ in found] != list(range(start, end)):
                raise Broken(f"{tp}: expected offsets {start} to {end - 1}, found {found}")
            if start > session.deleted_below[tp]:
                raise Broken(f"{tp}: the log starts at {start} although nobody asked for that")
            session.check_found(tp, found, is_all=True)


def _check_transactions(session: Session, broker: Broker) -> None:
    """Each transaction is visible over all its partitions and in the group's offset, or nowhere; what was acknowledged without one is there."""
    committed = 0
    for name in sorted(session.transactional & session.topics.keys()):
        visible = read_topic(broker, name, "read_committed")
        found = {value for log in visible for _, value in log}
        plain = set()
        for number, log in enumerate(visible):
            values = [value for _, value in log]
            if values != sorted(set(values)):
                raise Broken(f"{name}-{number}: values doubled or out of order: {values}")
            tp = TopicPartition(name, number)
            plain |= session.sent[tp].keys()
            if missing := set(session.acknowledged[tp].values()) - set(values):
                raise Broken(f"{tp}: acknowledged, and not there: {missing}")
        for one in session.transactions:
            values_of_one = {value for values in one.values.values() for value in values}
            plain |= values_of_one
            if one.is_committed is None:
                one.is_committed = bool(values_of_one & found)
            if values_of_one & found != (values_of_one if one.is_committed else set()):
                raise Broken(
                    f"torn, lost or aborted and visible: {one}, found {values_of_one & found}"
                )
            if one.is_committed and one.offset is not None:
                committed = one.offset
        if strange := found - plain:
            raise Broken(f"{name}: nobody sent {strange}, or not for good")
        place = TopicPartition(name, 0)
        offset = broker.group_coordinator.fetch_offsets("t", [place])[place]
        if (offset.offset if offset else 0) != committed and session.transactions:
            raise Broken(f"{place}: expected the group at {committed}, found {offset}")


def _check_commits(session: Session, broker: Broker) -> None:
    with Consumer(broker, group_id="g") as consumer:
        for tp, tried in session.commits_tried.items():
            committed = consumer.committed(tp)
            found = 0 if committed is None else committed.offset
            least = session.committed.get(tp, 0)
            if not (found in tried or found == 0) or found < least:
                raise Broken(f"{tp}: expected the commit {least} or a later one, found {found}")


def _walk(filesystem: FileSystem, path: str) -> Iterator[str]:
    for name in filesystem.list_dir(path):
        if filesystem.is_dir(f"{path}/{name}"):
            yield from _walk(filesystem, f"{path}/{name}")
        else:
            yield f"{path}/{name}"


def held(root: str) -> list[str]:
    """Return the files below *root* that a descriptor or a map of this process holds, and threads that should not be there."""
    found = [thread.name for thread in threading.enumerate() if "streamlog" in thread.name]
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            continue  # the one that listed them
    with open("/proc/self/maps") as file:
        found += [line.split(maxsplit=5)[-1] for line in file if root in line]
    return [name for name in found if root in name or "streamlog-broker" in name]


# ---- all cases, or some of them


def count_calls(layer: str, workload: Workload, root: str) -> int:
    """Return how many calls the workload makes when none fails."""
    session = new_session(layer, workload, root)
    with faulty_system(session.plan) if layer == "system" else nullcontext():
        workload.prepare(session)
        before = session.plan.count
        workload.run(session)
        session.close()
    return session.plan.count - before


def every_case() -> Iterator[Case]:
    """Yield cases without end for each loop; the caller says by ``send`` whether the last one still failed a call."""
    for layer in LAYERS:
        for workload in WORKLOADS:
            for kind in KINDS:
                for is_sticky in (False, True):
                    number = 1
                    while (yield Case(layer, workload.name, kind, is_sticky, number)):
                        number += 1


class Loop:
    """Runs cases in fresh directories and counts."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.root = tempfile.mkdtemp(prefix="streamlog-errors-")

    def close(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)

    def run(self, case: Case) -> int:
        path = f"{self.root}/{self.counts['runs']}"
        self.counts["runs"] += 1
        os.mkdir(path)
        try:
            injected = run_case(case, path)
        finally:
            shutil.rmtree(path, ignore_errors=True)
        if injected:
            self.counts["runs in which a call failed"] += 1
            self.counts["injections"] += injected
            self.counts[f"runs: {case.kind}"] += 1
            self.counts[f"runs: {case.workload}"] += 1
            self.counts[f"runs: layer {case.layer}"] += 1
        return injected


def run_one(text: str) -> Counter[str]:
    """Run one case; with ``*`` as its number, one after the other until no call is left to fail."""
    loop = Loop()
    try:
        if not text.endswith(":*"):
            loop.run(Case.parse(text))
            return loop.counts
        for number in itertools.count(1):
            if not loop.run(Case.parse(f"{text[:-1]}{number}")):
                break
        return loop.counts
    finally:
        loop.close()


def run_all(*, progress: bool = False) -> Counter[str]:
    """Run every case: each loop goes on until no call fails any more."""
    loop = Loop()
    try:
        cases = every_case()
        case = next(cases)
        last = ""
        while True:
            if progress and (name := f"{case.layer}: {case.workload}") != last:
                last = name
                print(f"{loop.counts['injections']:>10,} injections; {name}", flush=True)
            injected = loop.run(case)
            try:
                case = cases.send(bool(injected))  # type: ignore[attr-defined]
            except StopIteration:
                return loop.counts
    finally:
        loop.close()


def run_some(wanted: int, seed: int) -> Counter[str]:
    """Run cases chosen by *seed* until *wanted* runs have failed a call."""
    rng = random.Random(seed)
    loop = Loop()
    try:
        calls: dict[tuple[str, str], int] = {}
        while loop.counts["runs in which a call failed"] < wanted:
            layer, workload = rng.choice(LAYERS), rng.choice(WORKLOADS)
            if (layer, workload.name) not in calls:
                os.mkdir(f"{loop.root}/count")
                calls[layer, workload.name] = count_calls(layer, workload, f"{loop.root}/count")
                shutil.rmtree(f"{loop.root}/count")
            highest = calls[layer, workload.name]
            kind = rng.choice(KINDS)
            number = rng.randint(1, highest // 8 if kind == SHORT else highest)
            loop.run(Case(layer, workload.name, kind, rng.random() < 0.5, number))
        return loop.counts
    finally:
        loop.close()


def main(argv: list[str] | None = None) -> int:
    """Run the loops from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="?", type=int, default=0, help="runs; 0: every case there is")
    parser.add_argument("--seed", type=int, default=None, help="default: chosen and printed")
    parser.add_argument(
        "--only", default=None, help="one case, as a failure prints it, or all with * as its number"
    )
    arguments = parser.parse_args(argv)
    logging.disable(logging.CRITICAL)
    started = time.monotonic()
    seed = arguments.seed if arguments.seed is not None else random.randrange(1 << 31)
    try:
        if arguments.only is not None:
            counts = run_one(arguments.only)
        elif arguments.runs:
            print(f"seed {seed}", flush=True)
            counts = run_some(arguments.runs, seed)
        else:
            counts = run_all(progress=True)
    except Broken as error:
        print(f"  seed {seed}: {error}")
        print_figures(wrong=1, seed=str(seed))
        return 1
    for name, count in sorted(counts.items()):
        print(f"{count:>12,}  {name}")
    print(f"0 acknowledged records lost, doubled or halved; {time.monotonic() - started:.0f} s")
    # By workload, error and layer is for the terminal.
    figures = {name.replace(" ", "_"): n for name, n in counts.items() if ":" not in name}
    print_figures(**figures, wrong=0, seed=str(seed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
