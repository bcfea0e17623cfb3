"""OffsetCommit, OffsetFetch and OffsetDelete: what a group has read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamlog.errors import (
    GroupIdNotFoundError,
    IllegalGenerationError,
    StreamlogError,
    UnknownMemberIdError,
    UnstableOffsetCommitError,
)
from streamlog.structs import OffsetAndMetadata, TopicPartition
from streamlog.wire.error_codes import (
    NONE,
    OFFSET_METADATA_TOO_LARGE,
    OFFSET_OUT_OF_RANGE,
    UNSUPPORTED_VERSION,
    code_of,
)
from streamlog.wire.handlers.groups.rebalance import check_group_id

if TYPE_CHECKING:
    from streamlog.wire.call import Call

#: The versions from which an answer has an error of the whole group, and one request asks for several groups.
_GROUP_ERROR, _SEVERAL_GROUPS = 2, 8
#: The version of commits from which members under KIP-848 may use it, and one for a group that does not exist is told so.
_KIP_848 = 9
_NO_OFFSET = -1
_NO_EPOCH = -1


# ---- commits


def handle_commit(call: Call) -> Any:
    """Store offsets; what is wrong with one partition is told for that one, and the others are stored.

    ``retention_time_ms`` of versions 2 to 4 and ``commit_timestamp`` of version 1 count for nothing: all offsets expire by GRP-12.
    """
    codes, offsets = check_commit(call)
    if offsets:
        code = _commit(call, offsets)
        codes.update(dict.fromkeys(offsets, code))
    return commit_response(call, codes)


def _commit(call: Call, offsets: dict[TopicPartition, OffsetAndMetadata]) -> int:
    # The name of the group may be an empty one, as ever.
    request, coordinator = call.request, call.broker.group_coordinator
    try:
        if call.version < _KIP_848 and coordinator.remote.is_modern(
            request.group_id, request.member_id
        ):
            return UNSUPPORTED_VERSION  # it would not understand that its epoch is over
        coordinator.commit_offsets(
            request.group_id,
            request.member_id,
            request.generation_id_or_member_epoch,
            offsets,
            request.group_instance_id,
        )
    except UnknownMemberIdError as error:
        if coordinator.remote.exists(request.group_id):
            return code_of(error)
        is_told = call.version >= _KIP_848
        return GroupIdNotFoundError.code if is_told else IllegalGenerationError.code
    except (StreamlogError, OSError) as error:
        return code_of(error)
    if request.member_id:
        coordinator.remote.heard(request.group_id, request.member_id)
    return NONE


def check_commit(
    call: Call,
) -> tuple[dict[TopicPartition, int], dict[TopicPartition, OffsetAndMetadata]]:
    """Return the error of each partition of a commit that cannot be stored, and what can be."""
    codes: dict[TopicPartition, int] = {}
    offsets: dict[TopicPartition, OffsetAndMetadata] = {}
    limit = call.broker.config.offset_metadata_max_bytes
    for topic in call.request.topics:
        for one in topic.partitions:
            topic_partition = TopicPartition(topic.name, one.partition_index)
            metadata, epoch = one.committed_metadata or "", one.committed_leader_epoch
            try:
                call.broker.partition(*topic_partition)
            except StreamlogError as error:
                codes[topic_partition] = code_of(error)
                continue
            if one.committed_offset < 0:
                codes[topic_partition] = OFFSET_OUT_OF_RANGE
            elif len(metadata.encode()) > limit:
                codes[topic_partition] = OFFSET_METADATA_TOO_LARGE
            else:
                offsets[topic_partition] = OffsetAndMetadata(
                    one.committed_offset, metadata, epoch if epoch >= 0 else None
                )
    return codes, offsets


def commit_response(call: Call, codes: dict[TopicPartition, int]) -> Any:
    """Return the response that has *codes* for the partitions of the request."""
    make = call.response
    return make(
        topics=[
            make.Topics(
                name=topic.name,
                partitions=[
                    make.Topics.Partitions(
                        partition_index=one.partition_index,
                        error_code=codes[TopicPartition(topic.name, one.partition_index)],
                    )
                    for one in topic.partitions
                ],
            )
            for topic in call.request.topics
        ]
    )


# ---- looking them up


def handle_fetch(call: Call) -> Any:
    """Return what was committed for each partition, for all that anything was committed for when no topics are named."""
    request, make = call.request, call.response
    if call.version < _SEVERAL_GROUPS:
        topics, code = _fetch_group(call, request, make.Topics)
        if code and call.version < _GROUP_ERROR:
            topics = _failed(request, make.Topics, code)
        return make(topics=topics, error_code=code)
    groups = []
    # Each once: all that a group committed may be much longer than its name.
    for wanted in {one.group_id: one for one in request.groups}.values():
        topics, code = _fetch_group(call, wanted, make.Groups.Topics)
        groups.append(make.Groups(group_id=wanted.group_id, topics=topics, error_code=code))
    return make(groups=groups)


def _fetch_group(call: Call, wanted: Any, make: Any) -> tuple[list[Any], int]:
    """Return the topics of one group's answer, and the error of all of them."""
    coordinator, group_id = call.broker.group_coordinator, wanted.group_id
    try:
        if call.version > _SEVERAL_GROUPS:
            coordinator.remote.check_epoch(group_id, wanted.member_id, wanted.member_epoch)
        if wanted.topics is None:
            partitions = list(coordinator.fetch_all_offsets(group_id))
        else:
            partitions = [
                TopicPartition(topic.name, number)
                for topic in wanted.topics
                for number in topic.partition_indexes
            ]
        found = _fetch(call, group_id, partitions)
    except (StreamlogError, OSError) as error:
        return [], code_of(error)
    by_topic: dict[str, list[Any]] = (
        {} if wanted.topics is None else {t.name: [] for t in wanted.topics}
    )
    for topic_partition in partitions:
        answer = found[topic_partition]
        one = make.Partitions(
            partition_index=topic_partition.partition,
            committed_offset=_NO_OFFSET,
            committed_leader_epoch=_NO_EPOCH,
            metadata="",
        )
        if isinstance(answer, int):
            one.error_code = answer
        elif answer is not None:
            one.committed_offset, one.metadata = answer.offset, answer.metadata
            if answer.leader_epoch is not None:
                one.committed_leader_epoch = answer.leader_epoch
        by_topic.setdefault(topic_partition.topic, []).append(one)
    return [make(name=name, partitions=found) for name, found in by_topic.items()], NONE


def _failed(wanted: Any, make: Any, code: int) -> list[Any]:
    """Return *code* for each partition: without it nothing would seem to be committed."""
    return [
        make(
            name=topic.name,
            partitions=[
                make.Partitions(
                    partition_index=number,
                    committed_offset=_NO_OFFSET,
                    metadata="",
                    error_code=code,
                )
                for number in topic.partition_indexes
            ],
        )
        for topic in wanted.topics
    ]


def _fetch(
    call: Call, group_id: str, partitions: list[TopicPartition]
) -> dict[TopicPartition, OffsetAndMetadata | int | None]:
    """Return what was committed, None for nothing, and an error for what depends on a transaction if that matters (TXN-7)."""
    fetch, is_strict = call.broker.group_coordinator.fetch_offsets, call.request.require_stable
    try:
        return {**fetch(group_id, partitions, require_stable=is_strict)}
    except UnstableOffsetCommitError:
        pass  # some of them
    found: dict[TopicPartition, OffsetAndMetadata | int | None] = {}
    for topic_partition in partitions:
        try:
            found.update(fetch(group_id, [topic_partition], require_stable=True))
        except UnstableOffsetCommitError as error:
            found[topic_partition] = code_of(error)
    return found


# ---- forgetting them


def handle_delete(call: Call) -> Any:
    """Forget offsets of topics that no member reads."""
    request, make = call.request, call.response
    coordinator = call.broker.group_coordinator
    try:
        check_group_id(request.group_id)
        coordinator.delete_offsets(request.group_id, [])
    except (StreamlogError, OSError) as error:
        return make(error_code=code_of(error))
    answers = []
    for topic in request.topics:
        codes, partitions = {}, []
        for one in topic.partitions:
            topic_partition = TopicPartition(topic.name, one.partition_index)
            try:
                call.broker.partition(*topic_partition)
                partitions.append(topic_partition)
            except StreamlogError as error:
                codes[one.partition_index] = code_of(error)
        code = NONE
        try:
            coordinator.delete_offsets(request.group_id, partitions)
        except (StreamlogError, OSError) as error:
            code = code_of(error)
        answers.append(
            make.Topics(
                name=topic.name,
                partitions=[
                    make.Topics.Partitions(
                        partition_index=one.partition_index,
                        error_code=codes.get(one.partition_index, code),
                    )
                    for one in topic.partitions
                ],
            )
        )
    return make(topics=answers)
