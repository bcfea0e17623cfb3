"""Rules of the model: records in, by every way there is."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule

from streamlog import (
    InvalidTimestampError,
    InvalidTopicError,
    MessageTooLargeError,
    Producer,
    RecordBatchTooLargeError,
    StreamlogError,
    UnknownTopicOrPartitionError,
)
from tests.support.model import (
    Content,
    Sent,
)
from tests.support.model_rules.base import (
    PRODUCERS,
    TOPICS,
    Base,
    ages,
    as_bytes,
    headers,
    keys,
    small,
    values,
)

CODECS = "gzip", "snappy", "lz4", "zstd"


class ProducerRules(Base):
    """Producers with different settings, and what they may refuse."""

    def producer(self, number: int) -> Producer:
        if number not in self.producers:
            self.producers[number] = Producer(self.broker, **PRODUCERS[number])
        return self.producers[number]

    def prepare(
        self, number: int, topic: str, content: Content, age_ms: int | None, partition: int | None
    ) -> Sent:
        """Take note of a record that is about to be sent."""
        self.sent_count += 1
        now_ms = self.now_ms()
        timestamp_ms = now_ms if age_ms is None else min(max(now_ms + age_ms, 0), 2**63 - 1)
        sent = Sent(topic, content, timestamp_ms, self.sent_count, partition)
        known = self.model.topics.get(topic)
        if known is None and self.model.is_free(topic):
            known = self.new_topic()
        if known is not None:
            limit = min(
                known.largest_batch_bytes(),
                PRODUCERS[number].get("max_request_size", 1 << 20) - 120,
            )
            sent.may_fail = sent.size_bytes() > limit - 60
            # Judged when it is appended, which a lingering one is some time from now.
            if not all(known.takes_timestamp(timestamp_ms, now_ms + late) for late in (0, 25)):
                # It takes along whatever shares its batch.
                sent.may_fail = True
            if partition is not None and partition >= len(known.partitions):
                sent.may_fail = True
        if PRODUCERS[number]["linger_ms"] and known is not None:
            together = [other for other in self.pending[number] if other.topic == topic]
            if sent.may_fail or any(other.may_fail for other in together):
                for other in (*together, sent):
                    other.may_fail = True
        self.pending[number].append(sent)
        return sent

    def unique(self, value: bytes | int | None) -> bytes:
        """Return a value that no other record has, for those that have no future."""
        return b"#%d " % (self.sent_count + 1) + (as_bytes(value) or b"")

    @rule(
        number=st.integers(0, len(PRODUCERS) - 1),
        topic=st.sampled_from(TOPICS),
        value=values,
        key=keys,
        headers=headers,
        age_ms=ages,
        partition=st.none() | st.integers(0, 3),
    )
    def send(
        self,
        number: int,
        topic: str,
        value: bytes | int | None,
        key: bytes | None,
        headers: Any,
        age_ms: int | None,
        partition: int | None,
    ) -> None:
        value = self.unique(value) if PRODUCERS[number].get("acks") == 0 else as_bytes(value)
        fails = topic not in self.model.topics and not self.model.is_free(topic)
        sent = self.prepare(number, topic, (value, key, headers), age_ms, partition)
        sent.may_fail |= fails
        sent.future = self.producer(number).send(
            topic,
            value,
            key=key,
            headers=headers,
            partition=partition,
            timestamp_ms=None if age_ms is None else sent.timestamp_ms,
        )
        self.expect_topic(topic)
        if not PRODUCERS[number]["linger_ms"]:
            assert sent.future.done()
            self.check_error(sent, is_compressed="compression_type" in PRODUCERS[number])

    @rule(
        number=st.integers(0, 2),
        topic=st.sampled_from(TOPICS),
        rows=st.lists(st.tuples(small, keys), min_size=1, max_size=5),
    )
    def send_plainly(self, number: int, topic: str, rows: list[tuple[bytes, bytes | None]]) -> None:
        for value, key in rows:
            self.send(number, topic, value, key, (), None, None)

    def check_error(self, sent: Sent, *, is_compressed: bool) -> None:
        """A record that was alone in its batch fails for a reason of its own, and for all to see."""
        assert sent.future is not None
        error, topic = sent.future.exception(timeout=0), self.model.topics.get(sent.topic)
        if topic is None:
            assert isinstance(error, InvalidTopicError)
            return
        now_ms, size = self.now_ms(), sent.size_bytes()
        may_shrink = is_compressed or topic.configs["compression_type"] in CODECS
        if may_shrink and not isinstance(error, (MessageTooLargeError, RecordBatchTooLargeError)):
            size = 0  # in the end it was small enough
        if sent.partition is not None and sent.partition >= len(topic.partitions):
            assert isinstance(error, UnknownTopicOrPartitionError)
        elif size > topic.configs["max_message_bytes"]:
            assert isinstance(error, MessageTooLargeError)
        elif size > topic.configs["segment_bytes"]:
            assert isinstance(error, RecordBatchTooLargeError)
        elif not topic.takes_timestamp(sent.timestamp_ms, now_ms):
            assert isinstance(error, InvalidTimestampError)
        else:
            assert error is None

    @rule(
        number=st.integers(0, 3),
        topic=st.sampled_from(TOPICS),
        rows=st.lists(st.tuples(values, keys, ages), min_size=1, max_size=4),
        partition=st.none() | st.integers(0, 1),
    )
    def write(self, number: int, topic: str, rows: list[Any], partition: int | None) -> None:
        if topic not in self.model.topics or (partition or 0) >= len(
            self.model.topics[topic].partitions
        ):
            return
        write = self.producer(number).writer(topic, partition)
        for value, key, age_ms in rows:
            value = self.unique(value)
            sent = self.prepare(number, topic, (value, key, ()), age_ms, partition)
            write(value, key, None if age_ms is None else sent.timestamp_ms)

    @rule(
        number=st.integers(0, 3),
        topic=st.sampled_from(TOPICS),
        rows=st.lists(st.tuples(values, keys), min_size=1, max_size=12),
        keyed=st.booleans(),
        partition=st.none() | st.integers(0, 1),
    )
    def send_many(
        self, number: int, topic: str, rows: list[Any], keyed: bool, partition: int | None
    ) -> None:
        if topic not in self.model.topics or (partition or 0) >= len(
            self.model.topics[topic].partitions
        ):
            return
        run = []
        for value, key in rows:
            value = self.unique(value)
            run.append(
                self.prepare(number, topic, (value, key if keyed else None, ()), None, partition)
            )
        future = self.producer(number).send_many(
            topic,
            [sent.content[0] for sent in run],
            keys=[key for _, key in rows] if keyed else None,
            partition=partition,
        )
        may_fail = any(sent.may_fail for sent in run)
        for sent in run:
            sent.future, sent.may_fail = future, may_fail

    @rule(number=st.integers(0, len(PRODUCERS) - 1))
    def flush(self, number: int) -> None:
        error: StreamlogError | None = None
        try:
            self.producer(number).flush()
        except StreamlogError as raised:
            error = raised
        self.take_in()
        for sent in self.pending[number]:
            # Only writers have nobody else to tell; and who shared a batch with a bad record went with it.
            assert error is not None
            assert sent.may_fail
            assert sent.future is None
        self.pending[number] = []

    def flush_all(self) -> None:
        for number in sorted(self.producers):
            self.flush(number)
