"""A batch as it is read: fields, checks, columns; and damage, which is always noticed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.errors import CorruptRecordError, RecordDecodeError, RetriableError
from streamlog.record import BatchView, Codec, Compressor, build_batch, split_batches
from streamlog.record.columns import ColumnReader
from streamlog.record.layout import (
    CONTROL_BIT,
    HEADER,
    HEADER_SIZE,
    KAFKA_V2_ENCODING,
    LOG_APPEND_TIME_BIT,
    TRANSACTIONAL_BIT,
    BatchHeader,
    aligned,
    header_checksum,
    pack_batch,
    read_header,
)
from streamlog.structs import TimestampType
from tests.support.kafka_batches import (
    FIRST_MS,
    GOLDEN,
    GOLDEN_HEADERS,
    GOLDEN_KEYS,
    GOLDEN_TIMESTAMPS_MS,
    GOLDEN_VALUES,
)
from tests.support.segments import append, append_value, new_segment
from tests.unit.storage.conftest import memory_disk_of

if TYPE_CHECKING:
    from collections.abc import Callable

T0 = 1_700_000_000_000


def stored(*batches: tuple[list[bytes | None], int], base_offset: int = 100) -> bytes:
    """Return the bytes that a segment stores for these batches."""
    segment = new_segment(memory_disk_of(), base_offset)
    for values, stamp in batches:
        append(segment, *values, timestamp_ms=stamp)
    return segment.mapping_for_read()[: segment.position]


def with_header(data: bytes, **changes: int) -> bytes:
    """Return one batch with other header fields and a checksum that is right for them."""
    header = BatchHeader._make(HEADER.unpack(data[:HEADER_SIZE]))._replace(**changes)
    crc = header_checksum(HEADER.pack(*header))
    return HEADER.pack(*header._replace(header_crc=crc)) + data[HEADER_SIZE:]


def one(data: bytes) -> BatchView:
    (view,) = split_batches(data)
    return view


# ---- what was written is read


def test_fields_and_columns_are_those_that_were_written() -> None:
    view = one(stored(([b"a", None, b""], T0)))
    view.check()
    assert view.values() == [b"a", None, b""]
    assert view.keys() is None
    assert view.headers() is None
    assert view.has_values_only
    assert list(view.offsets()) == [100, 101, 102]
    assert (view.base_offset, view.last_offset, view.next_offset) == (100, 102, 103)
    assert view.timestamps_ms() == [T0] * 3
    assert view.common_timestamp_ms == T0
    assert (view.first_timestamp_ms, view.max_timestamp_ms) == (T0, T0)
    assert view.timestamp_type is TimestampType.CREATE_TIME
    assert (view.leader_epoch, view.attributes, view.body_encoding) == (3, 0, 0)
    assert (view.producer_id, view.producer_epoch, view.base_sequence) == (-1, -1, -1)
    assert (view.record_count, view.size_bytes) == (3, HEADER_SIZE + len(view.body))
    assert not view.is_control
    assert not view.is_transactional


def test_rec_4_under_log_append_time_every_record_has_the_brokers_time() -> None:
    segment = new_segment(memory_disk_of())
    batch = build_batch([b"a", b"b"], [T0, T0 + 5])
    batch.attributes |= LOG_APPEND_TIME_BIT
    batch.max_timestamp_ms = T0 + 99
    segment.reserve(1000, 1 << 20)
    segment.append(batch, 0, 0)
    view = one(segment.mapping_for_read()[: segment.position])
    assert view.timestamps_ms() == [T0 + 99] * 2
    assert view.common_timestamp_ms == T0 + 99
    assert view.timestamp_type is TimestampType.LOG_APPEND_TIME


def test_kinds_of_batches_are_told_apart() -> None:
    data = stored(([b"a"], T0))
    assert one(with_header(data, attributes=CONTROL_BIT)).is_control
    assert one(with_header(data, attributes=TRANSACTIONAL_BIT)).is_transactional


def test_batches_are_split_where_they_end() -> None:
    data = stored(([b"a"], T0), ([b"b" * 77], T0), ([b"c", b"d"], T0))
    views = split_batches(data)
    assert [view.values() for view in views] == [[b"a"], [b"b" * 77], [b"c", b"d"]]
    assert [view.base_offset for view in views] == [100, 101, 102]
    assert split_batches(b"") == []


# ---- compressed


def stored_compressed(codec: Codec, *, with_keys: bool = True) -> bytes:
    """Return the bytes that a segment stores for a compressed batch."""
    segment = new_segment(memory_disk_of())
    keys = [b"k", None] if with_keys else None
    headers = [(("h", b"v"),), ()] if with_keys else None
    batch = build_batch([b"a" * 50, None], [T0, T0 + 5] if with_keys else T0, keys, headers)
    Compressor(codec, 1).apply(batch)
    segment.reserve(1000, 1 << 20)
    segment.append(batch, 0, 0)
    return segment.mapping_for_read()[: segment.position]


@pytest.mark.parametrize("codec", [codec for codec in Codec if codec])
def test_a_compressed_batch_reads_like_any_other(codec: Codec) -> None:
    view = one(stored_compressed(codec))
    view.check()
    assert view.codec == codec
    assert view.plain_value is None
    assert view.values() == [b"a" * 50, None]
    assert view.keys() == [b"k", None]
    assert view.headers() == [(("h", b"v"),), ()]
    assert view.timestamps_ms() == [T0, T0 + 5]
    assert not view.has_values_only
    plain = one(stored_compressed(codec, with_keys=False))
    assert plain.has_values_only
    assert plain.values() == [b"a" * 50, None]
    assert plain.timestamps_ms() == [T0, T0]


def test_a_batch_without_compression_has_codec_0() -> None:
    assert one(stored(([b"a"], T0))).codec == 0


def test_a_compressed_body_is_decompressed_once() -> None:
    view = one(stored_compressed(Codec.LZ4))
    assert view.columns is view.columns


@pytest.mark.parametrize("codec", [codec for codec in Codec if codec])
def test_every_flipped_byte_of_a_compressed_batch_is_noticed(codec: Codec) -> None:
    """I14."""
    data = stored_compressed(codec)
    size = first_batch_size(data)
    for position in range(size):
        damaged = bytearray(data)
        damaged[position] ^= 0xFF
        with pytest.raises(CorruptRecordError):
            one(bytes(damaged)).check()


def test_a_compressed_body_that_cannot_be_read_names_its_offset() -> None:
    data = stored_compressed(Codec.ZSTD)
    for changes in ({"uncompressed_size": 1}, {"uncompressed_size": 0}, {"attributes": Codec.GZIP}):
        view = one(with_header(data, **changes))
        for read in (view.values, view.keys, view.headers, view.timestamps_ms):
            with pytest.raises(RecordDecodeError, match="^batch at offset 0: "):
                read()
        with pytest.raises(RecordDecodeError, match="^batch at offset 0: "):
            _ = view.has_values_only


# ---- damage


def first_batch_size(data: bytes) -> int:
    header = read_header(data[:HEADER_SIZE])
    assert header is not None
    return header.length


def test_every_flipped_byte_of_a_batch_is_noticed_or_in_the_gap_behind_it() -> None:
    """I14."""
    data = stored(([b"value", None], T0))
    size = first_batch_size(data)
    expected = one(data).values()
    for position in range(len(data)):
        for mask in (0x01, 0x80, 0xFF):
            damaged = bytearray(data)
            damaged[position] ^= mask
            try:
                view = one(bytes(damaged))
                view.check()
            except CorruptRecordError:
                assert position < size
            else:
                assert position >= size
                assert view.values() == expected


def test_a_damaged_body_decodes_to_something_or_raises_a_named_error() -> None:
    # Whoever does without the check of the checksum gets no other exception, and no more memory than bytes.
    segment = new_segment(memory_disk_of())
    rows = [(b"value", b"key", 5, (("h", b"x"), ("h", None))), (None, None, 0, ())]
    values, keys, stamps, headers = map(list, zip(*rows, strict=True))
    segment.reserve(1000, 1 << 20)
    segment.append(build_batch(values, stamps, keys, headers), 0, 0)
    data = segment.mapping_for_read()[: segment.position]
    for position in range(HEADER_SIZE, len(data)):
        for mask in (0x01, 0x10, 0x80, 0xFF):
            damaged = bytearray(data)
            damaged[position] ^= mask
            view = one(bytes(damaged))
            for decode in (view.values, view.keys, view.headers, view.timestamps_ms):
                try:
                    decode()
                except RecordDecodeError:
                    pass
            assert view.has_values_only in (True, False)


def test_a_piece_cut_anywhere_gives_the_whole_batches_before_the_cut() -> None:
    data = stored(([b"a"], T0), ([b"b" * 77], T0), ([b"c", b"d"], T0))
    ends = []
    position = 0
    for view in split_batches(data):
        ends.append(position + view.size_bytes)
        position += aligned(view.size_bytes)
    for size in range(1, len(data)):
        whole = sum(end <= size for end in ends)
        if whole:
            assert len(split_batches(data[:size])) == whole
        else:
            with pytest.raises(CorruptRecordError, match="batch at byte 0"):
                split_batches(data[:size])


def test_damage_behind_good_batches_ends_what_is_returned() -> None:
    data = bytearray(stored(([b"a"], T0), ([b"b"], T0), ([b"c"], T0)))
    size = aligned(first_batch_size(bytes(data)))
    data[size + 20] ^= 1
    assert [view.values() for view in split_batches(bytes(data))] == [[b"a"]]
    with pytest.raises(CorruptRecordError, match="expected a valid header"):
        split_batches(bytes(data[size:]))


@given(st.binary(max_size=300))
def test_any_bytes_give_batches_or_a_named_error(data: bytes) -> None:
    try:
        assert split_batches(data) == []
    except CorruptRecordError:
        assert data


def test_a_wrong_body_checksum_says_offset_expected_and_found() -> None:
    data = bytearray(stored(([b"a"], T0)))
    data[HEADER_SIZE + 12] ^= 1
    with pytest.raises(
        CorruptRecordError, match=r"offset 100: body checksum: expected 0x\w{8}, found 0x\w{8}"
    ) as caught:
        one(bytes(data)).check()
    assert isinstance(caught.value, RetriableError)


# ---- lies with good checksums


@pytest.mark.parametrize("changes", [{"body_encoding": 3}, {"attributes": 5}])
def test_a_body_of_a_newer_version_is_refused_by_name(changes: dict[str, int]) -> None:
    view = one(with_header(stored(([b"a"], T0)), **changes))
    for decode in (view.values, view.keys, view.headers, view.timestamps_ms):
        with pytest.raises(RecordDecodeError, match="written by a newer version"):
            decode()


def test_columns_are_not_taken_for_a_batch_of_kafka() -> None:
    view = one(with_header(stored(([b"a"], T0)), body_encoding=KAFKA_V2_ENCODING))
    for decode in (view.values, view.keys, view.headers, view.timestamps_ms):
        with pytest.raises(RecordDecodeError, match="offset 100: record batch: expected at least"):
            decode()


def test_a_batch_of_kafka_is_decoded_once_and_when_asked() -> None:
    body = GOLDEN[Codec.GZIP]
    view = one(
        pack_batch(
            one(stored(([b"a"] * 3, FIRST_MS))).header._replace(
                body_encoding=KAFKA_V2_ENCODING, attributes=0x11
            ),
            body,
        )
    )
    assert (view.is_plain, view.plain_value, view.codec) == (False, None, Codec.GZIP)
    assert view.columns is view.columns
    assert (view.values(), view.keys()) == (GOLDEN_VALUES, GOLDEN_KEYS)
    assert (view.headers(), view.timestamps_ms()) == (GOLDEN_HEADERS, GOLDEN_TIMESTAMPS_MS)
    assert view.offsets() == range(100, 103)
    assert not view.has_values_only


@pytest.mark.parametrize("attributes", [0, LOG_APPEND_TIME_BIT])
def test_a_record_count_that_the_body_cannot_hold_is_refused(attributes: int) -> None:
    # Under LogAppendTime a list of that length was made: 32 GiB of it.
    lie = {"record_count": 2**32 - 1, "last_offset_delta": 2**32 - 1, "attributes": attributes}
    view = one(with_header(stored(([b"a"], T0)), **lie))
    decoders: list[Callable[[], object]] = [
        view.values,
        view.keys,
        view.headers,
        view.timestamps_ms,
    ]
    for decode in decoders:
        with pytest.raises(RecordDecodeError, match="records in a values column"):
            decode()
    assert len(view.offsets()) == 2**32 - 1, "a range takes no memory"


def test_timestamps_that_are_no_numbers_are_refused() -> None:
    segment = new_segment(memory_disk_of())
    batch = build_batch([b"a", b"b"], [1, 2])
    batch.body = batch.body[:-2] + b"\xc0\xc0"
    segment.reserve(1000, 1 << 20)
    segment.append(batch, 0, 0)
    view = one(segment.mapping_for_read()[: segment.position])
    view.check()
    with pytest.raises(RecordDecodeError, match="timestamps column is malformed"):
        view.timestamps_ms()


def test_the_columns_are_read_once() -> None:
    view = one(stored(([b"a"], T0)))
    assert isinstance(view.columns, ColumnReader)
    assert view.columns is view.columns


@pytest.mark.parametrize(("order", "count"), [((0, 2), 1), ((0, 1, 1, 2), 2), ((1, 0, 2), 1)])
def test_splitting_stops_where_a_batch_is_missing_or_comes_again(
    order: tuple[int, ...], count: int
) -> None:
    data = stored(([b"a"], T0), ([b"b"], T0), ([b"c"], T0))
    size = len(data) // 3
    batches = split_batches(b"".join(data[n * size : (n + 1) * size] for n in order))
    assert [b.base_offset for b in batches] == [100 + n for n in order[:count]]


def test_a_lone_plain_value_is_taken_without_its_columns() -> None:
    segment = new_segment(memory_disk_of())
    append_value(segment, b"plain")
    append(segment, b"a", b"b")
    append_value(segment, b"v" * 300)
    views = split_batches(segment.mapping_for_read()[: segment.position])
    assert [view.plain_value for view in views] == [b"plain", None, None]
    assert [view.values() for view in views] == [[b"plain"], [b"a", b"b"], [b"v" * 300]]
