"""The calls of a broker that look after what is stored: syncing, retention, compaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.errors import PolicyViolationError

if TYPE_CHECKING:
    from streamlog.broker.broker_resources import BrokerResources
    from streamlog.broker.log_cleaner import CleanerMetrics
    from streamlog.broker.topic_registry import TopicRegistry
    from streamlog.storage.compaction.cleaning import CleaningResult


class CareCalls:
    """Part of `Broker`, which supplies the attributes. Threads: as there."""

    _topics: TopicRegistry

    def sync(self) -> None:
        """Return when everything appended before the call is on disk.

        All partitions are synced even when one fails; then raises the first error, `DurabilityError`
        as a rule.
        """
        self.check_writable("sync")
        resources = self._require_resources()
        logs = [p.log for p in self._topics.partitions() if not p.is_refused]
        error = resources.maintenance.sync_logs(logs)
        if error is not None:
            raise error

    def run_maintenance(self) -> None:
        """Run every timer that is due, in time order, in the calling thread; then apply retention, let
        committed offsets (GRP-12) and unused transactional ids (TXN-12) expire, and clean what is dirty
        enough (CMP-1), whether or not their timers are due.

        For tests and for programs that want old segments gone at a moment of their choosing. Nothing
        is due twice: a timer that ran here does not run again.
        """
        self.check_writable("run_maintenance")
        resources = self._require_resources()
        resources.scheduler.run_due()
        resources.maintenance.apply_retention()
        self._expire_offsets()
        self._expire_transactional_ids()
        resources.maintenance.cleaner.clean_due()

    def compact(self, topic: str | None = None, *, roll: bool = False) -> list[CleaningResult]:
        """Compact *topic*, or every topic whose ``cleanup_policy`` contains ``compact``, the broker's own
        included, now and in the calling thread; return what each pass did, by topic and partition.

        However little is dirty, and also with ``log_cleaner_enable=False``. What is in the active segment
        of a partition stays as it is (CMP-2); with *roll* that segment is closed first, and so compacted
        as well. A tombstone goes ``delete_retention_ms`` after the pass that first saw it, in a later one (CMP-5).
        Where the memory for keys does not hold those of a log, several passes are made.

        Raises `UnknownTopicOrPartitionError`; `PolicyViolationError` for a topic that is not compacted;
        and, when all the others are done, the first error of a partition: `CorruptLogError` and
        `RecordDecodeError` for what cannot be read, `DiskFullError`, another OSError. Its log then is as
        it was, or compacted in part. Source: Kafka ``LogCleaner``.
        """
        self.check_writable("compact")
        cleaner = self._require_resources().maintenance.cleaner
        if topic is None:
            partitions = [one for one in self._topics.partitions() if not one.is_refused]
            partitions = [one for one in partitions if "compact" in one.log.config.cleanup_policy]
        else:
            found = self._topics.topic(topic)
            if "compact" not in found.config.cleanup_policy:
                raise PolicyViolationError(
                    f"topic {topic!r}: expected a cleanup_policy with 'compact', found "
                    f"{','.join(found.config.cleanup_policy)!r}"
                )
            partitions = found.partitions
        return cleaner.clean_now(partitions, roll=roll)

    def cleaner_metrics(self) -> CleanerMetrics:
        """Return what compaction did since the broker was opened, and which partitions it cannot clean."""
        return self._require_resources().maintenance.cleaner.metrics()

    # ---- what the broker supplies

    def check_writable(self, what: str) -> None:
        """See `Broker`."""
        raise NotImplementedError

    def _require_resources(self) -> BrokerResources:
        raise NotImplementedError

    def _expire_offsets(self) -> None:
        raise NotImplementedError

    def _expire_transactional_ids(self) -> None:
        raise NotImplementedError
