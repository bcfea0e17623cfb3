"""Making again what is derived in a data directory: indexes, snapshots, and a STATE that cannot be read."""

from __future__ import annotations

from collections.abc import Iterable

from streamlog.broker.verification.directory_verification import DirectoryVerification
from streamlog.broker.verification.stored_log import stored_logs
from streamlog.runtime import Clock, FileSystem
from streamlog.storage.directory_state import STATE_NAME, DirectoryState
from streamlog.storage.file_names import join
from streamlog.storage.verification import Finding, Severity
from streamlog.storage.verification.repair import LogRepair


def repair_directory(
    filesystem: FileSystem, path: str, clock: Clock, findings: Iterable[Finding]
) -> list[str]:
    """Make again what *findings* say is derived and does not agree, and return the paths of it.

    Not one byte of a log, META or FORMAT changes. The directory is locked meanwhile: raises `AlreadyOpenError` when somebody has it
    open for writing. Raises OSError; what was made until then stays, and the rest can be asked for again.
    """
    derived = [finding.path for finding in findings if finding.severity is Severity.DERIVED]
    lock = filesystem.lock_dir(path)
    try:
        verification = DirectoryVerification(filesystem, path)
        manifest, _ = verification.read_manifest()
        if manifest is None:
            return []
        state, _ = verification.read_state()
        done: list[str] = []
        logs = list(stored_logs(path, manifest, state))
        for log in logs:
            inside = [file for file in derived if file.startswith(log.path + "/")]
            if inside:
                done += LogRepair(filesystem, log.path).run(inside)
        state_path = join(path, STATE_NAME)
        if state is None and state_path in derived:
            # As opening does without one: counted from the seconds since 1970, and a power failure that may have been.
            new = DirectoryState(
                is_clean=False, generation=clock.time_ms() // 1000, is_recovered=False
            )
            for log in logs:
                if filesystem.is_dir(log.path):
                    repair = LogRepair(filesystem, log.path)
                    new.checkpoints[log.key] = repair.conservative_checkpoint()
            new.write(filesystem, state_path)
            done.append(state_path)
        return done
    finally:
        lock.release()
