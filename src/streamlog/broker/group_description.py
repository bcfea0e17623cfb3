"""What is told about a group to those outside of it."""

from __future__ import annotations

import attrs

from streamlog.broker.group import GroupState
from streamlog.broker.group_member import MemberState
from streamlog.structs import TopicPartition


@attrs.frozen
class ConsumerGroupListing:
    """One line of ``Admin.list_consumer_groups``. Source: Kafka ``GroupListing``."""

    group_id: str
    state: GroupState
    is_simple: bool
    """Whether nobody ever joined it: offsets were committed by consumers that use ``assign``."""


@attrs.frozen
class MemberDescription:
    """One member as its group knows it. Source: Kafka ``MemberDescription``."""

    member_id: str
    client_id: str
    group_instance_id: str | None
    """Of a static member."""
    epoch: int
    """The group epoch whose target it works with (NGP-3); in a classic group the generation."""
    state: MemberState | None
    """How far it is on the way; None in a classic group, where all go together."""
    topics: tuple[str, ...]
    """The topics it wants, sorted; a pattern is resolved."""
    assignment: tuple[TopicPartition, ...]
    """What it may read now, sorted."""
    target_assignment: tuple[TopicPartition, ...]
    """What it is on the way to, sorted."""


@attrs.frozen
class GroupOffset:
    """How far a group is in one partition, as ``kafka-consumer-groups --describe`` shows it (CLI-3)."""

    topic_partition: TopicPartition
    committed_offset: int | None
    """The next offset to read; None where nothing was committed."""
    log_end_offset: int
    lag: int | None
    """Records between the two; None where nothing was committed. What a topic's start moved past counts
    as read, so lag is never more than there are records."""
    member_id: str | None
    """Who reads the partition now, if anybody."""


@attrs.frozen
class ConsumerGroupDescription:
    """A group at one moment: later changes do not show. Source: Kafka ``ConsumerGroupDescription``."""

    group_id: str
    state: GroupState
    epoch: int
    """The group's generation."""
    is_simple: bool
    protocol: str
    """``"consumer"`` or ``"classic"``, the group protocol."""
    assignor: str | None
    """Who shares partitions out; None where nobody has yet."""
    members: tuple[MemberDescription, ...]
    """By member id."""
    offsets: tuple[GroupOffset, ...]
    """Every partition that was committed or is being read, in order."""

    @property
    def lag(self) -> int:
        """The lag of all partitions where something was committed."""
        return sum(offset.lag or 0 for offset in self.offsets)
