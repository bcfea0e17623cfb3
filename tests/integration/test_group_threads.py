"""A group under real threads: consumers come and go while producers write."""

from __future__ import annotations

from collections import Counter

import pytest

from streamlog import Broker, Consumer, Producer, WakeupError
from streamlog.runtime import Thread

RECORDS = 6_000
PRODUCERS = 2
CONSUMERS = 4
PARTITIONS = 6


@pytest.mark.stress
def test_every_record_is_processed_once_while_consumers_join_and_leave_in_order() -> None:
    """Nobody crashes here and everybody commits before he leaves: at least once is exactly once."""
    seen: Counter[bytes] = Counter()
    failures: list[BaseException] = []
    with Broker(offsets_topic_num_partitions=1) as broker:
        broker.create_topic("t", partitions=PARTITIONS)

        def produce(number: int) -> None:
            try:
                with Producer(broker) as producer:
                    for n in range(RECORDS // PRODUCERS):
                        producer.send("t", b"%d-%d" % (number, n), key=b"%d" % (n % 50))
            except BaseException as error:
                failures.append(error)

        def consume(number: int) -> None:
            mine: Counter[bytes] = Counter()
            try:
                while sum(seen.values()) + sum(mine.values()) < RECORDS:
                    with Consumer(
                        broker, "t", group_id="g", auto_offset_reset="earliest", max_poll_records=50
                    ) as consumer:
                        # Leaves and joins again after a while, each after another one.
                        for _ in range(5 + 3 * number):
                            values = consumer.poll(timeout_ms=20).values()
                            mine.update(values)
                    seen.update(mine)
                    mine.clear()
            except WakeupError:
                pass
            except BaseException as error:
                failures.append(error)

        threads = [Thread(target=produce, args=(n,)) for n in range(PRODUCERS)]
        threads += [Thread(target=consume, args=(n,)) for n in range(CONSUMERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(50)
        assert not failures
        assert not any(thread.is_alive() for thread in threads)
    expected = {b"%d-%d" % (p, n) for p in range(PRODUCERS) for n in range(RECORDS // PRODUCERS)}
    assert set(seen) == expected
    assert max(seen.values()) == 1
