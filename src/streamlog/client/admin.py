"""Topics and groups seen from outside: created, described, changed, deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.broker.config_entry import ConfigResource, ConfigResourceType
from streamlog.broker.config_operations import altered_topic_configs, broker_entries, topic_entries
from streamlog.client.admin_arguments import (
    config_changes,
    config_resource,
    group_states,
    groups,
    isolation,
    mapping,
    new_topics,
    numbers_by_partition,
    several,
    topic_names,
)
from streamlog.client.admin_transactions import TransactionAdministration
from streamlog.client.argument_checks import check_broker, check_group_id
from streamlog.client.for_each import for_each
from streamlog.client.group_administration import alter_offsets, reset_offsets
from streamlog.client.new_topic import NewTopic
from streamlog.client.offset_spec import ListedOffset, OffsetSpec
from streamlog.client.partition_arguments import to_partitions
from streamlog.errors import ClosedError, InvalidRequestError
from streamlog.structs import Isolation, OffsetAndMetadata, TopicDescription, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

    from streamlog.broker.broker import Broker
    from streamlog.broker.config_entry import AlterConfigOp, ConfigEntry
    from streamlog.broker.group import GroupState
    from streamlog.broker.group_description import ConsumerGroupDescription, ConsumerGroupListing
    from streamlog.broker.partition import Partition
    from streamlog.client.reset_to import ResetTo


class Admin(TransactionAdministration):
    """Kafka's admin client over a broker in this process.

    * topics: `create_topics`, `delete_topics`, `describe_topics`, `list_topics`,
      `create_partitions`
    * records: `list_offsets`, `delete_records`
    * configuration: `describe_configs`, `incremental_alter_configs`
    * groups: `list_consumer_groups`, `describe_consumer_groups`, `delete_consumer_groups`
    * their offsets: `list_consumer_group_offsets`, `alter_consumer_group_offsets`,
      `reset_consumer_group_offsets`, `delete_consumer_group_offsets`
    * transactions: `list_transactions`, `describe_transactions`, `describe_producers`,
      `fence_producers`, `force_terminate_transaction`, `abort_transaction`

    Every call acts at once and returns plain values where Kafka returns futures. A call about several
    topics or partitions treats each on its own, in the order given, whatever happens to the others;
    if any fails, the first error is raised at the end, and its notes (PEP 678) name the other ones. What
    can be no topic, group or option at all is refused first: by TypeError, `InvalidGroupIdError`.

    >>> from streamlog import Broker
    >>> with Broker() as broker, Admin(broker) as admin:
    ...     created = admin.create_topics(["orders", NewTopic("payments", partitions=3)])
    ...     admin.list_topics()
    ['orders', 'payments']

    Threads: any. Source: Kafka ``org.apache.kafka.clients.admin.Admin``.
    """

    def __init__(self, broker: Broker) -> None:
        check_broker("Admin", broker)
        self._broker = broker
        self._closed = False

    def __repr__(self) -> str:
        return f"<Admin of {self._broker!r}{', closed' if self._closed else ''}>"

    # ---- topics

    def create_topics(
        self, topics: Iterable[NewTopic | str], *, validate_only: bool = False
    ) -> dict[str, TopicDescription]:
        """Create topics and describe them, by name; a bare name means the broker's defaults.

        *validate_only* looks for errors, describes what would be, and creates nothing. Raises, for
        the first topic that failed, what `Broker.create_topic` raises (REC-5, REC-11).
        """
        registry = self._use().topic_registry

        def create(new: NewTopic) -> TopicDescription:
            return registry.create(
                new.name,
                new.partitions,
                new.replication_factor,
                new.configs,
                validate_only=validate_only,
            )

        return for_each({new.name: new for new in new_topics(topics)}, create)

    def delete_topics(self, topics: Iterable[str]) -> None:
        """Delete topics with all their records. Raises `UnknownTopicOrPartitionError`,
        `PolicyViolationError` for the broker's own topics.
        """
        broker = self._use()
        for_each({name: name for name in topic_names(topics)}, broker.delete_topic)

    def describe_topics(self, topics: Iterable[str] | None = None) -> dict[str, TopicDescription]:
        """Return the descriptions of *topics* by name; None means all that `list_topics` lists.

        Raises `UnknownTopicOrPartitionError` if one does not exist.
        """
        broker = self._use()
        names = broker.topics() if topics is None else topic_names(topics)
        return for_each({name: name for name in names}, broker.describe_topic)

    def list_topics(self, *, include_internal: bool = False) -> list[str]:
        """Return the topic names, sorted; the broker's own only with *include_internal*."""
        return self._use().topics(include_internal=include_internal)

    def create_partitions(self, totals: Mapping[str, int], *, validate_only: bool = False) -> None:
        """Let each topic have the total number of partitions given, more than now (REC-11).

        Raises `InvalidPartitionsError`, `UnknownTopicOrPartitionError`, or `PolicyViolationError` for
        ``__consumer_offsets``.
        """
        registry = self._use().topic_registry
        for_each(
            {
                name: (name, total)
                for name, total in mapping(
                    "topic names to total numbers of partitions", totals
                ).items()
            },
            lambda item: registry.grow(*item, validate_only=validate_only),
        )

    # ---- records

    def list_offsets(
        self,
        partitions: Mapping[TopicPartition, OffsetSpec | int],
        *,
        isolation_level: Isolation | str = Isolation.READ_UNCOMMITTED,
    ) -> dict[TopicPartition, ListedOffset | None]:
        """Return the offset that each `OffsetSpec`, or timestamp in ms, stands for (TIM-1, TIM-2).

        None where no record fits. Raises `InvalidRequestError` for a negative number that is no
        `OffsetSpec`, `UnknownTopicOrPartitionError`, ValueError for no `Isolation`.
        """
        broker = self._use()
        level = isolation(isolation_level)

        def look_up(item: tuple[TopicPartition, int]) -> ListedOffset | None:
            (topic, number), spec = item
            return _list_offset(broker.partition(topic, number), spec, level)

        wanted = numbers_by_partition("an OffsetSpec or timestamp in ms", partitions)
        return for_each({tp: (tp, spec) for tp, spec in wanted.items()}, look_up)

    def delete_records(self, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Delete what is below the offset of each partition, -1 meaning all that is readable; return
        the new log starts. Readers see it at once, files go with the next retention run (RET-9).

        Raises `OffsetOutOfRangeError` above the high watermark, `PolicyViolationError` where
        ``cleanup_policy`` lacks ``delete``, `UnknownTopicOrPartitionError`.
        """
        broker = self._use()

        def delete(item: tuple[TopicPartition, int]) -> int:
            (topic, number), offset = item
            return broker.partition(topic, number).delete_records(offset)

        wanted = numbers_by_partition("an offset", offsets)
        return for_each({tp: (tp, offset) for tp, offset in wanted.items()}, delete)

    # ---- configuration

    def describe_configs(
        self, resources: Iterable[ConfigResource | str]
    ) -> dict[ConfigResource, dict[str, ConfigEntry]]:
        """Return every key of each resource with its value and where that comes from.

        A bare name means a topic; the broker's name is its number. Raises
        `UnknownTopicOrPartitionError`, or `InvalidRequestError` for another broker.
        """
        broker = self._use()

        def describe(resource: ConfigResource) -> dict[str, ConfigEntry]:
            if resource.type is ConfigResourceType.TOPIC:
                return topic_entries(broker.topic(resource.name), broker.config)
            if resource.name != str(broker.config.broker_id):
                raise InvalidRequestError(
                    f"{resource}: expected this broker's number, {broker.config.broker_id}"
                )
            return broker_entries(broker.config)

        wanted = [config_resource(resource) for resource in several(resources)]
        return for_each({resource: resource for resource in wanted}, describe)

    def incremental_alter_configs(
        self,
        changes: Mapping[ConfigResource | str, Iterable[AlterConfigOp]],
        *,
        validate_only: bool = False,
    ) -> None:
        """Apply the changes to each topic, all of a topic's or none; in force at once.

        Raises `InvalidConfigurationError`, `InvalidRequestError` for a key named twice or a broker,
        whose configuration is fixed when it opens, `UnknownTopicOrPartitionError`,
        `PolicyViolationError` for the retention of the broker's own topics. Source: KIP-339.
        """
        registry = self._use().topic_registry

        def alter(item: tuple[ConfigResource, list[AlterConfigOp]]) -> None:
            resource, operations = item
            if resource.type is not ConfigResourceType.TOPIC:
                raise InvalidRequestError(
                    f"{resource}: expected a topic; a broker's configuration is fixed when it opens"
                )
            registry.change_configs(
                resource.name,
                lambda topic: altered_topic_configs(topic, operations),
                validate_only=validate_only,
            )

        wanted = {}
        for name, operations in mapping("topic names to lists of AlterConfigOp", changes).items():
            resource = config_resource(name)
            wanted[resource] = resource, config_changes(resource, operations)
        for_each(wanted, alter)

    # ---- groups

    def list_consumer_groups(
        self, *, states: Iterable[GroupState | str] | None = None
    ) -> list[ConsumerGroupListing]:
        """Return every group by name, also those that have nothing but offsets; only those in one of
        *states*, which may be their values such as ``"stable"``, when given. Reads all of
        ``__consumer_offsets`` at the first call (KIP-518).
        """
        broker = self._use()
        wanted = None if states is None else group_states(states)
        listed = broker.group_coordinator.list_groups()
        return [one for one in listed if wanted is None or one.state in wanted]

    def describe_consumer_groups(
        self, group_ids: Iterable[str]
    ) -> dict[str, ConsumerGroupDescription]:
        """Return the groups with members, assignments, offsets and lag, by name.

        Raises `GroupIdNotFoundError` (KIP-1043).
        """
        coordinator = self._use().group_coordinator
        return for_each({name: name for name in groups(group_ids)}, coordinator.describe)

    def delete_consumer_groups(self, group_ids: Iterable[str]) -> None:
        """Delete groups and all they committed. Raises `GroupNotEmptyError` for one with members,
        `GroupIdNotFoundError` (GRP-12).
        """
        coordinator = self._use().group_coordinator
        for_each({name: name for name in groups(group_ids)}, coordinator.delete)

    def list_consumer_group_offsets(
        self, group_id: str, partitions: Iterable[TopicPartition] | None = None
    ) -> dict[TopicPartition, OffsetAndMetadata | None]:
        """Return what the group committed: of *partitions*, None for nothing, or all there is.

        An unknown group has committed nothing, as in Kafka.
        """
        coordinator = self._use().group_coordinator
        check_group_id(group_id)
        if partitions is None:
            return dict(coordinator.fetch_all_offsets(group_id))
        return coordinator.fetch_offsets(group_id, to_partitions(partitions))

    def alter_consumer_group_offsets(
        self, group_id: str, offsets: Mapping[TopicPartition, OffsetAndMetadata | int]
    ) -> None:
        """Commit *offsets* for a group without members, all or none; creates the group.

        Raises `UnknownMemberIdError` while it has members (CON-12), `UnknownTopicOrPartitionError`,
        `OffsetMetadataTooLargeError`.
        """
        alter_offsets(self._use(), check_group_id(group_id), offsets)

    def reset_consumer_group_offsets(
        self,
        group_id: str,
        to: ResetTo,
        partitions: Iterable[TopicPartition | str] | None = None,
        *,
        dry_run: bool = False,
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        """Let a group without members go on elsewhere; return where, sorted by partition.

        *partitions* holds partitions, or topics by name; None means every topic that the group
        committed anything of. *dry_run* changes nothing. All or none. Raises `GroupNotEmptyError`,
        `GroupIdNotFoundError` for an unknown group without *partitions*,
        `UnknownTopicOrPartitionError`, and what *to* says. Source: ``kafka-consumer-groups
        --reset-offsets``; CLI-3.
        """
        return reset_offsets(self._use(), check_group_id(group_id), to, partitions, dry_run=dry_run)

    def delete_consumer_group_offsets(
        self, group_id: str, partitions: Iterable[TopicPartition]
    ) -> None:
        """Forget what the group committed of *partitions*, all or none (KIP-496).

        Raises `GroupSubscribedToTopicError` while a member wants one of the topics,
        `GroupIdNotFoundError`.
        """
        coordinator = self._use().group_coordinator
        coordinator.delete_offsets(check_group_id(group_id), to_partitions(partitions))

    # ---- end

    def close(self) -> None:
        """Refuse further use. The broker stays open. Closing again changes nothing."""
        self._closed = True

    def __enter__(self) -> Admin:
        self._use()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _use(self) -> Broker:
        if self._closed:
            raise ClosedError("the admin client is closed")
        self._broker.check_open()
        return self._broker


def _list_offset(
    partition: Partition, spec: OffsetSpec | int, isolation: Isolation
) -> ListedOffset | None:
    if spec == OffsetSpec.LATEST:
        end_offset = partition.end_offset(isolation)
        return ListedOffset(end_offset, leader_epoch=partition.leader_epoch)
    if spec in (OffsetSpec.EARLIEST, OffsetSpec.EARLIEST_LOCAL):
        start = partition.log_start_offset
        return ListedOffset(start, leader_epoch=partition.epoch_at(start))
    if spec == OffsetSpec.LATEST_TIERED:
        return None
    if spec == OffsetSpec.MAX_TIMESTAMP:
        found = partition.offset_of_max_timestamp(isolation)
    elif spec < 0:
        raise InvalidRequestError(
            f"{partition.topic_partition}: expected an OffsetSpec or a timestamp of 0 or later, "
            f"found {spec}"
        )
    else:
        found = partition.offset_for_timestamp(spec, isolation)
    if found is None:
        return None
    return ListedOffset(found.offset, found.timestamp_ms, found.leader_epoch)
