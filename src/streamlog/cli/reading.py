"""What `streamlog consume` reads: which partitions, from where, and when it has read enough."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import attrs

from streamlog.cli.failures import Failure
from streamlog.cli.output import note
from streamlog.client.consumer import Consumer
from streamlog.client.consumer_records import EMPTY, ConsumerRecords
from streamlog.errors import CorruptLogError, StreamlogError
from streamlog.runtime import Signal
from streamlog.structs import OffsetAndMetadata, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamlog.broker.broker import Broker
    from streamlog.structs import ConsumerRecord

EARLIEST = "earliest"
LATEST = "latest"
POLL_MS = 250
"""The longest wait in one go: after it new topics and the time that is left are looked at."""


@attrs.frozen(kw_only=True)
class Wanted:
    """What the options ask for."""

    topics: Sequence[str] = ()
    pattern: re.Pattern[str] | None = None
    """Topics whose whole name matches, in place of `topics`."""
    partitions: Sequence[int] = ()
    """Of the one topic; all of them when empty."""
    start: str | int = LATEST
    """An offset, ``earliest`` or ``latest``."""
    start_ms: int | None = None
    """The first record at or after this time, in place of `start`."""
    max_messages: int | None = None
    timeout_ms: float | None = None
    """How long to wait for the next record before the end."""
    follow: bool = False
    """Whether to wait for more at the end of what there is."""
    skip_on_error: bool = False

    def topic_names(self, broker: Broker) -> list[str]:
        """Return the topics to read now, in order. Raises `UnknownTopicOrPartitionError`."""
        if self.pattern is None:
            return list(self.topics)
        return [name for name in broker.topics() if self.pattern.fullmatch(name)]

    def partitions_of(self, broker: Broker) -> list[TopicPartition]:
        """Return the partitions to read now, in order. Raises `UnknownTopicOrPartitionError`."""
        found: list[TopicPartition] = []
        for topic in self.topic_names(broker):
            there = [info.partition for info in broker.describe_topic(topic).partitions]
            for number in self.partitions or there:
                broker.partition(topic, number)
                found.append(TopicPartition(topic, number))
        return found


class Reading:
    """Takes records from *consumer* until there are enough of them; commits what was printed.

    Each round is `next_records`, then printing, then `printed`. Threads: one.
    """

    def __init__(
        self, broker: Broker, consumer: Consumer, wanted: Wanted, *, commits: bool = False
    ) -> None:
        self._broker = broker
        self._consumer = consumer
        self._wanted = wanted
        self._commits = commits
        self._clock = broker.runtime.clock
        self._ends: dict[TopicPartition, int] = {}
        self._topics_seen = -1
        self._nothing = Signal()
        """What is waited for while there is nothing to read: it never comes, time passes."""
        self._quiet_since_ms = self._clock.monotonic_ms()
        self._uncommitted: dict[TopicPartition, OffsetAndMetadata] = {}
        self.count = self._count_before = 0
        """How many records were printed, in all and before the records of this round."""

    def begin(self) -> None:
        """Find the place to start and, unless it follows, the place to end."""
        ends_of = self._wanted.partitions_of(self._broker)
        if not self._wanted.follow:
            self._ends = self._consumer.end_offsets(ends_of)
        if self._consumer.config.group_id is not None:
            if self._wanted.pattern is not None:
                self._consumer.subscribe(pattern=self._wanted.pattern)
            else:
                self._consumer.subscribe(self._wanted.topics)
            return
        self._assign(ends_of)
        self._topics_seen = self._broker.topic_epoch

    def next_records(self) -> ConsumerRecords | None:
        """Return the records to print next, perhaps none yet; None at the end."""
        wanted = self._wanted
        self._count_before = self.count
        left = None if wanted.max_messages is None else wanted.max_messages - self.count
        if left is not None and left <= 0:
            return None
        if not wanted.follow and self._is_at_end():
            return None
        wait_ms: float = POLL_MS
        if wanted.timeout_ms is not None:
            left_ms = self._quiet_since_ms + wanted.timeout_ms - self._clock.monotonic_ms()
            if left_ms <= 0:
                return None
            wait_ms = min(wait_ms, left_ms)
        self._notice_topics()
        if not self._has_something():
            self._clock.wait_until(lambda: False, self._nothing, wait_ms)
            return EMPTY
        limit = self._consumer.config.max_poll_records
        try:
            return self._consumer.poll(wait_ms, limit if left is None else min(limit, left))
        except CorruptLogError as error:
            self._skip(error)
            return EMPTY

    def printed(self, records: ConsumerRecords, count: int) -> None:
        """Note that the first *count* of *records* were printed: they are what is committed.

        Saying it again, perhaps with another number, replaces what was said of this round.
        """
        if not count:
            return
        self.count = self._count_before + count
        self._quiet_since_ms = self._clock.monotonic_ms()
        if count == len(records):
            self._uncommitted.update(records.next_offsets)
            return
        for record, _ in zip(records, range(count), strict=False):
            self._uncommitted[record.topic_partition] = _after(record)

    def commit(self) -> None:
        """Commit for the group what was printed, if it is to be committed."""
        if self._commits and self._uncommitted:
            # Only what is still assigned: another member may have it, and may be further.
            owned = self._consumer.assignment()
            offsets = {one: at for one, at in self._uncommitted.items() if one in owned}
            self._uncommitted.clear()
            if offsets:
                self._consumer.commit(offsets)

    # ---- where

    def _assign(self, partitions: Sequence[TopicPartition]) -> None:
        wanted = self._wanted
        consumer = self._consumer
        consumer.assign(partitions)
        if not partitions:
            return
        if wanted.start_ms is not None:
            self._seek_to_time(dict.fromkeys(partitions, wanted.start_ms))
        elif isinstance(wanted.start, int):
            for one in partitions:
                self._require_offset(one, wanted.start)
                consumer.seek(one, wanted.start)
        elif wanted.start == EARLIEST:
            consumer.seek_to_beginning(partitions)
        else:
            consumer.seek_to_end(partitions)
        for one in partitions:
            consumer.position(one)  # now, so that what is written from here on is new

    def _require_offset(self, partition: TopicPartition, offset: int) -> None:
        start = self._consumer.beginning_offsets([partition])[partition]
        end = self._consumer.end_offsets([partition])[partition]
        if not start <= offset <= end:
            raise Failure(
                f"partition {partition} has no offset {offset}: it begins with {start} and ends before {end}"
            )

    def _seek_to_time(self, times_ms: Mapping[TopicPartition, int]) -> None:
        for one, found in self._consumer.offsets_for_times(times_ms).items():
            if found is None:
                self._consumer.seek_to_end(one)
            else:
                self._consumer.seek(one, found.offset)

    def _notice_topics(self) -> None:
        """Read topics that are new and match, and partitions that were added, from their start."""
        if self._consumer.config.group_id is not None or self._wanted.partitions:
            return
        if self._broker.topic_epoch == self._topics_seen:
            return
        self._topics_seen = self._broker.topic_epoch
        known = self._consumer.assignment()
        now = self._wanted.partitions_of(self._broker)
        if known == set(now):
            return
        self._consumer.assign(now)
        added = [one for one in now if one not in known]
        if added:
            self._consumer.seek_to_beginning(added)

    def _is_at_end(self) -> bool:
        assigned = self._consumer.assignment()
        if not assigned:
            return not self._ends
        return all(
            self._consumer.position(one) >= self._ends.get(one, 0) for one in sorted(assigned)
        )

    def _has_something(self) -> bool:
        """Return whether the consumer may poll; no topic may match yet."""
        return self._consumer.config.group_id is not None or bool(self._consumer.assignment())

    def _skip(self, error: CorruptLogError) -> None:
        partition, after = error.topic_partition, error.next_good_offset
        if not self._wanted.skip_on_error or partition is None or after is None:
            raise error
        note(f"skipped: {error}")
        try:
            self._consumer.seek(partition, after)
        except StreamlogError as refused:  # taken away by the group since
            raise error from refused


def _after(record: ConsumerRecord) -> OffsetAndMetadata:
    return OffsetAndMetadata(record.offset + 1, leader_epoch=record.leader_epoch)
