"""Any record that can be sent comes back as it was sent: through the producer, the disk, a reopened broker and the consumer."""

from __future__ import annotations

import tempfile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog import Broker, Consumer, Producer, TopicPartition
from streamlog.record import Codec, Compressor, build_batch, split_batches
from streamlog.testing import MemoryFileSystem, VirtualClock
from tests.crash.damage_data import kill

START_MS = 1_700_000_000_000
T0 = TopicPartition("t", 0)
CODECS = ("gzip", "snappy", "lz4", "zstd")

blobs = st.one_of(
    st.none(), st.just(b""), st.binary(max_size=20), st.binary(min_size=250, max_size=300)
)
header_lists = st.lists(
    st.tuples(st.sampled_from(["", "a", "trace-id", "ключ", "a"]), blobs), max_size=4
).map(tuple)
# From the first millisecond there is to an hour ahead, so that deltas are negative, huge and zero.
timestamps = st.one_of(st.integers(0, START_MS + 3_600_000), st.just(START_MS))
records = st.tuples(blobs, blobs, timestamps, header_lists)


@given(
    sent=st.lists(records, min_size=1, max_size=12),
    linger_ms=st.sampled_from([0, 5]),
    batch_size=st.sampled_from([1, 200, 16_384]),
    sent_as=st.sampled_from(["none", "none", *CODECS]),
    stored_as=st.sampled_from(["producer", "producer", "uncompressed", *CODECS]),
)
def test_any_record_through_disk_and_reopen_comes_back_as_it_was_sent(
    sent: list[Any], linger_ms: int, batch_size: int, sent_as: Any, stored_as: str
) -> None:
    # REC-1: None is not b"", headers keep order, repeats and null values; trap 12.
    with tempfile.TemporaryDirectory() as directory:
        configs = {
            "segment_bytes": 4_000,
            "index_interval_bytes": 200,
            "segment_ms": 2**60,
            "compression_type": stored_as,
        }
        producer_config = {
            "linger_ms": linger_ms,
            "batch_size": batch_size,
            "compression_type": sent_as,
        }
        with Broker(f"{directory}/data", clock=VirtualClock(START_MS)) as broker:
            broker.create_topic("t", configs=configs)
            with Producer(broker, config=producer_config) as producer:
                futures = [
                    producer.send(
                        "t", value, key=key, timestamp_ms=timestamp_ms, headers=headers, partition=0
                    )
                    for value, key, timestamp_ms, headers in sent
                ]
                producer.flush()
                assert [future.result(0).offset for future in futures] == list(range(len(sent)))
                assert [future.result(0).timestamp_ms for future in futures] == [r[2] for r in sent]
        with Broker(f"{directory}/data", clock=VirtualClock(START_MS)) as broker:
            assert broker.recovery_report.clean
            with Consumer(broker) as consumer:
                consumer.assign([T0])
                consumer.seek_to_beginning(T0)
                found = []
                while batch := consumer.poll():
                    found += batch
            assert [(r.value, r.key, r.timestamp_ms, r.headers) for r in found] == sent
            assert [r.offset for r in found] == list(range(len(sent)))
            assert [r.serialized_value_size for r in found] == [
                -1 if value is None else len(value) for value, *_ in sent
            ]


@pytest.mark.parametrize("codec", CODECS)
@given(sent=st.lists(records, min_size=1, max_size=20), is_killed=st.booleans())
def test_any_compressed_batch_is_read_from_an_opened_log_as_it_was_sent(
    codec: str, sent: list[Any], is_killed: bool
) -> None:
    values, keys, stamps, headers = (list(column) for column in zip(*sent, strict=True))
    filesystem, clock = MemoryFileSystem(), VirtualClock(START_MS)
    broker = Broker("/data", filesystem=filesystem, clock=clock)
    broker.create_topic("t", configs={"segment_ms": 2**60, "flush_ms": None})
    batch = build_batch(values, stamps, keys, headers)
    Compressor(Codec[codec.upper()], 1).apply(batch)
    broker.partition("t", 0).append(batch)
    if is_killed:
        kill(broker)
    else:
        broker.close()
    with Broker("/data", filesystem=filesystem, clock=clock) as broker:
        (view,) = split_batches(broker.partition("t", 0).read(0, 1))
        view.check()
        view.columns.check()
        assert view.codec == Codec[codec.upper()]
        assert view.values() == values
        assert (view.keys() or [None] * len(sent)) == keys
        assert view.timestamps_ms() == stamps
        assert (view.headers() or [()] * len(sent)) == headers


@given(sent=st.lists(records, min_size=1, max_size=20))
def test_a_batch_in_columns_holds_what_was_put_in(sent: list[Any]) -> None:
    values, keys, stamps, headers = (list(column) for column in zip(*sent, strict=True))
    with Broker(clock=VirtualClock(START_MS)) as broker:
        broker.create_topic("t", configs={"segment_ms": 2**60})
        partition = broker.partition("t", 0)
        partition.append(build_batch(values, stamps, keys, headers))
        (view,) = split_batches(partition.read(0, 1))
    view.check()
    view.columns.check()
    assert view.values() == values
    assert (view.keys() or [None] * len(sent)) == keys
    assert view.timestamps_ms() == stamps
    assert view.max_timestamp_ms == max(stamps)
    assert (view.headers() or [()] * len(sent)) == headers
