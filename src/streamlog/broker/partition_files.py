"""Partitions and the directories behind them: opened, created, deleted."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from streamlog.broker.partition import Partition
from streamlog.broker.refused_log import RefusedLog
from streamlog.errors import CorruptLogError, StorageError, StreamlogError
from streamlog.storage.recovery_report import RecoveryOutcome
from streamlog.structs import Durability, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from streamlog.broker.maintenance import Maintenance
    from streamlog.broker.topic import Topic
    from streamlog.storage.data_directory import DataDirectory
    from streamlog.storage.partition_log import PartitionLog

    VerifyTransaction = Callable[[int, int, TopicPartition], object]

_logger = logging.getLogger("streamlog")


class PartitionFiles:
    """Turns log directories into partitions and back. Internal to the topic registry, which calls it
    from one thread at a time.
    """

    def __init__(
        self, directory: DataDirectory, maintenance: Maintenance, promise: Durability
    ) -> None:
        self._directory = directory
        self._maintenance = maintenance
        self._promise = promise
        self._verify_transaction: VerifyTransaction | None = None

    def verify_transactions_with(
        self, verify: VerifyTransaction, partitions: Iterable[Partition]
    ) -> None:
        """Have *partitions*, and all that are made from now on, ask *verify* when a transaction begins to
        write there (TXN-11).
        """
        self._verify_transaction = verify
        for partition in partitions:
            partition.verify_transaction = verify

    def open(self, topic: Topic, number: int) -> Partition:
        """Return partition *number* of the manifest with its log open.

        Whatever is wrong with its files is raised by every use of that partition, and by nothing
        else: one bad partition never stops the broker.
        """
        log: PartitionLog | RefusedLog
        try:
            log = self._open_log(topic, number)
        except CorruptLogError as error:
            log = RefusedLog(error)
        except OSError as error:
            message = f"{topic.name}-{number}: its log could not be opened: {error}"
            log = RefusedLog(StorageError(message, errno=error.errno))
            # Nothing is known about it, so the directory must not count as cleanly closed.
            recovery = self._directory.recovery_report.partitions[-1]
            recovery.outcome, recovery.message = RecoveryOutcome.DAMAGED, message
        if isinstance(log, RefusedLog):
            _logger.error("Partition cannot be used: %s", log.error)
        return self._partition(topic, number, log)

    def _open_log(self, topic: Topic, number: int) -> PartitionLog:
        # Consumers have to be able to commit what they read from a full disk.
        return self._directory.open_log(
            topic.name,
            number,
            topic.topic_id,
            topic.config,
            may_use_reserve=topic.is_internal,
        )

    def create(self, topic: Topic, numbers: Iterable[int]) -> list[Partition]:
        """Make empty logs for new partitions, to be named in the manifest next; on an error, take back
        those made.
        """
        created: list[Partition] = []
        opened_before = len(self._directory.recovery_report.partitions)
        try:
            for number in numbers:
                self._directory.create_log_directory(topic.name, number)
                log = self._open_log(topic, number)
                created.append(self._partition(topic, number, log))
            self._directory.sync_topics()
        except BaseException:
            for partition in created:
                self.delete(topic, partition, StreamlogError("never created"))
            raise
        finally:
            # The report tells what opening the directory found; these were not there.
            del self._directory.recovery_report.partitions[opened_before:]
        return created

    def delete(self, topic: Topic, partition: Partition, error: StreamlogError) -> bool:
        """Take *partition* of *topic* out of use, saying *error*, and delete its files.

        Files that cannot be deleted are logged and stay, and it returns False.
        """
        log = self.refuse(partition, error)
        try:
            if log is None:
                self._directory.delete_unopened_log(topic.name, partition.number, topic.topic_id)
            else:
                self._directory.delete_log(log)
        except (StreamlogError, OSError):
            _logger.exception("Could not delete the files of %s", partition.topic_partition)
            return False
        return True

    def delete_left(self, topic_name: str, partition_count: int) -> bool:
        """Delete what is left of a topic that was deleted; return False, having said why, if something stays."""
        try:
            for number in range(partition_count):
                self._directory.delete_unopened_log(topic_name, number, "")
        except (StreamlogError, OSError) as error:
            _logger.warning("Files of the deleted topic %s are still there: %s", topic_name, error)
            return False
        return True

    def close(self, partitions: Iterable[Partition]) -> None:
        """Take *partitions* out of use and leave their files alone."""
        for partition in partitions:
            log = self.refuse(partition, StreamlogError("never created"))
            if log is not None:
                log.close()

    def refuse(self, partition: Partition, error: StreamlogError) -> PartitionLog | None:
        """Take *partition* out of use, saying *error*; return its log, None if it had none."""
        log = None if partition.is_refused else partition.log
        partition.refuse(error)
        if log is not None:
            self._maintenance.unwatch(log)
        return log

    def _partition(self, topic: Topic, number: int, log: PartitionLog | RefusedLog) -> Partition:
        if not isinstance(log, RefusedLog):
            self._maintenance.watch(log)
        partition = Partition(
            TopicPartition(topic.name, number),
            log,
            topic.gate,
            waiters_lock=topic.waiters_lock,
            promise=self._promise,
        )
        if self._verify_transaction is not None:
            partition.verify_transaction = self._verify_transaction
        return partition
