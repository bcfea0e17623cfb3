"""Any program of sends, writes, runs, waits and full disks, against what a list would hold.

The model is the order of the calls: each partition holds exactly the records that were sent to it, in that
order, with every part as it was given and the time of the call, whatever the producer's settings and however
often the disk was full.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from streamlog import Broker, DiskFullError, Producer, RecordFuture
from streamlog.testing import MemoryFileSystem, VirtualClock
from tests.support.producing import Deliveries, failing_partitions, stored, stored_batches

START_MS = 1_700_000_000_000

small = st.binary(max_size=40)
blobs = st.one_of(
    small, st.none(), st.builds(bytes, st.integers(0, 3000)), st.sampled_from([b"", b"x" * 300])
)
keys = st.one_of(st.none(), st.sampled_from([b"", b"a", b"b", b"k" * 200]), small)
headers = st.lists(st.tuples(st.text(max_size=5), st.none() | small), max_size=3)
times = st.none() | st.integers(0, START_MS + 3_000_000)

sends = st.fixed_dictionaries(
    {"value": blobs},
    optional={
        "key": keys,
        "headers": headers,
        "partition": st.integers(0, 2),
        "timestamp_ms": times,
        "told": st.just(True),
    },
)
plain_sends = st.fixed_dictionaries({"value": small})
writes = st.tuples(blobs, keys, times)
runs = st.lists(st.tuples(blobs, keys), min_size=1, max_size=30)

steps = st.lists(
    st.one_of(
        st.tuples(st.just("send"), plain_sends),
        st.tuples(st.just("send"), sends),
        st.tuples(st.just("write"), writes),
        st.tuples(st.just("write to 1"), writes),
        st.tuples(st.just("run"), runs),
        st.tuples(st.just("keyed run"), runs),
        st.tuples(st.just("many"), st.tuples(st.integers(1, 60), small)),
        st.tuples(st.just("wait"), st.sampled_from([0.3, 0.7, 1, 4, 30, 700])),
        st.tuples(st.just("set clock"), st.integers(-5, 5)),
        st.tuples(st.just("flush"), st.none()),
        st.tuples(st.just("disk full"), st.integers(1, 4)),
    ),
    max_size=40,
)
settings_ = st.fixed_dictionaries(
    {
        "linger_ms": st.sampled_from([0, 0, 1, 5, 100]),
        "batch_size": st.sampled_from([1, 300, 2000, 16384]),
    },
    optional={
        "buffer_memory": st.just(20_000),
        "compression_type": st.sampled_from(["gzip", "snappy", "lz4", "zstd"]),
        "partitioner": st.sampled_from(["sticky", "round_robin", "consistent"]),
    },
)


class Sent(NamedTuple):
    value: bytes | None
    key: bytes | None
    headers: tuple[Any, ...]
    timestamp_ms: int


class Program:
    """Runs steps against a producer and remembers what they should come to."""

    def __init__(self, producer: Producer, clock: VirtualClock) -> None:
        self.producer = producer
        self.clock = clock
        self.write = producer.writer("t")
        self.write_to_1 = producer.writer("t", 1)
        self.sent: list[Sent] = []
        self.futures: list[tuple[RecordFuture, Sent]] = []
        self.deliveries = Deliveries()
        self.told = 0

    def remember(
        self, value: Any, key: Any = None, timestamp_ms: Any = None, headers: Any = ()
    ) -> Sent:
        now_ms = self.clock.time_ms() if timestamp_ms is None else timestamp_ms
        self.sent.append(Sent(value, key, tuple(headers), now_ms))
        return self.sent[-1]

    def send(self, value: Any, told: bool = False, **options: Any) -> None:
        sent = self.remember(
            value, options.get("key"), options.get("timestamp_ms"), options.get("headers", ())
        )
        if told:
            options["on_delivery"] = self.deliveries
            self.told += 1
        self.futures.append((self.producer.send("t", value, **options), sent))

    def run(self, step: str, argument: Any, fail: Callable[[int], None]) -> None:
        if step == "send":
            self.send(**argument)
        elif step == "write":
            self.remember(*argument)
            self.write(*argument)
        elif step == "write to 1":
            self.remember(*argument)
            self.write_to_1(*argument)
        elif step in ("run", "keyed run"):
            given_keys = [key for _, key in argument] if step == "keyed run" else None
            for value, key in argument:
                self.remember(value, key if given_keys else None)
            future = self.producer.send_many("t", [value for value, _ in argument], keys=given_keys)
            self.futures.append((future, self.sent[-1]))
        elif step == "many":
            count, value = argument
            for _ in range(count):
                self.send(value)
        elif step == "wait":
            self.clock.advance(argument)
        elif step == "set clock":
            self.clock.set_wall_ms(self.clock.time_ms() + argument)
        elif step == "flush":
            self.producer.flush()
        elif step == "disk full":
            fail(argument)


@given(settings_, steps)
def test_partitions_hold_what_was_sent_in_the_order_of_the_calls(
    config: dict[str, Any], program: list[tuple[str, Any]]
) -> None:
    """REC-1, REC-2, REC-3, REC-8, PRD-5, PRD-8, PRD-9."""
    clock = VirtualClock(START_MS)
    with (
        failing_partitions() as failures,
        Broker(clock=clock, filesystem=MemoryFileSystem(), seed=1, path="data") as broker,
    ):
        broker.create_topic("t", partitions=3)
        producer = Producer(broker, max_block_ms=10**6, **config)
        run = Program(producer, clock)
        for step, argument in program:
            run.run(step, argument, lambda n: failures.next.extend([DiskFullError("full")] * n))
        producer.close()
        found = [stored(broker, "t", number) for number in range(3)]

        # A send that waits for memory has a time between its beginning and its end.
        may_block = "buffer_memory" in config
        if may_block:
            run.sent = [sent._replace(timestamp_ms=0) for sent in run.sent]

        # Every record is somewhere, and each partition has its records in the order of the calls.
        unplaced = [
            [Sent(r.value, r.key, r.headers, 0 if may_block else r.timestamp_ms) for r in part]
            for part in found
        ]
        assert sorted(map(repr, run.sent)) == sorted(repr(r) for part in unplaced for r in part)
        for part in unplaced:
            rest = iter(run.sent)
            assert all(any(record == sent for sent in rest) for record in part)

        for future, sent in run.futures:
            metadata = future.result(timeout=0)
            record = found[metadata.partition][metadata.offset]
            assert (record.value, record.key, record.headers) == sent[:3]
            assert record.timestamp_ms == metadata.timestamp_ms
            assert may_block or record.timestamp_ms == sent.timestamp_ms
            assert metadata.serialized_key_size == (-1 if record.key is None else len(record.key))
            assert metadata.serialized_value_size == (
                -1 if record.value is None else len(record.value)
            )
        assert len(run.deliveries.calls) == run.told
        by_partition: dict[int, list[int]] = {}
        for metadata, error in run.deliveries.calls:
            assert error is None
            by_partition.setdefault(metadata.partition, []).append(metadata.offset)
        assert all(offsets == sorted(offsets) for offsets in by_partition.values())
        metrics = producer.metrics()
        assert metrics["record_send_total"] == len(run.sent)
        assert metrics["record_error_total"] == 0
        assert metrics["buffer_available_bytes"] == metrics["buffer_total_bytes"]


@given(
    st.integers(1, 5000),
    st.lists(st.integers(0, 700), min_size=1, max_size=120),
    st.sampled_from([0, 5]),
)
def test_batches_stay_within_batch_size(batch_size: int, sizes: list[int], every: int) -> None:
    """PRD-5: one record is more only by itself."""
    with Broker(clock=VirtualClock()) as broker:
        producer = Producer(broker, linger_ms=5, batch_size=batch_size)
        write = producer.writer("t")
        for n, size in enumerate(sizes):
            if every and n % every == 0:
                write(bytes(size))
            else:
                producer.send("t", bytes(size), key=b"k" if n % 3 else None)
        producer.flush()
        for batch in stored_batches(broker):
            packed = sum(len(r.value or b"") + len(r.key or b"") for r in batch) + 80
            assert len(batch) == 1 or packed <= batch_size
        assert [len(r.value or b"") for r in stored(broker)] == sizes
