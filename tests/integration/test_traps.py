"""Traps that other embedded logs fell into (the list at the end of the rules), through the public names.

Those that are not here are cited where they are tested: ``grep -rni "trap" tests``.
"""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

import pytest

from streamlog import Broker, Consumer, Producer, TopicPartition
from streamlog.record.layout import CONTROL_BIT, HEADER_SIZE, TRANSACTIONAL_BIT, read_header
from streamlog.structs import Isolation
from streamlog.testing import VirtualClock

T0, T1 = TopicPartition("t", 0), TopicPartition("t", 1)


def log_bytes(path: str) -> int:
    """The space that the segments of topic ``t`` take on the disk."""
    return sum(file.stat().st_blocks * 512 for file in Path(path).glob("topics/t-*/*"))


def test_trap_3_opening_again_truncates_nothing(data_dir: str) -> None:
    for generation in range(3):
        with Broker(data_dir) as broker, Producer(broker) as producer:
            assert producer.send("t", b"%d" % generation).result().offset == generation
    with Broker(data_dir) as broker, Consumer(broker) as consumer:
        consumer.assign([T0])
        consumer.seek_to_beginning()
        assert consumer.poll().values() == [b"0", b"1", b"2"]


def test_trap_4_retention_gives_the_space_on_the_disk_back(data_dir: str) -> None:
    clock = VirtualClock()
    with Broker(data_dir, clock=clock, log_segment_bytes=64 * 1024) as broker:
        broker.create_topic("t", configs={"retention_ms": 1000, "file_delete_delay_ms": 0})
        with Producer(broker) as producer:
            producer.send_many("t", [bytes(1000)] * 2000).result()
        full = log_bytes(data_dir)
        assert full >= 2_000_000
        clock.advance(10_000)
        broker.run_maintenance()
        clock.advance(1)  # past file_delete_delay_ms
        assert log_bytes(data_dir) < full / 10


def test_trap_9_timeouts_work_in_any_thread_and_leave_signals_alone() -> None:
    before = signal.getsignal(signal.SIGALRM)
    found: list[object] = []
    with Broker() as broker:
        broker.create_topic("t")

        def work() -> None:
            with Consumer(broker, "t", group_id="g") as consumer:
                found.append(len(consumer.poll(timeout_ms=1)))
                found.append(signal.getsignal(signal.SIGALRM))

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert found == [0, before]


def test_trap_10_a_closed_broker_leaves_no_thread(data_dir: str) -> None:
    before = set(threading.enumerate())
    with Broker(data_dir) as broker, Producer(broker, linger_ms=5) as producer:
        producer.send("t", b"v").result()
        with Consumer(broker, "t", group_id="g") as consumer:
            consumer.poll(timeout_ms=1)
        assert set(threading.enumerate()) - before
    assert not set(threading.enumerate()) - before


def test_rec_9_offset_and_epoch_are_stamped_without_a_new_checksum_of_the_records() -> None:
    """The same records in two places differ in what the leader stamps, and in nothing else: not in their
    producer's sequence either, for each partition has its own.
    """
    with Broker(clock=VirtualClock()) as broker, Producer(broker) as producer:
        broker.create_topic("t", partitions=2)
        with Producer(broker) as another:
            another.send("t", b"first", partition=1)
        for number in (0, 1):
            producer.send("t", b"same", key=b"k", partition=number)
        headers = []
        for number, offset in ((0, 0), (1, 1)):
            data = broker.partition("t", number).read(offset, 1 << 20, Isolation.READ_UNCOMMITTED)
            header = read_header(data[:HEADER_SIZE])
            assert header is not None
            headers.append(header)
    one, other = headers
    assert (one.base_offset, other.base_offset) == (0, 1)
    assert one.header_crc != other.header_crc
    assert one._replace(base_offset=1, header_crc=other.header_crc) == other


@pytest.mark.parametrize("linger_ms", [0, 5])
@pytest.mark.parametrize("is_idempotent", [False, True])
def test_rec_10_no_way_to_send_makes_a_control_batch_or_claims_a_sequence(
    linger_ms: float, is_idempotent: bool
) -> None:
    with Broker(clock=VirtualClock()) as broker:
        broker.create_topic("t")
        with Producer(broker, linger_ms=linger_ms, enable_idempotence=is_idempotent) as producer:
            producer.send("t", b"plain")
            producer.send("t", b"v", key=b"k", headers=[("h", b"x")], timestamp_ms=1)
            producer.send("t", None)
            producer.writer("t")(b"v")
            producer.send_many("t", [b"v", b"w"])
        batches = broker.partition("t", 0).read_batches(0, 1 << 20, sys.maxsize)
        assert sum(batch.record_count for batch in batches) == 6
        for batch in batches:
            assert not batch.attributes & CONTROL_BIT
            assert not batch.attributes & TRANSACTIONAL_BIT
            claimed = (batch.producer_id, batch.producer_epoch, batch.base_sequence)
            assert all(number >= 0 for number in claimed) == is_idempotent
            assert is_idempotent or claimed == (-1, -1, -1)
