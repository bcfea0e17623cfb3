"""Transactions under real threads: several producers share ids and fence each other, others only read.

What a call to commit returned for is there, in every partition and in the group, once; of all else
nothing is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from streamlog import Broker, Consumer
from streamlog.errors import (
    ConcurrentTransactionsError,
    InvalidProducerEpochError,
    InvalidTxnStateError,
    ProducerFencedError,
)
from streamlog.runtime import Lock, Thread
from streamlog.structs import OffsetAndMetadata, TopicPartition
from tests.support.transaction_writer import TIMEOUT_MS, Writer

pytestmark = pytest.mark.stress

THREADS = 6
IDS = 2
ROUNDS = 60
#: Each thread tries this turn until it is committed, however often it is fenced; any other may be lost to the others.
SURE_TURN = 1
PARTITIONS = 3
PLACE = TopicPartition("a", 0)


class Work:
    """Each thread takes an id, writes one value to all partitions, and ends the transaction."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.lock = Lock()
        self.committed: set[bytes] = set()
        self.failures: list[BaseException] = []

    def run(self) -> None:
        threads = [Thread(target=self.guarded, args=(self.produce, n)) for n in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(100)
        assert not self.failures
        assert not any(thread.is_alive() for thread in threads)

    def guarded(self, work: Callable[[int], object], number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            self.failures.append(error)

    def produce(self, number: int) -> None:
        for turn in range(ROUNDS):
            while not self.is_ended(number, turn) and turn == SURE_TURN:
                pass

    def is_ended(self, number: int, turn: int) -> bool:
        """Run one transaction and return whether it was ended, not fenced by another thread."""
        name = f"id-{number % IDS}"
        value = b"%d-%d" % (number, turn)
        try:
            producer = self.broker.transaction_coordinator.init_producer_id(name, TIMEOUT_MS)
            writer = Writer(self.broker, name, producer)
            for partition in range(PARTITIONS):
                writer.write("a", partition, value)
            self.broker.group_coordinator.commit_transactional_offsets(
                f"group-{number}", "", -1, None, *producer, {PLACE: OffsetAndMetadata(turn)}
            )
            # A call that is told to try again does so, and is told whether it had come through.
            while True:
                try:
                    writer.end(commit=turn % 5 != 0)
                    break
                except ConcurrentTransactionsError:
                    pass
        except (
            ConcurrentTransactionsError,
            ProducerFencedError,
            InvalidProducerEpochError,
            InvalidTxnStateError,
        ):
            return False
        if turn % 5 != 0:
            with self.lock:
                self.committed.add(value)
        return True


def test_producers_that_fence_each_other_commit_all_of_a_transaction_or_nothing() -> None:
    """TXN-8, TXN-16."""
    with Broker() as broker:
        broker.create_topic("a", partitions=PARTITIONS)
        work = Work(broker)
        work.run()
        for number in range(IDS):
            broker.transaction_coordinator.force_terminate(f"id-{number}")
        broker.transaction_coordinator._check()
        broker.group_coordinator._check()
        for one in broker.topic("a").partitions:
            assert one.last_stable_offset == one.high_watermark, "nothing is left open"
        with Consumer(broker, isolation_level="read_committed") as consumer:
            places = [TopicPartition("a", number) for number in range(PARTITIONS)]
            consumer.assign(places)
            consumer.seek_to_beginning(*places)
            read = {place: Counter[bytes]() for place in places}
            while records := consumer.poll(0):
                for record in records:
                    read[record.topic_partition][record.value] += 1
        for place in places:
            assert read[place] == dict.fromkeys(work.committed, 1), place
        # How many of the others are committed is a matter of who runs when.
        assert work.committed >= {b"%d-%d" % (number, SURE_TURN) for number in range(THREADS)}
        for number in range(THREADS):
            turns = [int(v.split(b"-")[1]) for v in work.committed if v.startswith(b"%d-" % number)]
            found = broker.group_coordinator.fetch_all_offsets(f"group-{number}")
            assert {tp: one.offset for tp, one in found.items()} == {PLACE: max(turns)}
