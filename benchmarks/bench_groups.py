"""Consumer groups: rebalances of many members, many groups at start, and what a commit costs."""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import ExitStack
from time import perf_counter
from typing import Any

from benchmarks.data import TOPIC, VALUE, open_quiet
from benchmarks.floors import empty_call, within_seconds
from benchmarks.harness import Bench, Contender, at_most
from streamlog import Admin, Broker, Consumer, Producer, TopicPartition
from streamlog.testing import VirtualClock

_PROTOCOLS: dict[str, dict[str, Any]] = {
    "consumer, range": {},
    "consumer, uniform": {"group_remote_assignor": "uniform"},
    "classic, range": {
        "group_protocol": "classic",
        "partition_assignment_strategy": ["range"],
    },
    "classic, roundrobin": {
        "group_protocol": "classic",
        "partition_assignment_strategy": ["roundrobin"],
    },
    "classic, sticky": {
        "group_protocol": "classic",
        "partition_assignment_strategy": ["sticky"],
    },
    "classic, cooperative-sticky": {
        "group_protocol": "classic",
        "partition_assignment_strategy": ["cooperative-sticky"],
    },
}

_MOST_ROUNDS = 20

OFFSETS = "__consumer_offsets"


def bench_rebalance(bench: Bench) -> None:
    """One more member joins 100 that read 1,000 partitions, until everybody has its share.

    All members are polled in turn by one thread, so the time is all the work that there is.
    """
    members, partitions = bench.pick((100, 1_000), (100, 1_000), (4, 12))
    yardstick = empty_call(bench.pick(200_000, 100_000, 100))
    for protocol, options in _PROTOCOLS.items():
        with ExitStack() as stack:
            broker = stack.enter_context(Broker(clock=VirtualClock()))
            broker.create_topic(TOPIC, partitions=partitions)

            def join(
                name: str, broker: Broker = broker, options: dict[str, Any] = options
            ) -> Consumer:
                return Consumer(broker, TOPIC, group_id="g", client_id=name, **options)

            team = [stack.enter_context(join(f"c{n:03}")) for n in range(members)]
            _settle(team, partitions)
            bench.compare(
                Contender(f"{protocol}: one joins {members}", _joining(team, join, partitions)),
                [yardstick],
                [within_seconds(0.1)],
                rounds=9,
            )


def _joining(
    team: list[Consumer], join: Callable[[str], Consumer], partitions: int
) -> Callable[[], float]:
    def run() -> float:
        with join("c0005") as newcomer:
            start = perf_counter()
            _settle([newcomer, *team], partitions)
            elapsed = perf_counter() - start
        _settle(team, partitions)
        gc.collect()  # what closing left is not the next one's
        return elapsed

    return run


def _settle(team: list[Consumer], partitions: int) -> None:
    """Poll everybody in turn until nothing moves and nothing is left over."""
    before: list[set[TopicPartition]] = []
    for _ in range(_MOST_ROUNDS):
        for consumer in team:
            consumer.poll()
        shares = [consumer.assignment() for consumer in team]
        if shares == before and sum(map(len, shares)) == partitions and all(shares):
            return
        before = shares
    raise RuntimeError(f"no share for everybody after {_MOST_ROUNDS} rounds of polls")


def bench_start(bench: Bench) -> None:
    """The first look at 10,000 groups with an offset each, after the broker was opened."""
    groups = bench.pick(10_000, 10_000, 100)
    yardstick = empty_call(bench.pick(200_000, 100_000, 100))
    with bench.scratch() as directory:
        path = directory / "data"
        with open_quiet(path) as broker:
            admin = Admin(broker)
            for number in range(groups):
                admin.alter_consumer_group_offsets(f"group-{number}", {TopicPartition(TOPIC, 0): 0})

        def load() -> float:
            with Broker(path) as broker:
                start = perf_counter()
                found = len(Admin(broker).list_consumer_groups())
                elapsed = perf_counter() - start
            assert found == groups
            return elapsed

        bench.compare(
            Contender(f"{groups:,} groups loaded", load),
            [yardstick],
            [within_seconds(2.0)],
            rounds=9,
        )


def bench_commit(bench: Bench) -> None:
    """A commit of one partition next to a write-through send: both append one record and return.

    A commit is stored as a record with a key and a value. What it is held against is therefore the send of a
    record whose key and value have the sizes of the commit's, with ``linger_ms=0``: the same bytes, by
    the same path into the log. A send of a value alone, for which producer and log have a way of
    its own, is shown next to it.
    """
    count = bench.pick(5_000, 1_000, 10)
    with bench.scratch() as directory, open_quiet(directory / "data") as broker:
        with (
            Producer(broker) as producer,
            Consumer(broker, TOPIC, group_id="g", enable_auto_commit=False) as consumer,
        ):
            producer.send(TOPIC, VALUE)
            consumer.poll(timeout_ms=10)
            offsets = {TopicPartition(TOPIC, 0): 1}
            consumer.commit(offsets)
            key, value = _stored_commit(broker)
            sends = [
                Contender.calls(
                    "send of a record like it", lambda: producer.send(TOPIC, value, key=key), count
                ),
                Contender.calls(
                    "send of a value alone", lambda: producer.send(TOPIC, value), count
                ),
            ]
            target = [at_most(3, "send of a record like it")]
            bench.compare(Contender.calls("commit()", consumer.commit, count), sends, target)
            bench.compare(
                Contender.calls("commit(offsets)", lambda: consumer.commit(offsets), count),
                sends,
                target,
            )


def _stored_commit(broker: Broker) -> tuple[bytes, bytes]:
    """Return key and value of the last record in the offsets topic."""
    with Consumer(broker) as consumer:
        consumer.assign(
            [TopicPartition(OFFSETS, one.partition) for one in consumer.partitions_for(OFFSETS)]
        )
        consumer.seek_to_beginning()
        *_, last = consumer.poll()
    assert last.key is not None
    assert last.value is not None
    return last.key, last.value


CASES = {
    "rebalance": bench_rebalance,
    "start": bench_start,
    "commit": bench_commit,
}
