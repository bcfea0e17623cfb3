"""Groups seen from outside: the part of the admin client that changes their offsets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.broker.group_offsets import NO_MEMBER
from streamlog.client.commits import to_offsets
from streamlog.client.membership import NO_EPOCH
from streamlog.client.partition_arguments import to_partitions
from streamlog.client.reset_to import ResetTo
from streamlog.errors import GroupIdNotFoundError, GroupNotEmptyError
from streamlog.structs import OffsetAndMetadata, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from streamlog.broker.broker import Broker


def alter_offsets(
    broker: Broker,
    group_id: str,
    offsets: Mapping[TopicPartition, OffsetAndMetadata | int],
) -> None:
    """Commit *offsets* for a group without members; see `Admin.alter_consumer_group_offsets`."""
    wanted = to_offsets(offsets)
    coordinator = broker.group_coordinator
    if wanted:
        coordinator.commit_offsets(group_id, NO_MEMBER, NO_EPOCH, wanted)
    else:
        coordinator.check_committer(group_id, NO_MEMBER, NO_EPOCH)


def reset_offsets(
    broker: Broker,
    group_id: str,
    to: ResetTo,
    partitions: Iterable[TopicPartition | str] | None,
    *,
    dry_run: bool,
) -> dict[TopicPartition, OffsetAndMetadata]:
    """Return where the group goes on, and commit that; see `Admin.reset_consumer_group_offsets`."""
    if not isinstance(to, ResetTo):
        raise TypeError(f"to: expected a ResetTo such as ResetTo.earliest(), found {to!r:.80}")
    coordinator = broker.group_coordinator
    committed = coordinator.fetch_all_offsets(group_id)
    try:
        members = coordinator.describe(group_id).members
    except GroupIdNotFoundError:
        # As with Kafka's tool: a group is prepared before its first consumer starts.
        if partitions is None:
            raise
    else:
        if members:
            raise GroupNotEmptyError(
                f"group {group_id!r}: expected no members while its offsets are reset, "
                f"found {len(members)}"
            )
    now_ms = broker.runtime.clock.time_ms()
    offsets = {}
    for topic_partition in _chosen(broker, committed, partitions):
        position = committed.get(topic_partition)
        offset = to.offset_in(
            broker.partition(*topic_partition),
            None if position is None else position.offset,
            now_ms,
        )
        offsets[topic_partition] = OffsetAndMetadata(offset)
    if not dry_run and offsets:
        alter_offsets(broker, group_id, offsets)
    return offsets


def _chosen(
    broker: Broker,
    committed: Iterable[TopicPartition],
    partitions: Iterable[TopicPartition | str] | None,
) -> list[TopicPartition]:
    """Return the partitions meant, sorted: a name stands for all of a topic's, None for all of those
    topics that something is committed of.
    """
    if partitions is None:
        partitions = {topic_partition.topic for topic_partition in committed}
    elif isinstance(partitions, (str, TopicPartition)):
        partitions = [partitions]
    chosen: set[TopicPartition] = set()
    for one in partitions:
        if isinstance(one, str):
            count = len(broker.topic(one).partitions)
            chosen.update(TopicPartition(one, number) for number in range(count))
        else:
            chosen.update(to_partitions([one]))
    return sorted(chosen)
