"""What a broker does by the clock: retention, compaction, background sync with its checkpoint, delayed deletes."""

from __future__ import annotations

import logging
import math
from functools import partial
from typing import TYPE_CHECKING

from streamlog.broker.log_cleaner import LogCleaner
from streamlog.errors import ClosedError, StreamlogError
from streamlog.runtime.threads import Lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from streamlog.broker.partition import Partition
    from streamlog.config import BrokerConfig
    from streamlog.runtime import Runtime
    from streamlog.runtime.scheduler import Scheduler
    from streamlog.runtime.timer import Timer
    from streamlog.storage.data_directory import DataDirectory
    from streamlog.storage.partition_log import PartitionLog

_logger = logging.getLogger("streamlog")

_COALESCE = 1 / 8
"""A log is synced up to this part of its ``flush_ms`` early when a pass runs anyway: partitions that
became dirty within milliseconds of each other then share one pass and one checkpoint."""


class Maintenance:
    """The timers of one broker. It knows the logs and the directory, not the broker itself, so that
    a broker nobody holds any more can be collected while its timers still run.

    All work happens in callbacks of the scheduler: on its one thread under a system clock, in time
    order inside the waiting call under a virtual one. An error in one partition is logged (logger
    ``streamlog``) and stops no other. Threads: any. Source: Kafka ``LogManager``.
    """

    def __init__(
        self,
        runtime: Runtime,
        scheduler: Scheduler,
        directory: DataDirectory,
        config: BrokerConfig,
    ) -> None:
        self._clock = runtime.clock
        self._filesystem = runtime.filesystem
        self._scheduler = scheduler
        self._directory = directory
        self._config = config
        self._partitions: Callable[[], Iterable[Partition]] = tuple
        self._lock = Lock()
        # Logs with bytes that are not on disk, and since when (monotonic ms).
        self._dirty_since_ms: dict[PartitionLog, float] = {}
        self._sync_timer: Timer | None = None
        # Files renamed away by retention, whose deletion waits for file_delete_delay_ms.
        self._retired: set[str] = set()
        self._retention_lock = Lock()
        self.cleaner = LogCleaner(runtime.clock, scheduler, config)
        """Compaction."""

    def start(self, partitions: Callable[[], Iterable[Partition]]) -> None:
        """Begin the periodic checks (RET-1) of what *partitions* returns each time it is called."""
        self._partitions = partitions
        self._scheduler.call_later(self._config.log_initial_task_delay_ms, self._check_retention)
        self.repeat(self._config.producer_id_expiration_check_interval_ms, self._expire_producers)
        self.cleaner.start(partitions)

    def repeat(self, interval_ms: float, work: Callable[[], object]) -> None:
        """Do *work* each *interval_ms*, first that long from now; the scheduler logs what it raises.

        *work* does not hold the broker, as nothing here does.
        """

        def due() -> None:
            self.repeat(interval_ms, work)  # first: work that fails is tried again
            work()

        self._scheduler.call_later(interval_ms, due)

    # ---- retention

    def _check_retention(self) -> None:
        # Armed first: a check that fails half-way must not be the last one.
        self._scheduler.call_later(
            self._config.log_retention_check_interval_ms, self._check_retention
        )
        self.apply_retention()

    def apply_retention(self) -> int:
        """Delete the segments that retention no longer keeps (RET-2 to RET-8) now; return how many.

        One pass at a time: a second caller waits for the first.
        """
        deleted = 0
        with self._retention_lock:
            for partition in self._partitions():
                if partition.is_refused:
                    continue
                try:
                    gone = partition.log.delete_expired(
                        self._clock.time_ms(), partition.high_watermark
                    )
                    deleted += gone
                    if gone and partition.has_transactions:
                        partition.wake_waiters()  # some may wait below the new log start
                except ClosedError:
                    continue  # deleted or closed meanwhile: nothing left to expire
                except (StreamlogError, OSError):
                    _logger.exception("Retention of %s failed", partition.topic_partition)
            if deleted:
                self._checkpoint()
        return deleted

    def _expire_producers(self) -> None:
        """Have each partition forget the producers that last wrote too long ago (IDM-5)."""
        now_ms, expiration_ms = self._clock.time_ms(), self._config.producer_id_expiration_ms
        for partition in self._partitions():
            try:
                partition.log.expire_producers(now_ms, expiration_ms)
            except StreamlogError:
                continue  # there is no log any more: damaged, deleted or closed

    # ---- background sync

    def watch(self, log: PartitionLog) -> None:
        """Sync *log* ``flush_ms`` after it first has unsynced bytes, and delete its retired files."""
        log.on_dirty = self._became_dirty
        log.on_files_retired = self._files_retired
        log.on_rolled = self.cleaner.wake

    def unwatch(self, log: PartitionLog) -> None:
        """Forget *log*, which is about to be closed or deleted."""
        log.on_dirty = None
        log.on_rolled = None
        with self._lock:
            self._dirty_since_ms.pop(log, None)

    def config_changed(self) -> None:
        """Compute the next sync again, after some topic's ``flush_ms`` changed, and see whether its
        ``cleanup_policy`` did.
        """
        self.cleaner.wake()
        with self._lock:
            self._arm_sync()

    def _became_dirty(self, log: PartitionLog) -> None:
        """Called by the log, with its lock held: here a timer may be armed and nothing else."""
        # Without the lock: with flush_messages=1 this runs at each append, and a log that is already
        # due for a pass stays due.
        if log in self._dirty_since_ms:
            return
        with self._lock:
            self._dirty_since_ms.setdefault(log, self._clock.monotonic_ms())
            self._arm_sync()

    def _arm_sync(self) -> None:
        """Make the timer fire when the first dirty log is due. The caller holds the lock."""
        first_ms = min(
            (since_ms + _flush_ms(log) for log, since_ms in self._dirty_since_ms.items()),
            default=math.inf,
        )
        timer = self._sync_timer
        if timer is not None:
            if timer.when_ms == first_ms:
                return
            timer.cancel()
            self._sync_timer = None
        if first_ms < math.inf:
            self._sync_timer = self._scheduler.call_at(first_ms, self._sync_due)

    def _sync_due(self) -> None:
        """Sync every log that is due, or nearly, then write one checkpoint."""
        now_ms = self._clock.monotonic_ms()
        with self._lock:
            due = self._due(now_ms)
            for log in due:
                del self._dirty_since_ms[log]
            self._sync_timer = None
            self._arm_sync()
        self.sync_logs(due)

    def _due(self, now_ms: float) -> list[PartitionLog]:
        # Not in `_sync_due`: Ctrl-C may come out where a loop goes back (gh-130279), and there, since Python 3.12, the `with`
        # around that loop is skipped, and would leave its lock to nobody. Out of a function it comes where it is called.
        due = []
        for log, since_ms in self._dirty_since_ms.items():
            flush_ms = _flush_ms(log)
            if since_ms + flush_ms - flush_ms * _COALESCE <= now_ms:
                due.append(log)
        return due

    def sync_logs(self, logs: Iterable[PartitionLog]) -> StreamlogError | OSError | None:
        """Sync each of *logs*, then write one checkpoint; return the first error, having logged all.

        A log whose sync failed has refused further appends by itself (``DurabilityError``).
        """
        first_error: StreamlogError | OSError | None = None
        for log in logs:
            try:
                log.sync()
            except ClosedError:
                continue  # its topic was deleted, or the broker closed: closing syncs
            except (StreamlogError, OSError) as error:
                _logger.exception("Sync of %s failed", log.topic_partition)
                first_error = first_error or error
        return self._checkpoint() or first_error

    def _checkpoint(self) -> StreamlogError | OSError | None:
        """Record how far each log is on disk. A failure costs only a longer recovery."""
        try:
            self._directory.checkpoint()
        except ClosedError:
            return None
        except (StreamlogError, OSError) as error:
            _logger.exception("Checkpoint failed")
            return error
        return None

    def _check(self) -> None:
        """Assert what holds while no call is under way. For tests."""
        assert not self._lock.locked()
        assert not self._retention_lock.locked()
        for partition in self._partitions():
            if not partition.is_refused and partition.log.is_dirty:
                assert partition.log in self._dirty_since_ms, "nobody would sync it"
        due_ms = [since_ms + _flush_ms(log) for log, since_ms in self._dirty_since_ms.items()]
        first_ms = min(due_ms, default=math.inf)
        timer = self._sync_timer
        # Early, in vain, when the log that was due first is gone.
        assert (math.inf if timer is None else timer.when_ms) <= first_ms
        assert timer is None or not timer.cancelled

    # ---- delayed deletes

    def _files_retired(self, paths: Sequence[str], delay_ms: float) -> None:
        """Delete *paths* in *delay_ms* (LOG-4); they were renamed, so no new reader finds them."""
        with self._lock:
            self._retired.update(paths)
        self._scheduler.call_later(delay_ms, partial(self._delete_files, tuple(paths)))

    def _delete_files(self, paths: Iterable[str]) -> None:
        for path in paths:
            with self._lock:
                if path not in self._retired:
                    continue
                self._retired.discard(path)
            try:
                self._filesystem.unlink(path)
            except FileNotFoundError:
                pass  # went with its topic's directory
            except (StreamlogError, OSError):
                _logger.exception("Could not delete the retired file %s", path)

    def delete_retired_files(self) -> None:
        """Delete what still waits for its delay; called when the broker closes and nobody reads."""
        with self._lock:
            paths = sorted(self._retired)
        self._delete_files(paths)


def _flush_ms(log: PartitionLog) -> float:
    """Return how long bytes of *log* may stay unsynced; infinity when no limit is set."""
    flush_ms = log.config.flush_ms
    return math.inf if flush_ms is None or flush_ms < 0 else flush_ms
