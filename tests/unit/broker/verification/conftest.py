"""A directory with everything in it that verification looks at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from streamlog import Broker, Consumer, Producer
from streamlog.runtime import MemoryFileSystem, VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable

PATH = "/data"


@pytest.fixture
def filesystem() -> MemoryFileSystem:
    return MemoryFileSystem()


@pytest.fixture
def reopen(filesystem: MemoryFileSystem, clock: VirtualClock) -> Callable[[], Broker]:
    return lambda: Broker(PATH, filesystem=filesystem, clock=clock, seed=1)


@pytest.fixture
def filled(reopen: Callable[[], Broker]) -> Callable[[], Broker]:
    """Transactions, committed and aborted, offsets of a group, batches with keys and headers, a dozen segments: closed."""
    with reopen() as broker:
        configs = {"segment_bytes": 8000, "index_interval_bytes": 300}
        broker.create_topic("orders", partitions=1, configs=configs)
        with Producer(broker, transactional_id="t") as producer:
            producer.init_transactions()
            for number in range(9):
                producer.begin_transaction()
                for record in range(20):
                    producer.send("orders", b"v%d" % record, key=b"k%d" % record)
                if number % 3:
                    producer.commit_transaction()
                else:
                    producer.abort_transaction()
        with Producer(broker, linger_ms=5) as producer:
            for record in range(900):
                producer.send("orders", b"w%d" % record, key=b"k%d" % record, headers=[("h", b"1")])
        with Consumer(broker, "orders", group_id="g", auto_offset_reset="earliest") as consumer:
            consumer.poll(1000)
            consumer.commit()
    return reopen
