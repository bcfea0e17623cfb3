"""All topics of one broker: created, grown, configured, deleted; the manifest says which exist."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

from streamlog.broker.append_gate import AppendGate
from streamlog.broker.manifest import Manifest, TopicEntry
from streamlog.broker.partition_files import PartitionFiles
from streamlog.broker.refused_log import RefusedLog
from streamlog.broker.topic import Topic
from streamlog.broker.topic_checks import (
    check_may_configure,
    check_may_create,
    check_may_delete,
    check_may_grow,
    check_name_is_free,
    check_partition_count,
    check_replication_factor,
)
from streamlog.broker.topic_config import topic_config, topic_config_names, topic_overrides
from streamlog.broker.topic_name import is_internal, validate_topic_name
from streamlog.errors import (
    InvalidConfigurationError,
    StreamlogError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
)
from streamlog.record import require_codec
from streamlog.runtime.threads import Lock
from streamlog.structs import Durability

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from streamlog.broker.config_operations import ConfigChange
    from streamlog.broker.maintenance import Maintenance
    from streamlog.broker.partition import Partition
    from streamlog.broker.partition_files import VerifyTransaction
    from streamlog.config import BrokerConfig, TopicConfig
    from streamlog.runtime import Runtime, Signal
    from streamlog.storage.data_directory import DataDirectory
    from streamlog.structs import TopicDescription

_INTERNAL_OVERRIDES = topic_overrides({"cleanup_policy": "compact"})


class TopicRegistry:
    """The topics of one broker, by name.

    * look up: `topic`, `find`, `partition`, `partitions`, `names`
    * change: `create`, `create_if_absent`, `grow`, `alter_configs`, `change_configs`, `delete`
    * notice: `epoch`, `add_listener`, `remove_listener`

    Looking up takes no lock. Changes are made one at a time, in an order that a crash cannot spoil:
    the directories of a new partition come before the manifest that names it, a deleted topic
    leaves the manifest before its files go. The manifest is the authority; what only the file system
    knows is reported and never deleted. Threads: any.
    """

    def __init__(
        self,
        runtime: Runtime,
        directory: DataDirectory,
        maintenance: Maintenance,
        config: BrokerConfig,
        promise: Durability,
    ) -> None:
        self._runtime = runtime
        self._directory = directory
        self._maintenance = maintenance
        self._config = config
        self._defaults = config.topic_defaults()
        self._files = PartitionFiles(directory, maintenance, promise)
        self._lock = Lock()
        self._topics: dict[str, Topic] = {}
        self._refusal: StreamlogError | None = None
        self._listeners: tuple[Signal, ...] = ()
        self._manifest = self._read_manifest()
        # Of the deleted topics in it, those whose files have gone.
        self._files_gone: set[str] = set()
        self.epoch = 0
        """Grows with every topic created, grown, configured or deleted: a cheap way to see whether
        cached metadata is still right."""

    @property
    def config(self) -> BrokerConfig:
        """The broker's configuration in force."""
        return self._config

    def _read_manifest(self) -> Manifest:
        manifest = Manifest.from_map(self._directory.manifest, self._config.broker_id)
        if manifest.broker_id != self._config.broker_id:
            raise InvalidConfigurationError(
                f"broker_id: expected {manifest.broker_id}, which the data directory belongs to, "
                f"found {self._config.broker_id}"
            )
        return manifest

    def open(self) -> None:
        """Open the log of every partition in the manifest. A damaged one is left out of use, alone."""
        for name, entry in self._manifest.topics.items():
            topic = self._new_topic(name, entry)
            topic.partitions = [
                self._files.open(topic, number) for number in range(entry.partitions)
            ]
            self._topics[name] = topic
        for name, count in self._manifest.deleted.items():
            # A crash came in between: the topic was deleted, and its files were about to be.
            if name not in self._topics and self._files.delete_left(name, count):
                self._files_gone.add(name)
        self._directory.finish_opening({p.topic_partition for p in self.partitions()})

    def verify_transactions_with(self, verify: VerifyTransaction) -> None:
        """Have every partition, now and later, ask *verify* when a transaction begins to write there, see
        `Partition.verify_transaction`. Called when the broker opens.
        """
        self._files.verify_transactions_with(verify, self.partitions())

    # ---- look up

    def find(self, name: str) -> Topic | None:
        """Return the topic, None when there is none."""
        topic = self._topics.get(name)
        if topic is None:
            self._check_usable()
        return topic

    def topic(self, name: str) -> Topic:
        """Return the topic; raise `UnknownTopicOrPartitionError` when there is none."""
        topic = self.find(name)
        if topic is None:
            raise UnknownTopicOrPartitionError(f"topic {name!r} does not exist")
        return topic

    def partition(self, name: str, number: int) -> Partition:
        """Return a partition; raise `UnknownTopicOrPartitionError` when there is none."""
        return self.topic(name).partition(number)

    def partitions(self) -> Iterator[Partition]:
        """Yield every partition there is now, topics in the order of creation or of the manifest."""
        for topic in list(self._topics.values()):
            yield from topic.partitions

    def greatest_producer_id(self) -> int:
        """Return the greatest producer id that opening the logs came across; -1 without any."""
        return max(
            (p.log.greatest_producer_id for p in self.partitions() if not p.is_refused), default=-1
        )

    def names(self, *, include_internal: bool = False) -> list[str]:
        """Return the topic names, sorted."""
        return [topic.name for topic in self.topics() if include_internal or not topic.is_internal]

    def topics(self) -> list[Topic]:
        """Return every topic there is now, those of the broker itself as well, sorted by name."""
        self._check_usable()
        return sorted(self._topics.values(), key=attrgetter("name"))

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
        """Create a topic and describe it; with *validate_only* only look for errors, and describe what
        would have been.

        Raises `InvalidTopicError`, `TopicAlreadyExistsError`, `InvalidPartitionsError`,
        `InvalidReplicationFactorError`, `InvalidConfigurationError`, `DiskFullError`, and
        `PolicyViolationError` for one of the broker's own that would not be compacted: nothing was
        created. Of two threads creating one name, one wins.
        """
        validate_topic_name(name)
        with self._lock:
            self._check_usable()
            check_name_is_free(name, self._topics)
            count = self._config.num_partitions if partitions is None else partitions
            check_partition_count(name, count, present=0)
            factor = (
                self._config.default_replication_factor
                if replication_factor is None
                else replication_factor
            )
            check_replication_factor(name, factor, live_brokers=1)
            overrides = topic_overrides(configs)
            if is_internal(name):
                overrides = {**_INTERNAL_OVERRIDES, **overrides}
            config = topic_config(name, self._defaults, overrides)
            check_may_create(name, config)
            require_codec(config.compression_type)
            entry = self._new_entry(name, count, overrides)
            topic = self._new_topic(name, entry)
            description = topic.describe(self._config.broker_id, entry.partitions)
            if validate_only:
                return description
            self._create(topic, entry)
        self._announce()
        return description

    def create_if_absent(self, name: str) -> Topic:
        """Return the topic, created with the broker's defaults if need be. Raises as `create`."""
        try:
            self.create(name, None, None, None)
        except TopicAlreadyExistsError:
            pass  # somebody else was faster: that is all that was asked for
        return self.topic(name)

    def grow(self, name: str, total: int, *, validate_only: bool = False) -> None:
        """Add partitions until the topic has *total*; records that are there stay where they are.

        Raises `InvalidPartitionsError` unless there will be more than now (REC-11),
        `PolicyViolationError` for one of the broker's own topics.
        """
        with self._lock:
            topic = self.topic(name)
            present = len(topic.partitions)
            check_may_grow(name)
            check_partition_count(name, total, present)
            if validate_only:
                return
            entry = self._manifest.topics[name]
            added = self._files.create(topic, range(present, total))
            entry.partitions = total
            try:
                self._store()
            except BaseException:
                entry.partitions = present
                self._files.close(added)
                raise
            topic.partitions = [*topic.partitions, *added]
        self._announce()

    def alter_configs(
        self,
        name: str,
        configs: Mapping[str, object] | None,
        remove: Iterable[str] = (),
        *,
        validate_only: bool = False,
    ) -> TopicConfig:
        """Set *configs*, return the keys in *remove* to the broker's default, and return the result.

        In force for the next append, read and timer of every partition. Raises
        `InvalidConfigurationError`, `PolicyViolationError` for what one of the broker's own topics
        cannot have; then nothing was changed.
        """
        return self.change_configs(name, lambda _: (configs, remove), validate_only=validate_only)

    def change_configs(
        self, name: str, change: ConfigChange, *, validate_only: bool = False
    ) -> TopicConfig:
        """Do what *change* makes of the topic: it returns what to set and remove, as for `alter_configs`.

        Nobody else changes the topic between its look and what comes of it, so that of two changes at
        once neither is lost. It must not change topics itself. Raises as `alter_configs`, and what it raises.
        """
        with self._lock:
            topic = self.topic(name)
            configs, remove = change(topic)
            changes = topic_overrides(configs)
            removed = topic_config_names(remove)
            both = sorted(removed & changes.keys())
            if both:
                raise InvalidConfigurationError(
                    f"topic {name!r}: {both[0]} is both set and removed"
                )
            overrides = {**_without(topic.overrides, removed), **changes}
            config = topic_config(name, self._defaults, overrides)
            check_may_configure(name, topic.config, config)
            if config.compression_type != topic.config.compression_type:
                require_codec(config.compression_type)
            if validate_only:
                return config
            entry = self._manifest.topics[name]
            before, entry.overrides = entry.overrides, overrides
            try:
                self._store()
            except BaseException:
                entry.overrides = before
                raise
            topic.overrides = overrides
            topic.config = config
            topic.gate = self._new_gate(config)
            for partition in topic.partitions:
                partition.apply_config(config, topic.gate)
        self._maintenance.config_changed()
        self._announce()
        return config

    def delete(self, name: str) -> None:
        """Delete the topic and its files. Whoever uses it gets `UnknownTopicOrPartitionError` next.

        Once this returns the topic stays deleted, even if the power fails. Raises
        `PolicyViolationError` for one of the broker's own topics.
        """
        with self._lock:
            topic = self.topic(name)
            check_may_delete(name)
            entry = self._manifest.topics.pop(name)
            self._manifest.deleted[name] = entry.partitions
            try:
                self._store()
            except BaseException:
                self._manifest.topics[name] = entry
                del self._manifest.deleted[name]
                raise
            del self._topics[name]
            gone = UnknownTopicOrPartitionError(f"topic {name!r} was deleted")
            deleted = [self._files.delete(topic, one, gone) for one in topic.partitions]
            if all(deleted):
                self._files_gone.add(name)
        self._announce()

    # ---- notice

    def add_listener(self, signal: Signal) -> None:
        """Set *signal* after every change of the topics, and when the broker closes."""
        with self._lock:
            self._listeners = (*self._listeners, signal)

    def remove_listener(self, signal: Signal) -> None:
        """Undo `add_listener`; nothing happens when *signal* was not added."""
        with self._lock:
            self._listeners = tuple(s for s in self._listeners if s is not signal)

    # ---- end

    def refuse(self, error: StreamlogError) -> None:
        """Raise *error* from every later call and wake whoever waits. The logs stay open."""
        with self._lock:
            self._refusal = error
            topics, self._topics = self._topics, {}
        for topic in topics.values():
            for partition in topic.partitions:
                self._files.refuse(partition, error)
        self._announce()

    def forget(self, error: StreamlogError) -> None:
        """Raise *error* from every later call, in the child of a fork: no lock is taken, nobody is
        woken, no file is touched, for all of that is the parent's.
        """
        self._lock = Lock()
        self._refusal = error
        topics, self._topics = self._topics, {}
        self._listeners = ()
        for topic in topics.values():
            topic.waiters_lock = Lock()
            for partition in topic.partitions:
                partition.forget_waiters(topic.waiters_lock)
                partition.refuse(error)

    def _check(self) -> None:
        """Assert what holds while no call is under way. For tests."""
        assert not self._lock.locked()
        if self._refusal is not None:
            assert not self._topics
            return
        assert self._topics.keys() == self._manifest.topics.keys()
        assert len({topic.topic_id for topic in self._topics.values()}) == len(self._topics)
        for name, topic in self._topics.items():
            entry = self._manifest.topics[name]
            assert (name, topic.topic_id, topic.overrides) == (
                topic.name,
                entry.topic_id,
                entry.overrides,
            )
            numbers = [partition.number for partition in topic.partitions]
            assert numbers == list(range(entry.partitions))
            assert topic.config == topic_config(name, self._defaults, topic.overrides)
            for partition in topic.partitions:
                assert partition.topic == name
                assert partition.is_refused or partition.log.config is topic.config

    # ---- how it is done; the caller holds the lock

    def _check_usable(self) -> None:
        if self._refusal is not None:
            raise RefusedLog(self._refusal).error

    def _new_entry(self, name: str, partitions: int, overrides: dict[str, object]) -> TopicEntry:
        self._manifest.topics_created += 1
        return TopicEntry(
            topic_id=self._runtime.random.uuid(f"topic {self._manifest.topics_created}").hex,
            partitions=partitions,
            created_ms=self._runtime.clock.time_ms(),
            overrides=overrides,
        )

    def _create(self, topic: Topic, entry: TopicEntry) -> None:
        manifest = self._manifest
        partitions = self._files.create(topic, range(entry.partitions))
        manifest.topics[topic.name] = entry
        # What was left of an earlier topic of the name, making the files has put out of the way.
        manifest.deleted.pop(topic.name, None)
        self._files_gone.discard(topic.name)
        try:
            self._store()
        except BaseException:
            del manifest.topics[topic.name]
            # The files stay: if only the last step of the store failed, the manifest names them.
            self._files.close(partitions)
            raise
        topic.partitions = partitions
        # Published last: who finds the topic finds all its partitions.
        self._topics[topic.name] = topic

    def _new_topic(self, name: str, entry: TopicEntry) -> Topic:
        config = topic_config(name, self._defaults, entry.overrides)
        return Topic(
            name,
            entry.topic_id,
            entry.created_ms,
            entry.overrides,
            config,
            self._new_gate(config),
            waiters_lock=Lock(),
        )

    def _new_gate(self, config: TopicConfig) -> AppendGate:
        return AppendGate(config, self._runtime.clock.time_ns)

    def _store(self) -> None:
        if self._files_gone:
            # First, or a power loss could bring files back of which nobody would know any more.
            self._directory.sync_topics()
            for name in sorted(self._files_gone):
                del self._manifest.deleted[name]
            self._files_gone.clear()
        self._directory.store_manifest(self._manifest.to_map())

    def _announce(self) -> None:
        """Tell whoever watches the topics that they changed. The caller holds no lock."""
        self.epoch += 1
        for signal in self._listeners:
            signal.set()


def _without(overrides: dict[str, Any], removed: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in overrides.items() if name not in removed}
