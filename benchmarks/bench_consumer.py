"""Reading: values alone, and a record object each."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import msgpack

from benchmarks.data import NOW_MS, RECORDS_PER_BATCH, TOPIC, VALUE, fill, open_quiet
from benchmarks.harness import Bench, Contender, at_least, at_most
from benchmarks.peers import CONFLUENT_READ, LMDB_READ, open_peers
from streamlog import Consumer, ConsumerRecord, TimestampType, TopicPartition
from streamlog.client.bulk import BULK_BATCH_BYTES

UNPACK = "bare unpackb"
CONSTRUCT = "bare ConsumerRecord(...)"

#: What `Producer.send_many` makes of 100-byte values.
RECORDS_PER_BULK_BATCH = BULK_BATCH_BYTES // 102
_PARTITION = TopicPartition(TOPIC, 0)


def bench_values(bench: Bench) -> None:
    """poll(...).values() of what send_many wrote, compared with decoding the same columns and nothing else."""
    records = bench.pick(80, 20, 4) * RECORDS_PER_BULK_BATCH
    with (
        bench.scratch() as directory,
        open_peers(
            bench, directory, LMDB_READ, CONFLUENT_READ, value=VALUE, count=records
        ) as peers,
        open_quiet(directory / "data") as broker,
    ):
        fill(broker.partition(TOPIC, 0), records, RECORDS_PER_BULK_BATCH)
        with closing(_reader(broker)) as consumer:
            for limit in (RECORDS_PER_BULK_BATCH, 10_000, 500):
                is_bulk = limit == RECORDS_PER_BULK_BATCH
                floor = _unpack(records, RECORDS_PER_BULK_BATCH, limit)
                bench.compare(
                    Contender.loop(
                        f"poll(max_records={limit}).values(), batches of 112 KiB",
                        _read_values(consumer, limit),
                        records,
                    ),
                    [floor, *peers] if is_bulk else [floor],
                    [at_most(1.5, UNPACK), *peers.targets(at_least(1, LMDB_READ))]
                    if is_bulk
                    else [],
                    rounds=60 if is_bulk else 30,
                )


def bench_values_of_small_batches(bench: Bench) -> None:
    """The same with what `send` and its default batch_size write: the header of a batch begins to show."""
    records = bench.pick(50_000, 25_000, 2_000)
    with bench.scratch() as directory, open_quiet(directory / "data") as broker:
        fill(broker.partition(TOPIC, 0), records, RECORDS_PER_BATCH)
        with closing(_reader(broker)) as consumer:
            for limit in (10_000, 500):
                bench.compare(
                    Contender.loop(
                        f"poll(max_records={limit}).values(), batches of 16 KiB",
                        _read_values(consumer, limit),
                        records,
                    ),
                    [_unpack(records, RECORDS_PER_BATCH, limit)],
                )


def bench_records(bench: Bench) -> None:
    """A record object for each, compared with calling ConsumerRecord(...) with the same fields at hand."""
    records = bench.pick(50_000, 10_000, 2_000)
    for per_batch, size in ((RECORDS_PER_BULK_BATCH, "112 KiB"), (RECORDS_PER_BATCH, "16 KiB")):
        with bench.scratch() as directory, open_quiet(directory / "data") as broker:
            fill(broker.partition(TOPIC, 0), records, per_batch)
            with closing(_reader(broker)) as consumer:
                for limit in (10_000, 500):
                    bench.compare(
                        Contender.loop(
                            f"for record in poll(max_records={limit}), batches of {size}",
                            _read_records(consumer, limit),
                            records,
                        ),
                        [_construct(records)],
                        [at_most(1.5, CONSTRUCT)],
                    )


def _reader(broker: object) -> Consumer:
    consumer = Consumer(broker)  # type: ignore[arg-type]
    consumer.assign([_PARTITION])
    return consumer


def _read_values(consumer: Consumer, limit: int) -> Callable[[int], None]:
    def body(records: int) -> None:
        consumer.seek(_PARTITION, 0)
        poll, left = consumer.poll, records
        while left:
            left -= len(poll(0, limit).values())

    return body


def _read_records(consumer: Consumer, limit: int) -> Callable[[int], None]:
    def body(records: int) -> None:
        consumer.seek(_PARTITION, 0)
        poll, seen = consumer.poll, 0
        while seen < records:
            for record in poll(0, limit):  # noqa: B007 - taking it is what is measured
                seen += 1

    return body


def _unpack(records: int, per_batch: int, limit: int) -> Contender:
    # A buffer of its own for each batch: decoding one over and over would find it in the cache. And as many values alive at a
    # time as a poll returns: memory that is new from the system costs more than decoding into it.
    sizes = [per_batch] * (records // per_batch)
    if records % per_batch:
        sizes.append(records % per_batch)
    columns = [bytes(bytearray(msgpack.packb([VALUE] * size))) for size in sizes]
    together = max(limit // per_batch, 1)
    groups = [columns[at : at + together] for at in range(0, len(columns), together)]

    def body(_: int) -> None:
        unpack = msgpack.unpackb
        for group in groups:
            len([unpack(column) for column in group])

    return Contender.loop(UNPACK, body, records)


def _construct(records: int) -> Contender:
    def body(times: int) -> None:
        topic, kind, value, headers = TOPIC, TimestampType.CREATE_TIME, VALUE, ()
        for offset in range(times):
            ConsumerRecord(topic, 0, offset, NOW_MS, kind, None, value, headers, 0, -1, 100)

    return Contender.loop(CONSTRUCT, body, records)


CASES = {
    "values": bench_values,
    "values_of_small_batches": bench_values_of_small_batches,
    "records": bench_records,
}
