"""Partitions of a directory that is open for reading: opened, and let go."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, cast

from streamlog.broker.partition_files import PartitionFiles
from streamlog.broker.read_only_partition import ReadOnlyPartition
from streamlog.broker.refused_log import RefusedLog
from streamlog.errors import CorruptLogError, StorageError
from streamlog.structs import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.broker.maintenance import Maintenance
    from streamlog.broker.partition import Partition
    from streamlog.broker.topic import Topic
    from streamlog.errors import StreamlogError
    from streamlog.storage.data_directory import DataDirectory
    from streamlog.storage.partition_log import PartitionLog
    from streamlog.storage.read_only_directory import ReadOnlyDirectory
    from streamlog.storage.read_only_log import ReadOnlyLog
    from streamlog.structs import Durability

_logger = logging.getLogger("streamlog")


class ReadOnlyPartitionFiles(PartitionFiles):
    """`PartitionFiles` of a directory in which nothing is made or deleted. Internal to `ReadOnlyTopics`."""

    def __init__(
        self,
        directory: ReadOnlyDirectory,
        maintenance: Maintenance,
        promise: Durability,
        *,
        arm: Callable[[], object],
        look_at_topics: Callable[[], object],
    ) -> None:
        """*arm* and *look_at_topics*: see `ReadOnlyPartition`."""
        super().__init__(cast("DataDirectory", directory), maintenance, promise)
        self._followed = directory
        self._arm = arm
        self._look_at_topics = look_at_topics

    def open(self, topic: Topic, number: int) -> Partition:
        """Return partition *number* of the manifest. What is wrong with its files is raised by its use alone."""
        return ReadOnlyPartition(
            TopicPartition(topic.name, number),
            self._log(topic, number),
            topic.gate,
            waiters_lock=topic.waiters_lock,
            promise=self._promise,
            path=self._followed.path,
            arm=self._arm,
            look_at_topics=self._look_at_topics,
        )

    def open_again(self, topic: Topic, partition: Partition) -> None:
        """Give *partition* its log if that can be opened by now; else it goes on saying why not."""
        log = self._log(topic, partition.number)
        partition.log = cast("PartitionLog", log)

    def refuse(self, partition: Partition, error: StreamlogError) -> PartitionLog | None:
        """Take *partition* out of use, saying *error*; return its log, None if it had none."""
        log = None if partition.is_refused else partition.log
        partition.refuse(error)
        return log

    def forget(self, partition: Partition, error: StreamlogError) -> None:
        """Take *partition* out of use, whose topic was deleted, and let go of its files."""
        log = self.refuse(partition, error)
        if log is not None:
            self._followed.forget_log(cast("ReadOnlyLog", log), error)

    def _log(self, topic: Topic, number: int) -> ReadOnlyLog | RefusedLog:
        try:
            return self._followed.open_log(topic.name, number, topic.topic_id, topic.config)
        except CorruptLogError as error:
            return RefusedLog(error)
        except OSError as error:
            message = f"{topic.name}-{number}: its log could not be opened: {error}"
            return RefusedLog(StorageError(message, errno=error.errno))
