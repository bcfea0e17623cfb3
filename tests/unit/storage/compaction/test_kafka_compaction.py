"""Compaction of batches that clients of Kafka sent: kept as they came, or made into batches of columns."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.record import BatchView, Codec, Compressor, Headers, PendingBatch, build_batch
from streamlog.record.kafka_batch import pending_from_kafka, recompress, to_kafka
from streamlog.record.kafka_columns import kafka_records_of
from streamlog.record.kafka_layout import read_kafka_header
from streamlog.record.kafka_records import encode_kafka_records
from streamlog.record.layout import COLUMNS_ENCODING, KAFKA_V2_ENCODING, SPARSE_COLUMNS_ENCODING
from streamlog.storage.compaction.repacker import LARGE_BYTES
from tests.support.compaction import clean, put, rows
from tests.support.kafka_batches import as_kafka, kafka_batch
from tests.support.storage import Disk, Store, check_log, read_batches
from tests.unit.storage.conftest import memory_disk_of

LARGE = b"x" * LARGE_BYTES


@pytest.fixture
def store(memory_disk: Disk) -> Store:
    return Store(memory_disk, segment_bytes=1 << 20, index_interval_bytes=0)


def batches(store: Store) -> list[BatchView]:
    found = list(read_batches(store.log))
    for batch in found:
        if batch.record_count:
            batch.columns.check()
    return found


def send(
    store: Store,
    keys: list[bytes | None],
    values: list[bytes | None],
    codec: int = 0,
    **fields: Any,
) -> None:
    batch = pending_from_kafka(kafka_batch(values, keys, **fields))
    if codec:
        recompress(batch, Compressor(Codec(codec), 3))
    store.log.append(batch)


def test_a_large_batch_that_loses_nothing_is_kept_as_it_came(store: Store) -> None:
    send(store, [b"a", b"b"], [LARGE, b"1"])
    put(store.log, ("c", "1"), ("c", "2"))
    before = batches(store)[0]
    clean(store)
    after = batches(store)[0]
    assert after.header == before.header
    assert after.body == before.body
    assert after.body_encoding == KAFKA_V2_ENCODING


def test_a_small_one_that_has_no_neighbour_is_kept_as_well(store: Store) -> None:
    send(store, [b"a"], [b"1"])
    before = batches(store)
    clean(store)
    assert [batch.header for batch in batches(store)] == [batch.header for batch in before]


@pytest.mark.parametrize("codec", list(Codec), ids=lambda codec: codec.label)
def test_a_batch_that_loses_records_becomes_columns_in_its_codec(
    store: Store, codec: Codec
) -> None:
    send(store, [b"a", b"b", b"c"], [b"1", b"2", LARGE], codec)
    send(store, [b"b"], [LARGE], codec)
    before = rows(store.log)
    clean(store)
    first = batches(store)[0]
    assert (first.body_encoding, first.codec) == (SPARSE_COLUMNS_ENCODING, codec)
    assert list(first.offsets())[:2] == [0, 2]
    assert rows(store.log) == [before[0], *before[2:]]
    sent = bytes(to_kafka(first))
    assert read_kafka_header(sent).attributes == codec
    records = kafka_records_of(sent)
    assert records == encode_kafka_records(
        first.offsets(), None, first.keys(), first.values(), None
    )


def test_small_ones_are_joined_with_our_own(store: Store) -> None:
    send(store, [b"a"], [b"1"])
    put(store.log, ("b", "1"))
    send(store, [b"c"], [b"1"])
    before = rows(store.log)
    clean(store)
    (joined,) = batches(store)
    assert (joined.body_encoding, joined.record_count) == (COLUMNS_ENCODING, 3)
    assert rows(store.log) == before


def test_cmp_5_a_tombstone_gets_its_horizon_in_columns(store: Store) -> None:
    send(store, [b"a", b"b"], [None, LARGE])
    before = rows(store.log)
    clean(store)
    (batch,) = batches(store)
    assert batch.delete_horizon_ms is not None
    assert batch.body_encoding == COLUMNS_ENCODING
    assert rows(store.log) == before


@pytest.mark.parametrize("value", [b"small", LARGE])
@pytest.mark.parametrize("codec", [Codec.NONE, Codec.LZ4])
def test_other_batches_of_a_producer_become_nobodys_in_both_headers(
    store: Store, value: bytes, codec: Codec
) -> None:
    producer = {"producer_id": 7, "producer_epoch": 0}
    send(store, [b"a"], [value], codec, base_sequence=0, **producer)
    send(store, [b"b"], [b"1"], codec, base_sequence=1, **producer)
    before = rows(store.log)
    clean(store)
    assert [(b.producer_id, b.base_sequence) for b in batches(store)] == [(-1, -1), (7, 1)]
    assert rows(store.log) == before


def test_cmp_7_the_last_batch_of_a_producer_stays_without_records(store: Store) -> None:
    send(store, [b"a"], [b"1"], Codec.ZSTD, producer_id=7, producer_epoch=0, base_sequence=5)
    put(store.log, ("a", "2"))
    clean(store)
    first = batches(store)[0]
    assert (first.record_count, first.producer_id, first.base_sequence) == (0, 7, 5)
    assert (first.body_encoding, first.codec, first.body) == (COLUMNS_ENCODING, 0, b"")


@pytest.mark.parametrize("has_headers", [False, True])
def test_no_joined_batch_is_above_max_message_bytes_however_well_it_was_compressed(
    store: Store, has_headers: bool
) -> None:
    store.with_config(max_message_bytes=3000, compression_type="producer")
    headers: list[Headers] = [(("h", b"x" * 300), ("n" * 30, None)), ()]
    for number in range(20):
        keys: list[bytes | None] = [b"%d" % number, b"twice"]
        values: list[bytes | None] = [b"x" * 500, b"1"]
        found = headers if has_headers else None
        store.log.append(as_kafka(values, [1000, 1000], keys, found, Codec.ZSTD))
    clean(store)
    for batch in batches(store):
        plain = PendingBatch(batch.body, batch.record_count, 0, 0)
        plain.attributes, plain.uncompressed_size = batch.codec, batch.header.uncompressed_size
        if batch.body_encoding != KAFKA_V2_ENCODING:
            Compressor(Codec.NONE).apply(plain)
            assert 500 < plain.size_bytes <= 3000


some_keys = st.sampled_from([b"", b"a", b"b", b"c", b"d", b"e"])
records = st.tuples(
    st.none() | st.binary(max_size=9) | st.just(LARGE),
    some_keys,
    st.integers(900, 1100),
    st.lists(st.tuples(st.text(max_size=2), st.none() | st.binary(max_size=3)), max_size=2).map(
        tuple
    ),
)


@given(
    st.lists(
        st.tuples(
            st.lists(records, min_size=1, max_size=5),
            st.sampled_from([Codec.NONE, Codec.ZSTD]),
            st.booleans(),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_the_same_records_stay_as_of_our_own_batches(content: Any) -> None:
    left = []
    for takes_kafka in (False, True):
        store = Store(memory_disk_of(), segment_bytes=1 << 16, index_interval_bytes=0)
        for found, codec, is_kafka in content:
            values, found_keys, times, headers = (list(part) for part in zip(*found, strict=True))
            if is_kafka and takes_kafka:
                store.log.append(as_kafka(values, times, found_keys, headers, codec))
            else:
                batch = build_batch(values, times, found_keys, headers)
                Compressor(codec, 1).apply(batch)
                store.log.append(batch)
        clean(store)
        clean(store, now_ms=1 << 40)
        check_log(store.log)
        batches(store)
        left.append(rows(store.log))
        store.close()
    assert left[0] == left[1]
