"""The directory of one broker: who may use it, what is in it, and how it was left."""

from __future__ import annotations

import logging
from typing import Any

from streamlog.config import TopicConfig
from streamlog.errors import ClosedError, CorruptLogError, DataLossError, UnsupportedFormatError
from streamlog.runtime import TEMPORARY_SUFFIX, DirectoryLock, FileSystem, Lock, Runtime
from streamlog.storage.checkpoint_file import read_checkpoint, write_checkpoint
from streamlog.storage.directory_state import STATE_NAME, DirectoryState
from streamlog.storage.directory_tree import (
    DELETE_SUFFIX,
    FORMAT_NAME,
    META_NAME,
    QUARANTINE_NAME,
    TOPICS_NAME,
    delete_log_directory,
    make_durable_directory,
    refuse_foreign,
    remove_tree,
)
from streamlog.storage.file_names import base_offset_of, join
from streamlog.storage.open_segments import OpenSegments
from streamlog.storage.partition_checkpoint import PartitionCheckpoint
from streamlog.storage.partition_log import PartitionLog
from streamlog.storage.quarantine import Quarantine
from streamlog.storage.recovery_report import PartitionRecovery, RecoveryOutcome, RecoveryReport
from streamlog.storage.room import Room
from streamlog.structs import NO_TIMESTAMP, TopicPartition

_logger = logging.getLogger("streamlog")

FORMAT_VERSION = 1

#: A log that STATE does not name was never synced, nor had its beginning deleted: both write STATE first.
NEW_LOG = PartitionCheckpoint(0, 0, 0, 0, 0, NO_TIMESTAMP, NO_TIMESTAMP, 0)


class DataDirectory:
    """Files of a broker outside its logs, and the door to the logs.

    ========== ================================================================================================
    LOCK       locked (``flock``) while a broker uses the directory; never deleted; names the owner
    FORMAT     format version and the broker's id; written once
    META       the manifest: which topics exist. The authority: what it does not name is ignored and never deleted
    STATE      CLEAN or DIRTY, generation, boot id, and a checkpoint for each log
    topics/    ``<topic>-<partition>/`` for each log
    quarantine copies of what recovery cut off
    ========== ================================================================================================

    STATE says DIRTY, durably, before anything else is touched, and CLEAN only after everything is on the disk: a stale CLEAN
    would skip recovery on a log that needs it. Threads: any. Source: Kafka ``LogManager``.
    """

    def __init__(
        self,
        runtime: Runtime,
        path: str,
        lock: DirectoryLock,
        max_open_segments: int | None,
        min_free_bytes: int | None,
    ) -> None:
        """Use :meth:`open`."""
        self._runtime = runtime
        self._filesystem = runtime.filesystem
        self._lock = lock
        self._checkpoint_lock = Lock()
        self._open_segments = OpenSegments(max_open_segments)
        self._room = Room(self._filesystem, path, min_free_bytes)
        self._last_room = Room(self._filesystem, path, 0)
        self._quarantine = Quarantine(self._filesystem, runtime.clock, join(path, QUARANTINE_NAME))
        self._logs: dict[str, PartitionLog] = {}
        # The last log that was opened at each path; it may have been forgotten since.
        self._keys_by_path: dict[str, str] = {}
        # Keys of all logs that were asked for: STATE forgets the others.
        self._known: set[str] = set()
        # Keys of logs that could not be opened for a reason outside their files: what they need has not been done.
        self._not_opened: set[str] = set()
        # What is on the disk or goes there next. The checkpoint lock guards writing it.
        self._state = DirectoryState()
        self._was_clean = True
        self._power_failed = False
        self._has_evidence = True
        self._open = True
        self.path = path
        #: What opening found; grows with each log that is opened.
        self.recovery_report = RecoveryReport()
        #: The topics, as the broker stored them last; ``{}`` in a new directory.
        self.manifest: dict[str, Any] = {}
        #: Identifies this directory for good.
        self.directory_id = ""

    @classmethod
    def open(
        cls,
        path: str,
        runtime: Runtime,
        *,
        max_open_segments: int | None = None,
        allow_network_fs: bool = False,
        min_free_bytes: int | None = None,
    ) -> DataDirectory:
        """Open the directory at *path* for writing, making it if it does not exist.

        Raises AlreadyOpenError (another broker has it, in this process or another), NotStreamlogDirectoryError (something else's
        files), UnsupportedFormatError (a newer format, or a network file system), CorruptLogError (FORMAT or META is damaged),
        OSError. A directory that is refused is left as it was.
        """
        filesystem = runtime.filesystem
        refuse_foreign(filesystem, path)
        make_durable_directory(filesystem, path)
        if not allow_network_fs and filesystem.is_network(path):
            raise UnsupportedFormatError(
                f"{path}: on a network file system, where neither locks nor syncs can be relied on "
                "(allow_network_fs=True opens it all the same)"
            )
        lock: DirectoryLock | None = None
        try:
            lock = filesystem.lock_dir(path)
            directory = cls(runtime, path, lock, max_open_segments, min_free_bytes)
            directory._load()
        except BaseException:
            if lock is not None:
                lock.release()
            raise
        return directory

    # ------------------------------------------------------------------------------------------------------- open

    def _load(self) -> None:
        filesystem = self._filesystem
        started_ms = self._runtime.clock.monotonic_ms()
        for name in filesystem.list_dir(self.path):
            if name.endswith(TEMPORARY_SUFFIX):
                filesystem.unlink(join(self.path, name))
        if not filesystem.exists(join(self.path, FORMAT_NAME)):
            self._initialise()
        else:
            self.directory_id = read_format(filesystem, self.path)
            self.manifest = read_checkpoint(filesystem, join(self.path, META_NAME), META_NAME)
            self._read_state()
        report, state = self.recovery_report, self._state
        self._was_clean = state.is_clean
        self._power_failed = state.power_may_have_failed(filesystem.boot_id())
        state.generation += 1
        state.is_clean, state.is_recovered = False, not self._power_failed
        report.generation, report.clean = state.generation, self._was_clean
        report.power_may_have_failed = self._power_failed
        self._write_state()  # before anything else changes
        self._remove_deleted_logs()
        self._finish_report(started_ms)

    def _initialise(self) -> None:
        """Write the files of a new directory. FORMAT comes last: without it the directory counts as empty."""
        filesystem = self._filesystem
        filesystem.make_dir(join(self.path, TOPICS_NAME))
        filesystem.make_dir(join(self.path, QUARANTINE_NAME))
        filesystem.sync_dir(self.path)
        write_checkpoint(filesystem, join(self.path, META_NAME), META_NAME, {})
        self._write_state()
        self.directory_id = self._runtime.random.uuid("directory-id").hex
        content = {"format_version": FORMAT_VERSION, "directory_id": self.directory_id}
        write_checkpoint(filesystem, join(self.path, FORMAT_NAME), FORMAT_NAME, content)

    def _read_state(self) -> None:
        try:
            self._state = DirectoryState.read(self._filesystem, join(self.path, STATE_NAME))
        except CorruptLogError as error:
            # Nothing is known to be durable: every log is read from its start, and anything may have happened to it.
            # Nor how often it was opened; but nobody did that every second since 1970, and then some.
            seconds = self._runtime.clock.time_ms() // 1000
            self._state = DirectoryState(is_clean=False, generation=seconds)
            self._has_evidence = False
            report = self.recovery_report
            report.notes.append(
                f"{STATE_NAME} cannot be used, every log is read from its start: {error}"
            )
            _logger.warning("%s: %s", self.path, report.notes[-1])

    def _remove_deleted_logs(self) -> None:
        """Finish deletions of topics that a crash interrupted: directories that we ourselves renamed to go."""
        topics = join(self.path, TOPICS_NAME)
        for name in self._filesystem.list_dir(topics):
            if name.endswith(DELETE_SUFFIX):
                try:
                    remove_tree(self._filesystem, join(topics, name))
                except OSError as error:
                    note = f"{name}: what is left of a deleted topic could not be removed: {error}"
                    self.recovery_report.notes.append(note)
                    _logger.warning("%s: %s", self.path, note)

    def _finish_report(self, started_ms: float) -> None:
        self.recovery_report.duration_ms += self._runtime.clock.monotonic_ms() - started_ms

    def finish_opening(self, known: set[TopicPartition]) -> None:
        """Call when every log of the manifest has been opened, or refused: recovery is over.

        Puts into the report every log directory that belongs to none of the *known* partitions. They are left alone. STATE forgets
        logs that nobody asked for: their topics were deleted just before a crash. After a power failure also makes the new leader
        epochs durable, before anybody can append with them.
        """
        expected = {_log_name(tp.topic, tp.partition) for tp in known}
        for name in self._filesystem.list_dir(join(self.path, TOPICS_NAME)):
            if name not in expected:
                path = join(join(self.path, TOPICS_NAME), name)
                self.recovery_report.ignored_paths.append(path)
        for key in sorted(self._state.checkpoints.keys() - self._known):
            del self._state.checkpoints[key]
        if not self._state.is_recovered:
            self._state.is_recovered = not self._not_opened
            self.checkpoint()
        # Logs that are opened from here on are new: an epoch of theirs that counts the failure would be given again after the next.
        self._power_failed = False

    # ------------------------------------------------------------------------------------------------------- logs

    def store_manifest(self, manifest: dict[str, Any]) -> None:
        """Replace META; durable when it returns."""
        self._check_open()
        write_checkpoint(self._filesystem, join(self.path, META_NAME), META_NAME, manifest)
        self.manifest = manifest

    def create_log_directory(self, topic: str, partition: int) -> None:
        """Make the directory of a new log. Durable once :meth:`store_manifest` was called after it.

        What is left there by an interrupted creation or deletion goes, but not if it holds records: then it is moved to quarantine.
        """
        path = self._log_path(topic, partition)
        key = self._keys_by_path.pop(path, "")
        log = self._logs.pop(key, None)
        if log is not None:  # left by one that Ctrl-C cut short: it must never touch the new files
            log.discard(ClosedError(f"{log.topic_partition}: the topic was created anew"))
            self._state.checkpoints.pop(key, None)
        if self._filesystem.exists(path):
            if self._holds_records(path):
                self._quarantine.adopt(path, "a log of which the list of topics knew nothing")
            else:
                delete_log_directory(self._filesystem, path, self._state.generation)
        self._filesystem.make_dir(path)

    def _holds_records(self, path: str) -> bool:
        return any(
            self._filesystem.file_size(join(path, name))
            for name in self._filesystem.list_dir(path)
            if base_offset_of(name) is not None
        )

    def sync_topics(self) -> None:
        """Make the names of new log directories durable: between creating them and naming them in META."""
        self._filesystem.sync_dir(join(self.path, TOPICS_NAME))

    def open_log(
        self,
        topic: str,
        partition: int,
        topic_id: str,
        config: TopicConfig,
        *,
        may_use_reserve: bool = False,
    ) -> PartitionLog:
        """Open the log of one partition, recovering it as need be.

        *topic_id* tells this topic from an earlier one of the same name; *may_use_reserve* lets the log grow where only the reserve
        is left (see `Room`). Raises DataLossError when durable records are missing;
        the report then says so, and the other logs are not concerned.
        """
        self._check_open()
        started_ms = self._runtime.clock.monotonic_ms()
        topic_partition = TopicPartition(topic, partition)
        recovery = PartitionRecovery(topic_partition)
        self.recovery_report.partitions.append(recovery)
        key, path = _log_key(topic_id, partition), self._log_path(topic, partition)
        self._known.add(key)
        checkpoint = self._state.checkpoints.get(key, NEW_LOG if self._has_evidence else None)
        # After a failed sync the system may have dropped any page that it should have written: the same as a power failure.
        sync_failed = checkpoint is not None and checkpoint.sync_failed
        try:
            if not self._filesystem.is_dir(path):
                recovery.outcome, recovery.message = (
                    RecoveryOutcome.DATA_LOSS,
                    f"{topic_partition}: {path}: expected a directory, found none",
                )
                raise DataLossError(
                    recovery.message, topic_partition=topic_partition, first_bad_offset=0, file=path
                )
            # First: Ctrl-C may come out as soon as there is a log, and who creates the topic anew has to find it then.
            self._keys_by_path[path] = key
            self._logs[key] = log = PartitionLog(
                self._runtime,
                path,
                topic_partition,
                config,
                self._open_segments,
                checkpoint=checkpoint,
                clean=self._was_clean and not sync_failed,
                power_failed=self._power_failed or sync_failed,
                quarantine=self._quarantine,
                persist=self.checkpoint,
                room=self._last_room if may_use_reserve else self._room,
                recovery=recovery,
            )
        except OSError:
            self._not_opened.add(key)
            raise
        finally:
            self._finish_report(started_ms)
        self._not_opened.discard(key)
        if sync_failed or (
            checkpoint is not None
            and max(checkpoint.truncating_to_offset, checkpoint.swapping_to_offset) >= 0
        ):
            # Or the next recovery would do it once more, whatever was appended since.
            self.checkpoint()
        return log

    def delete_log(self, log: PartitionLog) -> None:
        """Close *log* and delete its directory. The manifest must not name it any more."""
        self._forget(self._keys_by_path.pop(log.directory, ""))
        log.discard(ClosedError(f"{log.topic_partition}: the topic was deleted"))
        delete_log_directory(self._filesystem, log.directory, self._state.generation)

    def delete_unopened_log(self, topic: str, partition: int, topic_id: str) -> None:
        """Delete what is left of a log that could not be opened. The manifest must not name it any more."""
        self._forget(_log_key(topic_id, partition))
        path = self._log_path(topic, partition)
        if self._filesystem.exists(path):
            delete_log_directory(self._filesystem, path, self._state.generation)

    def _forget(self, key: str) -> None:
        self._logs.pop(key, None)
        self._known.discard(key)
        self._not_opened.discard(key)
        self._state.checkpoints.pop(key, None)

    def _log_path(self, topic: str, partition: int) -> str:
        return join(join(self.path, TOPICS_NAME), _log_name(topic, partition))

    # ------------------------------------------------------------------------------------------------------- state

    def checkpoint(self) -> None:
        """Write the recovery points and log starts of all logs to STATE; durable when it returns."""
        with self._checkpoint_lock:
            self._check_open()  # with the lock: closing writes the last one
            self._gather()
            self._write_state()

    @property
    def generation(self) -> int:
        """A number that grows with each open, durably: nobody who had the directory open before has seen it."""
        return self._state.generation

    def raise_generation(self, least: int = 0) -> int:
        """Raise the generation by one, or to *least* if that is more, and return it; durable when it returns."""
        with self._checkpoint_lock:
            self._check_open()
            self._state.generation = max(self._state.generation + 1, least)
            self._write_state()
            return self._state.generation

    def _gather(self) -> None:
        for key, log in list(self._logs.items()):
            self._state.checkpoints[key] = log.checkpoint()

    def _write_state(self) -> None:
        self._state.write(self._filesystem, join(self.path, STATE_NAME))

    def close(self, *, clean: bool = True) -> None:
        """Close all logs, write STATE and let the directory go. Closing again changes nothing.

        STATE says CLEAN only when every log was opened and reached the disk whole. With *clean* False, or after an error, it stays
        DIRTY and the next open recovers; it says then which logs could not be synced. The first error is raised, after everything
        was let go; so is Ctrl-C, and should something be left then, the next call sees to it.
        """
        with self._checkpoint_lock:
            is_first = self._open
            self._open = False
        try:
            if is_first:
                self._close(clean)
        finally:
            closed = ClosedError(f"{self.path}: the data directory is closed")
            for log in self._logs.values():
                if not log.is_closed:
                    log.discard(closed)
            self._lock.release()

    def _close(self, clean: bool) -> None:
        first_error: Exception | None = None
        for log in self._logs.values():
            try:
                log.close()
            except Exception as error:  # noqa: BLE001 - one log must not keep the others from closing
                _logger.error("%s: not closed properly: %s", log.topic_partition, error)
                first_error = first_error or error
        try:
            if clean:
                self._gather()
                self._state.is_clean = (
                    first_error is None and self._state.is_recovered and not self._not_opened
                )
                self._write_state()
        except OSError as error:
            _logger.error(
                "%s: closed, but STATE was not written, the next open recovers: %s",
                self.path,
                error,
            )
            first_error = first_error or error
        if first_error is not None:
            raise first_error

    def abandon(self, reason: Exception) -> None:
        """In a forked child: drop files and lock without touching what they hold. Any use raises *reason* from now on."""
        self._open = False
        self._checkpoint_lock = Lock()
        for log in self._logs.values():
            log.abandon(reason)
        self._lock.abandon()

    def _check(self) -> None:
        """Assert what holds while no call is under way and nothing is damaged. For tests."""
        assert not self._checkpoint_lock.locked()
        self._open_segments._check()
        for key, log in self._logs.items():
            assert key.endswith(f"/{log.topic_partition.partition}")
            log._check()
            for segment in log.segments:
                assert segment._file is None or id(segment) in self._open_segments._segments

    def _check_open(self) -> None:
        if not self._open:
            raise ClosedError(f"{self.path}: the data directory is closed")


def read_format(filesystem: FileSystem, path: str) -> str:
    """Return the id of the directory at *path*. Raises CorruptLogError, and UnsupportedFormatError when a newer version wrote it."""
    file_path = join(path, FORMAT_NAME)
    content = read_checkpoint(filesystem, file_path, FORMAT_NAME)
    version = content.get("format_version")
    if type(version) is not int:
        raise CorruptLogError(
            f"{file_path}: expected a format version, found {version!r:.100}", file=file_path
        )
    if version > FORMAT_VERSION:
        raise UnsupportedFormatError(
            f"{path}: format version {version}, this streamlog reads up to {FORMAT_VERSION}"
        )
    return str(content.get("directory_id", ""))


def _log_key(topic_id: str, partition: int) -> str:
    return f"{topic_id}/{partition}"


def _log_name(topic: str, partition: int) -> str:
    return f"{topic}-{partition}"
