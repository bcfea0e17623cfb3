"""Forgetting offsets that nobody has needed for long: a handler that reads the group, and the round through all groups.

As everywhere in the coordinator the handler changes nothing: it returns records. Source: Kafka
``OffsetMetadataManager.cleanupExpiredOffsets``, ``GroupMetadataManager.maybeDeleteGroup``; GRP-12.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

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
from streamlog.errors import ClosedError, StreamlogError

if TYPE_CHECKING:
    from streamlog.broker.group_store import GroupStore
    from streamlog.runtime import Clock
    from streamlog.runtime.threads import Lock

_log = logging.getLogger("streamlog")


class OffsetExpiry:
    """Forgets offsets of all groups of a broker. `GroupCoordinator` makes it and shares its lock; *drop* forgets a group. Threads: any."""

    def __init__(
        self,
        lock: Lock,
        store: GroupStore,
        clock: Clock,
        retention_ms: int,
        drop: Callable[[Group], None],
    ) -> None:
        self._lock = lock
        self._store = store
        self._clock = clock
        self._retention_ms = retention_ms
        self._drop = drop

    def run(self) -> int:
        """Forget what `handle_expiry` names, and return how many; see `GroupCoordinator.expire_offsets`."""
        for home in self._store.homes():
            try:
                with self._lock:
                    self._store.load(home)
            except (StreamlogError, OSError):
                _log.exception("Offsets in %s do not expire", home.topic_partition)
        with self._lock:
            group_ids = sorted(self._store.groups)
        expired = 0
        for group_id in group_ids:
            # One at a time: whoever commits meanwhile waits for one group.
            try:
                with self._lock:
                    expired += self._expire(group_id)
            except ClosedError:
                break
            except (StreamlogError, OSError):
                _log.exception("Offsets of group %r did not expire", group_id)
        return expired

    def _expire(self, group_id: str) -> int:
        group = self._store.groups.get(group_id)
        if group is None:
            return 0
        before = len(group.offsets)
        records = handle_expiry(group, self._clock.time_ms(), self._retention_ms)
        if records:
            self._store.apply(group, records)
        if not group.exists:
            self._drop(group)
        return before - len(group.offsets)


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
        kind = group.stored_type, group.stored_protocol_type
        return [GroupEpoch(group_id, group.epoch, now_ms, *kind)]
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
