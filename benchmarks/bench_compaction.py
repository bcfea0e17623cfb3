"""What compaction costs: a record, next to decoding and encoding it; by how much is dirty; and what a table view gains by it."""

from __future__ import annotations

import random
from time import perf_counter

from benchmarks.data import NOW_MS, QUIET, RECORDS_PER_BATCH, TOPIC, VALUE
from benchmarks.harness import Bench, Contender, at_least, at_most
from streamlog import Broker, Consumer, TopicPartition
from streamlog.broker.partition import Partition
from streamlog.client.table_view import TableView
from streamlog.record import build_batch, split_batches
from streamlog.record.layout import pack_batch

_KEY_BYTES = 12

_CONFIGS = {
    **QUIET,
    "cleanup_policy": "compact",
    "segment_bytes": 4 * 1024 * 1024,
    "min_cleanable_dirty_ratio": 1,
}


def bench_pass(bench: Bench) -> None:
    """A pass through a log whose records come twice, on average; next to decoding and encoding all its batches, and nothing else."""
    batches = bench.pick(600, 300, 4)
    records = batches * RECORDS_PER_BATCH
    for per_batch in (RECORDS_PER_BATCH, 10):
        what = f"a record of batches of {per_batch}"
        floor = f"{what}: decode and encode"

        def compact(per_batch: int = per_batch) -> float:
            with _broker() as broker:
                _overwrite(broker.partition(TOPIC, 0), records, records // 2, per_batch)
                return _seconds_of_a_pass(broker) / records

        with _broker() as broker:
            partition = broker.partition(TOPIC, 0)
            _overwrite(partition, records, records // 2, per_batch)
            bench.compare(
                Contender(f"{what}: compact", compact),
                [Contender.loop(floor, lambda _, log=partition: _recode(log), records)],  # type: ignore[misc]
                [at_least(1 / 3, floor)],
                what=f"compact, {what}",
                rounds=9,
            )
        size = records * (len(VALUE) + _KEY_BYTES)
        speed = size / min(compact() * records for _ in range(3))
        bench.limit(f"compact, {what}: keys and values a second", speed, unit="bytes")


def bench_dirty(bench: Bench) -> None:
    """A pass after so many new records for keys that are all known: four times as many, and behind four times as much that is clean.

    Then the same where they are for few keys, all in one place of what is clean, which is in many segments.
    """
    unit = bench.pick(100, 50, 1) * RECORDS_PER_BATCH

    def compact(clean: int, dirty: int) -> Contender:
        def run() -> float:
            with _broker() as broker:
                partition = broker.partition(TOPIC, 0)
                _overwrite(partition, clean * unit, clean * unit, RECORDS_PER_BATCH)
                broker.compact(TOPIC, roll=True)
                _overwrite(partition, dirty * unit, clean * unit, RECORDS_PER_BATCH)
                return _seconds_of_a_pass(broker)

        return Contender(f"{dirty * unit:,} dirty records behind {clean * unit:,} clean", run)

    one, larger_dirt, more_clean = compact(1, 1), compact(1, 4), compact(4, 1)
    bench.compare(larger_dirt, [one], [at_most(5, one.name)], rounds=9)
    bench.compare(more_clean, [one], [at_most(5, one.name)], rounds=9)

    def compact_in_one_place(clean: int) -> Contender:
        def run() -> float:
            with _broker(segment_bytes=256 * 1024) as broker:
                partition = broker.partition(TOPIC, 0)
                for first in range(0, clean * unit, RECORDS_PER_BATCH):
                    numbers = range(first, first + RECORDS_PER_BATCH)
                    names = [b"key-%08d" % number for number in numbers]
                    partition.append(build_batch([VALUE] * RECORDS_PER_BATCH, NOW_MS, names))
                broker.compact(TOPIC, roll=True)
                _overwrite(partition, unit, unit // 10, RECORDS_PER_BATCH)
                return _seconds_of_a_pass(broker)

        return Contender(f"{unit:,} dirty records for one place in {clean * unit:,} clean", run)

    one_place, more_around = compact_in_one_place(1), compact_in_one_place(4)
    bench.compare(more_around, [one_place], [at_most(4, one_place.name)], rounds=9)


def bench_view(bench: Bench) -> None:
    """Opening a table view of a compacted topic: next to reading it into a dict, and with four times as many live keys."""
    keys = bench.pick(20_000, 10_000, 100)

    def opened(live_keys: int) -> tuple[Broker, Contender]:
        broker = _broker()
        _overwrite(broker.partition(TOPIC, 0), 4 * live_keys, live_keys, RECORDS_PER_BATCH)
        broker.compact(TOPIC, roll=True)

        def run() -> float:
            start = perf_counter()
            with TableView(broker, TOPIC) as view:
                assert len(view) <= live_keys
                return perf_counter() - start

        return broker, Contender(f"a view of {live_keys:,} live keys", run)

    few, few_contender = opened(keys)
    many, many_contender = opened(4 * keys)
    by_hand = f"a consumer and a dict, {keys:,} live keys"
    with few, many:
        bench.compare(
            few_contender,
            [Contender.calls(by_hand, lambda: _into_dict(few), 1)],
            [at_most(2, by_hand)],
            rounds=9,
        )
        bench.compare(many_contender, [few_contender], [at_most(5, few_contender.name)], rounds=9)


def _broker(**configs: int) -> Broker:
    broker = Broker(log_cleaner_enable=False)
    broker.create_topic(TOPIC, configs={**_CONFIGS, **configs})
    return broker


def _overwrite(partition: Partition, records: int, keys: int, per_batch: int) -> None:
    """Append *records* records for *keys* keys by chance, the same each time."""
    chance = random.Random(records)
    for _ in range(records // per_batch):
        names = [b"key-%08d" % chance.randrange(keys) for _ in range(per_batch)]
        partition.append(build_batch([VALUE] * per_batch, NOW_MS, names))


def _recode(partition: Partition) -> None:
    """Read all batches, decode them, and make the same again."""
    offset = partition.log_start_offset
    while offset < partition.log_end_offset:
        for batch in split_batches(partition.read(offset, 1 << 20)):
            batch.check()
            again = build_batch(
                batch.values(), batch.timestamps_ms(), batch.keys(), batch.headers()
            )
            pack_batch(batch.header, again.body)
            offset = batch.next_offset


def _seconds_of_a_pass(broker: Broker) -> float:
    broker.partition(TOPIC, 0).log.roll()
    start = perf_counter()
    broker.compact(TOPIC)
    return perf_counter() - start


def _into_dict(broker: Broker) -> dict[bytes | None, bytes | None]:
    found: dict[bytes | None, bytes | None] = {}
    with Consumer(broker, auto_offset_reset="earliest") as consumer:
        consumer.assign([TopicPartition(TOPIC, 0)])
        while records := consumer.poll(0, max_records=10_000):
            for record in records:
                found[record.key] = record.value
    return found


CASES = {
    "pass": bench_pass,
    "dirty": bench_dirty,
    "view": bench_view,
}
