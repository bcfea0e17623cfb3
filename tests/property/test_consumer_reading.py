"""Whatever the batches, limits and seeks: what is read is a plain list read in order."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from streamlog.broker.broker import Broker
from streamlog.client.consumer import Consumer
from streamlog.runtime import VirtualClock
from streamlog.structs import TopicPartition
from tests.support.consuming import T0, append

batches = st.lists(st.integers(1, 7), max_size=12)
blobs = st.none() | st.binary(max_size=4)
headers = st.lists(st.tuples(st.text(max_size=3), blobs), max_size=2).map(tuple)
records = st.tuples(blobs, blobs, headers, st.integers(0, 2**41))


@given(
    sizes=batches,
    limit=st.integers(1, 20),
    start=st.integers(0, 90),
    fetch_max_bytes=st.sampled_from([0, 200, 10_000_000]),
)
def test_every_record_from_a_position_on_comes_once_and_in_order(
    sizes: list[int], limit: int, start: int, fetch_max_bytes: int
) -> None:
    with Broker(clock=VirtualClock()) as broker:
        broker.create_topic("t")
        count = sum(sizes)
        numbers = iter(range(count))
        for size in sizes:
            append(broker, [b"%d" % next(numbers) for _ in range(size)])
        start = min(start, count)
        with Consumer(broker, fetch_max_bytes=fetch_max_bytes) as consumer:
            consumer.assign([T0])
            consumer.seek(T0, start)
            offsets: list[int] = []
            while found := consumer.poll(max_records=limit):
                assert len(found) <= limit
                assert found.values() == [b"%d" % record.offset for record in found]
                offsets += [record.offset for record in found]
                assert consumer.position(T0) == offsets[-1] + 1
            assert offsets == list(range(start, count))


@given(
    batch=st.lists(records, min_size=1, max_size=6),
    cut=st.integers(1, 6),
    deserialize=st.booleans(),
)
def test_rec_1_every_part_of_a_record_arrives_as_it_was_stored(
    batch: list[Any], cut: int, deserialize: bool
) -> None:
    with Broker(clock=VirtualClock()) as broker:
        broker.create_topic("t", configs={"message_timestamp_after_max_ms": 2**62})
        append(
            broker,
            [value for _, value, _, _ in batch],
            keys=[key for key, _, _, _ in batch],
            headers=[header for _, _, header, _ in batch],
            timestamps_ms=[timestamp for _, _, _, timestamp in batch],
        )
        options: dict[str, Any] = {}
        if deserialize:
            options = {"key_deserializer": bytes.hex, "value_deserializer": bytes.hex}
        with Consumer(broker, auto_offset_reset="earliest", **options) as consumer:
            consumer.assign([T0])
            found = []
            while more := consumer.poll(max_records=cut):
                found += list(more)
        expected = [
            (
                key.hex() if deserialize and key is not None else key,
                value.hex() if deserialize and value is not None else value,
                header,
                timestamp,
                -1 if key is None else len(key),
                -1 if value is None else len(value),
            )
            for key, value, header, timestamp in batch
        ]
        assert [
            (
                record.key,
                record.value,
                record.headers,
                record.timestamp_ms,
                record.serialized_key_size,
                record.serialized_value_size,
            )
            for record in found
        ] == expected


class ReadingMachine(RuleBasedStateMachine):
    """One consumer against a list a partition: poll, iterate, seek, pause, delete, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.broker = Broker(clock=VirtualClock())
        self.broker.create_topic("t", partitions=2)
        self.partitions = [TopicPartition("t", number) for number in range(2)]
        self.logs: list[list[bytes]] = [[], []]
        self.starts = [0, 0]
        self.positions = [0, 0]
        self.paused = [False, False]

    @initialize(limit=st.integers(1, 5))
    def consumer(self, limit: int) -> None:
        self.consumer = Consumer(  # type: ignore[method-assign, assignment]
            self.broker, auto_offset_reset="earliest", max_poll_records=limit
        )
        self.reader.assign(self.partitions)

    @property
    def reader(self) -> Consumer:
        return self.consumer  # type: ignore[return-value]

    @rule(number=st.integers(0, 1), count=st.integers(1, 4))
    def produce(self, number: int, count: int) -> None:
        log = self.logs[number]
        values = [b"%d@%d" % (number, len(log) + n) for n in range(count)]
        append(self.broker, values, self.partitions[number])
        log += values

    def expect(self, record: Any) -> None:
        number = record.partition
        assert not self.paused[number]
        # What was fetched before it was deleted may still be returned.
        allowed = {self.positions[number], max(self.positions[number], self.starts[number])}
        assert record.offset in allowed
        assert record.value == self.logs[number][record.offset]
        self.positions[number] = record.offset + 1

    @rule()
    def poll(self) -> None:
        for record in self.reader.poll():
            self.expect(record)

    @rule(count=st.integers(1, 4))
    def iterate(self, count: int) -> None:
        for _ in range(count):
            if all(
                self.paused[n] or max(self.positions[n], self.starts[n]) == len(self.logs[n])
                for n in range(2)
            ):
                return  # it would wait
            self.expect(next(self.reader))

    @rule(number=st.integers(0, 1), where=st.integers(0, 100))
    def seek(self, number: int, where: int) -> None:
        where = min(where, len(self.logs[number]))
        self.reader.seek(self.partitions[number], where)
        self.positions[number] = where

    @rule(number=st.integers(0, 1))
    def seek_to_end(self, number: int) -> None:
        self.reader.seek_to_end(self.partitions[number])
        self.positions[number] = self.reader.position(self.partitions[number])
        assert self.positions[number] == len(self.logs[number])

    @rule(number=st.integers(0, 1), where=st.integers(0, 100))
    def delete_records(self, number: int, where: int) -> None:
        where = min(where, len(self.logs[number]))
        self.broker.partition("t", number).delete_records(where)
        self.starts[number] = max(self.starts[number], where)

    @rule(number=st.integers(0, 1))
    def pause(self, number: int) -> None:
        self.reader.pause(self.partitions[number])
        self.paused[number] = True

    @rule(number=st.integers(0, 1))
    def resume(self, number: int) -> None:
        self.reader.resume(self.partitions[number])
        self.paused[number] = False

    def teardown(self) -> None:
        self.reader.resume(self.partitions)
        self.paused = [False, False]
        while found := self.reader.poll():
            for record in found:
                self.expect(record)
        for number in range(2):
            assert max(self.positions[number], self.starts[number]) == len(self.logs[number])
        self.broker.close()


TestReadingMachine = ReadingMachine.TestCase
