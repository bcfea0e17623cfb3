"""Broken streamlogs, by name, that only a dying process, a forked one, a lost disk or a second run can tell from a good one.

``make mutants`` lets the tests that have to catch them try, and prints who caught what (`mutant_table`).
"""

from __future__ import annotations

import fcntl
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from sortedcontainers import SortedKeyList

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:  # run as a script
    sys.path.insert(0, str(ROOT))

from streamlog.broker import group_store  # noqa: E402
from streamlog.broker.group_records import GroupEpoch  # noqa: E402
from streamlog.broker.partition import Partition  # noqa: E402
from streamlog.broker.transactions.coordinator import TransactionCoordinator  # noqa: E402
from streamlog.client import positions  # noqa: E402
from streamlog.client.fetcher import Fetcher  # noqa: E402
from streamlog.runtime import Lock, RandomSource, os_directory_lock, system_calls  # noqa: E402
from streamlog.runtime.os_directory_lock import OsDirectoryLock  # noqa: E402
from streamlog.runtime.os_file import OsFile  # noqa: E402
from streamlog.runtime.timer_queue import TimerQueue  # noqa: E402
from streamlog.storage import recovery  # noqa: E402
from streamlog.storage.group_commit import GroupCommit  # noqa: E402
from streamlog.storage.leader_epochs import LeaderEpochs  # noqa: E402
from streamlog.storage.log_producers import ProducerLog  # noqa: E402
from streamlog.storage.recovery import LogRecovery  # noqa: E402
from streamlog.storage.segment_file import SegmentFile  # noqa: E402
from streamlog.structs import OffsetAndMetadata, ProducerIdAndEpoch  # noqa: E402
from tests.support.patching import patched  # noqa: E402


class Mutant(NamedTuple):
    """One broken build."""

    why: str
    #: What has to catch it: a script with its arguments, or a test.
    catcher: str
    patch: Callable[[], AbstractContextManager[None]]


MUTANTS: dict[str, Mutant] = {}


def mutant(name: str, catcher: str) -> Callable[[Callable[[], Iterator[None]]], None]:
    """Register a generator that patches, yields, and leaves nothing patched; its docstring says why that is wrong."""

    def register(function: Callable[[], Iterator[None]]) -> None:
        MUTANTS[name] = Mutant(function.__doc__ or "", catcher, contextmanager(function))

    return register


# ---- what an acknowledgement means


@mutant(
    "ack before append",
    "tests/crash/kill_loop.py 20 --seed 1 --mode direct --death exit --threads 1 --first",
)
def ack_before_append() -> Iterator[None]:
    """A record is acknowledged when it is about to be stored: it is the one behind it that stores it."""
    append, append_value = Partition.append, Partition.append_value
    late: dict[int, list[Callable[[], object]]] = {}

    def lag(self: Partition, store: Callable[[], int], records: int) -> int:
        waiting = late.setdefault(id(self), [])
        while waiting:
            waiting.pop(0)()
        waiting.append(store)
        return self.log.log_end_offset

    def late_append(self: Partition, batch: Any) -> int:
        if self.topic.startswith("__"):
            return append(self, batch)
        return lag(self, lambda: append(self, batch), batch.record_count)

    def late_append_value(
        self: Partition, value: bytes, timestamp_ms: int, stamp: Any = None
    ) -> int:
        return lag(self, lambda: append_value(self, value, timestamp_ms, stamp), 1)

    with patched(Partition, "append", late_append):
        with patched(Partition, "append_value", late_append_value):
            yield


@mutant(
    "ack before sync", "tests/crash/power_cuts.py 40 --seed 1 --mode direct --flush ack --first"
)
def ack_before_sync() -> Iterator[None]:
    """flush_messages=1 promises the disk."""

    def wait_for(self: GroupCommit, end_offset: int) -> None:
        self.durable_end_offset = max(self.durable_end_offset, end_offset)

    with patched(GroupCommit, "wait_for", wait_for):
        yield


@mutant(
    "followers of a group commit do not wait",
    "tests/crash/power_cuts.py 40 --seed 1 --mode direct --flush ack --threads 8 --first",
)
def followers_do_not_wait() -> Iterator[None]:
    """Who comes while a sync is under way is not covered by it: its pages may have been written before."""
    wait_for = GroupCommit.wait_for

    def impatient(self: GroupCommit, end_offset: int) -> None:
        if not self._is_taken:
            wait_for(self, end_offset)

    with patched(GroupCommit, "wait_for", impatient):
        yield


@mutant("names not synced", "tests/crash/power_cuts.py 200 --seed 1 --mode topics --first")
def names_not_synced() -> Iterator[None]:
    """A rename is on the disk when its directory is, not when it returns (F23)."""
    with patched(system_calls, "sync_directory", lambda path: None):
        yield


@mutant("files not synced", "tests/crash/power_cuts.py 60 --seed 1 --mode script --first")
def files_not_synced() -> Iterator[None]:
    """A new STATE or META is renamed into its place with nothing in it yet, for all that the disk knows."""
    with patched(system_calls, "sync_file", lambda fd: None):
        yield


# ---- a disk that fails, or fills up

# Every call of one workload in turn: quicker than the few hundred runs by chance that catch most of these as well.
_ERRORS = "tests/crash/error_loop.py --only "


@mutant("a failed sync is tried again", _ERRORS + "power:produce-to-disk:EIO:once:*")
def sync_retried() -> Iterator[None]:
    """The system reports an error once and forgets the pages: the second success says nothing (P11)."""
    sync = SegmentFile.sync

    def stubborn(self: SegmentFile) -> None:
        try:
            sync(self)
        except OSError:
            sync(self)

    with patched(SegmentFile, "sync", stubborn):
        yield


@mutant("a failed sync is forgotten", _ERRORS + "memory:produce-to-disk:EIO:once:*")
def failed_sync_forgotten() -> Iterator[None]:
    """Whoever comes after it is acknowledged by a sync that proves nothing (P11)."""
    with patched(GroupCommit, "fail", lambda self, failure: None):
        yield


@mutant("another file is synced", _ERRORS + "power:roll-to-disk:EIO:once:*")
def other_file_synced() -> Iterator[None]:
    """What was acknowledged as on the disk is in a file that nobody synced."""
    sync = SegmentFile.sync

    def sync_index(self: SegmentFile) -> None:
        file, self._file = self._file, self._filesystem.open(self.path + ".other", create=True)
        try:
            sync(self)
        finally:
            self._file = file

    with patched(SegmentFile, "sync", sync_index):
        yield


@mutant(
    "recovery believes pages that a failed sync may have lost", _ERRORS + "power:roll:EIO:once:*"
)
def tail_not_stored_again() -> Iterator[None]:
    """They can be read and count as written: the next sync says that they are on the disk, and they are not (P11)."""
    with patched(recovery, "store_again", lambda filesystem, segments, position: None):
        yield


@mutant("files grow by holes", "-m pytest tests/crash/test_full_disk.py -k ballast")
def sparse_growth() -> Iterator[None]:
    """A store into a mapped hole kills the process when the disk is full (F1)."""

    def extend(fd: int, start: int, end: int, size: int) -> None:
        os.ftruncate(fd, max(end, size))

    with patched(system_calls, "allocate", extend):
        yield


@mutant(
    "no rollback of an allocation that failed",
    _ERRORS + "system:produce:ENOSPC:once:*",
)
def no_rollback() -> Iterator[None]:
    """The file stays longer than anybody knows, and keeps the last of the disk (F2)."""
    with patched(OsFile, "_cut_back_to", lambda self, size: None):
        yield


@mutant("a short write is taken for a whole one", _ERRORS + "system:change-topics:short:once:*")
def short_write() -> Iterator[None]:
    """A disk that is nearly full writes less than it was given, and says so by a number only (F5)."""

    def write_at(self: OsFile, position: int, data: Any) -> None:
        if data:
            system_calls.pwrite(self._fd, memoryview(data).cast("B"), position)

    with patched(OsFile, "write_at", write_at):
        yield


@mutant(
    "stores go on when a map could not be made",
    _ERRORS + "memory:produce-to-disk:EINTR:once:*",
)
def stored_without_map() -> Iterator[None]:
    """An append that finds no map fails half-way, with what is no error of the disk."""
    allocate = SegmentFile._allocate

    def keep_limit(self: SegmentFile, file: Any, end: int, room: Any) -> None:
        limit = self.limit
        allocate(self, file, end, room)
        self.limit = limit

    with patched(SegmentFile, "_allocate", keep_limit):
        yield


@mutant("one partition that fails stops all", _ERRORS + "memory:consume:EIO:once:*")
def one_stops_all() -> Iterator[None]:
    """A consumer asks the partition whose disk fails first, each time, and reads nothing of the others (P6)."""
    collect = Fetcher.collect

    def stubborn(self: Fetcher, limit: int, now_ms: float) -> Any:
        turn = self._turn
        try:
            return collect(self, limit, now_ms)
        except OSError:
            self._turn = turn
            raise

    with patched(Fetcher, "collect", stubborn):
        yield


# ---- one owner


@mutant("lockf instead of flock", "-m pytest tests/unit/runtime/test_os_directory_lock.py")
def lockf() -> Iterator[None]:
    """Closing any other descriptor of the file drops the lock, and the same process is let in twice (F25)."""

    def lock_exclusively(fd: int) -> bool:
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    with patched(system_calls, "lock_exclusively", lock_exclusively):
        yield


@mutant("a forked child unlocks", "-m pytest tests/unit/runtime/test_os_directory_lock.py")
def unlocked_by_child() -> Iterator[None]:
    """LOCK_UN in the child takes the lock from the parent, which goes on writing (F25)."""
    abandon = OsDirectoryLock.abandon

    def unlocking(self: OsDirectoryLock) -> None:
        if self._fd >= 0:
            fcntl.flock(self._fd, fcntl.LOCK_UN)
        abandon(self)

    with patched(OsDirectoryLock, "abandon", unlocking):
        yield


@mutant("a forked child keeps the lock", "-m pytest tests/unit/runtime/test_os_directory_lock.py")
def lock_kept_by_child() -> Iterator[None]:
    """With the owner killed, nobody can open the directory for as long as a child of it lives (F25)."""
    with patched(OsDirectoryLock, "_forked", lambda self: None):
        yield


@mutant("no lock", "-m pytest tests/unit/runtime/test_os_directory_lock.py")
def no_lock() -> Iterator[None]:
    """Two brokers write over each other."""
    with patched(os_directory_lock.system_calls, "lock_exclusively", lambda fd: True):
        yield


# ---- offsets and epochs


@mutant(
    "offsets given again under the same epoch",
    "tests/crash/power_cuts.py 200 --seed 2 --mode groups --first",
)
def same_epoch() -> Iterator[None]:
    """What a group has read cannot be told from what was written in its place after a power loss."""
    run = LogRecovery.run

    def forgetful(self: LogRecovery) -> Any:
        recovered = run(self)
        if self._power_failed:
            recovered.leader_epoch -= 1
            recovered.epochs = LeaderEpochs(())
        return recovered

    with patched(LogRecovery, "run", forgetful):
        yield


@mutant("epoch of a commit ignored", "-m pytest tests/unit/client/test_positions.py")
def epoch_ignored() -> Iterator[None]:
    """The group goes on behind records that it has never seen."""
    end_of_epoch = positions._end_of_epoch
    with patched(
        positions, "_end_of_epoch", lambda partition, leader_epoch: end_of_epoch(partition, None)
    ):
        yield


@mutant(
    "committed offset above the log end believed",
    "tests/crash/power_cuts.py 200 --seed 2 --mode groups --first",
)
def not_clamped() -> Iterator[None]:
    """The group waits for that offset, and skips what is written below it until then."""

    def believing(partition: Partition, leader_epoch: int | None) -> OffsetAndMetadata:
        return OffsetAndMetadata(1 << 62)

    with patched(positions, "_end_of_epoch", believing):
        yield


@mutant(
    "generations start again",
    "tests/crash/kill_loop.py 20 --seed 1 --mode groups --death kill --first",
)
def generations_start_again() -> Iterator[None]:
    """A member of a process that died is taken for one of today's."""
    read_records = group_store.read_records

    def forgetful(home: Partition) -> Iterator[Any]:
        return (record for record in read_records(home) if not isinstance(record, GroupEpoch))

    with patched(group_store, "read_records", forgetful):
        yield


# ---- transactions


@mutant("last stable offset ignored", "-m pytest tests/integration/test_rival_producers.py")
def last_stable_offset_ignored() -> Iterator[None]:
    """Whoever reads committed records is given those of an open transaction, part by part."""
    with patched(ProducerLog, "last_stable_offset", property(lambda self: self._next_offset)):
        yield


@mutant(
    "late commit of a fenced producer accepted",
    "-m pytest tests/integration/test_rival_producers.py",
)
def late_commit() -> Iterator[None]:
    """A zombie ends the transaction of the producer that has its id by now."""
    end = TransactionCoordinator._end

    def lenient(
        self: TransactionCoordinator, transaction: Any, caller: Any, commit: bool
    ) -> ProducerIdAndEpoch:
        return end(self, transaction, transaction.producer, commit)

    with patched(TransactionCoordinator, "_end", lenient):
        yield


# ---- every run the same


@mutant("chance that no seed decides", "-m pytest tests/integration/test_determinism.py")
def unseeded() -> Iterator[None]:
    """A failure that was found once is not found again."""
    with patched(RandomSource, "stream", lambda self, name: random.Random()):
        yield


@mutant("names hashed by Python", "-m pytest tests/integration/test_determinism.py")
def hashed_by_python() -> Iterator[None]:
    """``hash`` of a text is another one in each process."""

    def digest(self: RandomSource, name: str) -> bytes:
        return random.Random(hash((self.seed, name))).randbytes(32)

    with patched(RandomSource, "_digest", digest):
        yield


@mutant(
    "timers of the same time in any order", "-m pytest tests/unit/runtime/test_virtual_clock.py"
)
def timers_in_any_order() -> Iterator[None]:
    """What was asked for first happens first."""

    def start_over(self: TimerQueue) -> None:
        self._lock = Lock()
        self._timers = SortedKeyList(key=lambda timer: (timer.due_key[0], -timer.due_key[1]))

    with patched(TimerQueue, "start_over", start_over):
        yield


class Attempt(NamedTuple):
    """What came of letting a catcher try."""

    caught: bool
    seconds: float
    #: The first broken promise or failed test.
    found: str


def attempt(name: str) -> Attempt:
    """Let the catcher of a mutant try. Raises RuntimeError when it could not even start."""
    environment = {
        **os.environ,
        "STREAMLOG_MUTANT": name,
        "PYTHONPATH": os.pathsep.join(
            (str(Path(__file__).with_name("mutant_site")), str(ROOT), str(ROOT / "src"))
        ),
    }
    command = [sys.executable, *MUTANTS[name].catcher.split()]
    if "pytest" in command:
        command += ["-q", "-x", "-p", "no:cacheprovider"]
    started = time.monotonic()
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    output = done.stdout + done.stderr
    found = re.search(r"^(?:  seed .*|FAILED .*)$", output, re.MULTILINE)
    if done.returncode != 0 and found is None:
        raise RuntimeError(f"{name}: could not be tried:\n{output}")
    return Attempt(
        done.returncode != 0, time.monotonic() - started, found[0].strip() if found else ""
    )


# Registers those of transactions, with the decorator above.
from tests.crash import transaction_mutants  # noqa: E402, F401
