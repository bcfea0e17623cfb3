"""A program that uses a broker on a disk that may crash at any step, and tells a model what it was promised."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from streamlog import Broker, Durability, Producer, TopicPartition
from streamlog.errors import DiskFullError
from streamlog.record import build_batch, split_batches
from streamlog.testing.crash_images import CrashImage
from tests.crash.crash_session import CrashSession
from tests.crash.group_calls import GroupCalls
from tests.crash.observation import RETENTION_MS, Record, abandon, look_at, open_broker
from tests.crash.oracle import LogModel, Model, TopicModel, Topics, TopicState, violations

TOPIC, OTHER_TOPIC = "t", "u"
_SMALL_SIZES = (1, 20, 100)  # four of them fit a batch of the smallest segment
_MIDDLE_SIZES = (*_SMALL_SIZES, 300, 700)
_SIZES = (*_MIDDLE_SIZES, 4_200)


class Session(CrashSession):
    """One program from its first open to its last step. Every operation is a method; chance chooses its arguments."""

    def __init__(
        self,
        name: str,
        configs: dict[str, Any],
        *,
        partitions: int = 1,
        capacity_bytes: int | None = None,
    ) -> None:
        super().__init__(name, capacity_bytes)
        self.configs = configs
        self.partitions = partitions
        self.model = Model(may_be_full=capacity_bytes is not None)
        self.groups = GroupCalls(self)
        self.broker: Broker
        self.producer: Producer
        self._number = 0
        self.open()

    # ---- opening and ending

    def open(self) -> None:
        self.model.is_closed = False
        self.broker = open_broker(self.disk, self.clock)
        # One retry, and at once: a full disk is for the program to see, and a truncation costs an epoch (IDM-6).
        self.producer = Producer(self.broker, retries=1, retry_backoff_ms=0, retry_backoff_max_ms=0)

    def close(self) -> None:
        self.producer.close()
        self.broker.close()
        self.groups.killed()
        for log in self._logs():
            log.acknowledged(len(log.records), on_disk=True)
        self._commits_are_on_disk()
        self.model.is_closed = True

    def reopen(self) -> None:
        self.close()
        if self._on_step is not None:
            self._on_step("closed")
        self.open()

    def _crash(self, image: CrashImage) -> None:
        callback = self._on_step
        disk = image.filesystem()
        self.disk.on_step = None
        self.disk.switch_off()
        self.broker.scheduler.close()
        abandon(self.broker)
        self.disk = disk
        self.groups.killed()
        self.on_step = callback
        self.power_failed = image.power_failed
        self.open()
        seen = look_at(self.broker)
        found = list(violations(seen, self.model, power_failed=image.power_failed))
        assert not found, f"after {image.description}: {found}"
        for name, topic in self.model.topics.items():
            for log, log_seen in zip(topic.model.logs, seen.topics[name].logs, strict=True):
                log.recovered(log_seen)
            if image.power_failed:
                for group, commits in topic.model.commits.items():
                    commits.recovered(seen.topics[name].committed[group])
            # After a kill all commits are there, and none of them is on the disk for that.
        self.model.generation = seen.generation
        self.model.generation_on_disk = min(self.model.generation_on_disk, seen.generation)
        self.power_failed = False

    # ---- topics

    def create(self) -> None:
        name = TOPIC if TOPIC not in self.model.topics else OTHER_TOPIC
        if name in self.model.topics:
            return
        topic = TopicModel(name, [LogModel() for _ in range(self.partitions)])
        state = TopicState(topic, self.partitions, dict(self.configs))
        self._change_topics({**self.model.topics, name: state})
        self.broker.create_topic(name, partitions=self.partitions, configs=self.configs)
        self._topics_changed()

    def delete(self) -> None:
        name = self._topic()
        if name is not None:
            self._change_topics({n: s for n, s in self.model.topics.items() if n != name})
            self.broker.delete_topic(name)
            self._topics_changed()

    def grow(self) -> None:
        name = self._topic()
        if name is not None:
            state = self.model.topics[name]
            grown = state._replace(partitions=state.partitions + 1)
            state.model.logs.append(LogModel())
            self._change_topics({**self.model.topics, name: grown})
            self.broker.create_partitions(name, grown.partitions)
            self._topics_changed()

    def alter(self) -> None:
        name = self._topic()
        if name is not None:
            state = self.model.topics[name]
            changes = {"retention_bytes": 1_000 + 100 * self._next()}
            altered = state._replace(overrides={**state.overrides, **changes})
            self._change_topics({**self.model.topics, name: altered})
            self.broker.alter_topic_configs(name, changes)
            self._topics_changed()

    def _change_topics(self, topics: Topics) -> None:
        self.model.next_topics = topics

    def _topics_changed(self) -> None:
        assert self.model.next_topics is not None
        self.model.topics, self.model.next_topics = self.model.next_topics, None

    # ---- records

    def send(self) -> None:
        """Send one record through a producer."""
        self._send(1, self.chance.choice(_MIDDLE_SIZES))

    def send_large(self) -> None:
        """Send one record that may be larger than a page."""
        self._send(1, self.chance.choice(_SIZES))

    def send_many(self) -> None:
        """Send a run of records through a producer, which may cut it into batches."""
        self._send(self.chance.randint(2, 4), self.chance.choice(_SMALL_SIZES))

    def append(self) -> None:
        """Append one batch of several records: all of it or nothing."""
        self._send(self.chance.randint(2, 4), self.chance.choice(_SMALL_SIZES), one_batch=True)

    def _send(self, count: int, size: int, *, one_batch: bool = False) -> None:
        found = self._partition()
        if found is None:
            return
        place, log = found
        epoch = self.broker.partition(*place).leader_epoch
        end = len(log.records)
        records: list[Record] = []
        for _ in range(count):
            number = self._next()
            key = b"%d" % (number % 3) if number % 2 else None
            headers = (("h", b"%d" % number),) if count == 1 and number % 5 == 0 else ()
            # Not in order: a time lookup must find the first, not the last.
            timestamp_ms = self.clock.time_ms() - number * 7 % 10
            records.append((epoch, b"%d|" % number + b"." * size, key, timestamp_ms, headers))
        log.sent(records, one_batch=one_batch)
        try:
            last_offset, durability = self._store(place, records, one_batch=one_batch)
        except DiskFullError:
            log.not_sent(end)
            return
        assert last_offset == end + count - 1, (last_offset, end, count)
        log.acknowledged(end + count, on_disk=durability is Durability.DISK)

    def _store(
        self, place: TopicPartition, records: list[Record], *, one_batch: bool
    ) -> tuple[int, Durability]:
        """Return the last offset and what it survives."""
        _, values, keys, timestamps_ms, headers = zip(*records, strict=True)
        if one_batch:
            partition = self.broker.partition(*place)
            first = partition.append(build_batch(values, timestamps_ms, keys=keys))
            return first + len(records) - 1, partition.ack_durability()
        if len(records) == 1:
            future = self.producer.send(
                place.topic,
                values[0],
                key=keys[0],
                headers=headers[0],
                partition=place.partition,
                timestamp_ms=timestamps_ms[0],
            )
        else:
            future = self.producer.send_many(
                place.topic,
                values,
                keys=keys,
                partition=place.partition,
                timestamps_ms=timestamps_ms,
            )
        metadata = future.result()
        return metadata.offset, metadata.durability

    def sync(self) -> None:
        self.broker.sync()
        for log in self._logs():
            log.acknowledged(log.process_end, on_disk=True)
        self._commits_are_on_disk()

    def roll(self) -> None:
        found = self._partition()
        if found is not None:
            self.broker.partition(*found[0]).log.roll()

    def delete_records(self) -> None:
        found = self._partition()
        if found is not None:
            place, log = found
            first = min(log.start_min + 1, log.process_end)
            offset = self.chance.randint(first, log.process_end)
            log.start_max = max(log.start_max, offset)
            self.broker.partition(*place).delete_records(offset)
            log.start_min = max(log.start_min, offset)

    def truncate(self) -> None:
        found = self._partition()
        if found is not None:
            place, log = found
            ends = [e for e in sorted(log.batch_ends) if log.start_min <= e < log.process_end]
            if ends:
                live = self.broker.partition(*place).log
                # Of a run that a producer cut into batches, only the log knows where they begin.
                at = self.chance.choice(ends)
                log.truncating_to = split_batches(live.read(at, 1))[0].base_offset
                live.truncate_to(at)
                log.truncated(live.log_end_offset)

    def retention(self) -> None:
        with _Maintenance(self):
            self.broker.run_maintenance()

    def advance(self) -> None:
        """Let time pass: background syncs, deletions that were delayed, now and then a retention pass."""
        with _Maintenance(self):
            self.clock.advance(self.chance.choice((500, 1_000, 30_000, 70_000)))

    # ---- groups

    def commit(self) -> None:
        name = self._topic()
        if name is not None:
            self.groups.commit(name)

    def commit_as_member(self) -> None:
        name = self._topic()
        if name is not None:
            self.groups.commit_as_member(name)

    def join_classic(self) -> None:
        self.groups.join("classic")

    def join_consumer(self) -> None:
        self.groups.join("consumer")

    def leave(self) -> None:
        self.groups.leave()

    def expire(self) -> None:
        """Let everything that was committed grow too old, and forget what nobody needs."""
        with _Maintenance(self):
            self.clock.advance(RETENTION_MS)
            self.broker.run_maintenance()
            self.groups.end_expiry(is_due=True)

    def _commits_are_on_disk(self) -> None:
        self.model.generation_on_disk = self.model.generation
        for state in self.model.topics.values():
            for commits in state.model.commits.values():
                commits.synced()

    # ---- what there is

    def claims(self) -> None:
        """Take what the logs themselves say is on the disk for as good as an acknowledgement."""
        if self.broker.closed:
            return
        for place, log in self._places():
            # Of a log whose start moves, the public property speaks of the start as well.
            live = self.broker.partition(*place).log
            log.disk_end = max(
                log.disk_end, min(live._group_commit.durable_end_offset, len(log.records))
            )

    def _places(self) -> Iterable[tuple[TopicPartition, LogModel]]:
        live = set(self.broker.topics())
        for name, state in self.model.topics.items():
            if name in live:
                for number in range(state.partitions):
                    yield TopicPartition(name, number), state.model.logs[number]

    def _logs(self) -> Iterable[LogModel]:
        for state in self.model.topics.values():
            yield from state.model.logs

    def _topic(self) -> str | None:
        names = sorted(self.model.topics)
        return self.chance.choice(names) if names else None

    def _partition(self) -> tuple[TopicPartition, LogModel] | None:
        name = self._topic()
        if name is None:
            return None
        state = self.model.topics[name]
        number = self.chance.randrange(state.partitions)
        return TopicPartition(name, number), state.model.logs[number]

    def _next(self) -> int:
        self._number += 1
        return self._number


class _Maintenance:
    """While it is open retention may delete anything, and what is old enough expires; afterwards the broker says how it is."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __enter__(self) -> None:
        for _, log in self._session._places():
            log.start_max = max(log.start_max, log.process_end)
        self._session.groups.begin_expiry()

    def __exit__(self, *error: object) -> None:
        for place, log in self._session._places():
            log.start_min = log.start_max = self._session.broker.partition(*place).log_start_offset
        self._session.groups.end_expiry()
