from __future__ import annotations

import sys
from typing import Any

import pytest

from streamlog.broker.append_gate import AppendGate
from streamlog.config import TopicConfig
from streamlog.errors import (
    InvalidRecordError,
    InvalidTimestampError,
    MessageTooLargeError,
    RecordBatchTooLargeError,
    UnsupportedCompressionTypeError,
)
from streamlog.record import Codec, Compressor, PendingBatch, build_batch
from streamlog.record.kafka_batch import pending_from_kafka
from streamlog.record.kafka_columns import decode_kafka_body
from streamlog.record.kafka_layout import read_kafka_header
from streamlog.record.layout import CONTROL_BIT, LOG_APPEND_TIME_BIT, MAX_BATCH_BYTES
from streamlog.runtime import VirtualClock
from streamlog.structs import NO_TIMESTAMP, TopicPartition
from tests.support.kafka_batches import GOLDEN, GOLDEN_VALUES, kafka_batch

TARGET = TopicPartition("orders", 3)
NOW_MS = 1_700_000_000_000
HOUR_MS = 3_600_000


def gate_for(clock: VirtualClock, **config: Any) -> AppendGate:
    return AppendGate(TopicConfig(**config), clock.time_ns)


def passes_without_a_look(gate: AppendGate, batch: PendingBatch) -> bool:
    return batch.max_timestamp_ms <= gate.newest_ms and len(batch.body) <= gate.max_body_bytes


def test_rec_4_timestamp_at_the_bounds_is_admitted_and_beyond_them_refused(
    clock: VirtualClock,
) -> None:
    gate = gate_for(
        clock, message_timestamp_before_max_ms=1000, message_timestamp_after_max_ms=2000
    )
    gate.admit(build_batch([b"v"], NOW_MS - 1000), TARGET)
    gate.admit(build_batch([b"v"], NOW_MS + 2000), TARGET)
    with pytest.raises(InvalidTimestampError, match=r"orders-3: .*from 1699999999000 .*998999"):
        gate.admit(build_batch([b"v"], NOW_MS - 1001), TARGET)
    with pytest.raises(InvalidTimestampError, match=r"orders-3: .*up to 1700000002000 .*2001"):
        gate.admit(build_batch([b"v"], NOW_MS + 2001), TARGET)


def test_rec_4_one_record_out_of_bounds_refuses_the_whole_batch(clock: VirtualClock) -> None:
    gate = gate_for(
        clock, message_timestamp_before_max_ms=1000, message_timestamp_after_max_ms=2000
    )
    for bad_ms in (NOW_MS - 1001, NOW_MS + 2001):
        batch = build_batch([b"a", b"b", b"c"], [NOW_MS, bad_ms, NOW_MS])
        with pytest.raises(InvalidTimestampError, match=str(bad_ms)):
            gate.admit(batch, TARGET)


def test_rec_4_defaults_allow_any_past_and_one_hour_of_future(clock: VirtualClock) -> None:
    gate = gate_for(clock)
    gate.admit(build_batch([b"v"], 0), TARGET)
    gate.admit(build_batch([b"v"], NOW_MS + HOUR_MS), TARGET)
    with pytest.raises(InvalidTimestampError):
        gate.admit(build_batch([b"v"], NOW_MS + HOUR_MS + 1), TARGET)


def test_record_without_timestamp_is_not_too_old(clock: VirtualClock) -> None:
    gate = gate_for(clock, message_timestamp_before_max_ms=1000)
    gate.admit(build_batch([b"v"], NO_TIMESTAMP), TARGET)


def test_rec_4_log_append_time_puts_the_brokers_time_on_every_batch(clock: VirtualClock) -> None:
    gate = gate_for(clock, message_timestamp_type="LogAppendTime")
    for stamp_ms in (0, NOW_MS + 10 * HOUR_MS):
        batch = build_batch([b"v"], stamp_ms)
        assert not passes_without_a_look(gate, batch)
        gate.admit(batch, TARGET)
        assert batch.max_timestamp_ms == NOW_MS
        assert batch.attributes == LOG_APPEND_TIME_BIT


def test_create_time_leaves_the_batch_as_it_is(clock: VirtualClock) -> None:
    gate = gate_for(clock)
    batch = build_batch([b"v"], NOW_MS - 5)
    gate.admit(batch, TARGET)
    assert (batch.max_timestamp_ms, batch.attributes) == (NOW_MS - 5, 0)


def test_ordinary_topic_needs_a_look_only_when_the_known_bound_is_passed(
    clock: VirtualClock,
) -> None:
    gate = gate_for(clock)
    batch = build_batch([b"v"], NOW_MS)
    assert not passes_without_a_look(gate, batch)
    gate.admit(batch, TARGET)
    assert passes_without_a_look(gate, batch)
    assert passes_without_a_look(gate, build_batch([b"v"], NOW_MS + HOUR_MS))
    later = build_batch([b"v"], NOW_MS + HOUR_MS + 1)
    assert not passes_without_a_look(gate, later)
    clock.advance(1)
    gate.admit(later, TARGET)
    assert passes_without_a_look(gate, later)


@pytest.mark.parametrize(
    "config",
    [
        {"message_timestamp_type": "LogAppendTime"},
        {"message_timestamp_before_max_ms": 1000},
        {"cleanup_policy": "compact"},
    ],
)
def test_stricter_topic_looks_at_every_batch(clock: VirtualClock, config: dict[str, Any]) -> None:
    gate = gate_for(clock, **config)
    for _ in range(2):
        batch = build_batch([b"v"], NOW_MS, [b"k"])
        assert not passes_without_a_look(gate, batch)
        gate.admit(batch, TARGET)


def test_rec_6_batch_above_max_message_bytes_is_refused_by_a_byte(clock: VirtualClock) -> None:
    batch = build_batch([b"v" * 100], NOW_MS)
    gate_for(clock, max_message_bytes=batch.size_bytes).admit(batch, TARGET)
    gate = gate_for(clock, max_message_bytes=batch.size_bytes - 1)
    assert not passes_without_a_look(gate, batch)
    with pytest.raises(MessageTooLargeError, match=rf"orders-3: .*found {batch.size_bytes} bytes"):
        gate.admit(batch, TARGET)


def test_rec_6_batch_above_segment_bytes_is_refused_with_code_18(clock: VirtualClock) -> None:
    batch = build_batch([b"v" * 300], NOW_MS)
    gate = gate_for(clock, segment_bytes=256)
    assert not passes_without_a_look(gate, batch)
    with pytest.raises(RecordBatchTooLargeError, match="segment_bytes=256") as caught:
        gate.admit(batch, TARGET)
    assert caught.value.code == 18


def test_no_configuration_admits_more_than_a_batch_may_ever_have(clock: VirtualClock) -> None:
    gate = gate_for(clock, max_message_bytes=2**31 - 1, segment_bytes=2**31 - 1)
    assert gate.max_body_bytes < MAX_BATCH_BYTES


def test_rec_7_null_key_in_a_compacted_topic_refuses_the_whole_batch(clock: VirtualClock) -> None:
    gate = gate_for(clock, cleanup_policy="compact,delete")
    gate.admit(build_batch([b"a", None], NOW_MS, [b"k", b""]), TARGET)
    for keys in (None, [b"k", None], [None, None]):
        with pytest.raises(InvalidRecordError, match="orders-3: expected a key") as caught:
            gate.admit(build_batch([b"a", b"b"], NOW_MS, keys), TARGET)
        assert caught.value.code == 87


def test_lone_value_near_the_limit_gets_a_closer_look(clock: VirtualClock) -> None:
    gate = gate_for(clock, max_message_bytes=1000)
    gate.admit(build_batch([b"v"], NOW_MS), TARGET)
    value = b"v" * gate.max_value_bytes
    assert build_batch([value], NOW_MS).size_bytes <= 1000


@pytest.mark.parametrize(("given", "kept"), [(None, 0), (1, 1), (500, 500)])
def test_flush_messages_zero_stands_for_never(
    clock: VirtualClock, given: int | None, kept: int
) -> None:
    assert gate_for(clock, flush_messages=given).flush_messages == kept


# ---- compression


def text_batch() -> PendingBatch:
    return build_batch([b"one record after the other" * 4] * 20, NOW_MS)


@pytest.mark.parametrize("sent", list(Codec), ids=lambda codec: codec.label)
def test_a_topic_of_producers_choice_stores_what_was_sent(clock: VirtualClock, sent: Codec) -> None:
    gate = gate_for(clock)
    batch = text_batch()
    Compressor(sent, 1).apply(batch)
    body = batch.body
    gate.admit(batch, TARGET)
    assert (batch.body, batch.attributes) == (body, sent)
    assert passes_without_a_look(gate, batch)


@pytest.mark.parametrize("sent", list(Codec), ids=lambda codec: codec.label)
@pytest.mark.parametrize("name", ["uncompressed", "gzip", "snappy", "lz4", "zstd"])
def test_a_topic_with_a_codec_brings_every_batch_into_it(
    clock: VirtualClock, name: str, sent: Codec
) -> None:
    gate = gate_for(clock, compression_type=name)
    expected = Codec.NONE if name == "uncompressed" else Codec[name.upper()]
    for _ in range(2):
        batch = text_batch()
        plain = batch.body
        Compressor(sent, 1).apply(batch)
        body = batch.body
        assert not passes_without_a_look(gate, batch), "not even the second one"
        gate.admit(batch, TARGET)
        assert batch.attributes == expected
        assert batch.uncompressed_size == (len(plain) if expected else 0)
        if sent is expected:
            assert batch.body is body
        Compressor(Codec.NONE).apply(batch)
        assert batch.body == plain


def test_the_level_of_the_topic_is_used(clock: VirtualClock) -> None:
    sizes = []
    for level in (-131_072, 19):
        batch = text_batch()
        gate_for(clock, compression_type="zstd", compression_zstd_level=level).admit(batch, TARGET)
        sizes.append(len(batch.body))
    assert sizes[0] > sizes[1]


def test_markers_are_not_compressed(clock: VirtualClock) -> None:
    batch = text_batch()
    batch.attributes |= CONTROL_BIT
    gate_for(clock, compression_type="zstd").admit(batch, TARGET)
    assert batch.attributes == CONTROL_BIT


def test_rec_6_the_size_counts_as_sent_and_as_stored(clock: VirtualClock) -> None:
    """Kafka looks at both."""
    limit = text_batch().size_bytes
    gate_for(clock, compression_type="lz4", max_message_bytes=limit).admit(text_batch(), TARGET)
    with pytest.raises(MessageTooLargeError):
        gate_for(clock, compression_type="lz4", max_message_bytes=limit - 1).admit(
            text_batch(), TARGET
        )
    compressed = text_batch()
    Compressor(Codec.LZ4, 9).apply(compressed)
    gate_for(clock, max_message_bytes=compressed.size_bytes).admit(compressed, TARGET)
    with pytest.raises(MessageTooLargeError, match=f"{limit} bytes in 20"):
        gate_for(clock, compression_type="uncompressed", max_message_bytes=limit - 1).admit(
            compressed, TARGET
        )


def test_a_refused_batch_was_not_compressed(clock: VirtualClock) -> None:
    batch = build_batch([b"v"], NOW_MS + HOUR_MS + 1)
    with pytest.raises(InvalidTimestampError):
        gate_for(clock, compression_type="zstd").admit(batch, TARGET)
    assert batch.attributes == 0


def test_without_the_library_a_topic_with_a_codec_refuses_batches(
    clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = gate_for(clock, compression_type="zstd")
    monkeypatch.setitem(sys.modules, "cramjam", None)
    with pytest.raises(UnsupportedCompressionTypeError, match=r"streamlog-broker\[compression\]"):
        gate.admit(text_batch(), TARGET)


# ---- batches of Kafka's clients


def kafka(
    keys: list[bytes | None] | None = None,
    timestamp_deltas: list[int] | None = None,
    first_ms: int = NOW_MS,
) -> PendingBatch:
    values: list[bytes | None] = [b"one record after the other" * 4] * 3
    return pending_from_kafka(
        kafka_batch(values, keys, timestamp_deltas, base_timestamp_ms=first_ms)
    )


def test_a_kafka_batch_is_stored_as_it_came_and_its_records_are_not_looked_at(
    clock: VirtualClock,
) -> None:
    gate = gate_for(clock)
    batch = pending_from_kafka(
        kafka_batch([b"v"] * 3, records=b"no records at all....", base_timestamp_ms=NOW_MS)
    )
    body = batch.body
    gate.admit(batch, TARGET)
    assert batch.body is body
    assert passes_without_a_look(gate, batch)


def test_rec_6_a_kafka_batch_counts_without_our_header(clock: VirtualClock) -> None:
    """Java's producers fill `max.request.size`, which is 12 bytes less than what brokers take."""
    batch = kafka()
    size = len(batch.body)
    gate_for(clock, max_message_bytes=size).admit(batch, TARGET)
    gate = gate_for(clock, max_message_bytes=size - 1)
    assert not passes_without_a_look(gate, batch)
    with pytest.raises(MessageTooLargeError, match=rf"={size - 1}, found {size} bytes"):
        gate.admit(batch, TARGET)


def test_rec_6_a_kafka_batch_has_to_fit_a_segment_with_our_header(clock: VirtualClock) -> None:
    batch = kafka()
    gate_for(clock, segment_bytes=batch.size_bytes).admit(batch, TARGET)
    gate = gate_for(clock, segment_bytes=batch.size_bytes - 1)
    with pytest.raises(RecordBatchTooLargeError, match=f"found {batch.size_bytes} bytes"):
        gate.admit(batch, TARGET)


def test_rec_7_null_keys_of_a_kafka_batch_are_found(clock: VirtualClock) -> None:
    gate = gate_for(clock, cleanup_policy="compact")
    gate.admit(kafka([b"k", b"", b"l"]), TARGET)
    for keys in (None, [b"k", None, b"l"]):
        with pytest.raises(InvalidRecordError, match="orders-3: expected a key"):
            gate.admit(kafka(keys), TARGET)


def test_a_compacted_topic_refuses_kafka_records_that_cannot_be_read(clock: VirtualClock) -> None:
    batch = pending_from_kafka(kafka_batch([b"v"], records=b"no records"))
    with pytest.raises(InvalidRecordError, match="orders-3: record batch: record 0"):
        gate_for(clock, cleanup_policy="compact").admit(batch, TARGET)


def test_rec_4_old_records_of_a_kafka_batch_are_found(clock: VirtualClock) -> None:
    gate = gate_for(clock, message_timestamp_before_max_ms=1000)
    gate.admit(kafka(timestamp_deltas=[0, -1000, 0]), TARGET)
    with pytest.raises(InvalidTimestampError, match=f"found {NOW_MS - 1001}"):
        gate.admit(kafka(timestamp_deltas=[0, -1001, 0]), TARGET)
    with pytest.raises(InvalidTimestampError, match=f"found {NOW_MS + 2 * HOUR_MS}"):
        gate.admit(kafka(first_ms=NOW_MS + 2 * HOUR_MS), TARGET)


def test_rec_4_log_append_time_is_put_into_a_kafka_batch(clock: VirtualClock) -> None:
    batch = kafka(timestamp_deltas=[0, 5, 9], first_ms=7)
    gate_for(clock, message_timestamp_type="LogAppendTime").admit(batch, TARGET)
    header = read_kafka_header(batch.body)
    assert header.max_timestamp_ms == batch.max_timestamp_ms == NOW_MS
    assert header.attributes == batch.attributes == LOG_APPEND_TIME_BIT


@pytest.mark.parametrize("sent", list(Codec), ids=lambda codec: codec.label)
@pytest.mark.parametrize("name", ["uncompressed", "gzip", "snappy", "lz4", "zstd"])
def test_a_topic_with_a_codec_brings_kafka_batches_into_it(
    clock: VirtualClock, name: str, sent: Codec
) -> None:
    gate = gate_for(clock, compression_type=name, message_timestamp_type="LogAppendTime")
    expected = Codec.NONE if name == "uncompressed" else Codec[name.upper()]
    batch = pending_from_kafka(GOLDEN[sent])
    gate.admit(batch, TARGET)
    header = read_kafka_header(batch.body)
    assert header.attributes == batch.attributes == 0x18 | expected
    assert header.max_timestamp_ms == NOW_MS
    assert decode_kafka_body(batch.body).values == GOLDEN_VALUES


def test_rec_6_a_kafka_batch_counts_as_sent_and_as_stored(clock: VirtualClock) -> None:
    size = len(GOLDEN[0])
    assert len(GOLDEN[4]) < size
    gate = gate_for(clock, compression_type="uncompressed", max_message_bytes=size - 1)
    with pytest.raises(MessageTooLargeError, match=f"found {size} bytes in 3"):
        gate.admit(pending_from_kafka(GOLDEN[4]), TARGET)


def test_a_topic_with_a_codec_refuses_kafka_records_that_cannot_be_read(
    clock: VirtualClock,
) -> None:
    batch = pending_from_kafka(kafka_batch([b"v"], records=b"no gzip", attributes=Codec.GZIP))
    with pytest.raises(InvalidRecordError, match="orders-3: gzip: "):
        gate_for(clock, compression_type="zstd").admit(batch, TARGET)
