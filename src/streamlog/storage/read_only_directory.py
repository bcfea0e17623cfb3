"""A data directory that another process may have open: looked at, and left as it is."""

from __future__ import annotations

from typing import Any

from streamlog.config import TopicConfig
from streamlog.errors import (
    ClosedError,
    CorruptLogError,
    DataLossError,
    NotStreamlogDirectoryError,
)
from streamlog.runtime import Lock, Runtime
from streamlog.storage.checkpoint_file import ENVELOPE_BYTES, read_checkpoint
from streamlog.storage.data_directory import NEW_LOG, read_format
from streamlog.storage.directory_state import STATE_NAME, DirectoryState
from streamlog.storage.directory_tree import FORMAT_NAME, META_NAME, TOPICS_NAME
from streamlog.storage.file_names import join
from streamlog.storage.log_state import LogState
from streamlog.storage.open_segments import OpenSegments
from streamlog.storage.read_only_log import ReadOnlyLog
from streamlog.storage.recovery_report import PartitionRecovery, RecoveryOutcome, RecoveryReport
from streamlog.structs import TopicPartition


class ReadOnlyDirectory:
    """The directory of a broker as a reader sees it: no LOCK is taken, and nothing is written, made, renamed or deleted.

    META and STATE are replaced as a whole by whoever writes, so that each is whole whenever it is read. `refresh` reads the first
    bytes of both, where their checksums are, and the rest if those have changed.

    Threads: any, but `refresh` one at a time.
    """

    def __init__(self, runtime: Runtime, path: str, max_open_segments: int | None) -> None:
        """Use :meth:`open`."""
        self._runtime = runtime
        self._filesystem = runtime.filesystem
        self._open_segments = OpenSegments(max_open_segments)
        self._logs: dict[str, ReadOnlyLog] = {}
        self._stamps: dict[str, bytes] = {}
        self._state_lock = Lock()
        self._state: DirectoryState | None = None
        self._open = True
        self.path = path
        #: What STATE says about how the directory was left, or that somebody has it open; nothing is recovered here.
        self.recovery_report = RecoveryReport()
        #: The topics, as they were stored last.
        self.manifest: dict[str, Any] = {}
        #: Identifies this directory for good.
        self.directory_id = ""

    @classmethod
    def open(
        cls, path: str, runtime: Runtime, *, max_open_segments: int | None = None
    ) -> ReadOnlyDirectory:
        """Open the directory at *path* for reading.

        Raises NotStreamlogDirectoryError (there is none, or something else), UnsupportedFormatError (a newer format), CorruptLogError
        (FORMAT or META is damaged), OSError.
        """
        filesystem = runtime.filesystem
        if not filesystem.exists(join(path, FORMAT_NAME)):
            raise NotStreamlogDirectoryError(
                f"{path}: expected a streamlog directory (with a {FORMAT_NAME} file), found "
                + ("none in it" if filesystem.is_dir(path) else "no directory")
                + "; read_only=True makes none"
            )
        directory = cls(runtime, path, max_open_segments)
        directory.directory_id = read_format(filesystem, path)
        directory.refresh()
        state, report = directory._state, directory.recovery_report
        report.generation = directory.generation
        if state is None:
            report.notes.append(f"{STATE_NAME} cannot be used, every log is read from its start")
        else:
            report.power_may_have_failed = state.power_may_have_failed(filesystem.boot_id())
        return directory

    @property
    def generation(self) -> int:
        """How often the directory was opened for writing; 0 where STATE cannot be read."""
        return 0 if self._state is None else self._state.generation

    def refresh(self) -> bool:
        """Read META and STATE if they have changed; return whether META has. Raises CorruptLogError when that is damaged, OSError."""
        self._check_open()
        # In this order: STATE knows the logs of every topic in META by then.
        path = join(self.path, META_NAME)
        stamp = self._stamp(path)
        is_changed = stamp != self._stamps.get(META_NAME)
        if is_changed:
            self.manifest = read_checkpoint(self._filesystem, path, META_NAME)
        self.look_again()
        self._stamps[META_NAME] = stamp  # last: whatever was raised before has META looked at again
        return is_changed

    def look_again(self) -> None:
        """Read STATE if it has changed. Whether it says ``CLEAN`` now, for nobody writes, is in `recovery_report`."""
        path = join(self.path, STATE_NAME)
        with self._state_lock:
            try:
                stamp = self._stamp(path)
                if stamp != self._stamps.get(STATE_NAME):
                    self._state = DirectoryState.read(self._filesystem, path)
                    self._stamps[STATE_NAME] = stamp
            except (CorruptLogError, FileNotFoundError):
                self._state = None
                self._stamps.pop(STATE_NAME, None)
            self.recovery_report.clean = self._state is not None and self._state.is_clean

    def _stamp(self, path: str) -> bytes:
        """Return what is another one when the content is: size and checksum."""
        file = self._filesystem.open(path, read_only=True)
        try:
            return file.read_at(0, ENVELOPE_BYTES)
        finally:
            file.close()

    def open_log(
        self, topic: str, partition: int, topic_id: str, config: TopicConfig
    ) -> ReadOnlyLog:
        """Open the log of one partition. Raises DataLossError when durable records are missing, as for a writer."""
        self._check_open()
        key = f"{topic_id}/{partition}"
        path = join(join(self.path, TOPICS_NAME), f"{topic}-{partition}")
        topic_partition = TopicPartition(topic, partition)
        recovery = PartitionRecovery(topic_partition)
        self.recovery_report.partitions.append(recovery)

        def look() -> LogState:
            return self._log_state(key)

        def look_again() -> LogState:
            self.look_again()
            return self._log_state(key)

        try:
            if not self._filesystem.is_dir(path):
                raise DataLossError(
                    f"{topic_partition}: {path}: expected a directory, found none",
                    topic_partition=topic_partition,
                    first_bad_offset=0,
                    file=path,
                )
            log = ReadOnlyLog(
                self._runtime,
                path,
                topic_partition,
                config,
                self._open_segments,
                look=look,
                look_again=look_again,
            )
        except DataLossError as error:
            recovery.outcome, recovery.message = RecoveryOutcome.DATA_LOSS, str(error)
            raise
        self._logs[key] = log
        return log

    def _log_state(self, key: str) -> LogState:
        state = self._state
        if state is None:
            return LogState(None, False, (0, "", False))
        checkpoint = state.checkpoints.get(key, NEW_LOG)
        return LogState(
            checkpoint,
            state.power_may_have_failed(self._filesystem.boot_id()) or checkpoint.sync_failed,
            (state.generation, state.boot_id, state.is_recovered),
        )

    def forget_log(self, log: ReadOnlyLog, error: Exception) -> None:
        """Close *log*, whose topic was deleted; every later call raises *error*."""
        for key, known in list(self._logs.items()):
            if known is log:
                del self._logs[key]
        log.close(error)

    def close(self, *, clean: bool = True) -> None:
        """Close all logs. Closing again changes nothing; there is nothing to be *clean*."""
        self._open = False
        for log in self._logs.values():
            log.close()

    def abandon(self, reason: Exception) -> None:
        """In a forked child: let go of all files. Any use raises *reason* from now on."""
        self._open = False
        self._state_lock = Lock()
        for log in self._logs.values():
            log.abandon(reason)

    def _check_open(self) -> None:
        if not self._open:
            raise ClosedError(f"{self.path}: the data directory is closed")
