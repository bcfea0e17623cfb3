"""A group under real threads: consumers come and go, and some die, while producers write.

CI writes a few thousand records; ``STREAMLOG_GROUP_RECORDS`` says how many (``make groups RECORDS=1000000``), ``STREAMLOG_GROUP_SEED`` when members
leave.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable
from typing import Literal

import pytest

from streamlog import Broker, Consumer, Producer
from streamlog.runtime import Lock, Thread

RECORDS = int(os.environ.get("STREAMLOG_GROUP_RECORDS", "12000"))
SEED = int(os.environ.get("STREAMLOG_GROUP_SEED", "1"))
PATIENCE_S = 50 + RECORDS / 500
PRODUCERS = 4
CONSUMERS = 8
PARTITIONS = 12

Assignor = Literal["range", "uniform", "roundrobin", "sticky", "cooperative-sticky"]
OF_THE_COORDINATOR: dict[Assignor, Literal["range", "uniform"]] = {
    "range": "range",
    "uniform": "uniform",
}


class Work:
    """Producers that write, and consumers that count what they process."""

    def __init__(self, broker: Broker, protocol: str, assignor: Assignor, *, deadly: bool) -> None:
        self.broker = broker
        self.protocol = protocol
        self.assignor = assignor
        self.deadly = deadly
        self.lock = Lock()
        self.processed: Counter[bytes] = Counter()
        self.failures: list[BaseException] = []
        self.rebalances = 0

    def run(self) -> None:
        threads = [Thread(target=self.guarded, args=(self.produce, n)) for n in range(PRODUCERS)]
        threads += [Thread(target=self.guarded, args=(self.consume, n)) for n in range(CONSUMERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        assert not self.failures
        assert not any(thread.is_alive() for thread in threads), f"still at {self.done} records"

    def guarded(self, work: Callable[[int], object], number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            self.failures.append(error)

    @property
    def done(self) -> int:
        return len(self.processed)

    def produce(self, number: int) -> None:
        with Producer(self.broker) as producer:
            for n in range(number, RECORDS, PRODUCERS):
                producer.send("t", b"%d" % n, key=b"%d" % (n % 50))

    def consumer(self, chance: random.Random) -> Consumer:
        if self.protocol == "classic" or (self.protocol == "both" and chance.random() < 0.5):
            return Consumer(
                self.broker,
                "t",
                group_id="g",
                group_protocol="classic",
                partition_assignment_strategy=[self.assignor],
                auto_offset_reset="earliest",
                max_poll_records=RECORDS // 100,
            )
        return Consumer(
            self.broker,
            "t",
            group_id="g",
            group_remote_assignor=OF_THE_COORDINATOR.get(self.assignor, "range"),
            auto_offset_reset="earliest",
            max_poll_records=RECORDS // 100,
        )

    def consume(self, number: int) -> None:
        """Join, read for a while, leave, and join again as another member."""
        chance = random.Random(SEED * 100 + number)
        while self.done < RECORDS and not self.failures:
            consumer = self.consumer(chance)
            self.rebalances += 1
            for _ in range(chance.randrange(3, 30)):
                values = consumer.poll(timeout_ms=10).values()
                with self.lock:
                    self.processed.update(values)
            if self.deadly and chance.random() < 0.5:
                self.die(consumer)
            consumer.close()

    def die(self, consumer: Consumer) -> None:
        """Leave as a member that is gone does: what it read last is not committed."""
        coordinator = self.broker.group_coordinator
        member_id = consumer.group_metadata().member_id
        is_classic = consumer.config.group_protocol == "classic"
        leave = coordinator.classic_leave if is_classic else coordinator.leave
        leave("g", member_id)


@pytest.mark.stress
@pytest.mark.timeout(PATIENCE_S * 2)
@pytest.mark.parametrize("deadly", [False, True], ids=["in order", "dying"])
@pytest.mark.parametrize(
    ("protocol", "assignor"),
    [
        ("consumer", "range"),
        ("consumer", "uniform"),
        ("classic", "range"),
        ("classic", "roundrobin"),
        ("classic", "sticky"),
        ("classic", "cooperative-sticky"),
        ("both", "range"),
        ("both", "cooperative-sticky"),
    ],
)
def test_every_record_is_processed_while_consumers_join_and_leave(
    protocol: str, assignor: Assignor, deadly: bool
) -> None:
    """At least once; exactly once where everybody commits before leaving."""
    again = f"run again with STREAMLOG_GROUP_SEED={SEED} STREAMLOG_GROUP_RECORDS={RECORDS}"
    with Broker(offsets_topic_num_partitions=1) as broker:
        broker.create_topic("t", partitions=PARTITIONS)
        work = Work(broker, protocol, assignor, deadly=deadly)
        work.run()
    assert work.processed.keys() == {b"%d" % n for n in range(RECORDS)}, again
    assert work.rebalances >= CONSUMERS, again
    if not deadly:
        assert max(work.processed.values()) == 1, again
