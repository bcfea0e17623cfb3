"""Kafka's batches as aiokafka's record code writes and reads them, against ours."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.record import Codec
from streamlog.record.kafka_batch import pending_from_kafka
from streamlog.record.kafka_columns import decode_kafka_body
from tests.support.kafka_batches import as_kafka

oracle: Any = pytest.importorskip("aiokafka.record.default_records")

blobs = (
    st.none()
    | st.binary(max_size=4)
    | st.sampled_from([60, 63, 64, 65, 8191, 8192, 40_000]).map(bytes)
)
rows = st.tuples(
    blobs,
    blobs,
    st.integers(0, 2**41),
    st.lists(st.tuples(st.text(max_size=3) | st.just("ä" * 40), blobs), max_size=3).map(tuple),
)


@given(
    found=st.lists(rows, min_size=1, max_size=66),
    codec=st.sampled_from(Codec),
    producer_id=st.sampled_from([-1, 0, 2**62]),
    is_transactional=st.booleans(),
)
def test_what_one_writes_the_other_reads(
    found: list[Any], codec: Codec, producer_id: int, is_transactional: bool
) -> None:
    keys, values, times, headers = (list(column) for column in zip(*found, strict=True))
    builder = oracle.DefaultRecordBatchBuilder(
        2, int(codec), int(is_transactional), producer_id, 5, 2**31 - 1, 1 << 30
    )
    for number, (key, value, time_ms, some) in enumerate(found):
        assert builder.append(number, time_ms, key, value, list(some)) is not None
    theirs = bytes(builder.build())
    batch = pending_from_kafka(theirs)
    assert batch.record_count == len(found)
    assert batch.is_transactional == is_transactional
    assert (batch.producer_id, batch.producer_epoch, batch.base_sequence) == (
        producer_id,
        5,
        2**31 - 1,
    )
    assert (batch.first_timestamp_ms, batch.max_timestamp_ms) == (times[0], max(times))
    columns = decode_kafka_body(theirs)
    deltas = columns.timestamp_deltas or [0] * len(found)
    assert [times[0] + delta for delta in deltas] == times
    assert (columns.keys or [None] * len(found)) == keys
    assert columns.values == values
    assert (columns.headers or [()] * len(found)) == headers

    ours = as_kafka(values, times, keys, headers, codec).body
    if codec is Codec.NONE:
        assert ours[61:] == theirs[61:]
    read = oracle.DefaultRecordBatch(ours)
    assert read.validate_crc()
    assert [(r.key, r.value, r.timestamp, tuple(r.headers), r.offset) for r in read] == [
        (*row, number) for number, row in enumerate(found)
    ]
