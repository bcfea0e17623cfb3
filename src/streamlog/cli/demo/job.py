"""The main job: flights into six partitions, two consumers of one group that add them up."""

from __future__ import annotations

import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from streamlog.client.consumer import Consumer
from streamlog.client.producer import Producer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from streamlog.broker.broker import Broker
    from streamlog.cli.demo.flights import Flight

TOPIC = "flights"
PARTITIONS = 6
CONSUMERS = 2
_LINGER_MS = 5


class Totals(defaultdict[str, list[int]]):
    """Carrier -> [flights, departures, minutes of departure delay]."""

    def __init__(self) -> None:
        super().__init__(lambda: [0, 0, 0])

    @classmethod
    def of(cls, flights: Iterable[Flight]) -> Totals:
        """Return the totals of *flights*, computed without any topic."""
        totals = cls()
        for flight in flights:
            totals.add(flight["carrier"], flight["delay_minutes"])
        return totals

    def add(self, carrier: str, delay_minutes: int | None) -> None:
        """Count a flight; None is a cancelled one, which counts as a flight but not as a departure."""
        counts = self[carrier]
        counts[0] += 1
        if delay_minutes is not None:
            counts[1] += 1
            counts[2] += delay_minutes

    def merge(self, other: Totals) -> None:
        """Add the totals of another consumer."""
        for carrier, counts in other.items():
            self[carrier] = [
                mine + theirs for mine, theirs in zip(self[carrier], counts, strict=True)
            ]


def produce(broker: Broker, flights: list[Flight], advance: Callable[[int], object]) -> None:
    """Send *flights*, keyed by carrier, each with the time of its departure; tell *advance* how many."""
    # The records carry the times of 2013. Kafka's defaults go by these times: what is older than a week is due for
    # deletion, and each week begins a new segment. Here everything is to be kept, in few files.
    configs = {"retention_ms": -1, "segment_ms": 366 * 86_400_000}
    broker.create_topic(TOPIC, partitions=PARTITIONS, configs=configs)
    with Producer(
        broker, key_serializer="str", value_serializer="msgpack", linger_ms=_LINGER_MS
    ) as producer:
        for count, flight in enumerate(flights, start=1):
            producer.send(TOPIC, flight, key=flight["carrier"], timestamp_ms=flight["departure_ms"])
            if count % 1000 == 0:
                advance(1000)
        producer.flush()


def consume(
    broker: Broker, wanted: int, advance: Callable[[int], object]
) -> tuple[Totals, list[int]]:
    """Return what the group's consumers add up together, and how many records each of them saw."""
    totals = [Totals() for _ in range(CONSUMERS)]
    seen = [0] * CONSUMERS
    failed: list[int] = []

    def work(me: int) -> None:
        mine = totals[me]
        try:
            with Consumer(
                broker,
                TOPIC,
                group_id="delay-report",
                auto_offset_reset="earliest",
                value_deserializer="msgpack",
            ) as consumer:
                while sum(seen) < wanted and not failed:
                    records = consumer.poll(timeout_ms=100)
                    for flight in records.values():
                        mine.add(flight["carrier"], flight["delay_minutes"])
                    seen[me] += len(records)
                    advance(len(records))
        finally:
            # The others wait for records that only this one would count.
            if sys.exc_info()[0] is not None:
                failed.append(me)

    with ThreadPoolExecutor(CONSUMERS, "consumer") as threads:
        tasks = [threads.submit(work, number) for number in range(CONSUMERS)]
        try:
            wait(tasks)
        except BaseException:  # Ctrl-C: the threads would go on without end
            failed.append(-1)
            raise
    merged = Totals()
    for task, part in zip(tasks, totals, strict=True):
        task.result()
        merged.merge(part)
    return merged, seen


def differences(found: Totals, expected: Totals) -> list[str]:
    """Return one line for each carrier whose totals differ, in the order of their codes."""
    return [
        f"{carrier}: from the topic {found.get(carrier)}, from the data {expected.get(carrier)}"
        for carrier in sorted({*found, *expected})
        if found.get(carrier) != expected.get(carrier)
    ]
