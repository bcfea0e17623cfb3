"""What the rules of the model share: the broker, what was sent and is not there yet, and what always holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant

from streamlog import (
    Admin,
    Broker,
    OffsetAndMetadata,
    Producer,
    RecordFuture,
    RunFuture,
    TimestampType,
    TopicPartition,
)
from streamlog.record import split_batches
from tests.support.invariants import check_broker, check_consumer, check_producer
from tests.support.model import (
    Content,
    ModelPartition,
    ModelTopic,
    Sent,
    Stored,
    contents,
)

TOPICS = ("a", "b", "b.x")
BAD_TOPICS = ("", "..", "a/b", "__mine", "com1", "x" * 250)
GROUPS = ("g", "h")
OFFSETS = TopicPartition("__consumer_offsets", 0)
MAX_POLL_INTERVAL_MS = 2_000
PRODUCERS: tuple[dict[str, Any], ...] = (
    {"linger_ms": 0},
    {"linger_ms": 5},
    {"linger_ms": 20, "batch_size": 300, "compression_type": "lz4"},
    {"linger_ms": 5, "partitioner": "round_robin", "max_request_size": 2_000},
    {
        "linger_ms": 0,
        "acks": 0,
        "partitioner": "consistent_random",
        "compression_type": "zstd",
    },
)

small = st.binary(max_size=6)
# A number stands for so many zeros, which print badly.
values = st.one_of(st.none(), small, st.sampled_from([150, 250, 700, 3_000]))
keys = st.one_of(st.none(), st.sampled_from([b"", b"k", b"other", b"x" * 140]))
headers = st.lists(st.tuples(st.text(max_size=2), st.none() | small), max_size=2).map(tuple)
# Relative to the clock; None leaves it to the producer, the greatest are outside of what a topic takes.
ages = st.one_of(st.none(), st.integers(-500, 500), st.sampled_from([-(10**13), 10**7, 2**62]))
picks = st.integers(0, 7)
configs = st.fixed_dictionaries(
    {},
    optional={
        "segment_bytes": st.sampled_from([256, 500, 2_000]),
        "max_message_bytes": st.sampled_from([300, 1_000]),
        "compression_type": st.sampled_from(["uncompressed", "gzip", "snappy"]),
        "index_interval_bytes": st.sampled_from([0, 200]),
        "segment_index_bytes": st.sampled_from([64, 200]),
        "segment_ms": st.sampled_from([1, 60]),
        "segment_jitter_ms": st.just(30),
        "retention_ms": st.sampled_from([-1, 0, 100, 5_000]),
        "retention_bytes": st.sampled_from([-1, 0, 900]),
        "flush_ms": st.sampled_from([None, 0, 10]),
        "flush_messages": st.sampled_from([None, 1, 3]),
        "file_delete_delay_ms": st.sampled_from([0, 50]),
        "cleanup_policy": st.sampled_from(["delete", ""]),
        "message_timestamp_type": st.sampled_from(["CreateTime", "LogAppendTime"]),
        "message_timestamp_after_max_ms": st.sampled_from([100, 2**63 - 1]),
        "message_timestamp_before_max_ms": st.sampled_from([100, 2**63 - 1]),
    },
)


def as_bytes(value: bytes | int | None) -> bytes | None:
    return bytes(value) if isinstance(value, int) else value


def is_acknowledged(future: RecordFuture | None) -> bool:
    return future is not None and future.done() and future.exception(timeout=0) is None


class Base(RuleBasedStateMachine):
    """A broker, and ``self.model``, which is what should be there."""

    def open(self) -> None:
        self.broker: Broker = self.lab.open_broker()
        self.admin = Admin(self.broker)
        self.producers: dict[int, Producer] = {}
        self.pending: dict[int, list[Sent]] = {number: [] for number in range(len(PRODUCERS))}
        self.last_number: dict[tuple[int, str, int], int] = {}
        self.gone: Counter[str] = Counter()
        self.consumers = []
        self.shared_names: set[tuple[str | None, str]] = set()
        coordinator = self.broker.group_coordinator
        store = coordinator.commit_offsets

        def commit_offsets(
            group: str,
            member: str,
            epoch: int,
            offsets: Mapping[TopicPartition, OffsetAndMetadata],
            *more: Any,
        ) -> None:
            """What was committed is known even when a consumer does it by itself."""
            store(group, member, epoch, offsets, *more)
            self.model.commit(group, offsets, self.broker.partition(*OFFSETS).log_end_offset)
            acting = self.acting
            if acting is not None and not acting.is_explicit:
                for tp, offset in offsets.items():
                    assert offset.offset == acting.positions[tp], "I12: only what was returned"

        coordinator.commit_offsets = commit_offsets  # type: ignore[method-assign]

    def now_ms(self) -> int:
        return self.clock.time_ms()

    def end_of_offsets(self) -> int:
        if OFFSETS.topic not in self.broker.topics(include_internal=True):
            return 0
        return self.broker.partition(*OFFSETS).log_end_offset

    def refused(self, expected: list[tuple[bool, type[Exception]]], call: Any) -> bool:
        """Call *call*; if one of *expected* is the case it raises that error, the first one that is."""
        for is_so, error in expected:
            if is_so:
                with pytest.raises(error):
                    call()
                return True
        call()
        return False

    def pick_topic(self, pick: int) -> tuple[str, ModelTopic]:
        names = sorted(self.model.topics)
        name = names[pick % len(names)]
        return name, self.model.topics[name]

    def new_topic(self) -> ModelTopic:
        """Return what a topic is that the broker makes by itself."""
        config = self.broker.config
        logs = [ModelPartition() for _ in range(config.num_partitions)]
        return ModelTopic("", attrs.asdict(config.topic_defaults(), recurse=False), logs)

    def note_topic(self, name: str) -> None:
        description = self.broker.describe_topic(name)
        logs = [ModelPartition() for _ in description.partitions]
        self.model.topics[name] = ModelTopic(description.topic_id, description.configs, logs)

    def expect_topic(self, name: str) -> None:
        """A topic that was not there was made by whoever used it."""
        if name not in self.model.topics and self.model.is_free(name):
            self.note_topic(name)

    def records_of(self, tp: TopicPartition, offset: int) -> Iterator[tuple[int, Content, Any]]:
        """Yield offset, content and batch of each record from *offset* on, by the broker's own interface."""
        source = self.broker.partition(*tp)
        while data := source.read(offset, 1_000):
            for view in split_batches(data):
                view.check()
                for at, content in zip(view.offsets(), contents(view), strict=True):
                    if at >= offset:
                        yield at, content, view
                offset = max(offset, view.next_offset)

    def take_in(self) -> None:
        """Move what was appended since the last time from ``pending`` into the model's logs."""
        by_place: dict[tuple[str, int, int], tuple[int, Sent]] = {}
        by_value: dict[bytes, tuple[int, Sent]] = {}
        for number, waiting in self.pending.items():
            for sent in waiting:
                future = sent.future
                if is_acknowledged(future) and not isinstance(future, RunFuture):
                    metadata = future.result(timeout=0)
                    if metadata.offset >= 0:
                        place = metadata.topic, metadata.partition, metadata.offset
                        assert place not in by_place, "I6: one record for each offset"
                        by_place[place] = number, sent
                        continue
                if (sent.content[0] or b"").startswith(b"#"):
                    by_value[sent.content[0]] = number, sent  # type: ignore[index]
        placed: set[int] = set()
        for name, topic in self.model.topics.items():
            for number, log in enumerate(topic.partitions):
                tp = TopicPartition(name, number)
                for offset in range(log.end, self.broker.partition(*tp).log_start_offset):
                    self.deleted_at_once(topic, log, by_place.get((name, number, offset)), placed)
                for offset, content, view in self.records_of(tp, log.end):
                    found = by_place.get((name, number, offset)) or by_value.get(content[0] or b"")
                    assert found is not None, f"I3: {tp}@{offset} was never sent: {content}"
                    self.check_placed(found, tp, content)
                    placed.add(id(found[1]))
                    self.model.store(topic, number, offset, content, view)
                    if view.timestamp_type is TimestampType.CREATE_TIME:
                        assert log.records[offset].timestamp_ms == found[1].timestamp_ms
        for number, waiting in self.pending.items():
            self.pending[number] = [sent for sent in waiting if self.still_waits(sent, placed)]

    def deleted_at_once(
        self,
        topic: ModelTopic,
        log: ModelPartition,
        found: tuple[int, Sent] | None,
        placed: set[int],
    ) -> None:
        """A record was appended and deleted by retention within one step."""
        if found is None:
            self.gone[topic.topic_id] += 1
            log.records.append(Stored(None, 0, -1))
            return
        placed.add(id(found[1]))
        log.records.append(Stored(found[1].content, found[1].timestamp_ms, -1))

    def check_placed(self, found: tuple[int, Sent], tp: TopicPartition, content: Content) -> None:
        number, sent = found
        assert content == sent.content
        assert sent.topic == tp.topic
        assert sent.partition in (None, tp.partition)
        key = number, self.model.topics[tp.topic].topic_id, tp.partition
        assert self.last_number.get(key, 0) < sent.number, "I5: in the order of the calls"
        self.last_number[key] = sent.number

    def still_waits(self, sent: Sent, placed: set[int]) -> bool:
        if id(sent) in placed:
            return False
        topic = self.model.topics.get(sent.topic)
        if topic is None:
            return sent.future is not None and not sent.future.done()
        future = sent.future
        if future is not None and not future.done():
            return True
        if future is not None and future.exception(timeout=0) is not None:
            assert sent.may_fail, future.exception(timeout=0)
            return False
        if self.gone[topic.topic_id]:
            self.gone[topic.topic_id] -= 1
            return False
        if future is None:
            return True
        raise AssertionError(f"I1: acknowledged and not there: {sent}")

    @invariant()
    def whole(self) -> None:
        if not hasattr(self, "broker"):
            return
        self.take_in()
        assert self.broker.topics() == sorted(self.model.topics)
        for tp, log in self.model.partitions().items():
            partition = self.broker.partition(*tp)
            self.follow_retention(tp, log, partition.log_start_offset)
            assert partition.log_end_offset == partition.high_watermark == log.end
        check_broker(self.broker)
        for producer in self.producers.values():
            check_producer(producer)
        for one in self.consumers:
            check_consumer(one.consumer)
            assert one.consumer.assignment() == set(one.positions)

    def follow_retention(self, tp: TopicPartition, log: ModelPartition, start: int) -> None:
        """The log start moves up only, and only past what retention may delete (RET-3, RET-4)."""
        assert log.start <= start <= log.end
        configs = self.model.topics[tp.topic].configs
        if start > log.start:
            assert "delete" in configs["cleanup_policy"]
            if configs["retention_bytes"] < 0:
                expires_ms = (
                    self.now_ms() - configs["retention_ms"] + 300
                )  # the clock may be set back
                deleted = log.records[log.start : start]
                assert all(record.timestamp_ms < expires_ms for record in deleted)
        log.start = start

    def teardown(self) -> None:
        if hasattr(self, "broker"):
            self.broker.close()
