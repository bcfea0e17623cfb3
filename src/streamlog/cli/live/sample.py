"""What a broker holds at one moment, in numbers."""

from __future__ import annotations

import attrs

from streamlog.broker.broker import Broker
from streamlog.broker.group import GroupState
from streamlog.errors import StreamlogError
from streamlog.structs import TopicPartition


@attrs.frozen
class TopicSample:
    """One topic."""

    name: str
    partitions: int
    #: The sums over the partitions: records there are, and offsets given out so far.
    records: int
    end_offset: int
    segments: int
    size_bytes: int
    #: Partitions that cannot be used: damaged, or gone while looking.
    refused: int


@attrs.frozen
class GroupSample:
    """One group with its offsets."""

    group_id: str
    #: None where another process has members of it.
    state: str | None
    epoch: int
    committed: dict[TopicPartition, int]
    #: By topic.
    lags: dict[str, int]

    @property
    def lag(self) -> int:
        """Records that the group has still to read, of what it ever committed."""
        return sum(self.lags.values())


@attrs.frozen
class Sample:
    """Everything at one moment."""

    #: Wall clock and monotonic time.
    time_ms: int
    monotonic_ms: float
    topics: dict[str, TopicSample]
    groups: dict[str, GroupSample]


def take_sample(broker: Broker, *, include_internal: bool = False) -> Sample:
    """Look at *broker* now. A topic, group or partition that goes away meanwhile is left out. Raises ClosedError."""
    broker.refresh()
    clock = broker.runtime.clock
    topics = {}
    for name in broker.topics(include_internal=include_internal):
        found = _topic(broker, name)
        if found is not None:
            topics[name] = found
    groups = {}
    for listing in broker.group_coordinator.list_groups():
        try:
            group = broker.group_coordinator.describe(listing.group_id)
        except StreamlogError:
            continue  # deleted meanwhile
        lags: dict[str, int] = {}
        for offset in group.offsets:
            topic = offset.topic_partition.topic
            lags[topic] = lags.get(topic, 0) + (offset.lag or 0)
        committed = {
            offset.topic_partition: offset.committed_offset
            for offset in group.offsets
            if offset.committed_offset is not None
        }
        state = None if group.state is GroupState.UNKNOWN else str(group.state.value)
        groups[group.group_id] = GroupSample(group.group_id, state, group.epoch, committed, lags)
    return Sample(clock.time_ms(), clock.monotonic_ms(), topics, groups)


def _topic(broker: Broker, name: str) -> TopicSample | None:
    records = end_offset = segments = size_bytes = refused = 0
    try:
        partitions = broker.topic(name).partitions
    except StreamlogError:
        return None
    for partition in partitions:
        try:
            end, start = partition.log_end_offset, partition.log_start_offset
            log_segments, log_bytes = len(partition.log.segments), partition.log.size_bytes
        except (StreamlogError, OSError):
            refused += 1
            continue
        records += end - start
        end_offset += end
        segments += log_segments
        size_bytes += log_bytes
    return TopicSample(name, len(partitions), records, end_offset, segments, size_bytes, refused)
