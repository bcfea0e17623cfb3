"""What a transaction costs: next to the same records without one, and its parts alone."""

from __future__ import annotations

from itertools import repeat

from benchmarks.data import QUIET, TOPIC, VALUE, open_quiet
from benchmarks.floors import empty_call, within_seconds
from benchmarks.harness import Bench, Contender, at_most
from streamlog import Broker, Producer

_OTHER_TOPIC = "other"


def bench_commit(bench: Bench) -> None:
    """1,000 records in a transaction, next to the same ones sent without plus two group commits.

    Two, because a committed transaction has reached the disk in full: its records, then the decision. What it is compared with
    syncs the log of the records, and a record in another log.
    """
    records = bench.pick(1_000, 1_000, 10)
    for linger_ms in (0, 5):
        with bench.scratch() as directory, open_quiet(directory / "data") as broker:
            broker.create_topic(_OTHER_TOPIC, configs=QUIET)
            with (
                Producer(broker, linger_ms=linger_ms) as plain,
                Producer(broker, linger_ms=linger_ms, transactional_id="t") as transactional,
            ):
                transactional.init_transactions()
                what = f"{records:,} records, linger_ms={linger_ms}"
                yardstick = f"{what}, and two group commits"
                bench.compare(
                    Contender.calls(
                        f"{what}, in a transaction", lambda: _commit(transactional, records), 1
                    ),
                    [Contender.calls(yardstick, lambda: _send(broker, plain, records), 1)],
                    [at_most(1.5, yardstick)],
                )


def _commit(producer: Producer, records: int) -> None:
    with producer.transaction():
        for _ in repeat(None, records):
            producer.send(TOPIC, VALUE)


def _send(broker: Broker, producer: Producer, records: int) -> None:
    for _ in repeat(None, records):
        producer.send(TOPIC, VALUE)
    producer.flush()
    broker.partition(TOPIC, 0).sync()
    producer.send(_OTHER_TOPIC, VALUE)
    producer.flush()
    broker.partition(_OTHER_TOPIC, 0).sync()


def bench_least(bench: Bench) -> None:
    """The smallest transactions, in memory, where no sync hides what they cost."""
    count = bench.pick(1_000, 300, 5)
    yardstick = empty_call(bench.pick(200_000, 100_000, 100))
    with Broker() as broker:
        broker.create_topic(TOPIC, configs=QUIET)
        with Producer(broker, transactional_id="t") as producer:
            producer.init_transactions()
            for records in (0, 1):
                bench.compare(
                    Contender.calls(
                        f"transaction of {records} record(s) in memory",
                        lambda records=records: _commit(producer, records),  # type: ignore[misc]
                        count,
                    ),
                    [yardstick],
                    [within_seconds(200e-6)],
                )


CASES = {
    "commit": bench_commit,
    "least": bench_least,
}
