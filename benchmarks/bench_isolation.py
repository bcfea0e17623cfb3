"""What reading committed records costs more than reading all of them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from benchmarks.data import NOW_MS, RECORDS_PER_BATCH, TOPIC, VALUE, fill, open_quiet
from benchmarks.harness import Bench, Contender, at_most
from streamlog import Broker, Consumer, TopicPartition
from streamlog.record import ControlType, ProducerStamp, build_batch, build_marker

UNCOMMITTED = "read_uncommitted"
_PARTITION = TopicPartition(TOPIC, 0)
_RECORDS_PER_TRANSACTION = 1000


def bench_no_transactions(bench: Bench) -> None:
    """A log that never held a transaction: nothing is to be left out, and nobody needs to look."""
    for records, per_batch, batches in (
        (bench.pick(100_000, 25_000, 2_000), RECORDS_PER_BATCH, "batches of 16 KiB"),
        (bench.pick(5_000, 2_500, 200), 1, "batches of one record"),
    ):
        with bench.scratch() as directory, open_quiet(directory / "data") as broker:
            fill(broker.partition(TOPIC, 0), records, per_batch)
            _compare(bench, broker, records, batches, has_target=True)


def bench_committed(bench: Bench) -> None:
    """Every record in a transaction of 1,000 that was committed."""
    records = bench.pick(100_000, 25_000, 2_000)
    with bench.scratch() as directory, open_quiet(directory / "data") as broker:
        _fill_transactions(broker, records, [ControlType.COMMIT])
        _compare(bench, broker, records, "all committed", has_target=True)


def bench_half_aborted(bench: Bench) -> None:
    """Every other transaction aborted: so much less is decoded. Per record that is returned."""
    records = bench.pick(100_000, 25_000, 2_000)
    with bench.scratch() as directory, open_quiet(directory / "data") as broker:
        _fill_transactions(broker, 2 * records, [ControlType.COMMIT, ControlType.ABORT])
        _compare(bench, broker, records, "half aborted", has_target=False)


def _fill_transactions(broker: Broker, records: int, ends: list[ControlType]) -> None:
    log = broker.partition(TOPIC, 0).log
    for number in range(records // _RECORDS_PER_TRANSACTION):
        stamp = ProducerStamp(1, number, is_transactional=True)
        left = _RECORDS_PER_TRANSACTION
        while left:
            count = min(left, RECORDS_PER_BATCH)
            batch = build_batch([VALUE] * count, NOW_MS)
            batch.stamp = stamp
            log.append(batch)
            left -= count
        log.append(build_marker(ends[number % len(ends)], 1, number + 1, 0, NOW_MS))


def _compare(bench: Bench, broker: Broker, records: int, what: str, *, has_target: bool) -> None:
    with (
        closing(_reader(broker, "read_committed")) as committed,
        closing(_reader(broker, UNCOMMITTED)) as uncommitted,
    ):
        bench.compare(
            Contender.loop(f"read_committed, {what}", _read(committed), records),
            [Contender.loop(UNCOMMITTED, _read(uncommitted), records)],
            [at_most(1.05, UNCOMMITTED)] if has_target else [],
            rounds=60,
        )


def _reader(broker: Broker, isolation_level: str) -> Consumer:
    consumer = Consumer(broker, isolation_level=isolation_level)
    consumer.assign([_PARTITION])
    return consumer


def _read(consumer: Consumer) -> Callable[[int], None]:
    def body(records: int) -> None:
        consumer.seek(_PARTITION, 0)
        poll, left = consumer.poll, records
        while left > 0:
            left -= len(poll(0, 500).values())

    return body


CASES = {
    "no_transactions": bench_no_transactions,
    "committed": bench_committed,
    "half_aborted": bench_half_aborted,
}
