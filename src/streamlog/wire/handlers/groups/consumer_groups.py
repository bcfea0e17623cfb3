"""ConsumerGroupHeartbeat and ConsumerGroupDescribe: groups under KIP-848."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamlog.broker.group_member import Subscription
from streamlog.broker.group_membership import JOIN_EPOCH, Heartbeat
from streamlog.broker.member_session import RemoteSession
from streamlog.broker.static_membership import LEAVE_FOR_NOW_EPOCH
from streamlog.errors import StreamlogError
from streamlog.structs import TopicPartition
from streamlog.wire.authorized import GROUP, NOT_ASKED
from streamlog.wire.error_codes import (
    INVALID_REGULAR_EXPRESSION,
    INVALID_REQUEST,
    UNSUPPORTED_ASSIGNOR,
    code_of,
)
from streamlog.wire.handlers.groups.looks import state_name
from streamlog.wire.handlers.groups.rebalance import check_group_id
from streamlog.wire.topic_pattern import InvalidTopicPatternError, compile_pattern

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streamlog.broker.topics_snapshot import TopicsSnapshot
    from streamlog.wire.call import Call
    from streamlog.wire.topic_pattern import TopicPattern

_LEAVE_EPOCH = -1
_ASSIGNORS = ("uniform", "range")
#: The version from which members choose their ids.
_OWN_IDS = 1


def handle_heartbeat(call: Call) -> Any:
    """Join (epoch 0), report and learn the assignment, or leave (epoch -1, for a static member that comes back -2); NGP-1.

    The assignment is told when it changed, and to who tells everything about itself. For regular expressions see `compile_pattern`.
    """
    request = call.request
    if found := _what_is_wrong(call):
        code, message = found
        return _refused(call, code, message)
    regex = request.subscribed_topic_regex
    try:
        pattern = compile_pattern(regex) if regex else None
    except InvalidTopicPatternError as error:
        return _refused(
            call, INVALID_REGULAR_EXPRESSION, f"subscribed_topic_regex {regex!r}: {error}"
        )
    try:
        if request.member_epoch < JOIN_EPOCH:
            return _leave(call)
        return _report(call, pattern)
    except (StreamlogError, OSError) as error:
        return _refused(call, code_of(error), str(error))


def _what_is_wrong(call: Call) -> tuple[int, str] | None:
    """Return error code and text for a request that contradicts itself. Source: Kafka
    ``GroupCoordinatorService.throwIfConsumerGroupHeartbeatRequestIsInvalid``.
    """
    request, message = call.request, ""
    is_join = request.member_epoch == JOIN_EPOCH
    if not request.group_id:
        message = "group_id is empty"
    elif not request.member_id and (call.version >= _OWN_IDS or not is_join):
        message = "member_id is empty"
    elif request.instance_id == "":
        message = "instance_id is empty"
    elif request.rack_id == "":
        message = "rack_id is empty"
    elif request.member_epoch < LEAVE_FOR_NOW_EPOCH:
        message = (
            f"member_epoch: expected {LEAVE_FOR_NOW_EPOCH} or more, found {request.member_epoch}"
        )
    elif request.member_epoch == LEAVE_FOR_NOW_EPOCH and request.instance_id is None:
        message = f"member_epoch {LEAVE_FOR_NOW_EPOCH} is for members with an instance_id"
    elif is_join:
        message = _what_join_lacks(request)
    if message:
        return INVALID_REQUEST, message
    if request.server_assignor is not None and request.server_assignor not in _ASSIGNORS:
        return UNSUPPORTED_ASSIGNOR, (
            f"server_assignor: expected one of {', '.join(_ASSIGNORS)}, found {request.server_assignor!r}"
        )
    return None


def _what_join_lacks(request: Any) -> str:
    if request.rebalance_timeout_ms == -1:
        return "a join needs rebalance_timeout_ms"
    if request.topic_partitions is None or request.topic_partitions:
        return "a join needs topic_partitions that are empty"
    if request.subscribed_topic_names is None and request.subscribed_topic_regex is None:
        return "a join needs subscribed_topic_names or subscribed_topic_regex"
    return ""


def _report(call: Call, pattern: TopicPattern | None) -> Any:
    request, broker = call.request, call.broker
    coordinator, config = broker.group_coordinator, broker.config
    is_join = request.member_epoch == JOIN_EPOCH
    topics = coordinator.topics()
    now_ms = broker.runtime.clock.monotonic_ms()
    assignor = request.server_assignor
    if assignor is None and is_join:
        assignor = _ASSIGNORS[0]
    response = coordinator.heartbeat(
        Heartbeat(
            request.group_id,
            request.member_id or coordinator.new_member_id(request.group_id, call.client_id),
            request.member_epoch,
            call.client_id,
            _subscription(call, pattern),
            RemoteSession(
                config.group_consumer_session_timeout_ms, request.rebalance_timeout_ms, now_ms
            ),
            _owned(request, topics),
            assignor,
            request.instance_id,
            client_host=call.client_host,
        )
    )
    tells_all = (
        request.rebalance_timeout_ms != -1
        and request.topic_partitions is not None
        and (
            request.subscribed_topic_names is not None or request.subscribed_topic_regex is not None
        )
    )
    make = call.response
    assignment = None
    if response.has_changed or tells_all:
        assignment = make.Assignment(
            topic_partitions=[
                make.Assignment.TopicPartitions(topic_id=topic_id, partitions=numbers)
                for _, topic_id, numbers in _by_topic(response.assignment, topics)
            ]
        )
    return make(
        member_id=response.member_id,
        member_epoch=response.member_epoch,
        heartbeat_interval_ms=config.group_consumer_heartbeat_interval_ms,
        assignment=assignment,
    )


def _leave(call: Call) -> Any:
    request, coordinator = call.request, call.broker.group_coordinator
    group_id, member_id, instance_id = request.group_id, request.member_id, request.instance_id
    if request.member_epoch == _LEAVE_EPOCH:
        coordinator.remote.leave(group_id, member_id, instance_id)
    else:
        coordinator.remote.check_member(group_id, member_id, instance_id)
        coordinator.leave(group_id, member_id, instance_id)
    return call.response(member_id=member_id, member_epoch=request.member_epoch)


def _refused(call: Call, code: int, message: str) -> Any:
    return call.response(error_code=code, error_message=message)


def _subscription(call: Call, pattern: TopicPattern | None) -> Subscription | None:
    """Return what the member subscribes to from now on, None when it does not say; either half may be left as it was. *pattern* is
    that of the request.
    """
    request = call.request
    names, regex = request.subscribed_topic_names, request.subscribed_topic_regex
    if names is None and regex is None:
        return None
    before = Subscription()
    if names is None or regex is None:
        before = call.broker.group_coordinator.remote.subscription_of(
            request.group_id, request.member_id
        )
    return Subscription(
        before.topics if names is None else frozenset(names),
        before.pattern if regex is None else pattern,
    )


def _owned(request: Any, topics: TopicsSnapshot) -> frozenset[TopicPartition] | None:
    """Return what the member reads; nothing of topics that are gone."""
    if request.topic_partitions is None:
        return None
    names = topics.names_by_id
    return frozenset(
        TopicPartition(names[one.topic_id.hex()], number)
        for one in request.topic_partitions
        if one.topic_id.hex() in names
        for number in one.partitions
    )


def _by_topic(
    partitions: Iterable[TopicPartition], topics: TopicsSnapshot
) -> list[tuple[str, bytes, list[int]]]:
    """Return name, id and partitions of each topic that there is, in order."""
    numbers: dict[str, list[int]] = {}
    for name, number in sorted(partitions):
        if name in topics.facts:
            numbers.setdefault(name, []).append(number)
    return [
        (name, bytes.fromhex(topics.facts[name].topic_id), found) for name, found in numbers.items()
    ]


# ---- looks


def handle_describe(call: Call) -> Any:
    """Return groups under KIP-848 with what their members read, and are to read."""
    wanted = dict.fromkeys(call.request.group_ids)  # an answer may be much longer than the name
    return call.response(groups=[_describe(call, group_id) for group_id in wanted])


def _describe(call: Call, group_id: str) -> Any:
    make, coordinator = call.response.Groups, call.broker.group_coordinator
    topics = coordinator.topics()
    try:
        check_group_id(group_id)
        group = coordinator.remote.describe_consumer(group_id)
    except (StreamlogError, OSError) as error:
        return make(group_id=group_id, error_code=code_of(error), error_message=str(error))
    members = []
    for one in group.members:
        pattern = one.subscription.pattern
        members.append(
            make.Members(
                member_id=one.member_id,
                instance_id=one.instance_id,
                member_epoch=one.current.epoch,
                client_id=one.client_id,
                client_host=one.client_host,
                subscribed_topic_names=sorted(one.subscription.topics),
                subscribed_topic_regex="" if pattern is None else pattern.pattern,
                assignment=_shown(make.Members.Assignment, one.current.assigned, topics),
                target_assignment=_shown(
                    make.Members.TargetAssignment, group.targets[one.member_id], topics
                ),
            )
        )
    return make(
        group_id=group_id,
        group_state=state_name(group.state),
        group_epoch=group.epoch,
        assignment_epoch=group.epoch,
        assignor_name=group.assignor,
        members=members,
        authorized_operations=GROUP if call.request.include_authorized_operations else NOT_ASKED,
    )


def _shown(make: Any, partitions: Iterable[TopicPartition], topics: TopicsSnapshot) -> Any:
    return make(
        topic_partitions=[
            make.TopicPartitions(topic_id=topic_id, topic_name=name, partitions=numbers)
            for name, topic_id, numbers in _by_topic(partitions, topics)
        ]
    )
