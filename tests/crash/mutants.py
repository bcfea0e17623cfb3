"""Broken builds of the storage layer, by name: each patches one rule away for as long as its context is open.

They test the tests: a net that lets one of them through has a hole. ``MUTANTS["ack before sync"]()`` is a context manager; which tests
have to catch it is their own business. Used by `test_mutants`, and by whoever wants to know whether another layer catches them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from streamlog.broker.group import Group
from streamlog.broker.group_records import GroupEpoch, GroupTombstone, OffsetTombstone
from streamlog.broker.group_store import GroupStore
from streamlog.broker.topic_registry import TopicRegistry
from streamlog.record.layout import HEADER_SIZE
from streamlog.storage.data_directory import DataDirectory
from streamlog.storage.group_commit import GroupCommit
from streamlog.storage.leader_epochs import LeaderEpochs
from streamlog.storage.log_cut import LogCut
from streamlog.storage.log_producers import ProducerLog
from streamlog.storage.log_syncing import SyncableLog
from streamlog.storage.log_trimming import TrimmableLog
from streamlog.storage.producer_snapshots import ProducerSnapshots
from streamlog.storage.producer_state import ProducerStates
from streamlog.storage.recovery import LogRecovery
from streamlog.storage.segment import Segment
from streamlog.storage.segment_file import SegmentFile
from streamlog.testing import CrashFileSystem
from tests.support.patching import patched

Mutant = Callable[[], AbstractContextManager[None]]

MUTANTS: dict[str, Mutant] = {}


def mutant(name: str) -> Callable[[Callable[[], Iterator[None]]], Mutant]:
    """Register a generator that patches, yields, and leaves nothing patched."""

    def register(function: Callable[[], Iterator[None]]) -> Mutant:
        MUTANTS[name] = contextmanager(function)
        return MUTANTS[name]

    return register


# ---- what an acknowledgement means


@mutant("ack before sync")
def ack_before_sync() -> Iterator[None]:
    """Whoever waits for the disk is told at once that it was reached."""

    def wait_for(self: GroupCommit, end_offset: int) -> None:
        self.durable_end_offset = max(self.durable_end_offset, end_offset)

    with patched(GroupCommit, "wait_for", wait_for):
        yield


@mutant("sync of the active segment only")
def sync_active_only() -> Iterator[None]:
    original = SyncableLog._sync_segments

    def sync_segments(self: SyncableLog) -> int:
        for segment in self._segments.in_order()[:-1]:
            segment.synced_position = segment.position
        return original(self)

    with patched(SyncableLog, "_sync_segments", sync_segments):
        yield


@mutant("length stored first")
def length_stored_first() -> Iterator[None]:
    append, append_value = Segment.append, Segment.append_value

    def commit_early(segment: Segment, size: int) -> None:
        assert segment._words is not None
        segment._words[segment.position >> 2] = HEADER_SIZE + size

    def early_append(self: Segment, batch: Any, *rest: Any) -> None:
        commit_early(self, len(batch.body))
        append(self, batch, *rest)

    def early_append_value(self: Segment, value: bytes, *rest: Any) -> None:
        commit_early(self, len(value) + 14)
        append_value(self, value, *rest)

    with patched(Segment, "append", early_append):
        with patched(Segment, "append_value", early_append_value):
            yield


# ---- names


@mutant("no directory sync for a new segment")
def no_sync_for_new_segment() -> Iterator[None]:
    def sync(self: SegmentFile) -> None:
        position = self.position
        file = self._file
        if file is None:
            if not self._filesystem.exists(self.path):
                return
            file = self._filesystem.open(self.path)
        file.sync_data()
        self.created_durably = True
        self.synced_position = max(self.synced_position, position)

    with patched(SegmentFile, "sync", sync):
        yield


@mutant("no directory sync for a new partition")
def no_sync_for_new_partition() -> Iterator[None]:
    with patched(DataDirectory, "sync_topics", lambda self: None):
        yield


@mutant("no directory sync after a rename")
def no_sync_after_rename() -> Iterator[None]:
    def write_atomically(self: CrashFileSystem, path: str, data: bytes) -> None:
        temporary = f"{path}.{self.journal.last_step}.tmp"
        file = self.open(temporary, exclusive=True)
        file.write_at(0, data)
        file.sync()
        self.rename(temporary, path)

    with patched(CrashFileSystem, "write_atomically", write_atomically):
        yield


@mutant("rename before the bytes are synced")
def rename_before_sync() -> Iterator[None]:
    def write_atomically(self: CrashFileSystem, path: str, data: bytes) -> None:
        temporary = f"{path}.{self.journal.last_step}.tmp"
        file = self.open(temporary, exclusive=True)
        file.write_at(0, data)
        self.rename(temporary, path)
        self.sync_dir(path.rpartition("/")[0])

    with patched(CrashFileSystem, "write_atomically", write_atomically):
        yield


@mutant("topic listed before its directories are made")
def listed_before_made() -> Iterator[None]:
    def create(self: TopicRegistry, topic: Any, entry: Any) -> None:
        self._manifest.topics[topic.name] = entry
        self._store()
        topic.partitions = self._files.create(topic, range(entry.partitions))
        self._topics[topic.name] = topic

    with patched(TopicRegistry, "_create", create):
        yield


# ---- STATE


@mutant("DIRTY written late")
def dirty_written_late() -> Iterator[None]:
    """STATE says CLEAN until the first checkpoint of the session."""
    load, write_state = DataDirectory._load, DataDirectory._write_state
    loading: set[int] = set()

    def late_load(self: DataDirectory) -> None:
        loading.add(id(self))
        try:
            load(self)
        finally:
            loading.discard(id(self))

    def late_write(self: DataDirectory) -> None:
        if id(self) not in loading or not self._was_clean or self._state.generation == 0:
            write_state(self)

    with patched(DataDirectory, "_load", late_load):
        with patched(DataDirectory, "_write_state", late_write):
            yield


@mutant("CLEAN written before the logs are closed")
def clean_written_early() -> Iterator[None]:
    close = DataDirectory.close

    def early_close(self: DataDirectory, *, clean: bool = True) -> None:
        if self._open and clean:
            self._gather()
            self._state.is_clean = True
            self._write_state()
        close(self, clean=clean)

    with patched(DataDirectory, "close", early_close):
        yield


@mutant("recovery point written before the sync")
def recovery_point_too_early() -> Iterator[None]:
    checkpoint = SyncableLog.checkpoint

    def early_checkpoint(self: SyncableLog) -> Any:
        active = self._active
        return checkpoint(self)._replace(
            recovery_offset=active.next_offset,
            segment_base_offset=active.base_offset,
            segment_position=active.position,
        )

    with patched(SyncableLog, "checkpoint", early_checkpoint):
        yield


# ---- trimming


@mutant("log start moved in memory only")
def log_start_in_memory() -> Iterator[None]:
    def advance(self: TrimmableLog, offset: int) -> None:
        self._log_start_offset = max(self._log_start_offset, offset)

    with patched(TrimmableLog, "advance_log_start", advance):
        yield


@mutant("files deleted before the log start moves")
def files_before_log_start() -> Iterator[None]:
    """Retention renames first and tells STATE afterwards."""
    delete_expired = TrimmableLog.delete_expired

    def early(self: TrimmableLog, now_ms: int, high_watermark: int) -> int:
        persist, self._persist = self._persist, lambda: None
        try:
            return delete_expired(self, now_ms, high_watermark)
        finally:
            self._persist = persist
            self._persist()

    with patched(TrimmableLog, "delete_expired", early):
        yield


@mutant("a truncation that is not announced")
def truncation_not_announced() -> Iterator[None]:
    truncate = TrimmableLog._truncate

    def silent(self: TrimmableLog, offset: int) -> None:
        persist, self._persist = self._persist, lambda: None
        try:
            truncate(self, offset)
        finally:
            self._persist = persist
            self._persist()

    with patched(TrimmableLog, "_truncate", silent):
        yield


@mutant("a truncation whose names are not synced")
def truncation_names_not_synced() -> Iterator[None]:
    truncate = TrimmableLog._truncate

    def careless(self: TrimmableLog, offset: int) -> None:
        with patched(CrashFileSystem, "sync_dir", _sync_dir_but(self.directory)):
            truncate(self, offset)

    with patched(TrimmableLog, "_truncate", careless):
        yield


def _sync_dir_but(directory: str) -> Callable[[CrashFileSystem, str], None]:
    original = CrashFileSystem.sync_dir

    def sync_dir(self: CrashFileSystem, path: str) -> None:
        if path != directory:
            original(self, path)

    return sync_dir


# ---- recovery


@mutant("a torn tail is left where it is")
def torn_tail_left() -> Iterator[None]:
    with patched(LogCut, "remove_behind", lambda self, segments, position, size: None):
        yield


@mutant("a cut that is not synced")
def cut_not_synced() -> Iterator[None]:
    def remove_behind(self: LogCut, segments: list[Segment], position: int, size: int) -> None:
        self.delete(segments[:0:-1])
        if size > position:
            file = self._filesystem.open(segments[0].path)
            file.truncate(position)
            file.close()

    with patched(LogCut, "remove_behind", remove_behind):
        with patched(LogRecovery, "_settle", lambda self, segment: None):
            yield


@mutant("an interrupted cut is taken for a durable one")
def interrupted_cut_believed() -> Iterator[None]:
    with patched(LogRecovery, "_settle", lambda self, segment: None):
        yield


@mutant("offsets given again under the same epoch")
def same_epoch() -> Iterator[None]:
    run = LogRecovery.run

    def forgetful(self: LogRecovery) -> Any:
        recovered = run(self)
        if self._power_failed:
            recovered.leader_epoch -= 1
            recovered.epochs = LeaderEpochs(())
        return recovered

    with patched(LogRecovery, "run", forgetful):
        yield


# ---- producers


@mutant("producers found again in snapshots alone")
def producers_of_snapshots_alone() -> Iterator[None]:
    """What was appended behind the last one may come twice."""

    def find(self: ProducerLog) -> ProducerStates:
        states = ProducerStates(self.topic_partition)
        self._snapshots.load(states)
        states.on_aborted = self._note_aborted
        return states

    with patched(ProducerLog, "_find_producers", find):
        yield


@mutant("a snapshot of producers that outlives a truncation")
def snapshots_above_the_end() -> Iterator[None]:
    def delete_none(self: ProducerSnapshots, end_offset: int) -> bool:
        return False

    with patched(ProducerSnapshots, "delete_above", delete_none):
        yield


# ---- groups


def _unstored(*kinds: type) -> Iterator[None]:
    """Records of these kinds are applied as ever, and not written."""
    apply = GroupStore.apply

    def forgetful(self: GroupStore, group: Group, records: list[Any]) -> None:
        apply(self, group, [one for one in records if not isinstance(one, kinds)])
        group.replay_all([one for one in records if isinstance(one, kinds)])

    with patched(GroupStore, "apply", forgetful):
        yield


@mutant("offsets expire in memory only")
def expiry_in_memory() -> Iterator[None]:
    """What was forgotten is there again after the next start."""
    yield from _unstored(OffsetTombstone, GroupTombstone)


@mutant("a generation that is not stored")
def generation_in_memory() -> Iterator[None]:
    """The next process gives it again, whatever the protocol."""
    yield from _unstored(GroupEpoch)


# ---- who catches them

#: For each of them a program in which the explorer meets it soon.
CAUGHT_BY = {
    "ack before sync": "calls/ack/send",
    "sync of the active segment only": "calls/asked/roll,append,sync",
    "length stored first": "calls/ack/send",
    "no directory sync for a new segment": "calls/ack/create",
    "no directory sync for a new partition": "calls/ack/create",
    "no directory sync after a rename": "calls/ack/create",
    "rename before the bytes are synced": "calls/ack/create",
    "topic listed before its directories are made": "calls/ack/create",
    "DIRTY written late": "calls/asked/reopen,send",
    "CLEAN written before the logs are closed": "calls/asked/reopen",
    "recovery point written before the sync": "calls/asked/delete_records",
    "log start moved in memory only": "calls/ack/delete_records",
    "files deleted before the log start moves": "calls/asked/alter"
    + ",append,roll" * 6
    + ",retention",
    "producers found again in snapshots alone": "W1/ack/1",
    "a snapshot of producers that outlives a truncation": "W11/background/1",
    "a truncation that is not announced": "calls/ack/truncate",
    "a truncation whose names are not synced": "W11/ack/0",
    "a torn tail is left where it is": "calls/ack/truncate",
    "a cut that is not synced": "calls/ack/truncate",
    "an interrupted cut is taken for a durable one": "calls/ack/truncate",
    "offsets given again under the same epoch": "calls/asked/send",
    "offsets expire in memory only": "W12/background/1",
    "a generation that is not stored": "W13/background/2",
}

#: Those that show only when recovery crashes as well.
IN_RECOVERY = {
    "a torn tail is left where it is",
    "a cut that is not synced",
    "an interrupted cut is taken for a durable one",
    "offsets given again under the same epoch",
}
