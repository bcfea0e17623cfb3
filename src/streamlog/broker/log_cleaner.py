"""Compaction by the clock: which log is cleaned next, step by step between the broker's other timers."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Generator, Iterable
from functools import partial
from typing import TYPE_CHECKING, TypedDict

from streamlog.broker.cleaning_choice import Candidate, compaction_delay_ms, dirtiest
from streamlog.errors import ClosedError, CorruptLogError, RecordDecodeError, StreamlogError
from streamlog.runtime.threads import RLock

if TYPE_CHECKING:
    from streamlog.broker.partition import Partition
    from streamlog.config import BrokerConfig
    from streamlog.runtime import Clock
    from streamlog.runtime.scheduler import Scheduler
    from streamlog.storage.compaction.cleaning import CleaningResult
    from streamlog.storage.partition_log import PartitionLog
    from streamlog.structs import TopicPartition

_logger = logging.getLogger("streamlog")


class CleanerMetrics(TypedDict):
    """What `Broker.cleaner_metrics` returns; totals since the broker was opened. Source: Kafka
    ``LogCleaner``, ``LogCleanerManager``.
    """

    pass_total: int
    """Passes that ended, each through one log."""
    failed_pass_total: int
    """Passes that an error ended."""
    records_removed_total: int
    bytes_read_total: int
    """Bytes of the segments that passes went through."""
    bytes_written_total: int
    """Bytes of those that took their place."""
    cleaning: TopicPartition | None
    """Whose log a pass is in."""
    max_dirty_ratio: float
    """The dirty part of the dirtiest log, when they were last looked at."""
    max_compaction_delay_ms: int
    """For how long, at most, a record was in a log longer than ``max_compaction_lag_ms`` allows, then."""
    uncleanable_partitions: dict[TopicPartition, str]
    """The logs that are not cleaned any more, and what is wrong with them."""


class CleaningPass:
    """One pass through one log, step by step, until it has a result or an error, or was given up."""

    def __init__(
        self,
        partition: Partition,
        log: PartitionLog,
        steps: Generator[int, None, CleaningResult],
        *,
        is_asked_for: bool,
    ) -> None:
        self.partition = partition
        self.log = log
        self.steps = steps
        self.is_asked_for = is_asked_for
        """Whether somebody called for it, and it was not chosen by its dirt."""
        self.first_dirty_offset = log.first_dirty_offset
        """Where it begins to look for keys."""
        self.is_done = False
        self.result: CleaningResult | None = None
        self.error: StreamlogError | OSError | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether the topic still is to be compacted."""
        return "compact" in self.log.config.cleanup_policy


class LogCleaner:
    """Cleans the dirtiest log when one is dirty enough (CMP-1), one log at a time.

    It knows the partitions, not the broker. A pass runs in steps of about 1 MiB, each a callback of the
    scheduler of its own, so that other timers have their turn, and a pause can be made in between. It
    looks for work when the broker opens, after a segment was closed or a topic configured anew, and
    every ``log_cleaner_backoff_ms`` while there is anything in closed segments that was not cleaned.

    A log with damage, or with records that cannot be read, is left alone until the broker is opened
    anew or somebody asks for it; after an error of the disk, it has another try one backoff later.
    Neither keeps the others from being cleaned. Threads: any. Source: Kafka ``LogCleaner``.
    """

    def __init__(self, clock: Clock, scheduler: Scheduler, config: BrokerConfig) -> None:
        self._clock = clock
        self._scheduler = scheduler
        self._is_enabled = config.log_cleaner_enable
        # Never 0: under a virtual clock, time would not get past the first look in vain.
        self._backoff_ms = max(config.log_cleaner_backoff_ms, 1)
        self._dedupe_bytes = max(
            int(config.log_cleaner_dedupe_buffer_size * config.log_cleaner_io_buffer_load_factor), 1
        )
        rate = config.log_cleaner_io_max_bytes_per_second
        self._ms_per_byte = 0.0 if rate is None else 1000 / rate
        self._partitions: Callable[[], Iterable[Partition]] = tuple
        # Held for a step, so that one thread at a time is in a pass; never while waiting for the next one.
        self._lock = RLock()
        self._pass: CleaningPass | None = None
        self._is_armed = False
        self._closed: StreamlogError | None = None
        self._uncleanable: dict[PartitionLog, str] = {}
        # Not before this time (monotonic ms), after an error or a pass that got nowhere.
        self._next_try_ms: dict[PartitionLog, float] = {}
        self._metrics = CleanerMetrics(
            pass_total=0,
            failed_pass_total=0,
            records_removed_total=0,
            bytes_read_total=0,
            bytes_written_total=0,
            cleaning=None,
            max_dirty_ratio=0.0,
            max_compaction_delay_ms=0,
            uncleanable_partitions={},
        )

    def start(self, partitions: Callable[[], Iterable[Partition]]) -> None:
        """Clean what *partitions* returns each time it is called, when it is due."""
        self._partitions = partitions
        self.wake()

    def wake(self) -> None:
        """Look for work in ``log_cleaner_backoff_ms``. Any lock may be held."""
        if self._is_enabled and not self._is_armed:
            self._is_armed = True
            self._scheduler.call_later(self._backoff_ms, self._look)

    def close(self, error: StreamlogError) -> None:
        """End a pass that is under way, and raise *error* from later calls. What was replaced stays."""
        with self._lock:
            self._closed = error
            if self._pass is not None:
                self._pass.steps.close()
                self._end_pass(self._pass)

    # ---- when somebody asks

    def clean_due(self) -> None:
        """Clean, in the calling thread and without pauses, until nothing is due any more."""
        if not self._is_enabled:
            return
        while True:
            with self._lock:
                if self._closed is not None:
                    return
                if self._pass is None and not self._begin_dirtiest():
                    return
                self._step()

    def clean_now(self, partitions: Iterable[Partition], *, roll: bool) -> list[CleaningResult]:
        """Clean each of *partitions*, dirty or not, in the calling thread; return what each pass did. With
        *roll*, close the active segment of each first.

        Where the keys do not fit into the memory for them, several passes are made. All are cleaned even
        when one fails; then raises the first error.
        """
        results: list[CleaningResult] = []
        first_error: StreamlogError | OSError | None = None
        for partition in partitions:
            begun_offset = -1
            try:
                if roll:
                    partition.log.roll()
            except (StreamlogError, OSError) as error:
                first_error = first_error or self._failed(partition, partition.log, error)
                continue
            while True:
                one = self._run_now(partition)
                if one is None:
                    break
                first_error = first_error or one.error
                if one.result is None:
                    break
                results.append(one.result)
                if one.result.is_complete or one.result.end_offset <= begun_offset:
                    break
                begun_offset = one.result.end_offset
        if first_error is not None:
            raise first_error
        return results

    def _run_now(self, partition: Partition) -> CleaningPass | None:
        """Run a pass through the log of *partition* to its end; None when there is no log any more."""
        mine: CleaningPass | None = None
        while True:
            with self._lock:
                if self._closed is not None:
                    raise copy.copy(self._closed)
                if self._pass is None:
                    if mine is not None:
                        return mine
                    mine = self._begin(partition, is_asked_for=True)
                    if mine is None:
                        return None
                self._step()  # of another pass, if that is under way: it has to end first
                if mine is not None and mine.is_done:
                    return mine

    # ---- by the clock

    def _look(self) -> None:
        self._is_armed = False
        with self._lock:
            if self._closed is not None:
                return
            one = self._pass
            if one is None:
                self._go_on()
            elif one.is_asked_for:  # whoever asked may have been interrupted between two steps
                self._advance(one)

    def _go_on(self) -> None:
        """Begin the next pass, or look again later if that may help."""
        if self._begin_dirtiest():
            assert self._pass is not None
            self._scheduler.call_later(0, partial(self._advance, self._pass))
        elif self._has_dirt():
            self.wake()

    def _advance(self, one: CleaningPass) -> None:
        """Do a step of the pass *one*, and arm the timer for the next one."""
        with self._lock:
            if self._closed is not None:
                return
            if self._pass is one:
                size_bytes = self._step()
                if not one.is_done:
                    pause_ms = size_bytes * self._ms_per_byte
                    self._scheduler.call_later(pause_ms, partial(self._advance, one))
                    return
            if self._pass is None and self._is_enabled:
                self._go_on()

    def _has_dirt(self) -> bool:
        """Return whether there is anything in closed segments that was not cleaned: it may become due by the
        clock, or by a transaction that ends. All else comes with a segment that is closed.
        """
        for partition, log in self._compacted():
            try:
                if log.first_dirty_offset < log.segments[-1].base_offset:
                    return True
            except StreamlogError:
                if not partition.is_refused:
                    return True
        return False

    def _compacted(self) -> Iterable[tuple[Partition, PartitionLog]]:
        """Yield the partitions that may be cleaned, and their logs, which may be gone the next moment."""
        for partition in self._partitions():
            log = partition.log
            if (
                not partition.is_refused
                and "compact" in log.config.cleanup_policy
                and log not in self._uncleanable
            ):
                yield partition, log

    def _begin_dirtiest(self) -> bool:
        """Begin a pass through the dirtiest log; return whether one is due."""
        now_ms, monotonic_ms = self._clock.time_ms(), self._clock.monotonic_ms()
        candidates: list[Candidate] = []
        for partition, log in self._compacted():
            if self._next_try_ms.get(log, monotonic_ms) > monotonic_ms:
                continue
            try:
                found = log.cleanable(now_ms, partition.high_watermark)
            except (StreamlogError, OSError) as error:
                self._failed(partition, log, error)
                continue
            candidates.append(Candidate(partition, log.config, found))
        self._metrics["max_dirty_ratio"] = max(
            (candidate.range.dirty_ratio for candidate in candidates), default=0.0
        )
        self._metrics["max_compaction_delay_ms"] = max(
            (compaction_delay_ms(candidate, now_ms) for candidate in candidates), default=0
        )
        chosen = dirtiest(candidates, now_ms)
        return chosen is not None and self._begin(chosen.partition, is_asked_for=False) is not None

    # ---- a pass

    def _begin(self, partition: Partition, *, is_asked_for: bool) -> CleaningPass | None:
        log = partition.log
        if partition.is_refused:
            return None
        steps = log.clean(self._clock.time_ms(), self._dedupe_bytes, partition.high_watermark)
        self._pass = CleaningPass(partition, log, steps, is_asked_for=is_asked_for)
        self._metrics["cleaning"] = partition.topic_partition
        self.wake()
        return self._pass

    def _step(self) -> int:
        """Do the next step of the pass under way; return how many bytes it read and wrote."""
        one = self._pass
        assert one is not None
        try:
            if one.is_wanted:
                return next(one.steps)
            one.steps.close()  # what was replaced by now is as it was, for all that anybody can see
        except StopIteration as stop:
            one.result = stop.value
            self._succeeded(one)
        except (StreamlogError, OSError) as error:
            one.error = self._failed(one.partition, one.log, error)
        except BaseException:
            self._end_pass(one)  # interrupted: such a generator does not go on
            raise
        self._end_pass(one)
        return 0

    def _end_pass(self, one: CleaningPass) -> None:
        one.is_done = True
        self._pass = None
        self._metrics["cleaning"] = None

    def _succeeded(self, one: CleaningPass) -> None:
        result = one.result
        if result is None:
            return
        metrics = self._metrics
        metrics["pass_total"] += 1
        metrics["records_removed_total"] += result.records_before - result.records_after
        metrics["bytes_read_total"] += result.bytes_before
        metrics["bytes_written_total"] += result.bytes_after
        self._uncleanable.pop(one.log, None)
        self._next_try_ms.pop(one.log, None)
        if not result.is_complete and result.end_offset <= one.first_dirty_offset:
            # Somebody cut the log meanwhile. At once again would be an endless loop if it goes on like that.
            self._try_later(one.log)
        _logger.info(
            "Cleaned %s up to offset %d: %d of %d records and %d of %d bytes stay",
            result.topic_partition,
            result.end_offset,
            result.records_after,
            result.records_before,
            result.bytes_after,
            result.bytes_before,
        )

    def _failed(
        self, partition: Partition, log: PartitionLog, error: StreamlogError | OSError
    ) -> StreamlogError | OSError | None:
        """Note what went wrong, and return it; None if it is only that there is no log any more."""
        if partition.is_refused or partition.log is not log or isinstance(error, ClosedError):
            return None  # deleted or closed meanwhile
        self._metrics["failed_pass_total"] += 1
        if isinstance(error, (CorruptLogError, RecordDecodeError)):
            self._forget_gone()
            self._uncleanable[log] = str(error)
            _logger.error(
                "%s cannot be compacted and is left as it is: %s", partition.topic_partition, error
            )
        else:
            self._try_later(log)
            _logger.error(
                "Compaction of %s failed, to be tried again: %s", partition.topic_partition, error
            )
        return error

    def _try_later(self, log: PartitionLog) -> None:
        self._forget_gone()
        self._next_try_ms[log] = self._clock.monotonic_ms() + self._backoff_ms

    def _forget_gone(self) -> None:
        present = {partition.log for partition in self._partitions() if not partition.is_refused}
        for log in [log for log in self._uncleanable if log not in present]:
            del self._uncleanable[log]
        for log in [log for log in self._next_try_ms if log not in present]:
            del self._next_try_ms[log]

    # ---- look

    def metrics(self) -> CleanerMetrics:
        """Return what was counted. Threads: any; each number is right by itself."""
        found = self._metrics.copy()
        found["uncleanable_partitions"] = {
            log.topic_partition: reason for log, reason in list(self._uncleanable.items())
        }
        return found
