"""Checking a data directory end to end without changing it."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator

from streamlog.broker.manifest import Manifest
from streamlog.broker.verification.stored_log import StoredLog, stored_logs
from streamlog.errors import (
    CorruptLogError,
    NotStreamlogDirectoryError,
    StreamlogError,
    UnsupportedFormatError,
)
from streamlog.runtime import FileSystem
from streamlog.storage.checkpoint_file import read_checkpoint
from streamlog.storage.data_directory import FORMAT_VERSION
from streamlog.storage.directory_state import STATE_NAME, DirectoryState
from streamlog.storage.directory_tree import (
    DELETE_SUFFIX,
    FORMAT_NAME,
    META_NAME,
    QUARANTINE_NAME,
    TOPICS_NAME,
)
from streamlog.storage.file_names import LOG_SUFFIX, join
from streamlog.storage.verification import Finding, LogVerification, Severity

_PASSES = 3
#: Errors of a file that is opened which say nothing of it: too many are open, or there is no memory.
_NOT_OF_THE_FILE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


class DirectoryVerification:
    """One pass over a data directory: FORMAT, META and STATE, then every log that META names.

    Read-only: takes no lock and writes nothing, and the directory may be in use. Then what is found in a log counts only if a second
    look finds it as well: files come and go while one reads. Threads: one.
    """

    def __init__(
        self,
        filesystem: FileSystem,
        path: str,
        on_bytes: Callable[[int], object] = lambda count: None,
    ) -> None:
        """*on_bytes* is told how many bytes were checked since the last call."""
        self._filesystem = filesystem
        self._path = path
        self._on_bytes = on_bytes
        #: Counted on the way.
        self.logs = self.batches = self.records = 0

    def total_bytes(self) -> int:
        """Return how many bytes of logs there are to check, about. Raises `NotStreamlogDirectoryError`."""
        self._require_directory()
        total = 0
        for directory in self._directories():
            for name in self._names(directory):
                if name.endswith(LOG_SUFFIX):
                    try:
                        total += self._filesystem.file_size(join(directory, name))
                    except OSError:
                        continue  # gone meanwhile
        return total

    def run(self) -> Iterator[Finding]:
        """Yield what is found, log by log.

        Raises `NotStreamlogDirectoryError` and `UnsupportedFormatError` for what cannot be checked here, OSError for what cannot be read.
        """
        self._require_directory()
        yield from self._check_format()
        # In this order: a log that STATE tells of is named in META by then, and has its directory.
        state, found = self.read_state()
        yield from found
        manifest, found = self.read_manifest()
        yield from found
        if manifest is None:
            return  # which logs there should be is not known: nothing can be opened
        known: set[str] = set()
        for log in stored_logs(self._path, manifest, state):
            known.add(log.path)
            yield from self._check_log(log, state)
        for directory in self._directories():
            if directory not in known and not directory.endswith(DELETE_SUFFIX):
                message = "a log directory that META does not name: it is ignored"
                yield Finding(Severity.NOTE, message, directory)
        kept = self._names(join(self._path, QUARANTINE_NAME))
        if kept:
            message = f"holds {len(kept)} that recovery took out of logs, each with a reason.json"
            yield Finding(Severity.NOTE, message, join(self._path, QUARANTINE_NAME))

    # ---- the files around the logs

    def read_state(self) -> tuple[DirectoryState | None, list[Finding]]:
        """Return what STATE says, None when it cannot be used, and what is wrong with it."""
        path = join(self._path, STATE_NAME)
        try:
            return DirectoryState.read(self._filesystem, path), []
        except CorruptLogError as error:
            message = f"{_reason(error, path)}; every log will be read from its start"
            return None, [Finding(Severity.DERIVED, message, path)]

    def read_manifest(self) -> tuple[Manifest | None, list[Finding]]:
        """Return what META says, None when it cannot be used, and what is wrong with it. Raises `UnsupportedFormatError`."""
        path = join(self._path, META_NAME)
        try:
            return Manifest.from_map(read_checkpoint(self._filesystem, path, META_NAME), 0), []
        except CorruptLogError as error:
            return None, [Finding(Severity.DAMAGE, _reason(error, path), path)]

    def _check_format(self) -> list[Finding]:
        path = join(self._path, FORMAT_NAME)
        try:
            version = read_checkpoint(self._filesystem, path, FORMAT_NAME).get("format_version")
        except CorruptLogError as error:
            return [Finding(Severity.DAMAGE, _reason(error, path), path)]
        if type(version) is not int:
            message = f"expected a format version, found {version!r:.100}"
            return [Finding(Severity.DAMAGE, message, path)]
        if version > FORMAT_VERSION:
            raise UnsupportedFormatError(
                f"{self._path}: format version {version}, this streamlog reads up to {FORMAT_VERSION}"
            )
        return []

    def _require_directory(self) -> None:
        if not self._filesystem.exists(join(self._path, FORMAT_NAME)):
            raise NotStreamlogDirectoryError(
                f"{self._path}: expected a streamlog directory, found no {FORMAT_NAME} file"
            )

    # ---- the logs

    def _check_log(self, log: StoredLog, state: DirectoryState | None) -> list[Finding]:
        is_closed = state is not None and state.is_clean
        found = self._look(log, state, on_bytes=self._on_bytes)
        for _ in range(_PASSES - 1):
            if all(finding.severity is Severity.NOTE for finding in found):
                break
            state_now, _ = self.read_state()
            if is_closed and state_now == state:
                break  # nobody has opened it meanwhile
            again = self._log_now(log, state_now)
            if again is None:
                return []  # deleted meanwhile
            seen = {(f.path, f.message) for f in self._look(again, state_now)}
            found = [finding for finding in found if (finding.path, finding.message) in seen]
        return found

    def _log_now(self, log: StoredLog, state: DirectoryState | None) -> StoredLog | None:
        manifest, _ = self.read_manifest()
        logs = stored_logs(self._path, manifest, state) if manifest is not None else iter((log,))
        return next((other for other in logs if other.key == log.key), None)

    def _look(
        self,
        log: StoredLog,
        state: DirectoryState | None,
        *,
        on_bytes: Callable[[int], object] | None = None,
    ) -> list[Finding]:
        try:
            if not self._filesystem.is_dir(log.path):
                self._filesystem.list_dir(log.path)  # may say that it must not be looked at
        except PermissionError as error:
            return [_unreadable(error, log)]
        except OSError:
            message = "expected the directory of a log, found none"
            return [Finding(Severity.DAMAGE, message, log.path, log.topic_partition, 0)]
        verification = LogVerification(
            self._filesystem,
            log.path,
            log.topic_partition,
            log.checkpoint,
            is_closed=state is not None and state.is_clean,
            power_failed=state is not None
            and state.power_may_have_failed(self._filesystem.boot_id()),
            may_be_compacted=log.may_be_compacted,
            decode=log.decode,
            on_bytes=on_bytes or (lambda count: None),
        )
        try:
            found = verification.run()
        except (OSError, StreamlogError) as error:
            if isinstance(error, OSError) and (
                isinstance(error, PermissionError) or error.errno in _NOT_OF_THE_FILE
            ):
                return [_unreadable(error, log)]
            message = f"cannot be read: {error}"
            return [Finding(Severity.DAMAGE, message, log.path, log.topic_partition)]
        if on_bytes is not None:  # the first look
            self.logs += 1
            self.batches += verification.batches
            self.records += verification.records
        return found

    def _directories(self) -> list[str]:
        topics = join(self._path, TOPICS_NAME)
        return [join(topics, name) for name in self._names(topics)]

    def _names(self, directory: str) -> list[str]:
        try:
            return self._filesystem.list_dir(directory)
        except PermissionError:
            raise
        except OSError:
            return []  # gone meanwhile, or no directory


def _unreadable(error: OSError, log: StoredLog) -> Finding:
    path = error.filename if isinstance(error.filename, str) else log.path
    message = f"cannot be read, and so the log was not checked: {error.strerror or error}"
    return Finding(Severity.UNREADABLE, message, path, log.topic_partition)


def _reason(error: Exception, path: str) -> str:
    return str(error).removeprefix(f"{path}: ")
