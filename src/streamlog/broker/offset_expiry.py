"""Forgetting offsets that nobody has needed for long: a handler that reads the group.

As everywhere in the coordinator it changes nothing: it returns records. Source: Kafka
``OffsetMetadataManager.cleanupExpiredOffsets``, ``GroupMetadataManager.maybeDeleteGroup``; GRP-12.
"""

from __future__ import annotations

from streamlog.broker.classic.consumer_members import wanted_topics
from streamlog.broker.classic.state import ClassicState
from streamlog.broker.group import Group
from streamlog.broker.group_records import (
    GroupEpoch,
    GroupRecord,
    GroupTombstone,
    OffsetCommit,
    OffsetTombstone,
)


def handle_expiry(group: Group, now_ms: int, retention_ms: int) -> list[GroupRecord]:
    """Return what forgets the offsets that have been useless for *retention_ms* (wall clock).

    * While the group has members: those of topics that no member wants, that long after their commit.
    * Without members: all, that long after the last member left, or after their commit if that was
      later. A group that nobody ever joined has the commits alone.

    A group without members that has nothing left goes as well. One whose process died has no moment at
    which its last member left: it is the first look at it from then on, and is stored.
    """
    group_id = group.group_id
    if group.member_count:
        return [
            OffsetTombstone(group_id, commit.topic_partition)
            for commit in _unwanted(group)
            if now_ms - commit.commit_timestamp_ms >= retention_ms
        ]
    is_used = group.epoch > 0
    if is_used and group.offsets and group.empty_since_ms is None:
        return [GroupEpoch(group_id, group.epoch, now_ms)]
    empty_since_ms = group.empty_since_ms or 0
    records: list[GroupRecord] = [
        OffsetTombstone(group_id, topic_partition)
        for topic_partition, commit in group.offsets.items()
        if now_ms - max(commit.commit_timestamp_ms, empty_since_ms) >= retention_ms
    ]
    if is_used and not group.pending and len(records) == len(group.offsets):
        records.append(GroupTombstone(group_id))
    return records


def _unwanted(group: Group) -> list[OffsetCommit]:
    """Return the commits for topics that no member of the group wants; none while that may change, or where nobody can
    tell what members want.
    """
    topics: frozenset[str] = frozenset()
    classic = group.classic
    if classic is not None and classic.members:
        if classic.state is not ClassicState.STABLE:
            return []
        for member in classic.members.values():
            wanted = wanted_topics(classic, member)
            if wanted is None:
                return []
            topics |= wanted
    else:
        topics = topics.union(*(member.topics for member in group.members.values()))
    return [one for one in group.offsets.values() if one.topic_partition.topic not in topics]
