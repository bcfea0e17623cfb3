"""Compressed batches from the producer through the log to the consumer, and without the library."""

from __future__ import annotations

import random
import subprocess
import sys
import textwrap
from typing import Any

import pytest

from streamlog import (
    Broker,
    Consumer,
    DiskFullError,
    InvalidConfigurationError,
    MessageTooLargeError,
    Producer,
    ProducerRecord,
    RecordDecodeError,
    TopicPartition,
    UnsupportedCompressionTypeError,
)
from streamlog.client.admin import Admin
from streamlog.record import BatchView, Codec, ProducerStamp, build_batch
from streamlog.runtime import VirtualClock
from streamlog.structs import Isolation
from tests.support.producing import failing_partitions, stored, values
from tests.support.transaction_writer import new_writer

CODECS = ("gzip", "snappy", "lz4", "zstd")
each_codec = pytest.mark.parametrize("codec", CODECS)
TP = TopicPartition("t", 0)
TEXT = b"one record after the other, "


def batches(broker: Broker, topic: str = "t") -> list[BatchView]:
    partition = broker.partition(topic, 0)
    found: list[BatchView] = []
    offset, end = partition.log_start_offset, partition.log_end_offset
    while offset < end:
        found += partition.read_batches(offset, 1 << 20, end)
        offset = found[-1].next_offset
    return found


def codecs(broker: Broker, topic: str = "t") -> set[str]:
    return {Codec(view.codec).label for view in batches(broker, topic)}


def reader(broker: Broker, topic: str = "t", **config: Any) -> Consumer:
    consumer = Consumer(broker, auto_offset_reset="earliest", **config)
    consumer.assign([TopicPartition(topic, 0)])
    return consumer


def without_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cramjam", None)


# ---- producer


@each_codec
@pytest.mark.parametrize("acks", ["all", 0])
def test_with_linger_ms_0_each_record_is_a_compressed_batch_when_send_returns(
    codec: str, acks: Any
) -> None:
    with Broker() as broker, Producer(broker, compression_type=codec, acks=acks) as producer:
        writer = producer.writer("t")
        for n in range(3):
            producer.send("t", TEXT)
            assert len(values(broker)) == 2 * n + 1
            writer(TEXT)
            assert len(values(broker)) == 2 * n + 2
        producer.send("t", TEXT, key=b"k", headers=[("h", b"v")], timestamp_ms=5)
        producer.send("t", None, key=b"k")
        assert values(broker) == [TEXT] * 7 + [None]
        assert {view.codec for view in batches(broker)} == {Codec[codec.upper()]}
        assert [view.record_count for view in batches(broker)] == [1] * 8
        assert stored(broker)[6][1:] == (TEXT, b"k", 5, (("h", b"v"),))


@each_codec
def test_a_batch_is_compressed_as_a_whole(codec: str) -> None:
    with Broker(clock=VirtualClock()) as broker:
        producer = Producer(broker, compression_type=codec, linger_ms=5)
        futures = [producer.send("t", TEXT, key=b"%d" % n) for n in range(100)]
        producer.flush()
        assert [future.result().offset for future in futures] == list(range(100))
        (view,) = batches(broker)
        assert view.header.uncompressed_size > 100 * len(TEXT)
        assert view.size_bytes < view.header.uncompressed_size / 5
        assert producer.metrics()["batch_size_avg"] == view.size_bytes
        assert [record.key for record in stored(broker)] == [b"%d" % n for n in range(100)]


@each_codec
def test_a_run_is_compressed(codec: str) -> None:
    run = [TEXT + b"%d" % n for n in range(20_000)]
    with Broker() as broker, Producer(broker, compression_type=codec) as producer:
        producer.send_many("t", run).result()
        assert values(broker) == run
        assert codecs(broker) == {codec}
        assert len(batches(broker)) > 1


def test_records_wait_by_their_uncompressed_size() -> None:
    """What a batch may hold (`batch_size`) and what memory it takes do not depend on what it will become."""
    with Broker(clock=VirtualClock()) as broker:
        producer = Producer(broker, compression_type="zstd", linger_ms=1000, batch_size=4096)
        for _ in range(1000):
            producer.send("t", TEXT)
        producer.flush()
        sizes = [view.header.uncompressed_size for view in batches(broker)]
        assert max(sizes) <= 4096
        assert min(sizes[:-1]) > 3000
        assert producer.metrics()["buffer_available_bytes"] == 33_554_432


@each_codec
def test_rec_6_a_compressed_batch_that_is_too_large_is_split_without_a_retry(codec: str) -> None:
    noise = random.Random(3)
    records = [noise.randbytes(400) for _ in range(32)]
    with Broker(clock=VirtualClock()) as broker:
        broker.create_topic("t", configs={"max_message_bytes": 2000})
        producer = Producer(broker, compression_type=codec, linger_ms=5, retries=0)
        futures = [producer.send("t", value) for value in records]
        producer.flush()
        assert [future.result().offset for future in futures] == list(range(32))
        assert values(broker) == records
        assert codecs(broker) == {codec}
        assert max(view.size_bytes for view in batches(broker)) <= 2000
        assert producer.metrics()["batch_split_total"] > 1
        assert producer.metrics()["record_retry_total"] == 0
        with pytest.raises(MessageTooLargeError, match=r"max_message_bytes=2000"):
            producer.send("t", noise.randbytes(3000)).result()


def test_rec_6_what_compresses_below_max_message_bytes_is_not_split() -> None:
    with Broker(clock=VirtualClock()) as broker:
        broker.create_topic("t", configs={"max_message_bytes": 2000})
        producer = Producer(broker, compression_type="zstd", linger_ms=5)
        for _ in range(200):
            producer.send("t", TEXT)
        producer.flush()
        assert len(batches(broker)) == 1
        assert producer.metrics()["batch_split_total"] == 0


def test_a_batch_that_is_tried_again_is_compressed_once() -> None:
    with Broker(clock=VirtualClock()) as broker, failing_partitions() as failures:
        broker.create_topic("t")
        producer = Producer(broker, compression_type="zstd", linger_ms=5)
        future = producer.send("t", TEXT)
        failures.next = [DiskFullError("full"), DiskFullError("full")]
        producer.flush()
        assert future.result().offset == 0
        assert values(broker) == [TEXT]
        assert codecs(broker) == {"zstd"}


# ---- topic and broker


@pytest.mark.parametrize("sent", ["none", *CODECS])
@pytest.mark.parametrize("wanted", ["producer", "uncompressed", *CODECS])
def test_the_topics_compression_type_decides_how_batches_are_stored(sent: str, wanted: str) -> None:
    """Kafka: `producer` keeps what was sent."""
    with Broker() as broker:
        broker.create_topic("t", configs={"compression.type": wanted})
        expected = {"producer": sent, "uncompressed": "none"}.get(wanted, wanted)
        with Producer(broker, compression_type=sent) as producer:
            assert producer.send("t", TEXT).result().offset == 0
            producer.writer("t")(TEXT)
            producer.send_many("t", [TEXT] * 100).result()
        assert values(broker) == [TEXT] * 102
        assert codecs(broker) == {expected}


def test_the_brokers_compression_type_is_the_default_of_topics_but_not_of_its_own() -> None:
    with Broker(compression_type="lz4") as broker:
        broker.create_topic("other", configs={"compression_type": "producer"})
        with Producer(broker) as producer:
            producer.send("t", TEXT)
            producer.send("other", TEXT)
        with Consumer(broker, "t", group_id="g", auto_offset_reset="earliest") as consumer:
            assert consumer.poll(0).values() == [TEXT]
            consumer.commit()
        assert codecs(broker) == {"lz4"}
        assert codecs(broker, "other") == {"none"}
        configs = broker.topic("__consumer_offsets").config
        assert (configs.compression_type, configs.cleanup_policy) == ("producer", ("compact",))


def test_a_changed_compression_type_holds_for_the_next_batch() -> None:
    with Broker() as broker, Producer(broker) as producer:
        for wanted in ("zstd", "producer", "gzip"):
            producer.send("t", TEXT)
            broker.alter_topic_configs("t", {"compression_type": wanted})
        producer.send("t", TEXT)
        assert [Codec(view.codec).label for view in batches(broker)] == [
            *("none", "zstd", "none", "gzip")
        ]
        assert values(broker) == [TEXT] * 4


# ---- reading


@each_codec
@pytest.mark.parametrize("isolation", list(Isolation))
def test_a_consumer_reads_compressed_and_other_batches_alike(
    codec: str, isolation: Isolation
) -> None:
    expected = []
    with Broker(clock=VirtualClock()) as broker:
        for kind in (codec, "none", codec):
            with Producer(broker, compression_type=kind, linger_ms=5) as producer:
                for n in range(10):
                    record = ProducerRecord(
                        "t",
                        TEXT + b"%d" % n,
                        key=b"k%d" % n,
                        headers=(("h", b"v"),),
                        timestamp_ms=n,
                    )
                    producer.send(record)
                    expected.append((record.value, record.key, record.headers, n))
        with reader(broker, isolation_level=isolation, max_poll_records=7) as consumer:
            read = []
            while records := consumer.poll(0):
                read += [(r.value, r.key, r.headers, r.timestamp_ms) for r in records]
            assert read == expected
            consumer.seek(TP, 25)  # into the middle of a batch
            records = consumer.poll(0)
            assert [record.offset for record in records] == [25, 26, 27, 28, 29]
            assert records.values() == [row[0] for row in expected[25:]]


@each_codec
def test_a_lookup_by_time_looks_into_compressed_batches(codec: str) -> None:
    """TIM-1."""
    with Broker(clock=VirtualClock()) as broker:
        with Producer(broker, compression_type=codec, linger_ms=5) as producer:
            for n in range(10):
                producer.send("t", TEXT, timestamp_ms=1000 + n)
        with Admin(broker) as admin:
            found = admin.list_offsets({TP: 1007})[TP]
        assert found is not None
        assert (found.offset, found.timestamp_ms) == (7, 1007)


@each_codec
@pytest.mark.parametrize("ending", ["close", "kill"])
def test_a_log_with_compressed_batches_opens_again(codec: str, ending: str, data_dir: str) -> None:
    script = f"""
    import os
    from streamlog import Broker, Producer
    broker = Broker({data_dir!r})
    producer = Producer(broker, compression_type={codec!r}, linger_ms=5)
    for n in range(1000):
        producer.send("t", {TEXT!r} + b"%d" % n)
    producer.flush()
    if {ending!r} == "kill":
        os._exit(0)
    broker.close()
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, timeout=150)
    with Broker(data_dir) as broker:
        assert values(broker) == [TEXT + b"%d" % n for n in range(1000)]
        assert codecs(broker) == {codec}


@each_codec
def test_txn_14_transactions_are_compressed_their_markers_are_not(
    codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Broker() as broker:
        broker.create_topic("t", configs={"compression_type": codec})
        writer = new_writer(broker)
        assert writer.write("t", value=TEXT + b"0") == 0
        writer.end(commit=True)
        writer.write("t", value=TEXT + b"2")
        writer.end(commit=False)
        writer.write("t", value=TEXT + b"4")
        writer.end(commit=True)
        assert [(Codec(view.codec).label, view.is_control) for view in batches(broker)] == [
            (codec, False),
            ("none", True),
        ] * 3
        with reader(broker, isolation_level="read_committed") as consumer:
            assert consumer.poll(0).values() == [TEXT + b"0", TEXT + b"4"]
        with reader(broker) as consumer:
            assert consumer.poll(0).values() == [TEXT + b"0", TEXT + b"2", TEXT + b"4"]
        # What was aborted is not even decompressed.
        with reader(broker, isolation_level="read_committed") as consumer:
            consumer.seek(TP, 2)
            broker.partition("t", 0).delete_records(2)
            without_library(monkeypatch)
            with pytest.raises(RecordDecodeError) as caught:
                consumer.poll(0)
            assert caught.value.offset == 4


@each_codec
@pytest.mark.parametrize("linger_ms", [0, 5])
def test_txn_6_a_transactional_producer_compresses_too(codec: str, linger_ms: int) -> None:
    with Broker(clock=VirtualClock()) as broker:
        config = {"transactional.id": "x", "compression.type": codec, "linger.ms": linger_ms}
        with Producer(broker, config=config) as producer:
            producer.init_transactions()
            with producer.transaction():
                for n in range(5):
                    producer.send("t", TEXT + b"%d" % n)
                producer.send_many("t", [TEXT] * 5)
            producer.begin_transaction()
            producer.send("t", b"aborted")
            producer.abort_transaction()
        with reader(broker, isolation_level="read_committed") as consumer:
            found = []
            while records := consumer.poll(0):
                found += records.values()
        assert found == [TEXT + b"%d" % n for n in range(5)] + [TEXT] * 5
        assert codecs(broker) == {codec, "none"}
        assert [view.is_control for view in batches(broker)] == [
            view.codec == 0 for view in batches(broker)
        ]


@each_codec
def test_idm_2_a_compressed_batch_that_comes_again_is_stored_once(codec: str) -> None:
    with Broker() as broker:
        broker.create_topic("t", configs={"compression_type": codec})
        batch = build_batch([TEXT] * 3, broker.runtime.clock.time_ms())
        batch.stamp = ProducerStamp(broker.new_producer_id(), 0)
        partition = broker.partition("t", 0)
        assert [partition.append(batch) for _ in range(3)] == [0, 0, 0]
        assert values(broker) == [TEXT] * 3
        assert codecs(broker) == {codec}


# ---- without the library


@each_codec
def test_without_the_library_asking_for_a_codec_is_refused_at_once(
    codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_library(monkeypatch)
    extra = r"streamlog-broker\[compression\]"
    with Broker() as broker:
        broker.create_topic("t")
        with pytest.raises(InvalidConfigurationError, match=extra):
            Producer(broker, compression_type=codec)  # type: ignore[arg-type]
        with pytest.raises(InvalidConfigurationError, match=extra):
            broker.create_topic("u", configs={"compression_type": codec})
        with pytest.raises(InvalidConfigurationError, match=extra):
            broker.alter_topic_configs("t", {"compression_type": codec})
        with Producer(broker) as producer:
            assert producer.send("t", TEXT).result().offset == 0
        assert broker.topics() == ["t"]
    with pytest.raises(InvalidConfigurationError, match=extra):
        Broker(compression_type=codec)  # type: ignore[arg-type]


@each_codec
def test_without_the_library_compressed_records_wait_for_it(
    codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The position stays before them, and what comes first is returned first."""
    with Broker() as broker, Producer(broker) as plain:
        plain.send("t", b"0")
        with Producer(broker, compression_type=codec) as producer:  # type: ignore[arg-type]
            producer.send_many("t", [b"1", b"2"]).result()
        plain.send("t", b"3")
        with reader(broker) as consumer:
            with monkeypatch.context() as patch:
                without_library(patch)
                assert consumer.poll(0).values() == [b"0"]
                for _ in range(2):
                    with pytest.raises(RecordDecodeError) as caught:
                        consumer.poll(0)
                    assert codec in str(caught.value)
                    assert "streamlog-broker[compression]" in str(caught.value)
                    assert (caught.value.topic_partition, caught.value.offset) == (TP, 1)
                    assert consumer.position(TP) == 1
            assert consumer.poll(0).values() == [b"1", b"2", b"3"]


def test_a_compressed_batch_that_cannot_be_read_can_be_skipped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Broker() as broker, Producer(broker) as plain:
        with Producer(broker, compression_type="zstd") as producer:
            producer.send_many("t", [b"0", b"1"]).result()
        plain.send("t", b"2")
        without_library(monkeypatch)
        with reader(broker) as consumer:
            with pytest.raises(RecordDecodeError, match="seek past offset 1 to go on"):
                consumer.poll(0)
            consumer.seek(TP, 2)
            assert consumer.poll(0).values() == [b"2"]


def test_without_the_library_a_directory_that_asks_for_it_opens_and_says_so_at_the_append(
    data_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Broker(data_dir) as broker:
        broker.create_topic("t", configs={"compression_type": "zstd", "retention_ms": 1000})
    without_library(monkeypatch)
    with Broker(data_dir) as broker, Producer(broker) as producer:
        with pytest.raises(UnsupportedCompressionTypeError, match="streamlog-broker"):
            producer.send("t", TEXT).result()
        broker.alter_topic_configs("t", {"retention_ms": -1})  # what has nothing to do with it
        broker.alter_topic_configs("t", {"compression_type": "producer"})
        assert producer.send("t", TEXT).result().offset == 0


def test_the_library_is_loaded_when_it_is_needed_and_not_before() -> None:
    code = (
        "import sys; from streamlog import *\n"
        "b = Broker(); p = Producer(b); p.send('t', b'v').result()\n"
        "c = Consumer(b, 't', group_id='g', auto_offset_reset='earliest')\n"
        "assert c.poll(0).values() == [b'v']\n"
        "assert 'cramjam' not in sys.modules\n"
        "Producer(b, compression_type='lz4').send('t', b'v').result()\n"
        "assert 'cramjam' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=150)
