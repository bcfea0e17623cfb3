"""Where groups live: in memory, and as records in the partitions of ``__consumer_offsets``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from streamlog.broker.classic.state import ClassicState
from streamlog.broker.group import Group
from streamlog.broker.group_records import (
    STORED_RECORDS,
    GroupRecord,
    OffsetCommit,
    PendingCommit,
    TransactionCompleted,
)
from streamlog.broker.java_hash import partition_for_group
from streamlog.broker.offsets_topic import OFFSETS_TOPIC, encode_record, read_records
from streamlog.errors import (
    StreamlogError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
)
from streamlog.record import build_batch
from streamlog.record.producer_stamp import ProducerStamp

if TYPE_CHECKING:
    from streamlog.broker.broker import Broker
    from streamlog.broker.partition import Partition
    from streamlog.broker.topic import Topic
    from streamlog.record import PendingBatch
    from streamlog.structs import ProducerIdAndEpoch

_OFFSETS_TOPIC_CONFIGS = {"cleanup_policy": "compact", "segment_bytes": 104_857_600}


class GroupStore:
    """The groups of one broker by name, each loaded when it is first asked for.

    * look: `find`, `find_or_create`, `homes`, `load`, ``groups``
    * change: `apply`, `forget`, `forget_unused`
    * transactions: `apply_pending`, `complete_transaction`

    A partition of the offsets topic, the home of its groups, is replayed as a whole when one of them
    is first used, so opening a broker costs nothing however many groups there are. The topic itself
    is created when something is first to be stored.

    Threads: whoever holds the coordinator's lock, except for `homes`. Source: Kafka
    ``CoordinatorRuntime`` and ``GroupMetadataManager.replay``.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._clock = broker.runtime.clock
        self._loaded: set[int] = set()
        # By home: the groups with offsets in transactions, or without any since a moment ago.
        self._in_transactions: dict[int, dict[str, Group]] = {}
        self._stamps: dict[tuple[int, int], ProducerStamp] = {}
        self.groups: dict[str, Group] = {}
        """The groups loaded so far; one that somebody was about to use may be among them, empty."""
        self._homes: dict[str, Partition] = {}
        """Where those of them are that were asked for by name: each commit would look it up twice."""

    def find(self, group_id: str) -> Group:
        """Return the group for a look; nothing is created for one that nobody ever used, and nothing remembered."""
        home = self._home(group_id)
        if home is not None:
            self.load(home)
        return self.groups.get(group_id) or Group(group_id)

    def find_or_create(self, group_id: str) -> Group:
        """Return the group for a change; there is a place to store it from now on."""
        if group_id in self._homes:
            return self.groups[group_id]
        return self._find_in(self.home_or_create(group_id), group_id)

    @contextmanager
    def change(self, group_id: str) -> Iterator[Group]:
        """Give the group for a change. If that is refused, a group that only the request named is forgotten again."""
        group = self.find_or_create(group_id)
        try:
            yield group
        except StreamlogError:
            self.forget_unused(group)
            raise

    def homes(self) -> list[Partition]:
        """Return the partitions of the offsets topic, none before there is any. Threads: any."""
        topic = self._topic()
        return [] if topic is None else topic.partitions

    def load(self, home: Partition) -> None:
        """Replay the partition unless that was done before. Raises `CorruptLogError`."""
        if home.number not in self._loaded:
            # Into the open only when all of it could be read: half a replay would forget commits.
            loaded: dict[str, Group] = {}
            for record in read_records(home):
                if isinstance(record, TransactionCompleted):
                    for one in loaded.values():
                        one.replay(record)
                    continue
                group = loaded.get(record.group_id)
                if group is None:
                    group = loaded[record.group_id] = Group(record.group_id)
                group.replay(record)
            self.groups.update(loaded)
            self._in_transactions[home.number] = {
                group_id: group for group_id, group in loaded.items() if group.pending
            }
            self._loaded.add(home.number)

    def apply(self, group: Group, records: Sequence[GroupRecord]) -> None:
        """Store what must last of *records*, as one batch, then apply all of them.

        Raises what the append raises, such as `DiskFullError`; nothing has changed then.
        """
        keys, values = [], []
        for record in records:
            if isinstance(record, STORED_RECORDS):
                key, value = encode_record(record)
                keys.append(key)
                values.append(value)
        if keys:
            home = self._homes.get(group.group_id) or self.home_or_create(group.group_id)
            home.append(build_batch(values, self._clock.time_ms(), keys))
        group.replay_all(records)

    def apply_pending(
        self, group: Group, producer: ProducerIdAndEpoch, records: list[OffsetCommit]
    ) -> None:
        """Store *records* as part of the producer's transaction, as one batch: they are pending then (TXN-7).

        Raises what the append raises, also because the transaction coordinator refuses; nothing has
        changed then.
        """
        home = self.home_or_create(group.group_id)
        keys, values = zip(*map(encode_record, records), strict=True)
        batch = build_batch(values, self._clock.time_ms(), keys)
        # One for each producer, epoch and home: batches of one producer are numbered there (IDM-1).
        place = home.number, producer.producer_id
        stamp = self._stamps.get(place)
        if stamp is None or stamp.producer_epoch != producer.producer_epoch:
            stamp = ProducerStamp(*producer, is_transactional=True)
            # One that keeps its epoch from one transaction to the next goes on where it was (TXN-11).
            stamp.next_sequence = home.log.next_sequence(*producer)
        batch.stamp = stamp
        pending = [PendingCommit(group.group_id, producer.producer_id, one) for one in records]
        end_offset = home.log_end_offset
        try:
            home.append(batch)
            self._add_pending(home, group, stamp, pending)
        except BaseException:
            # Whatever was raised (Ctrl-C, a failed sync): what is in the log has to be true here.
            if not home.is_refused and home.log_end_offset != end_offset:
                self._add_pending(home, group, stamp, pending)
            raise

    def _add_pending(
        self, home: Partition, group: Group, stamp: ProducerStamp, pending: Sequence[GroupRecord]
    ) -> None:
        self._stamps[home.number, stamp.producer_id] = stamp
        self._in_transactions.setdefault(home.number, {})[group.group_id] = group
        group.replay_all(pending)

    def complete_transaction(self, home: Partition, marker: PendingBatch, committed: bool) -> None:
        """Store the *marker* of a transaction in *home*; what is pending there from its producer counts
        from then on, or is forgotten. Raises what `Partition.append_marker` raises.
        """
        end_offset = home.log_end_offset
        try:
            home.append_marker(marker)
            self._complete(home, marker.producer_id, committed)
        except BaseException:
            if not home.is_refused and home.log_end_offset != end_offset:
                self._complete(home, marker.producer_id, committed)
            raise

    def _complete(self, home: Partition, producer_id: int, committed: bool) -> None:
        in_transactions = self._in_transactions.get(home.number, {})
        for group in list(in_transactions.values()):
            group.replay_all([TransactionCompleted(producer_id, committed)])
            if not group.pending:
                in_transactions.pop(group.group_id, None)
        self._stamps.pop((home.number, producer_id), None)

    def forget(self, group: Group) -> None:
        """Drop a group of which nothing is stored any more."""
        self._homes.pop(group.group_id, None)
        del self.groups[group.group_id]

    def forget_unused(self, group: Group) -> None:
        """Drop a group that a refused request made: strangers may name any number of them."""
        classic = group.classic
        is_idle = classic is None or (
            classic.state is ClassicState.EMPTY and not classic.pending_ids
        )
        if is_idle and not group.exists and self.groups.get(group.group_id) is group:
            self.forget(group)

    def _find_in(self, home: Partition, group_id: str) -> Group:
        self.load(home)
        found = self.groups.get(group_id)
        if found is None:
            found = self.groups[group_id] = Group(group_id)
        self._homes[group_id] = home
        return found

    def home_or_create(self, group_id: str) -> Partition:
        """Return the partition that the group lives in; its topic is created by the first one."""
        home = self._home(group_id)
        if home is not None:
            return home
        try:
            self._broker.create_topic(
                OFFSETS_TOPIC,
                partitions=self._broker.config.offsets_topic_num_partitions,
                configs=_OFFSETS_TOPIC_CONFIGS,
            )
        except TopicAlreadyExistsError:
            pass
        return _home_in(self._broker.topic(OFFSETS_TOPIC), group_id)

    def _home(self, group_id: str) -> Partition | None:
        """Return the partition that holds the group, None before there is any."""
        topic = self._topic()
        return None if topic is None else _home_in(topic, group_id)

    def _topic(self) -> Topic | None:
        try:
            return self._broker.topic(OFFSETS_TOPIC)
        except UnknownTopicOrPartitionError:
            return None


def _home_in(topic: Topic, group_id: str) -> Partition:
    return topic.partitions[partition_for_group(group_id, len(topic.partitions))]
