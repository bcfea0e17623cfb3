"""The topics of a directory that another process may be changing."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NoReturn, cast

import attrs

from streamlog.broker.manifest import Manifest
from streamlog.broker.read_only import RefreshTimer, refusal
from streamlog.broker.read_only_files import ReadOnlyPartitionFiles
from streamlog.broker.read_only_partition import ReadOnlyPartition
from streamlog.broker.refused_log import RefusedLog
from streamlog.broker.topic_config import topic_config
from streamlog.broker.topic_registry import TopicRegistry
from streamlog.config import BrokerConfig
from streamlog.errors import StreamlogError, UnknownTopicOrPartitionError
from streamlog.runtime import RLock

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from streamlog.broker.config_operations import ConfigChange
    from streamlog.broker.maintenance import Maintenance
    from streamlog.broker.manifest import TopicEntry
    from streamlog.broker.topic import Topic
    from streamlog.config import TopicConfig
    from streamlog.runtime import Runtime, Scheduler, Signal
    from streamlog.storage.data_directory import DataDirectory
    from streamlog.storage.read_only_directory import ReadOnlyDirectory
    from streamlog.structs import Durability, TopicDescription

_logger = logging.getLogger("streamlog")


class ReadOnlyTopics(TopicRegistry):
    """A `TopicRegistry` that follows the manifest, and refuses to change it.

    Whoever asks for a topic is told what the manifest says now. While somebody waits, for records or for topics, `refresh` runs every
    ``read_only_refresh_ms``. Threads: any.
    """

    def __init__(
        self,
        runtime: Runtime,
        scheduler: Scheduler,
        directory: ReadOnlyDirectory,
        maintenance: Maintenance,
        config: BrokerConfig,
        promise: Durability,
    ) -> None:
        self._followed = directory
        # Before the base class reads the manifest.
        if config.broker_id == BrokerConfig().broker_id:
            found = Manifest.from_map(directory.manifest, config.broker_id)
            config = attrs.evolve(config, broker_id=found.broker_id)
        super().__init__(runtime, cast("DataDirectory", directory), maintenance, config, promise)
        self._timer = RefreshTimer(scheduler, config.read_only_refresh_ms, self._look)
        self._files: ReadOnlyPartitionFiles = ReadOnlyPartitionFiles(
            directory, maintenance, promise, arm=self._timer.arm, look_at_topics=self.refresh
        )
        self._refresh_lock = RLock()

    # ---- keeping up

    def open(self) -> None:
        """Open the log of every partition in the manifest. A damaged one is left out of use, alone."""
        self._take_manifest()
        # A topic may be deleted while its logs are opened: then they are not damaged, but gone.
        while any(p.is_refused for p in self.partitions()) and self._followed.refresh():
            self._take_manifest()
        for partition in self.partitions():
            if isinstance(partition.log, RefusedLog):
                _logger.error("Partition cannot be used: %s", partition.log.error)

    def refresh(self) -> None:
        """Take over what has changed in the manifest: topics that came, went, grew or were configured.

        Raises `CorruptLogError` when it is damaged, OSError when it is gone, `ClosedError`.
        """
        with self._refresh_lock:
            self._check_usable()
            is_changed = self._followed.refresh()
            if is_changed:
                self._take_manifest()
            self._open_refused_again()
        if is_changed:
            self._announce()

    def _open_refused_again(self) -> None:
        for topic in self._topics.values():
            for partition in topic.partitions:
                if partition.is_refused:
                    self._files.open_again(topic, partition)

    def _take_manifest(self) -> None:
        self._manifest = self._read_manifest()
        entries, topics = self._manifest.topics, dict(self._topics)
        gone = [
            topics.pop(topic.name)
            for topic in self._topics.values()
            if topic.name not in entries or entries[topic.name].topic_id != topic.topic_id
        ]
        for name, entry in entries.items():
            known = topics.get(name)
            if known is None:
                topics[name] = self._open_topic(name, entry)
            else:
                self._update(known, entry)
        self._topics = topics
        for topic in gone:
            error = UnknownTopicOrPartitionError(f"topic {topic.name!r} was deleted")
            for partition in topic.partitions:
                self._files.forget(partition, error)

    def _update(self, topic: Topic, entry: TopicEntry) -> None:
        if entry.overrides != topic.overrides:
            topic.overrides = entry.overrides
            topic.config = topic_config(topic.name, self._defaults, entry.overrides)
            topic.gate = self._new_gate(topic.config)
            for partition in topic.partitions:
                partition.apply_config(topic.config, topic.gate)
        added = range(len(topic.partitions), entry.partitions)
        if added:
            opened = [self._files.open(topic, number) for number in added]
            topic.partitions = [*topic.partitions, *opened]

    def _open_topic(self, name: str, entry: TopicEntry) -> Topic:
        topic = self._new_topic(name, entry)
        topic.partitions = [self._files.open(topic, number) for number in range(entry.partitions)]
        return topic

    def _look(self) -> bool:
        """What the timer does: look at the topics, and at each partition in which somebody waits for records."""
        if self._refusal is not None:
            return False
        is_waited_for, is_readable = bool(self._listeners), True
        try:
            self.refresh()
        except (StreamlogError, OSError):
            is_readable = False
        for partition in self.partitions():
            assert isinstance(partition, ReadOnlyPartition)
            if partition.is_waited_for:
                is_waited_for = True
                try:
                    partition.refresh()
                except (StreamlogError, OSError):
                    is_readable = False
                if not is_readable:
                    partition.wake_waiters()  # whoever waits there meets it, and says so
        return is_waited_for

    # ---- look up

    def find(self, name: str) -> Topic | None:
        """Return the topic, None when there is none now."""
        self.refresh()
        return super().find(name)

    def topics(self) -> list[Topic]:
        """Return every topic there is now, after one look for all of them."""
        self.refresh()
        return super().topics()

    def add_listener(self, signal: Signal) -> None:
        """Set *signal* after every change of the topics, and when the broker closes."""
        super().add_listener(signal)
        self._timer.arm()

    def forget(self, error: StreamlogError) -> None:
        """As `TopicRegistry.forget`: in the child of a fork, where a lock may be held by nobody."""
        self._refresh_lock = RLock()
        super().forget(error)

    # ---- change

    def create(
        self,
        name: str,
        partitions: int | None,
        replication_factor: int | None,
        configs: Mapping[str, object] | None,
        *,
        validate_only: bool = False,
    ) -> TopicDescription:
        """Raise `ReadOnlyError`."""
        self._refuse_to("create topic", name)

    def grow(self, name: str, total: int, *, validate_only: bool = False) -> None:
        """Raise `ReadOnlyError`."""
        self._refuse_to("add partitions to topic", name)

    def alter_configs(
        self,
        name: str,
        configs: Mapping[str, object] | None,
        remove: Iterable[str] = (),
        *,
        validate_only: bool = False,
    ) -> TopicConfig:
        """Raise `ReadOnlyError`."""
        self._refuse_to("configure topic", name)

    def change_configs(
        self, name: str, change: ConfigChange, *, validate_only: bool = False
    ) -> TopicConfig:
        """Raise `ReadOnlyError`."""
        self._refuse_to("configure topic", name)

    def delete(self, name: str) -> None:
        """Raise `ReadOnlyError`."""
        self._refuse_to("delete topic", name)

    def _refuse_to(self, what: str, name: str) -> NoReturn:
        self._check_usable()
        raise refusal(f"{what} {name!r}", self._followed.path)


def refresh_all(topics: TopicRegistry) -> None:
    """Look at the topics of a read-only broker and at each of their partitions. Raises the first error, at the end."""
    assert isinstance(topics, ReadOnlyTopics)
    topics.refresh()
    first_error: StreamlogError | OSError | None = None
    for partition in topics.partitions():
        assert isinstance(partition, ReadOnlyPartition)
        try:
            partition.refresh()
        except (StreamlogError, OSError) as error:
            first_error = first_error or error
    if first_error is not None:
        raise first_error
