"""The coordinator: runs the handlers of groups one at a time, stores what they decide, wakes members."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from streamlog.broker.classic.bridge import ProtocolBridge
from streamlog.broker.classic.coordinator import ClassicCoordinator
from streamlog.broker.classic.group import ClassicGroup
from streamlog.broker.classic.requests import (
    JoinRequest,
    JoinResponse,
    Reply,
    SyncRequest,
    SyncResponse,
)
from streamlog.broker.group import Group
from streamlog.broker.group_administration import (
    check_exists,
    describe_group,
    handle_delete_group,
    handle_delete_offsets,
    list_group,
    owned_partitions,
)
from streamlog.broker.group_description import ConsumerGroupDescription, ConsumerGroupListing
from streamlog.broker.group_membership import (
    JOIN_EPOCH,
    Heartbeat,
    HeartbeatResponse,
    handle_heartbeat,
    handle_leave,
)
from streamlog.broker.group_offsets import (
    check_committer,
    check_stable,
    handle_commit,
    look_up_offsets,
)
from streamlog.broker.group_records import GroupEpoch, GroupType
from streamlog.broker.group_store import GroupStore
from streamlog.broker.group_timers import GroupTimers
from streamlog.broker.group_topics import GroupTopics
from streamlog.broker.member_memory import MemberMemory
from streamlog.broker.member_watch import MemberWatch
from streamlog.broker.offset_expiry import OffsetExpiry
from streamlog.broker.remote_members import RemoteMembers, resume_session
from streamlog.broker.static_membership import find_static_member, handle_leave_for_now
from streamlog.broker.topic_patterns import TopicPatterns
from streamlog.broker.topics_snapshot import TopicsSnapshot
from streamlog.errors import (
    InvalidProducerEpochError,
    ProducerFencedError,
    StreamlogError,
)
from streamlog.runtime.threads import Lock
from streamlog.structs import OffsetAndMetadata, ProducerIdAndEpoch, TopicPartition

if TYPE_CHECKING:
    from streamlog.broker.broker import Broker
    from streamlog.broker.partition import Partition
    from streamlog.record import PendingBatch

_log = logging.getLogger("streamlog")


class GroupCoordinator:
    """All consumer groups of one broker. Made by the broker; used by consumers and the admin client.

    * membership: `heartbeat`, `leave`; ``remote`` for members elsewhere
    * the classic protocol: `join`, `sync`, `classic_heartbeat`, `classic_leave`
    * offsets: `commit_offsets`, `fetch_offsets`, `fetch_all_offsets`
    * transactions: `commit_transactional_offsets`, `complete_transaction`
    * from outside: `list_groups`, `describe`, `delete`, `delete_offsets`, `expire_offsets`

    A request is handled under one lock: a handler looks at the group and says what changes; what must
    last is appended to ``__consumer_offsets``; then everything is applied. When the append fails
    nothing has changed. `GroupStore` knows where the groups are.

    Lock order: the coordinator's lock, then the transaction coordinator's, then a partition's. Threads: any. Source: Kafka
    ``GroupCoordinatorService`` and ``GroupCoordinatorShard``.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._clock = broker.runtime.clock
        self._lock = Lock()
        self._store = self._new_store(broker)
        self._topics = GroupTopics(broker)
        self._patterns = TopicPatterns(self._lock, self._store, self._topics)
        self._watch = MemberWatch(
            GroupTimers(broker.scheduler, self._lock),
            self._clock,
            broker.config.group_consumer_session_timeout_ms,
            self._remove,
            self._detach,
        )
        self._classic_timers = GroupTimers(broker.scheduler, self._lock)
        self._classic = ClassicCoordinator(
            broker.config,
            self._clock,
            self._classic_timers,
            self._begin_generation,
            self._new_member_id,
        )
        self._bridge = ProtocolBridge(
            self._classic, self._watch, self._heartbeat, self._new_member_id, self._store_classic
        )
        self.remote = RemoteMembers(
            self._lock, self._store, self._clock, self._classic, self._watch, self._remove
        )
        """What members elsewhere need besides, which are known by their requests alone."""
        self._memory = MemberMemory(self._store, self._clock, broker.config, self._drop)
        retention_ms = broker.config.offsets_retention_minutes * 60_000
        self._expiry = OffsetExpiry(self._lock, self._store, self._clock, retention_ms, self._drop)

    def _new_store(self, broker: Broker) -> GroupStore:
        return GroupStore(broker)

    # ---- membership

    def new_member_id(self, group_id: str, client_id: str) -> str:
        """Return a name to join with. A join repeated under it, its answer being lost, makes no second member."""
        with self._lock:
            return self._new_member_id(group_id, client_id)

    def _new_member_id(self, group_id: str, client_id: str) -> str:
        uuid = self._broker.runtime.random.uuid(f"member of {group_id}")
        return f"{client_id or 'consumer-' + group_id}-{uuid}"

    def heartbeat(self, request: Heartbeat) -> HeartbeatResponse:
        """Join the group, or report and learn the assignment; never blocks (NGP-1).

        Raises `UnknownMemberIdError` and `FencedMemberEpochError` (join again), `UnreleasedInstanceIdError`, `FencedInstanceIdError`,
        `GroupIdNotFoundError` for a classic group of another kind, `DiskFullError` when the epoch could not be stored (nothing changed).
        """
        request = self._patterns.prepared(request)
        with self._lock:
            group = self._store.find_or_create(request.group_id)
            if group.classic is not None and request.member_epoch == JOIN_EPOCH:
                self._memory.admit_heartbeat(group, request)  # before the others are disturbed
                self._bridge.to_consumer(group, self._memory.admit_member)
            try:
                return self._heartbeat(group, request)
            except BaseException:
                self._bridge.to_classic_if_alone(group)  # it was not let in
                self._store.forget_unused(group)
                raise

    def _heartbeat(self, group: Group, request: Heartbeat) -> HeartbeatResponse:
        self._memory.admit_heartbeat(group, request)
        old = group.members.get(request.member_id)
        if request.member_epoch == JOIN_EPOCH:
            old = find_static_member(group, request.instance_id) or old
        epoch = group.epoch
        response, records = handle_heartbeat(group, request, self._topics.snapshot())
        if records:
            self._store.apply(group, records)
            member = group.members[request.member_id]
            if group.epoch != epoch or (old and old.current.claimed - member.current.claimed):
                self._wake(group, except_member=request.member_id)
            if request.member_epoch == JOIN_EPOCH:
                self._watch.watch(group, request.member_id)
                if old is not None and old.member_id != request.member_id:
                    self._watch.forget(group.group_id, old.member_id)
                    old.session.notify()
        self._watch.heard(group, request.member_id, request.session)
        return response

    def leave(self, group_id: str, member_id: str, instance_id: str | None = None) -> None:
        """Remove the member; its partitions are free at once. A static one leaves for now, and keeps
        them for ``group_consumer_session_timeout_ms`` (CON-15). Nothing happens when it is no member.
        """
        with self._lock:
            self._leave(self._store.find(group_id), member_id, instance_id)

    def _leave(self, group: Group, member_id: str, instance_id: str | None) -> None:
        if instance_id is None:
            self._remove(group.group_id, member_id)
        else:
            self._detach(group, member_id)

    # ---- the classic protocol

    def join(self, request: JoinRequest, reply: Reply[JoinResponse]) -> None:
        """Join a classic group; *reply* is given when all members have. See `ClassicCoordinator.join`.

        A group whose members speak the other protocol answers at once; see `mixed_group`.
        """
        self._patterns.match_of(request.group_id)
        with self._lock, self._store.change(request.group_id) as group:
            request = resume_session(group, request)
            self._memory.admit_join(group, request)
            if group.members:
                self._bridge.join(group, request, reply)
                return
            classic = group.classic
            if classic is None:
                classic = ClassicGroup(group.group_id, group.epoch)
                # Who names itself cannot be a member yet, and is told so: that changes nothing.
                if not request.member_id:
                    self._classic.check_session_timeout(request)
                    if group.is_consumer:
                        self._store_classic(group, "")
                    group.classic = classic
            self._classic.join(classic, request, reply)

    def sync(self, request: SyncRequest, reply: Reply[SyncResponse]) -> None:
        """Bring or fetch the assignment of a classic group. See `ClassicCoordinator.sync`."""
        with self._lock:
            group = self._store.find(request.group_id)
            self._memory.admit_sync(group, request)
            if group.members:
                self._bridge.sync(group, request, reply)
            else:
                self._classic.sync(self._find_classic(request.group_id), request, reply)

    def classic_heartbeat(
        self, group_id: str, member_id: str, instance_id: str | None, generation: int
    ) -> None:
        """Return while all is well. See `ClassicCoordinator.heartbeat`."""
        with self._lock:
            group = self._store.find(group_id)
            if group.members:
                self._bridge.heartbeat(group, member_id, instance_id, generation)
            else:
                classic = self._find_classic(group_id)
                self._classic.heartbeat(classic, member_id, instance_id, generation)

    def begin_classic_leave(self, group_id: str, member_id: str) -> int | None:
        """Let a member commit before it leaves. See `ClassicCoordinator.begin_leaving`."""
        with self._lock:
            member = self._store.find(group_id).members.get(member_id)
            if member is not None:
                return member.current.epoch
            return self._classic.begin_leaving(self._find_classic(group_id), member_id)

    def classic_leave(self, group_id: str, member_id: str, instance_id: str | None = None) -> None:
        """Leave a classic group; a static member only falls silent. Nothing happens for no member."""
        with self._lock:
            group, classic = self._store.find(group_id), self._find_classic(group_id)
            if member_id in group.members:
                self._leave(group, member_id, instance_id)
            elif instance_id is None:
                self._classic.leave(classic, member_id)
            else:
                self._classic.detach(classic, member_id)

    def topics(self) -> TopicsSnapshot:
        """Return the topics as they are now, to hold subscriptions against."""
        with self._lock:
            return self._topics.snapshot()

    def _find_classic(self, group_id: str) -> ClassicGroup:
        found = self._store.find(group_id).classic
        return ClassicGroup(group_id, 0) if found is None else found

    def _begin_generation(self, group_id: str) -> int:
        """Store the next generation of the group and return it."""
        group = self._store.find_or_create(group_id)
        classic = group.classic
        has_members = classic is not None and bool(classic.members)
        empty_since_ms = None if has_members else self._clock.time_ms()
        protocol_type = "" if classic is None else classic.protocol_type
        epoch = GroupEpoch(
            group_id, group.epoch + 1, empty_since_ms, GroupType.CLASSIC, protocol_type
        )
        self._store.apply(group, [epoch])
        return group.epoch

    def _store_classic(self, group: Group, protocol_type: str) -> None:
        """Store that the group is a classic one from now on, in the epoch it is in."""
        kind = GroupType.CLASSIC, protocol_type
        self._store.apply(
            group, [GroupEpoch(group.group_id, group.epoch, group.empty_since_ms, *kind)]
        )

    # ---- offsets

    def commit_offsets(
        self,
        group_id: str,
        member_id: str,
        member_epoch: int,
        offsets: Mapping[TopicPartition, OffsetAndMetadata],
        instance_id: str | None = None,
    ) -> None:
        """Store *offsets* for the group; they survive the end of the process once this returns.

        All or nothing. Raises as `check_committer` does, `OffsetMetadataTooLargeError`, `UnknownTopicOrPartitionError` for a partition that does not
        exist, `DiskFullError`. Source: Kafka ``OffsetMetadataManager.commitOffset``.
        """
        topic_ids, now_ms = self._topics.ids_of(offsets), self._clock.time_ms()
        metadata_max_bytes = self._broker.config.offset_metadata_max_bytes
        with self._lock, self._store.change(group_id) as group:
            records = handle_commit(
                group,
                member_id,
                member_epoch,
                offsets,
                topic_ids,
                now_ms,
                metadata_max_bytes,
                instance_id,
            )
            self._store.apply(group, records)

    def commit_transactional_offsets(
        self,
        group_id: str,
        member_id: str,
        member_epoch: int,
        instance_id: str | None,
        producer_id: int,
        producer_epoch: int,
        offsets: Mapping[TopicPartition, OffsetAndMetadata],
    ) -> None:
        """Make *offsets* part of the producer's transaction; they count if and when that is committed (TXN-7).

        All or nothing. Raises as `commit_offsets` does, but not for someone who names the group alone, and not
        while assignments are made (GRP-8); `ProducerFencedError` when the producer's epoch is over, and what else `TransactionCoordinator.add_partition` raises. Source: Kafka
        ``GroupCoordinatorService.commitTransactionalOffsets``.
        """
        topic_ids, now_ms = self._topics.ids_of(offsets), self._clock.time_ms()
        metadata_max_bytes = self._broker.config.offset_metadata_max_bytes
        with self._lock, self._store.change(group_id) as group:
            commits = handle_commit(
                group,
                member_id,
                member_epoch,
                offsets,
                topic_ids,
                now_ms,
                metadata_max_bytes,
                instance_id,
                in_transaction=True,
            )
            if not commits:
                return
            try:
                producer = ProducerIdAndEpoch(producer_id, producer_epoch)
                self._store.apply_pending(group, producer, commits)
            except InvalidProducerEpochError as error:
                # Abortable where records are written, the end where a coordinator is asked (TXN-10).
                raise ProducerFencedError(str(error)) from error

    def home_of(self, group_id: str) -> TopicPartition:
        """Return the partition that the group's offsets are stored in; its topic is created by the first one."""
        with self._lock:
            return self._store.home_or_create(group_id).topic_partition

    def complete_transaction(self, home: Partition, marker: PendingBatch, committed: bool) -> None:
        """Write the *marker* of a transaction into *home*, a partition of the offsets topic. What is pending
        there counts at the same moment, or is forgotten. Internal: the transaction coordinator.
        """
        with self._lock:
            self._store.complete_transaction(home, marker, committed)

    def fetch_offsets(
        self,
        group_id: str,
        partitions: Iterable[TopicPartition],
        *,
        require_stable: bool = False,
    ) -> dict[TopicPartition, OffsetAndMetadata | None]:
        """Return the committed offset of each of *partitions*, None where there is none (CON-9).

        With *require_stable* raises `UnstableOffsetCommitError` (retriable) while a transaction that is
        not decided has an offset of one of them (TXN-7).
        """
        wanted = list(partitions)
        topic_ids = self._topics.existing_ids_of(wanted)
        with self._lock:
            group = self._store.find(group_id)
            if require_stable and group.pending:
                check_stable(group, wanted)
            return look_up_offsets(group, wanted, topic_ids)

    def fetch_all_offsets(self, group_id: str) -> dict[TopicPartition, OffsetAndMetadata]:
        """Return every committed offset of the group, sorted by partition; nothing of deleted topics."""
        with self._lock:
            return self._all_offsets(self._store.find(group_id))

    def check_committer(
        self, group_id: str, member_id: str, member_epoch: int, instance_id: str | None = None
    ) -> None:
        """Raise what `commit_offsets` would raise for this member, committing nothing."""
        with self._lock:
            check_committer(self._store.find(group_id), member_id, member_epoch, instance_id)

    # ---- from outside

    def list_groups(self) -> list[ConsumerGroupListing]:
        """Return every group that has members, offsets or a past, by name."""
        with self._lock:
            for home in self._store.homes():
                self._store.load(home)
            return self._listed()

    def _listed(self) -> list[ConsumerGroupListing]:
        groups = sorted(self._store.groups.items())
        return [list_group(group) for _, group in groups if group.exists]

    def describe(self, group_id: str) -> ConsumerGroupDescription:
        """Return the group with its members, offsets and lag. Raises `GroupIdNotFoundError`."""
        with self._lock:
            group = self._store.find(group_id)
            check_exists(group)
            committed = self._all_offsets(group)
            bounds = {}
            for topic_partition in sorted({*committed, *owned_partitions(group)}):
                try:
                    partition = self._broker.partition(*topic_partition)
                    bounds[topic_partition] = partition.log_start_offset, partition.high_watermark
                except StreamlogError:
                    continue  # deleted meanwhile, or damaged: there is no lag to tell
            return describe_group(group, committed, bounds)

    def delete(self, group_id: str) -> None:
        """Forget the group and its offsets. Raises `GroupIdNotFoundError`, `GroupNotEmptyError`."""
        with self._lock:
            group = self._store.find(group_id)
            records = handle_delete_group(group)
            self._store.apply(group, records)
            self._drop(group)

    def delete_offsets(self, group_id: str, partitions: Iterable[TopicPartition]) -> None:
        """Forget the group's offsets of *partitions*, all or none. Raises `GroupIdNotFoundError`,
        `GroupSubscribedToTopicError`.
        """
        with self._lock:
            group = self._store.find(group_id)
            records = handle_delete_offsets(group, partitions)
            self._store.apply(group, records)

    def expire_offsets(self) -> int:
        """Forget the offsets of all groups that `handle_expiry` names (GRP-12), and return how many.

        What fails, such as reading a damaged partition, is logged and stops nothing else. Loads all groups.
        """
        return self._expiry.run()

    def _drop(self, group: Group) -> None:
        """Forget a deleted group: a rebalance that is to be tried again would bring it back."""
        if group.classic is not None:
            self._classic.give_up(group.classic)
        self._store.forget(group)

    # ---- the end

    def close(self) -> None:
        """Stop watching members. The broker closes its clients first, so there should be none."""
        with self._lock:
            self._watch.close()
            self._classic_timers.close()

    def _all_offsets(self, group: Group) -> dict[TopicPartition, OffsetAndMetadata]:
        wanted = sorted(group.offsets)
        found = look_up_offsets(group, wanted, self._topics.existing_ids_of(wanted))
        return {tp: position for tp, position in found.items() if position is not None}

    # ---- members

    def _remove(self, group_id: str, member_id: str) -> None:
        group = self._store.find(group_id)
        if member_id in group.members and self._bridge.to_classic_if_alone(group, member_id):
            return
        records = handle_leave(group, member_id, self._topics.snapshot(), self._clock.time_ms())
        if records:
            self._store.apply(group, records)
            self._wake(group)
        # Not before: of a member that could not be removed (full disk, Ctrl-C) somebody has to take care.
        self._watch.forget(group_id, member_id)

    def _detach(self, group: Group, member_id: str) -> None:
        if member_id in group.members:
            self._watch.await_return(group, member_id)
            group.replay_all(handle_leave_for_now(group, member_id))
            self._wake(group, except_member=member_id)

    def _wake(self, group: Group, except_member: str = "") -> None:
        """Tell the members for whom a heartbeat may now change something."""
        for member in group.members.values():
            if member.member_id != except_member and not group.is_settled(member):
                member.session.notify()

    def _check(self) -> None:
        """Assert what holds while no call is under way. For tests."""
        assert not self._lock.locked()
        watched, groups = set(), self._store.groups
        for group_id, group in groups.items():
            assert group_id == group.group_id
            group._check()
            watched |= {(group_id, member_id) for member_id in group.members}
        assert watched == self._watch.watched, "every member is watched, nobody else"
        self._classic._check([one.classic for one in groups.values() if one.classic is not None])
