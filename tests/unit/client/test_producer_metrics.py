from __future__ import annotations

import sys
from threading import Barrier, Thread
from types import SimpleNamespace
from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.client.buffer_pool import BufferPool
from streamlog.client.producer import Producer
from streamlog.client.producer_metrics import ProducerMetrics
from streamlog.record import build_single_value_batch
from streamlog.runtime import VirtualClock


def queue(**counts: int) -> Any:
    none = dict.fromkeys(
        ("batch_count", "batch_records", "batch_bytes", "single_count", "single_bytes"), 0
    )
    return SimpleNamespace(**{**none, **counts})


def test_before_the_first_record_all_is_zero(clock: VirtualClock) -> None:
    metrics = ProducerMetrics().as_dict(BufferPool(50, clock), [queue()])
    assert metrics.pop("buffer_available_bytes") == metrics.pop("buffer_total_bytes") == 50
    assert set(metrics.values()) == {0}


def test_batches_and_single_records_add_up(clock: VirtualClock) -> None:
    metrics = ProducerMetrics()
    metrics.failed(3)
    metrics.retried(2)
    metrics.split()
    queues = [
        queue(batch_count=2, batch_records=10, batch_bytes=1000),
        queue(single_count=2, single_bytes=200),
    ]
    found = metrics.as_dict(BufferPool(50, clock), queues)
    overhead = build_single_value_batch(b"", 0).size_bytes
    assert found == {
        "record_send_total": 12,
        "record_error_total": 3,
        "record_retry_total": 2,
        "request_total": 4,
        "records_per_request_avg": 3.0,
        "batch_size_avg": (1000 + 200 + 2 * overhead) / 4,
        "batch_split_total": 1,
        "buffer_available_bytes": 50,
        "buffer_total_bytes": 50,
        "waiting_threads": 0,
    }


def test_the_average_size_is_that_of_the_batches_that_were_stored(broker: Broker) -> None:
    producer = Producer(broker)
    for size in (10, 200, 3000):
        producer.send("t", bytes(size))
    producer.send("t", bytes(50), key=b"key")
    producer.send_many("t", [bytes(100)] * 10)
    batches = broker.partition("t", 0).read_batches(0, 1 << 20, sys.maxsize)
    assert len(batches) == producer.metrics()["request_total"]
    stored = sum(batch.size_bytes for batch in batches) / len(batches)
    assert producer.metrics()["batch_size_avg"] == pytest.approx(stored, abs=8)


@pytest.mark.parametrize("with_key", [False, True])
def test_racing_threads_lose_no_record_from_the_count(with_key: bool) -> None:
    """The plain way of `send` counts without a lock."""
    records, threads = 3_000, 4
    arguments: Any = {"key": b"k"} if with_key else {}
    barrier = Barrier(threads)
    interval = sys.getswitchinterval()
    with Broker() as broker, Producer(broker) as producer:

        def work() -> None:
            barrier.wait()
            for _ in range(records):
                producer.send("t", b"value", **arguments)

        workers = [Thread(target=work) for _ in range(threads)]
        sys.setswitchinterval(1e-6)
        try:
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
        finally:
            sys.setswitchinterval(interval)
        metrics = producer.metrics()
    assert metrics["record_send_total"] == metrics["request_total"] == records * threads
