"""Groups as they are stored by another process: what they committed, nothing of their members."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NoReturn

from streamlog.broker.classic.requests import (
    JoinRequest,
    JoinResponse,
    Reply,
    SyncRequest,
    SyncResponse,
)
from streamlog.broker.group import Group, GroupState
from streamlog.broker.group_coordinator import GroupCoordinator
from streamlog.broker.group_membership import Heartbeat, HeartbeatResponse
from streamlog.broker.group_records import TransactionCompleted
from streamlog.broker.group_store import GroupStore
from streamlog.broker.offsets_topic import read_records
from streamlog.broker.read_only import refusal
from streamlog.structs import OffsetAndMetadata, TopicPartition

if TYPE_CHECKING:
    from streamlog.broker.broker import Broker
    from streamlog.broker.partition import Partition
    from streamlog.record import PendingBatch
    from streamlog.storage.recovery_report import RecoveryReport


class StoredGroup(Group):
    """A group as it is stored. That it has members is, who they are is not."""

    def __init__(self, group_id: str, report: RecoveryReport) -> None:
        super().__init__(group_id)
        self._report = report

    @property
    def state(self) -> GroupState:
        """Empty, or unknown: once the first member has joined, and before the last one has left.

        A process that closed the directory has taken its members along.
        """
        has_members = self.epoch and self.empty_since_ms is None
        return GroupState.UNKNOWN if has_members and not self._report.clean else GroupState.EMPTY


class ReadOnlyGroupStore(GroupStore):
    """The groups of a directory that another process may be writing: each look replays what was added since the last.

    Threads: as `GroupStore`.
    """

    def __init__(self, broker: Broker) -> None:
        super().__init__(broker)
        self._report = broker.recovery_report
        # By number: the partition that was replayed, up to which offset, and its groups.
        self._replayed: dict[int, tuple[Partition, int, dict[str, Group]]] = {}

    def load(self, home: Partition) -> None:
        """Replay what is new in the partition; all of it when it is another one, or shorter than it was.

        Raises `CorruptLogError`, having changed nothing.
        """
        end_offset = home.high_watermark
        known, start_offset, groups = self._replayed.get(home.number, (home, 0, {}))
        if known is not home or end_offset < start_offset:
            for group_id in groups:
                self.groups.pop(group_id, None)
            start_offset, groups = 0, {}
        if start_offset == end_offset:
            return
        for record in list(read_records(home, start_offset, end_offset)):
            if isinstance(record, TransactionCompleted):
                for one in groups.values():
                    one.replay(record)
                continue
            group = groups.get(record.group_id)
            if group is None:
                group = groups[record.group_id] = StoredGroup(record.group_id, self._report)
            group.replay(record)
        self.groups.update(groups)
        self._replayed[home.number] = home, end_offset, groups


class ReadOnlyGroupCoordinator(GroupCoordinator):
    """A `GroupCoordinator` that shows groups and refuses to change them.

    Members are not stored, so that none is shown, also of a group that has some in the process that writes: its state is unknown.
    Threads: any.
    """

    def _new_store(self, broker: Broker) -> GroupStore:
        return ReadOnlyGroupStore(broker)

    def heartbeat(self, request: Heartbeat) -> HeartbeatResponse:
        """Raise `ReadOnlyError`."""
        self._refuse_to("join or heartbeat", request.group_id)

    def join(self, request: JoinRequest, reply: Reply[JoinResponse]) -> None:
        """Raise `ReadOnlyError`."""
        self._refuse_to("join", request.group_id)

    def sync(self, request: SyncRequest, reply: Reply[SyncResponse]) -> None:
        """Raise `ReadOnlyError`."""
        self._refuse_to("sync", request.group_id)

    def commit_offsets(
        self,
        group_id: str,
        member_id: str,
        member_epoch: int,
        offsets: Mapping[TopicPartition, OffsetAndMetadata],
        instance_id: str | None = None,
    ) -> None:
        """Raise `ReadOnlyError`."""
        self._refuse_to("commit offsets", group_id)

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
        """Raise `ReadOnlyError`."""
        self._refuse_to("commit offsets", group_id)

    def complete_transaction(self, home: Partition, marker: PendingBatch, committed: bool) -> None:
        """Raise `ReadOnlyError`."""
        raise refusal(f"{home.topic_partition}: end a transaction", str(self._broker.path))

    def delete(self, group_id: str) -> None:
        """Raise `ReadOnlyError`."""
        self._refuse_to("delete", group_id)

    def delete_offsets(self, group_id: str, partitions: Iterable[TopicPartition]) -> None:
        """Raise `ReadOnlyError`."""
        self._refuse_to("delete offsets", group_id)

    def expire_offsets(self) -> int:
        """Expire nothing: that is for the process that writes."""
        return 0

    def _refuse_to(self, what: str, group_id: str) -> NoReturn:
        raise refusal(f"group {group_id!r}: {what}", str(self._broker.path))
