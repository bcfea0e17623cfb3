"""Who waits for a disk while a batch of a client is stored: its client, and nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event, Thread
from typing import Any

import pytest

from streamlog import Admin, AlterConfigOp, Broker
from streamlog.record import Codec, Compressor, build_batch
from streamlog.record.kafka_compression import compress_kafka
from streamlog.record.kafka_layout import KAFKA_HEADER_SIZE
from streamlog.runtime import MemoryFileSystem, VirtualClock
from streamlog.wire.messages import BY_NAME
from tests.support.hooked_files import HookedFileSystem
from tests.support.kafka_batches import FIRST_MS, kafka_batch
from tests.support.wire import RawClient, frame, raw_clients
from tests.support.wire_memory import MemoryListener

BATCH = kafka_batch([b"x" * 1000])


@pytest.fixture
def disk() -> HookedFileSystem:
    return HookedFileSystem(MemoryFileSystem())


@pytest.fixture
def broker(disk: HookedFileSystem) -> Iterator[Broker]:
    with Broker("/data", filesystem=disk, clock=VirtualClock()) as broker:
        broker.create_topic("t", configs={"segment_bytes": 4096})
        broker.listen()
        yield broker


@pytest.fixture
def connect(broker: Broker) -> Iterator[Any]:
    with raw_clients(broker.bootstrap_servers) as connect:
        yield connect


class SlowDisk:
    """Some calls of *disk* for partition t-0 take until `release`."""

    def __init__(self, disk: HookedFileSystem, *calls: str) -> None:
        self._disk, self._calls = disk, calls
        self.is_reached, self._may_go_on = Event(), Event()
        disk.hook = self._wait

    def _wait(self, call: str, path: str) -> None:
        if call in self._calls and "/t-0/" in path:
            self.is_reached.set()
            assert self._may_go_on.wait(20)

    def release(self) -> None:
        self._disk.hook = lambda call, path: None
        self._may_go_on.set()


def send(client: RawClient) -> None:
    data = {"index": 0, "records": BATCH}
    topics = [{"name": "t", "partition_data": [data]}]
    client.send("Produce", 9, acks=-1, timeout_ms=1, topic_data=topics)


def test_others_are_served_while_an_append_makes_a_file(
    broker: Broker, disk: HookedFileSystem, connect: Any
) -> None:
    """A new segment on a busy disk, made in the loop, held everybody up."""
    one, other = connect(), connect()
    for _ in range(3):
        send(one)
        one.receive()
    slow = SlowDisk(disk, "make", "allocate")
    send(one)
    assert slow.is_reached.wait(20)
    assert other.request("ApiVersions", 3).api_keys
    slow.release()
    assert one.receive().responses[0].partition_responses[0].base_offset == 3


def test_others_are_served_while_a_thread_of_the_process_has_the_log(
    broker: Broker, disk: HookedFileSystem, connect: Any
) -> None:
    """The loop waited for the lock of a log in which somebody else was rolling."""
    one, other = connect(), connect()
    partition = broker.partition("t", 0)
    for _ in range(3):
        partition.append_value(b"x" * 1000, 0)
    slow = SlowDisk(disk, "make", "allocate")
    appending = Thread(target=partition.append_value, args=(b"x" * 1000, 0))
    appending.start()
    assert slow.is_reached.wait(20)
    send(one)
    assert other.request("ApiVersions", 3).api_keys
    slow.release()
    appending.join()
    assert one.receive().responses[0].partition_responses[0].base_offset == 4


@pytest.mark.parametrize(
    ("configs", "is_large"),
    [
        ({"cleanup_policy": "compact"}, True),
        ({"message_timestamp_before_max_ms": 1 << 50}, True),
        ({"compression_type": "gzip"}, True),
        ({}, False),
    ],
)
@pytest.mark.parametrize("values", [[b"x"], [b"x" * 10_000]])
@pytest.mark.parametrize("codec", [Codec.NONE, Codec.ZSTD])
def test_batch_that_is_looked_into_is_not_in_the_loop(
    configs: dict[str, Any], is_large: bool, values: list[bytes], codec: Codec
) -> None:
    """A small one may have 256 MiB in it, which were decompressed and read while everybody waited."""
    pytest.importorskip("cramjam")
    data = kafka_batch(values, [b"k"])
    if codec:
        packed = compress_kafka(data[KAFKA_HEADER_SIZE:], Compressor(codec, 3))
        data = kafka_batch(values, records=packed, attributes=int(codec))
    with Broker(clock=VirtualClock()) as broker:
        broker.create_topic("looked_into", configs=configs)
        broker.partition("looked_into", 0).append(
            build_batch([b"x"], FIRST_MS, [b"k"])
        )  # its file is there
        listener = MemoryListener(broker)
        partition = {"index": 0, "records": data}
        topics = [{"name": "looked_into", "partition_data": [partition]}]
        assert listener.connect().send(frame("Produce", 9, acks=1, topic_data=topics))
        assert broker.partition("looked_into", 0).high_watermark == 2
        in_worker = bool(listener.loop.used_executors)
    assert in_worker == (is_large and (codec is Codec.ZSTD or len(values[0]) > 8192))


def is_in_worker(broker: Broker, data: bytes) -> bool:
    listener = MemoryListener(broker)
    topics = [{"name": "t", "partition_data": [{"index": 0, "records": data}]}]
    before = broker.partition("t", 0).high_watermark
    assert listener.connect().send(frame("Produce", 9, acks=1, topic_data=topics))
    assert broker.partition("t", 0).high_watermark == before + 1
    return bool(listener.loop.used_executors)


def test_batch_before_which_the_log_is_read_for_its_producers_is_not_in_the_loop() -> None:
    """The first one with a producer id after an opening: behind gigabytes without, all of these are walked."""
    disk = MemoryFileSystem()
    for sequence in range(2):
        with Broker("/data", filesystem=disk, clock=VirtualClock()) as broker:
            if not sequence:
                broker.create_topic("t")
            partition = broker.partition("t", 0)
            partition.append_value(b"x", FIRST_MS)  # its file is there
            assert not is_in_worker(broker, kafka_batch([b"x"]))
            batch = kafka_batch([b"x"], producer_id=7, producer_epoch=0, base_sequence=sequence)
            assert is_in_worker(broker, batch) == (sequence == 1)
            after = kafka_batch([b"x"], producer_id=8, producer_epoch=0, base_sequence=0)
            assert sequence == 0 or not is_in_worker(broker, after)


def test_batch_whose_time_ends_a_segment_is_not_in_the_loop() -> None:
    """There was room for it in the file, and another one was made all the same."""
    with Broker(clock=VirtualClock()) as broker:
        broker.create_topic("t", configs={"segment_ms": 60_000})
        broker.partition("t", 0).append_value(b"x", 1_000)
        on_time, late = (kafka_batch([b"x"], base_timestamp_ms=one) for one in (60_000, 70_000))
        assert not is_in_worker(broker, on_time)
        assert is_in_worker(broker, late)


def test_batch_that_the_time_of_the_broker_puts_into_a_new_segment_is_not_in_the_loop() -> None:
    """Under LogAppendTime it is not the time of the client that ends a segment."""
    clock = VirtualClock()
    config = {"segment_ms": 60_000, "message_timestamp_type": "LogAppendTime"}
    with Broker(clock=clock) as broker:
        broker.create_topic("t", configs=config)
        first, late = (kafka_batch([b"x"], base_timestamp_ms=one) for one in (0, FIRST_MS))
        is_in_worker(broker, first)  # a file is made for the first one of all
        assert not is_in_worker(broker, late)
        clock.advance(60_001)
        assert is_in_worker(broker, first)


def test_batch_that_is_too_much_for_segments_by_now_is_not_in_the_loop() -> None:
    """The file has room for it, which is not to be used up any more."""
    with Broker(clock=VirtualClock()) as broker:
        broker.create_topic("t")
        is_in_worker(broker, BATCH)
        assert not is_in_worker(broker, BATCH)
        Admin(broker).incremental_alter_configs({"t": [AlterConfigOp("segment_bytes", 2048)]})
        assert is_in_worker(broker, BATCH)


def test_others_are_served_while_somebody_asks_the_disk_for_a_sync(
    broker: Broker, disk: HookedFileSystem, connect: Any
) -> None:
    """As are appends: the lock of a log is not held by who syncs it."""
    one, other = connect(), connect()
    partition = broker.partition("t", 0)
    partition.append_value(b"x", 0)
    slow = SlowDisk(disk, "sync", "sync_data", "sync_dir")
    syncing = Thread(target=partition.sync)
    syncing.start()
    assert slow.is_reached.wait(20)
    send(one)
    assert one.receive().responses[0].partition_responses[0].base_offset == 1
    assert other.request("ApiVersions", 3).api_keys
    slow.release()
    syncing.join()


def test_others_are_served_while_a_transaction_ends_on_a_slow_disk(
    broker: Broker, connect: Any
) -> None:
    """The first batch of a transaction asks the coordinator, whose lock the loop waited for."""
    one, other = connect(), connect()
    made = one.request(
        "InitProducerId", 4, transactional_id="x", transaction_timeout_ms=60_000,
        producer_id=-1, producer_epoch=-1,
    )  # fmt: skip
    batch = kafka_batch(
        [b"x"], attributes=0x10, producer_id=made.producer_id,
        producer_epoch=made.producer_epoch, base_sequence=0,
    )  # fmt: skip
    topics = [{"name": "t", "partition_data": [{"index": 0, "records": batch}]}]
    partitions = [{"name": "t", "partitions": [0]}]
    one.request(
        "AddPartitionsToTxn", 3, transactional_id="x",
        producer_id=made.producer_id,
        producer_epoch=made.producer_epoch, topics=partitions,
    )  # fmt: skip
    with broker.transaction_coordinator._lock:
        one.send("Produce", 9, transactional_id="x", acks=-1, timeout_ms=1, topic_data=topics)
        assert other.request("ApiVersions", 3).api_keys
    assert one.receive().responses[0].partition_responses[0].error_code == 0


@pytest.mark.parametrize("acks", [1, 0])
def test_batches_around_one_that_takes_long_are_stored_once_each(acks: int) -> None:
    """The loop begins with a request, and a worker goes on behind what is stored."""
    large = kafka_batch([b"x" * 10_000], [b"k"])
    with Broker(clock=VirtualClock()) as broker:
        broker.create_topic("plain", partitions=2)
        broker.create_topic("compact", configs={"cleanup_policy": "compact"})
        places = [("plain", 0), ("compact", 0), ("plain", 1)]
        for topic, number in places:  # their files are there
            broker.partition(topic, number).append(build_batch([b"x"], FIRST_MS, [b"k"]))
        topics = [
            {"name": topic, "partition_data": [{"index": number, "records": large}]}
            for topic, number in places
        ]
        topics.insert(1, {"name": "none", "partition_data": [{"index": 0, "records": large}]})
        listener = MemoryListener(broker)
        client = listener.connect()
        sent = client.send(frame("Produce", 9, acks=acks, topic_data=topics))
        assert listener.loop.used_executors == [listener.executor]
        assert [broker.partition(*place).high_watermark for place in places] == [2, 2, 2]
        assert client.is_open == bool(acks), "without acks an error closes"
        if acks:
            answer = BY_NAME["Produce"].response.decode(sent[4:], 9, 5)
            found = [one.partition_responses[0] for one in answer.responses]
            assert [one.name for one in answer.responses] == ["plain", "none", "compact", "plain"]
            assert [(one.error_code, one.base_offset) for one in found] == [(0, 1), (3, -1), (0, 1), (0, 1)]  # fmt: skip
