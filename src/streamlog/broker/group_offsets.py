"""Committing and looking up a group's offsets: handlers that read the group and return what changes.

Source: Kafka ``OffsetMetadataManager``; CON-9, CON-11, CON-12.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from streamlog.broker.classic.checks import check_member
from streamlog.broker.classic.state import COMMIT_REFUSALS, TRANSACTION_REFUSALS
from streamlog.broker.group import Group
from streamlog.broker.group_records import OffsetCommit
from streamlog.broker.static_membership import stale_epoch
from streamlog.errors import (
    IllegalGenerationError,
    OffsetMetadataTooLargeError,
    StaleMemberEpochError,
    UnknownMemberIdError,
    UnstableOffsetCommitError,
)
from streamlog.structs import OffsetAndMetadata, TopicPartition

_new_tuple = tuple.__new__

NO_MEMBER = ""
"""Member id of a commit by someone who is in no group, such as a consumer using ``assign``."""


def check_committer(
    group: Group,
    member_id: str,
    member_epoch: int,
    instance_id: str | None = None,
    in_transaction: bool = False,
) -> None:
    """Raise unless this member, in this epoch, may commit for *group*.

    Raises `UnknownMemberIdError` for a stranger while the group has members (CON-12) and for a member
    that left or was evicted, `StaleMemberEpochError` for an epoch that is over (NGP-4); in a classic
    group `IllegalGenerationError`, `FencedInstanceIdError`, and `RebalanceInProgressError` while the
    assignment is being made (GRP-8).

    With *in_transaction* that last one is not raised, and someone who gives nothing but the name of the group
    may commit at any time. Source: Kafka ``ClassicGroup.validateOffsetCommit``.
    """
    if member_epoch < 0:
        if not group.member_count:
            return  # whatever name it gives: nobody can be meant
        if member_id == NO_MEMBER:
            if in_transaction and instance_id is None:
                return
            raise UnknownMemberIdError(
                f"group {group.group_id!r}: a commit from outside is accepted only while the group "
                f"has no members, found {group.member_count}"
            )
    if group.classic is not None:
        refusals = TRANSACTION_REFUSALS if in_transaction else COMMIT_REFUSALS
        check_member(group.classic, member_id, instance_id, member_epoch, refusals)
        return
    member = group.members.get(member_id)
    if member is None:
        raise UnknownMemberIdError(f"group {group.group_id!r}: {member_id!r} is not a member")
    if member.current.epoch != member_epoch:
        stale = StaleMemberEpochError if member.classic is None else IllegalGenerationError
        raise stale(stale_epoch(group, member, member_epoch))


def handle_commit(
    group: Group,
    member_id: str,
    member_epoch: int,
    offsets: Mapping[TopicPartition, OffsetAndMetadata],
    topic_ids: Mapping[str, str],
    now_ms: int,
    metadata_max_bytes: int,
    instance_id: str | None = None,
    in_transaction: bool = False,
) -> list[OffsetCommit]:
    """Return one record for each of *offsets*; all are refused when one is.

    Raises as `check_committer` does, and `OffsetMetadataTooLargeError` (CON-9).
    """
    check_committer(group, member_id, member_epoch, instance_id, in_transaction)
    group_id = group.group_id
    records: list[OffsetCommit] = []
    for topic_partition, position in offsets.items():
        metadata = position.metadata
        # No character takes more than 4 bytes, so a short one needs no encoding to be measured.
        if len(metadata) * 4 > metadata_max_bytes:
            size = len(metadata.encode())
            if size > metadata_max_bytes:
                raise OffsetMetadataTooLargeError(
                    f"group {group_id!r}, {topic_partition}: expected metadata of at most "
                    f"offset_metadata_max_bytes={metadata_max_bytes}, found {size} bytes"
                )
        fields = (
            group_id,
            topic_partition,
            position.offset,
            position.leader_epoch,
            metadata,
            now_ms,
            topic_ids[topic_partition.topic],
        )
        records.append(_new_tuple(OffsetCommit, fields))  # each commit makes one: half the time
    return records


def check_stable(group: Group, partitions: Iterable[TopicPartition]) -> None:
    """Raise `UnstableOffsetCommitError` while an offset of *partitions* depends on a transaction (TXN-7)."""
    unstable = sorted(group.pending.partitions().intersection(partitions))
    if unstable:
        raise UnstableOffsetCommitError(
            f"group {group.group_id!r}, {unstable[0]}: an offset was sent to a transaction that is not "
            "decided yet; try again"
        )


def look_up_offsets(
    group: Group, partitions: Iterable[TopicPartition], topic_ids: Mapping[str, str]
) -> dict[TopicPartition, OffsetAndMetadata | None]:
    """Return what was committed for each of *partitions*, None for nothing.

    A commit made for a deleted topic does not count for a new one of the same name.
    """
    found: dict[TopicPartition, OffsetAndMetadata | None] = {}
    for topic_partition in partitions:
        commit = group.offsets.get(topic_partition)
        if commit is None or commit.topic_id != topic_ids.get(topic_partition.topic):
            found[topic_partition] = None
        else:
            found[topic_partition] = OffsetAndMetadata(
                commit.offset, commit.metadata, commit.leader_epoch
            )
    return found
