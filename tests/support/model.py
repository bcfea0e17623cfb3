"""What a broker and its clients should be, as lists and dicts: the oracle of `tests.property.test_model`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from streamlog import Consumer, OffsetAndMetadata, RecordFuture, TopicPartition
from streamlog.record import BatchView, build_batch

Content = tuple["bytes | None", "bytes | None", "tuple[Any, ...]"]
"""Value, key and headers of a record."""


@attrs.define(eq=False)
class Sent:
    """One record that was sent and is not known to be in the log yet."""

    topic: str
    content: Content
    timestamp_ms: int
    number: int
    """Counts what one producer sent, so that the order can be checked (I5)."""
    partition: int | None = None
    future: RecordFuture | None = None
    may_fail: bool = False
    """Whether its batch may be refused, because of it or of what it shares the batch with."""

    def size_bytes(self) -> int:
        """Return the size of a batch of this record alone."""
        value, key, headers = self.content
        return build_batch([value], self.timestamp_ms, [key], [headers]).size_bytes


@attrs.frozen
class Stored:
    """One record in the log."""

    content: Content | None
    """None for one that retention deleted before anybody could look."""
    timestamp_ms: int
    epoch: int


@attrs.define(eq=False)
class ModelPartition:
    """A log: the record of each offset from 0 on, also of those that were deleted."""

    records: list[Stored] = attrs.field(factory=list)
    start: int = 0
    epochs: dict[int, int] = attrs.field(factory=lambda: {0: 0})
    """Where each leader epoch begins: power cuts end one and begin another."""

    @property
    def end(self) -> int:
        return len(self.records)

    def end_of_epoch(self, epoch: int | None) -> int | None:
        """Return up to where the log is what a reader of *epoch* knew, None for an epoch it never had (KIP-320)."""
        if epoch is None or epoch == max(self.epochs):
            return self.end
        later = [start for other, start in self.epochs.items() if other > epoch]
        return max(min(later), self.start) if later else None

    def begin_epoch(self, epoch: int) -> None:
        """The next record is the first of *epoch*; one that has no record gives way."""
        if epoch > max(self.epochs):
            self.epochs = {e: start for e, start in self.epochs.items() if start < self.end}
            self.epochs[epoch] = self.end

    def first_at(self, timestamp_ms: int) -> int | None:
        """Return the first offset whose record is not older (TIM-1)."""
        for offset in range(self.start, self.end):
            if self.records[offset].timestamp_ms >= timestamp_ms:
                return offset
        return None

    def greatest(self) -> int | None:
        """Return the first offset of the greatest timestamp (TIM-2)."""
        live = range(self.start, self.end)
        return max(live, key=lambda o: (self.records[o].timestamp_ms, -o), default=None)


@attrs.define(eq=False)
class ModelTopic:
    """A topic with the configuration in force."""

    topic_id: str
    configs: dict[str, Any]
    partitions: list[ModelPartition]

    def largest_batch_bytes(self) -> int:
        return min(self.configs["max_message_bytes"], self.configs["segment_bytes"])

    def takes_timestamp(self, timestamp_ms: int, now_ms: int) -> bool:
        """Whether REC-4 allows it."""
        configs = self.configs
        return configs["message_timestamp_type"] == "LogAppendTime" or (
            now_ms - configs["message_timestamp_before_max_ms"]
            <= timestamp_ms
            <= now_ms + configs["message_timestamp_after_max_ms"]
        )


@attrs.define(eq=False)
class ModelConsumer:
    """A consumer, and where it should be in each assigned partition."""

    consumer: Consumer
    group: str | None
    policy: str
    positions: dict[TopicPartition, int | None] = attrs.field(factory=dict)
    resets: dict[TopicPartition, str] = attrs.field(factory=dict)
    """Seeks to the beginning or end that nobody carried out yet."""
    topic_ids: dict[TopicPartition, str] = attrs.field(factory=dict)
    paused: set[TopicPartition] = attrs.field(factory=set)
    woken: bool = False
    is_explicit: bool = False
    """Whether the user commits right now, not the consumer by itself."""

    @property
    def is_subscribed(self) -> bool:
        return self.consumer._subscription.is_by_group

    def forget(self, partition: TopicPartition) -> None:
        """It is not assigned any more."""
        self.positions.pop(partition, None)
        self.resets.pop(partition, None)
        self.topic_ids.pop(partition, None)
        self.paused.discard(partition)

    def go_to(self, partition: TopicPartition, position: int | None) -> None:
        self.positions[partition] = position
        self.resets.pop(partition, None)


@attrs.define(eq=False)
class Model:
    """Everything that should be there."""

    topics: dict[str, ModelTopic] = attrs.field(factory=dict)
    committed: dict[tuple[str, TopicPartition, str], OffsetAndMetadata] = attrs.field(factory=dict)
    """By group, partition and topic id."""
    history: list[tuple[int, dict[Any, OffsetAndMetadata]]] = attrs.field(factory=lambda: [(0, {})])
    """All that was ever committed, by the end of the log that keeps it: what a power cut may bring back."""
    given: dict[tuple[str, int, int, int], Content] = attrs.field(factory=dict)
    """Every record ever seen, by topic id, partition, offset and leader epoch (I6, I7)."""

    def find(self, partition: TopicPartition) -> ModelPartition | None:
        topic = self.topics.get(partition.topic)
        if topic is None or partition.partition >= len(topic.partitions):
            return None
        return topic.partitions[partition.partition]

    def partitions(self) -> dict[TopicPartition, ModelPartition]:
        return {
            TopicPartition(name, number): partition
            for name, topic in sorted(self.topics.items())
            for number, partition in enumerate(topic.partitions)
        }

    def is_free(self, name: str) -> bool:
        """Whether no other topic's name is too close (REC-5)."""
        close = name.replace(".", "_").lower()
        return all(other.replace(".", "_").lower() != close for other in self.topics)

    def committed_at(self, group: str, partition: TopicPartition) -> OffsetAndMetadata | None:
        topic = self.topics.get(partition.topic)
        return topic and self.committed.get((group, partition, topic.topic_id))

    def commit(
        self, group: str, offsets: Mapping[TopicPartition, OffsetAndMetadata], log_end: int
    ) -> None:
        for partition, offset in offsets.items():
            self.committed[group, partition, self.topics[partition.topic].topic_id] = offset
        self.history.append((log_end, dict(self.committed)))

    def forget_commits(self, group: str, partitions: set[TopicPartition], log_end: int) -> None:
        for key in list(self.committed):
            if key[0] == group and key[1] in partitions:
                del self.committed[key]
        self.history.append((log_end, dict(self.committed)))

    def roll_back_commits(self, log_end: int) -> None:
        """The log that keeps them was cut to *log_end*."""
        self.history = [entry for entry in self.history if entry[0] <= log_end]
        self.committed = dict(self.history[-1][1])

    def store(
        self, topic: ModelTopic, number: int, offset: int, content: Content, view: BatchView
    ) -> None:
        """Take note of what is in the log at *offset*, which must be the next one."""
        partition = topic.partitions[number]
        assert offset == partition.end, "I6: offsets are dense"
        before = self.given.setdefault((topic.topic_id, number, offset, view.leader_epoch), content)
        assert before == content, "I7: one record for each offset and epoch"
        timestamp_ms = view.timestamps_ms()[offset - view.base_offset]
        partition.records.append(Stored(content, timestamp_ms, view.leader_epoch))

    def resolve(self, one: ModelConsumer, partition: TopicPartition, now_ms: int) -> int | None:
        """Return where reading of *partition* begins when nobody said (CON-5)."""
        log = self.find(partition)
        assert log is not None
        asked = one.resets.get(partition)
        if asked is None and one.group is not None:
            committed = self.committed_at(one.group, partition)
            if committed is not None:
                end = log.end_of_epoch(committed.leader_epoch)
                if end is None or (one.policy == "none" and end < committed.offset):
                    return self.reset(one, log, now_ms)
                return min(committed.offset, end)
        return self.reset(one, log, now_ms, asked)

    def reset(
        self, one: ModelConsumer, log: ModelPartition, now_ms: int, asked: str | None = None
    ) -> int | None:
        """Return where the reset policy leads, None for the policy that leads nowhere."""
        policy = asked or one.policy
        if policy == "none":
            return None
        if policy == "earliest":
            return log.start
        if policy.startswith("by_duration"):
            found = log.first_at(max(now_ms - 1000, 0))
            return log.end if found is None else found
        return log.end


def contents(view: BatchView) -> list[Content]:
    """Return what the records of a batch hold."""
    count = view.record_count
    keys, headers = view.keys() or [None] * count, view.headers() or [()] * count
    return list(zip(view.values(), keys, headers, strict=True))
