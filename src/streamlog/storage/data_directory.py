"""The directory of one broker: who may use it, what is in it, and how it was left."""

from __future__ import annotations

import logging
from typing import Any

from streamlog.config import TopicConfig
from streamlog.errors import (
    CorruptLogError,
    DataLossError,
    NotStreamlogDirectoryError,
    StorageError,
    UnsupportedFormatError,
)
from streamlog.runtime import (
    LOCK_FILE_NAME,
    TEMPORARY_SUFFIX,
    DirectoryLock,
    Lock,
    Runtime,
    boot_id,
)
from streamlog.storage.checkpoint_file import read_checkpoint, write_checkpoint
from streamlog.storage.file_names import join
from streamlog.storage.open_segments import OpenSegments
from streamlog.storage.partition_checkpoint import PartitionCheckpoint
from streamlog.storage.partition_log import PartitionLog
from streamlog.storage.quarantine import Quarantine
from streamlog.storage.recovery_report import PartitionRecovery, RecoveryOutcome, RecoveryReport
from streamlog.storage.room import Room
from streamlog.structs import TopicPartition

_logger = logging.getLogger("streamlog")

FORMAT_VERSION = 1
_FORMAT, _STATE, _META = "FORMAT", "STATE", "META"
_TOPICS, _QUARANTINE = "topics", "quarantine"
_KNOWN_NAMES = {LOCK_FILE_NAME, _FORMAT, _STATE, _META, _TOPICS, _QUARANTINE}
_CLEAN, _DIRTY = "CLEAN", "DIRTY"
_DELETE_SUFFIX = "-delete"
_ASIDE_NAME_LENGTH = 200


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
        self._quarantine = Quarantine(self._filesystem, runtime.clock, join(path, _QUARANTINE))
        self._logs: dict[str, PartitionLog] = {}
        self._checkpoints: dict[str, Any] = {}
        self._clean = True
        self._generation = 0
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
        cls._refuse_foreign(runtime, path)
        filesystem.make_dir(path)
        if not allow_network_fs and filesystem.is_network(path):
            raise UnsupportedFormatError(
                f"{path}: on a network file system, where neither locks nor syncs can be relied on "
                "(allow_network_fs=True opens it all the same)"
            )
        directory = cls(runtime, path, filesystem.lock_dir(path), max_open_segments, min_free_bytes)
        try:
            directory._load()
        except BaseException:
            directory._lock.release()
            raise
        return directory

    @staticmethod
    def _refuse_foreign(runtime: Runtime, path: str) -> None:
        filesystem = runtime.filesystem
        if not filesystem.exists(path):
            return
        names = filesystem.list_dir(path)
        if _FORMAT in names:
            return
        foreign = [
            name
            for name in names
            if name not in _KNOWN_NAMES and not name.endswith(TEMPORARY_SUFFIX)
        ]
        if foreign or (
            _META in names or (_TOPICS in names and filesystem.list_dir(join(path, _TOPICS)))
        ):
            raise NotStreamlogDirectoryError(
                f"{path}: expected a streamlog directory (with a {_FORMAT} file) or an empty one, "
                f"found {', '.join(foreign[:5]) or 'logs without a FORMAT file'}"
            )

    # ------------------------------------------------------------------------------------------------------- open

    def _load(self) -> None:
        filesystem = self._filesystem
        started_ms = self._runtime.clock.monotonic_ms()
        for name in filesystem.list_dir(self.path):
            if name.endswith(TEMPORARY_SUFFIX):
                filesystem.unlink(join(self.path, name))
        if not filesystem.exists(join(self.path, _FORMAT)):
            self._initialise()
        else:
            form = read_checkpoint(filesystem, join(self.path, _FORMAT), _FORMAT)
            if form.get("format_version", 0) > FORMAT_VERSION:
                raise UnsupportedFormatError(
                    f"{self.path}: format version {form['format_version']}, this streamlog reads up to {FORMAT_VERSION}"
                )
            self.directory_id = str(form.get("directory_id", ""))
            self.manifest = read_checkpoint(filesystem, join(self.path, _META), _META)
            self._load_state()
        report = self.recovery_report
        report.generation = self._generation = self._generation + 1
        report.clean = self._clean
        self._write_state(_DIRTY)  # before anything else changes
        self._remove_deleted_logs()
        self._finish_report(started_ms)

    def _initialise(self) -> None:
        """Write the files of a new directory. FORMAT comes last: without it the directory counts as empty."""
        filesystem = self._filesystem
        filesystem.make_dir(join(self.path, _TOPICS))
        filesystem.make_dir(join(self.path, _QUARANTINE))
        filesystem.sync_dir(self.path)
        write_checkpoint(filesystem, join(self.path, _META), _META, {})
        self._write_state(_CLEAN)
        self.directory_id = self._runtime.random.uuid("directory-id").hex
        content = {"format_version": FORMAT_VERSION, "directory_id": self.directory_id}
        write_checkpoint(filesystem, join(self.path, _FORMAT), _FORMAT, content)

    def _load_state(self) -> None:
        report = self.recovery_report
        try:
            state = read_checkpoint(self._filesystem, join(self.path, _STATE), _STATE)
            self._clean = state["state"] == _CLEAN
            self._generation = int(state["generation"])
            report.same_boot = state["boot_id"] == boot_id() and state["boot_id"] != ""
            checkpoints = state["logs"]
            for name, fields in checkpoints.items():
                PartitionCheckpoint.unpack(fields, name)
            self._checkpoints = checkpoints
        except (CorruptLogError, KeyError, TypeError, ValueError, AttributeError) as error:
            # Without STATE nothing is known to be durable: every log is read from its start.
            self._clean, report.same_boot, self._checkpoints = False, False, {}
            report.notes.append(
                f"{_STATE} cannot be used, every log is read from its start: {error}"
            )
            _logger.warning("%s: %s", self.path, report.notes[-1])

    def _remove_deleted_logs(self) -> None:
        """Finish deletions of topics that a crash interrupted: directories that we ourselves renamed to go."""
        topics = join(self.path, _TOPICS)
        for name in self._filesystem.list_dir(topics):
            if name.endswith(_DELETE_SUFFIX):
                self._remove_tree(join(topics, name))

    def _finish_report(self, started_ms: float) -> None:
        self.recovery_report.duration_ms += self._runtime.clock.monotonic_ms() - started_ms

    def report_ignored(self, known: set[TopicPartition]) -> None:
        """Put into the report every log directory that belongs to none of the *known* partitions. They are left alone."""
        expected = {_log_name(tp.topic, tp.partition) for tp in known}
        for name in self._filesystem.list_dir(join(self.path, _TOPICS)):
            if name not in expected:
                self.recovery_report.ignored_paths.append(join(join(self.path, _TOPICS), name))

    # ------------------------------------------------------------------------------------------------------- logs

    def store_manifest(self, manifest: dict[str, Any]) -> None:
        """Replace META; durable when it returns."""
        self._check_open()
        write_checkpoint(self._filesystem, join(self.path, _META), _META, manifest)
        self.manifest = manifest

    def create_log_directory(self, topic: str, partition: int) -> None:
        """Make the directory of a new log. Durable once :meth:`store_manifest` was called after it.

        A directory of that name, left behind by an interrupted creation or deletion, is set aside and removed.
        """
        path = self._log_path(topic, partition)
        if self._filesystem.exists(path):
            self._set_aside(path)
        self._filesystem.make_dir(path)

    def sync_topics(self) -> None:
        """Make the names of new log directories durable: between creating them and naming them in META."""
        self._filesystem.sync_dir(join(self.path, _TOPICS))

    def open_log(
        self, topic: str, partition: int, topic_id: str, config: TopicConfig
    ) -> PartitionLog:
        """Open the log of one partition, recovering it as need be.

        *topic_id* tells this topic from an earlier one of the same name. Raises DataLossError when durable records are missing;
        the report then says so, and the other logs are not concerned.
        """
        self._check_open()
        started_ms = self._runtime.clock.monotonic_ms()
        topic_partition = TopicPartition(topic, partition)
        recovery = PartitionRecovery(topic_partition)
        self.recovery_report.partitions.append(recovery)
        key, path = f"{topic_id}/{partition}", self._log_path(topic, partition)
        fields = self._checkpoints.get(key)
        try:
            if not self._filesystem.exists(path):
                recovery.outcome, recovery.message = (
                    RecoveryOutcome.DATA_LOSS,
                    f"{topic_partition}: directory {path} is missing",
                )
                raise DataLossError(
                    recovery.message, topic_partition=topic_partition, first_bad_offset=0, file=path
                )
            log = PartitionLog(
                self._runtime,
                path,
                topic_partition,
                config,
                self._open_segments,
                checkpoint=PartitionCheckpoint.unpack(fields, key) if fields is not None else None,
                clean=self._clean,
                same_boot=self.recovery_report.same_boot,
                quarantine=self._quarantine,
                persist=self.checkpoint,
                room=self._room,
                recovery=recovery,
            )
        finally:
            self._finish_report(started_ms)
        self._logs[key] = log
        return log

    def delete_log(self, log: PartitionLog) -> None:
        """Close *log* and delete its directory. The manifest must not name it any more."""
        for key, known in list(self._logs.items()):
            if known is log:
                del self._logs[key]
                self._checkpoints.pop(key, None)
        log.discard(StorageError(f"{log.topic_partition}: the topic was deleted"))
        self._set_aside(log.directory)

    def delete_unopened_log(self, topic: str, partition: int) -> None:
        """Delete what is left of a log that could not be opened. The manifest must not name it any more."""
        path = self._log_path(topic, partition)
        if self._filesystem.exists(path):
            self._set_aside(path)

    def _set_aside(self, path: str) -> None:
        """Rename, then remove: a crash in between leaves a name that says what it is."""
        number = 0
        # Cut: with the suffix, the longest legal topic name would be longer than a file name may be.
        stem = path[: path.rindex("/") + _ASIDE_NAME_LENGTH]
        while self._filesystem.exists(
            aside := f"{stem}.{self._generation}.{number}{_DELETE_SUFFIX}"
        ):
            number += 1
        self._filesystem.rename(path, aside)
        self._remove_tree(aside)

    def _remove_tree(self, path: str) -> None:
        for name in self._filesystem.list_dir(path):
            self._filesystem.unlink(join(path, name))
        self._filesystem.remove_dir(path)

    def _log_path(self, topic: str, partition: int) -> str:
        return join(join(self.path, _TOPICS), _log_name(topic, partition))

    # ------------------------------------------------------------------------------------------------------- state

    def checkpoint(self) -> None:
        """Write the recovery points and log starts of all logs to STATE; durable when it returns."""
        self._check_open()
        with self._checkpoint_lock:
            self._gather()
            self._write_state(_DIRTY)

    def _gather(self) -> None:
        for key, log in list(self._logs.items()):
            self._checkpoints[key] = log.checkpoint().pack()

    def _write_state(self, state: str) -> None:
        content = {
            "state": state,
            "generation": self._generation,
            "boot_id": boot_id(),
            "logs": self._checkpoints,
        }
        write_checkpoint(self._filesystem, join(self.path, _STATE), _STATE, content)

    def close(self, *, clean: bool = True) -> None:
        """Close all logs, write STATE and let the directory go. Closing again changes nothing.

        STATE says CLEAN only when every log reached the disk whole. With *clean* False, or after an error, it stays DIRTY and the
        next open recovers. The first error is raised, after everything was let go.
        """
        if not self._open:
            return
        self._open = False
        first_error: Exception | None = None
        damaged = bool(self.recovery_report.damaged_partitions)
        for log in self._logs.values():
            try:
                log.close()
            except Exception as error:  # noqa: BLE001 - one log must not keep the others from closing
                _logger.error("%s: not closed properly: %s", log.topic_partition, error)
                first_error = first_error or error
        try:
            if clean and first_error is None:
                self._gather()
                self._write_state(_DIRTY if damaged else _CLEAN)
        except OSError as error:
            _logger.error(
                "%s: closed, but STATE was not written, the next open recovers: %s",
                self.path,
                error,
            )
            first_error = first_error or error
        finally:
            self._lock.release()
        if first_error is not None:
            raise first_error

    def abandon(self, reason: Exception) -> None:
        """In a forked child: drop files and lock without touching what they hold. Any use raises *reason* from now on."""
        self._open = False
        for log in self._logs.values():
            log.abandon(reason)
        self._lock.abandon()

    def _check_open(self) -> None:
        if not self._open:
            raise StorageError(f"{self.path}: the data directory is closed")


def _log_name(topic: str, partition: int) -> str:
    return f"{topic}-{partition}"
