"""The broker: one directory, its topics, and everything that happens to them."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Mapping
from functools import partial
from operator import is_not
from typing import TYPE_CHECKING, Protocol

from streamlog.broker import open_brokers
from streamlog.broker.broker_care import begin_care
from streamlog.broker.broker_opening import (
    check_arguments,
    check_path,
    check_read_only,
    choose_filesystem,
    give_back,
    open_read_only,
    open_resources,
)
from streamlog.broker.broker_resources import (
    BrokerResources,
    close_orphans,
    leave_to_be_closed,
)
from streamlog.broker.care_calls import CareCalls
from streamlog.broker.group_coordinator import GroupCoordinator
from streamlog.broker.listening import ListeningBroker
from streamlog.broker.metadata_tree.projection import metadata_tree
from streamlog.broker.offsets_topic import OFFSETS_TOPIC
from streamlog.broker.producer_ids import ProducerIds
from streamlog.broker.read_only import refusal
from streamlog.broker.read_only_groups import ReadOnlyGroupCoordinator
from streamlog.broker.read_only_topics import refresh_all
from streamlog.broker.read_only_transactions import ReadOnlyTransactions
from streamlog.broker.topic_name import (
    TRANSACTION_STATE_TOPIC,
    is_internal,
    validate_topic_name,
)
from streamlog.broker.topic_registry import TopicRegistry
from streamlog.broker.transactions.coordinator import TransactionCoordinator
from streamlog.config import BrokerConfig
from streamlog.errors import ClosedError, ForkedError, StreamlogError
from streamlog.record import require_codec
from streamlog.runtime import (
    Clock,
    FileSystem,
    RandomSource,
    RLock,
    Runtime,
    SystemClock,
    on_fork_in_child,
    path_string,
)
from streamlog.structs import Durability

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from typing_extensions import Unpack

    from streamlog.broker.metadata_tree import MetadataTree
    from streamlog.broker.partition import Partition
    from streamlog.broker.topic import Topic
    from streamlog.config import TopicConfig
    from streamlog.config.options import BrokerOptions
    from streamlog.runtime import Scheduler, Signal, StrPath
    from streamlog.storage.recovery_report import RecoveryReport
    from streamlog.structs import TopicDescription

_logger = logging.getLogger("streamlog")

_MEMORY_PATH = "/memory"


class BrokerClient(Protocol):
    """What the broker closes before it closes itself: a producer, a consumer."""

    def close(self) -> None:
        """Finish and unregister. Called while the broker still works."""


class Broker(ListeningBroker, CareCalls):
    """A Kafka broker inside this process, with its data in the directory *path*.

    >>> with Broker() as broker:
    ...     description = broker.create_topic("orders", partitions=3)
    ...     broker.topics()
    ['orders']

    * topics: `create_topic`, `delete_topic`, `create_partitions`, `alter_topic_configs`,
      `describe_topic`, `topics`
    * care: `sync`, `run_maintenance`, `recovery_report`, `refresh`, `close`

    With *read_only*, a directory that another process may have open for writing is shown as that process
    changes it, and nothing is written, not even a lock: consumers that `Consumer.assign` partitions, offsets
    that groups committed, and whatever else only looks. What would change something raises
    `ReadOnlyError`.

    Without *path* everything lives in memory and is gone after `close`; the code is the same. *clock*,
    *filesystem* and *seed* replace time, files and chance: with a `VirtualClock`, one thread and the same
    seed, everything happens again as it did. A *filesystem* needs a *path* in it; only a
    `MemoryFileSystem` does without: its ``/memory`` is used then, and no durability promised.
    Configuration keys are `BrokerConfig`'s, as keyword arguments or in the mapping *config*
    (``{"log.retention.ms": ...}``).

    Raises `InvalidConfigurationError`; TypeError for arguments of other types and a *filesystem*
    without a *path*; `AlreadyOpenError` when another broker, here or in another process, has the
    directory open; `NotStreamlogDirectoryError` when it holds something else;
    `UnsupportedFormatError` when a newer version wrote it; `CorruptLogError` when the list of topics
    itself is damaged (one damaged partition only refuses its own use); `OSError` as the system gives
    it, such as PermissionError.

    Threads: any, for every method. After `close` every call raises `ClosedError`; in the child of a
    fork `ForkedError`, while the parent goes on unharmed. Close it: at the end of the interpreter it
    is closed if possible, but only `close` and ``with`` are sure to run. Source: Kafka
    ``KafkaBroker``, ``LogManager``.
    """

    _resources: BrokerResources | None = None  # for a broker whose __init__ raised

    def __init__(
        self,
        path: StrPath | None = None,
        *,
        read_only: bool = False,
        clock: Clock | None = None,
        filesystem: FileSystem | None = None,
        seed: int | None = None,
        config: Mapping[str, object] | None = None,
        **broker_config: Unpack[BrokerOptions],
    ) -> None:
        if path is not None:
            check_path(path)
        check_read_only(read_only, path, filesystem)
        check_arguments(clock, filesystem, seed)
        self.config: BrokerConfig = BrokerConfig.from_options(config, **broker_config)
        require_codec(self.config.compression_type)
        """The configuration in force."""
        self.path: str | None = None if path is None else path_string(path)
        """The data directory, absolute; None in memory."""
        self.read_only: bool = read_only
        """Whether nothing may be changed."""
        self.runtime = Runtime(
            clock=SystemClock() if clock is None else clock,
            filesystem=choose_filesystem(self.path, filesystem),
            random=RandomSource(seed),
        )
        """Clock, files and chance. Internal: for the clients of this broker."""
        self._lock = RLock()
        self._close_lock = RLock()
        self._closing = False
        self._clients: list[BrokerClient] = []
        self._listeners = []
        self._group_coordinator: GroupCoordinator | None = None
        self._transaction_coordinator: TransactionCoordinator | None = None
        self._refusal: StreamlogError | None = None
        # A broker that was dropped without close may hold this very directory.
        close_orphans()
        resources: BrokerResources | None = None
        try:
            self._resources = resources = (open_read_only if read_only else open_resources)(
                self.path or _MEMORY_PATH, self.config, self.runtime, self._promise
            )
            self._opened_ms = self.runtime.clock.time_ms()
            self._topics = resources.topics
            self.producer_ids = ProducerIds(resources.directory)
            """Internal: see `new_producer_id`; who finds an id in use says so here."""
            self.recovery_report: RecoveryReport = resources.directory.recovery_report
            """What opening the directory found: whether it was closed cleanly, what was scanned, cut off,
            damaged or unknown. Stays readable after `close`."""
            self.scheduler: Scheduler = resources.scheduler
            """The timers of this broker. Internal: for the clients of this broker."""
            if read_only:
                self.config = self._topics.config
            else:
                begin_care(self, resources)
            on_fork_in_child(self)
            open_brokers.add(self)
        except BaseException:
            self._resources = None
            if resources is not None:
                give_back(resources.scheduler, resources.directory)
            raise

    @property
    def _promise(self) -> Durability:
        return Durability.NONE if self.path is None else Durability.PROCESS

    def __repr__(self) -> str:
        state = "" if self._refusal is None else ", closed"
        return f"<Broker {self.config.broker_id} in {self.path or 'memory'}{state}>"

    # ---- topics

    def create_topic(
        self,
        name: str,
        *,
        partitions: int | None = None,
        replication_factor: int | None = None,
        configs: Mapping[str, object] | None = None,
    ) -> TopicDescription:
        """Create a topic and describe it; it survives a power loss once this returns.

        None means the broker's ``num_partitions`` and ``default_replication_factor``. *configs* are
        `TopicConfig` keys, with underscores or dots. Raises `InvalidTopicError` (REC-5),
        `TopicAlreadyExistsError`, `InvalidPartitionsError`, `InvalidReplicationFactorError` (REC-11),
        `InvalidConfigurationError`, `DiskFullError`, `PolicyViolationError` for one of the broker's own that would
        not be compacted; then nothing was created.
        """
        self.check_open()
        return self._topics.create(name, partitions, replication_factor, configs)

    def delete_topic(self, name: str) -> None:
        """Delete a topic with all its records and the offsets committed for it, now and for good.

        Who uses it next gets `UnknownTopicOrPartitionError`, unless that is enough to create it again,
        empty: a producer's `send`, and the next `poll` of a consumer that reads it by name and has
        ``allow_auto_create_topics``, do so while ``auto_create_topics_enable`` is on, as in Kafka.
        Raises the same when there is no such topic, `PolicyViolationError` for the broker's own topics.
        """
        self.check_open()
        self._topics.delete(name)

    def create_partitions(self, name: str, total: int) -> None:
        """Let the topic have *total* partitions, more than now. Where a key goes changes for new
        records only (REC-11). Raises `InvalidPartitionsError` for a number that is not greater,
        `PolicyViolationError` for the broker's own topics, where it would hide what they remember.
        """
        self.check_open()
        self._topics.grow(name, total)

    def alter_topic_configs(
        self, name: str, configs: Mapping[str, object] | None = None, *, remove: Iterable[str] = ()
    ) -> TopicConfig:
        """Set the topic's *configs*, give the keys in *remove* back to the broker's default, and return
        what is in force from now on, also for records that are already there.

        Raises `InvalidConfigurationError`, and `PolicyViolationError` for another ``cleanup_policy``
        or retention of the broker's own topics; then nothing was changed.
        """
        self.check_open()
        return self._topics.alter_configs(name, configs, remove)

    def describe_topic(self, name: str) -> TopicDescription:
        """Return the topic's id, partitions and configuration in force."""
        return self.topic(name).describe(self.config.broker_id)

    def topics(self, *, include_internal: bool = False) -> list[str]:
        """Return the names of all topics, sorted; the broker's own only with *include_internal*."""
        self.check_open()
        return self._topics.names(include_internal=include_internal)

    @property
    def metadata(self) -> MetadataTree:
        """What there is, as ZooKeeper showed it: ``metadata.ls("/brokers/topics")``. Read-only, and always of this moment."""
        return metadata_tree(self, self._require_resources().directory, self._opened_ms)

    # ---- care

    def refresh(self) -> None:
        """With ``read_only``, look now at what another process has changed, topics and logs, and wake who
        waits for that. Happens by itself for whatever is asked for. Raises as opening does.
        """
        self.check_open()
        if self.read_only:
            refresh_all(self._topics)

    def close(self) -> None:
        """Close the clients, latest first, sync everything, mark the directory clean and release it.

        Closing again changes nothing; a second thread waits until the first is done. Raises what
        kept the directory from being marked clean (such as `DurabilityError`); it is released all
        the same, and the next open recovers. In the child of a fork, does nothing.
        """
        with self._close_lock:
            resources = self._resources
            if resources is None or self._closing or not resources.belongs_to_this_process:
                return
            try:
                self._closing = True  # a client that closes the broker while being closed by it
                self._close_clients()
                closed = ClosedError(f"broker {self.path or 'in memory'} is closed")
                with self._lock:
                    self._refusal = closed
                try:
                    resources.close(closed)
                except Exception:
                    self._resources = None
                    raise
                self._resources = None
                open_brokers.discard(self)
            finally:
                self._closing = False  # after Ctrl-C the next one does the rest

    @property
    def closed(self) -> bool:
        """Whether the broker can no longer be used here."""
        return self._refusal is not None

    def __enter__(self) -> Broker:
        self.check_open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # ---- internal: for the clients of this broker

    def check_open(self) -> None:
        """Raise `ClosedError` or `ForkedError` when the broker cannot be used."""
        if self._refusal is not None:
            raise copy.copy(self._refusal)

    def check_writable(self, what: str) -> None:
        """Raise `ReadOnlyError`, naming *what* was to be done, where nothing may be changed; else as `check_open`."""
        self.check_open()
        if self.read_only:
            raise refusal(what, self.path or _MEMORY_PATH)

    def topic(self, name: str) -> Topic:
        """Return a topic; raise `UnknownTopicOrPartitionError` when there is none."""
        return self._topics.topic(name)

    def topic_or_create(self, name: str, allow_auto_create: bool) -> Topic:
        """Return a topic, created first if the client and ``auto_create_topics_enable`` both allow it.

        Raises `InvalidTopicError` for a name no topic can have, `UnknownTopicOrPartitionError` when
        the topic does not exist and may not be created. The internal topics are never made this
        way: who needs them knows how many partitions they have.
        """
        topic = self._topics.find(name)
        if topic is not None:
            return topic
        validate_topic_name(name)
        allow_auto_create &= self.config.auto_create_topics_enable and not self.read_only
        if not allow_auto_create or is_internal(name):
            return self._topics.topic(name)
        return self._topics.create_if_absent(name)

    def partition(self, topic: str, number: int) -> Partition:
        """Return a partition; raise `UnknownTopicOrPartitionError` when there is none."""
        return self._topics.partition(topic, number)

    @property
    def topic_epoch(self) -> int:
        """A number that grows with every topic created, grown, configured or deleted."""
        return self._topics.epoch

    def add_topic_listener(self, signal: Signal) -> None:
        """Set *signal* whenever `topic_epoch` has grown, and when the broker closes, until removed."""
        self._topics.add_listener(signal)

    def remove_topic_listener(self, signal: Signal) -> None:
        """Undo `add_topic_listener`; nothing happens when *signal* was not added."""
        self._topics.remove_listener(signal)

    @property
    def topic_registry(self) -> TopicRegistry:
        """All topics and the ways to change them, for `Admin` and listeners."""
        self.check_open()
        return self._topics

    @property
    def group_coordinator(self) -> GroupCoordinator:
        """The coordinator of all groups, made when first asked for."""
        self.check_open()
        with self._lock:
            if self._group_coordinator is None:
                made = ReadOnlyGroupCoordinator if self.read_only else GroupCoordinator
                self._group_coordinator = made(self)
            return self._group_coordinator

    @property
    def transaction_coordinator(self) -> TransactionCoordinator:
        """The coordinator of all transactions, made when first asked for."""
        self.check_open()
        coordinator = self._transaction_coordinator
        if coordinator is not None:
            return coordinator  # without the lock: partitions ask with a coordinator's lock held
        with self._lock:
            if self._transaction_coordinator is None:
                made = ReadOnlyTransactions if self.read_only else TransactionCoordinator
                self._transaction_coordinator = made(self)
            return self._transaction_coordinator

    def new_producer_id(self) -> int:
        """Return a producer id that nobody in this directory had before, nor ever will again."""
        self.check_writable("new_producer_id")
        return self.producer_ids.take()

    def register_client(self, client: BrokerClient) -> None:
        """Close *client* before the broker closes, latest first, unless unregistered until then."""
        with self._lock:
            self.check_open()
            self._clients.append(client)

    def unregister_client(self, client: BrokerClient) -> None:
        """Forget *client*, which closed by itself; nothing happens when it was not registered."""
        with self._lock:
            self._clients = list(filter(partial(is_not, client), self._clients))

    # ---- how it is done

    def _close_clients(self) -> None:
        """Close the clients, latest first, and then the coordinators they used. Errors are logged: the
        others have to be closed all the same.
        """
        while True:
            with self._lock:
                if not self._clients:
                    break
                client = self._clients[-1]
            try:
                client.close()
            except Exception:
                _logger.exception("Could not close %r", client)
            self.unregister_client(client)  # only now: Ctrl-C may have left something to do
        if self._transaction_coordinator is not None:
            self._transaction_coordinator.close()
        if self._group_coordinator is not None:
            self._group_coordinator.close()

    def _expire_offsets(self) -> None:
        if self._topics.find(OFFSETS_TOPIC) is not None:  # else there is no group
            self.group_coordinator.expire_offsets()

    def _expire_transactional_ids(self) -> None:
        if self._topics.find(TRANSACTION_STATE_TOPIC) is not None:  # else there is none
            self.transaction_coordinator.expire_ids()

    def _require_resources(self) -> BrokerResources:
        self.check_open()
        resources = self._resources
        if resources is None:
            raise ClosedError(f"broker {self.path or 'in memory'} is closed")
        return resources

    def abandon(self, reason: StreamlogError) -> None:
        """Raise *reason* from all use from now on, and touch no file: what is on disk stays as it is.

        Internal: for the child of a fork, where locks may be held by threads that are not here, and
        for `streamlog.testing`, where processes die and disks lose their power.
        """
        self._lock = RLock()
        self._close_lock = RLock()
        self._refusal = reason
        self._clients = []
        resources, self._resources = self._resources, None
        self._topics.forget(reason)
        if resources is not None:
            resources.directory.abandon(reason)

    def _forked(self) -> None:
        self.abandon(
            ForkedError(
                f"broker {self.path or 'in memory'} was opened before a fork and belongs to the "
                "parent process: open it in the process that uses it"
            )
        )

    def __del__(self) -> None:
        resources = self._resources
        if resources is None or not resources.belongs_to_this_process:
            return
        self._resources = None
        leave_to_be_closed(resources)  # before the warning, which may be an error
        if self.path is not None:
            warnings.warn(f"unclosed broker in {self.path}", ResourceWarning, source=self)
