"""What stays of a log's batches, and in which."""

from __future__ import annotations

from typing import Any

import pytest

from streamlog.config import TopicConfig
from streamlog.errors import RecordDecodeError
from streamlog.record import BatchView, ProducerStamp, build_batch, split_batches
from streamlog.record.codec import Codec
from streamlog.record.compression import Compressor
from streamlog.record.layout import LOG_APPEND_TIME_BIT
from streamlog.storage.compaction.key_map import KeyMap
from streamlog.storage.compaction.repacker import JOINED_BYTES, LARGE_BYTES, Repacker
from streamlog.storage.compaction.transaction_retention import AbortedData
from tests.support.compaction import (
    DAY_MS,
    begin,
    clean,
    contents,
    end,
    keyed,
    put,
    put_for,
    rows,
    spans,
)
from tests.support.storage import Disk, Store, check_log, read_batches

LARGE = "x" * LARGE_BYTES
NOW_MS = 2000


@pytest.fixture
def store(memory_disk: Disk) -> Store:
    """A log whose segments are large enough for anything here."""
    return Store(memory_disk, segment_bytes=1 << 20, index_interval_bytes=0)


def batches(store: Store) -> list[BatchView]:
    return list(read_batches(store.log))


# ---- which records stay


def test_cmp_3_of_each_key_the_newest_record_stays_with_its_offset_and_in_order(
    store: Store,
) -> None:
    put(store.log, ("a", "1"), ("b", "1"), ("c", "1"))
    put(store.log, ("b", "2"))
    put(store.log, ("a", "2"), ("d", "1"), ("a", "3"))
    clean(store)
    assert contents(store.log) == [(2, "c", "1"), (3, "b", "2"), (5, "d", "1"), (6, "a", "3")]
    assert spans(store.log) == [(0, 7, 4)]
    check_log(store.log)


def test_cmp_3_null_keys_go_and_empty_ones_are_keys(store: Store) -> None:
    put(store.log, (None, "1"), ("", "1"), ("a", "1"))
    put(store.log, (None, "2"), (None, "3"))
    put(store.log, ("", "2"))
    clean(store)
    assert contents(store.log) == [(2, "a", "1"), (5, "", "2")]


def test_cmp_3_records_behind_what_was_mapped_stay(store: Store) -> None:
    put(store.log, ("a", "1"))
    put(store.log, ("b", "1"))
    put(store.log, ("a", "2"))
    put(store.log, (None, "1"))
    result = clean(store, memory=200)
    assert result.end_offset == 1
    assert not result.is_complete
    assert contents(store.log) == [(0, "a", "1"), (1, "b", "1"), (2, "a", "2"), (3, None, "1")]
    assert clean(store, memory=200).end_offset == 2
    assert clean(store, memory=200).end_offset == 4
    assert contents(store.log) == [(1, "b", "1"), (2, "a", "2")]


def test_cmp_3_a_later_pass_compares_with_what_an_earlier_one_left(store: Store) -> None:
    put(store.log, ("a", "1"), ("b", "1"), ("c", "1"))
    clean(store)
    put(store.log, ("b", "2"))
    result = clean(store)
    assert contents(store.log) == [(0, "a", "1"), (2, "c", "1"), (3, "b", "2")]
    assert (result.records_before, result.records_after) == (4, 3)


def test_values_timestamps_and_headers_stay_as_they_are(store: Store) -> None:
    headers: list[Any] = [(("h", b"1"), ("h", None)), (), (("i", b""),), ()]
    keys: list[bytes | None] = [b"a", b"b", b"c", b"a"]
    batch = build_batch([b"1", b"", b"3", b"4"], [1005, 1002, 1009, 1001], keys, headers)
    store.log.append(batch)
    put(store.log, ("d", "1"), timestamp_ms=1003)
    put(store.log, ("e", "1"), timestamp_ms=900)
    before = rows(store.log)
    clean(store)
    assert rows(store.log) == before[1:]
    (joined,) = batches(store)
    assert joined.max_timestamp_ms == 1009
    assert joined.first_timestamp_ms == 1002


def test_headers_that_begin_in_a_later_batch_stay_with_their_records(store: Store) -> None:
    put(store.log, ("a", "1"), ("b", "1"))
    store.log.append(build_batch([b"1", b"2"], 1000, [b"c", b"a"], [(("h", b"1"),), ()]))
    put(store.log, ("d", "1"))
    before = rows(store.log)
    clean(store)
    assert rows(store.log) == before[1:]


def test_headers_that_are_gone_leave_no_column(store: Store) -> None:
    store.log.append(build_batch([b"1", b"2"], 1000, [b"a", b"b"], [(("h", b"1"),), ()]))
    put(store.log, ("a", "2"))
    clean(store)
    assert [batch.headers() for batch in batches(store)] == [None]


def test_delete_records_what_lies_below_the_log_start_goes(store: Store) -> None:
    put(store.log, ("a", "1"))
    put(store.log, ("b", "1"), ("c", "1"), ("d", "1"))
    store.log.advance_log_start(2)
    clean(store)
    assert contents(store.log) == [(2, "c", "1"), (3, "d", "1")]
    assert spans(store.log)[0] == (0, 4, 2)


# ---- tombstones


def test_cmp_5_a_tombstone_needs_two_passes_and_its_time_to_go(store: Store) -> None:
    store.with_config(delete_retention_ms=100)
    put(store.log, ("a", "1"), ("b", "1"))
    put(store.log, ("a", None))
    clean(store, now_ms=NOW_MS)
    assert contents(store.log) == [(1, "b", "1"), (2, "a", None)]
    assert [batch.delete_horizon_ms for batch in batches(store)] == [NOW_MS + 100]
    clean(store, now_ms=NOW_MS + 99)
    assert contents(store.log) == [(1, "b", "1"), (2, "a", None)]
    assert [batch.delete_horizon_ms for batch in batches(store)] == [NOW_MS + 100]
    clean(store, now_ms=NOW_MS + 100)
    assert contents(store.log) == [(1, "b", "1")]
    assert [batch.delete_horizon_ms for batch in batches(store)] == [None]
    assert rows(store.log)[0].timestamp_ms == 1000


def test_cmp_5_the_first_pass_keeps_a_tombstone_whatever_its_age(store: Store) -> None:
    store.with_config(delete_retention_ms=0)
    put(store.log, ("a", None), timestamp_ms=1)
    clean(store, now_ms=NOW_MS + 10 * DAY_MS)
    assert contents(store.log) == [(0, "a", None)]
    clean(store, now_ms=NOW_MS + 10 * DAY_MS)
    assert contents(store.log) == []
    assert spans(store.log) == [(0, 1, 0)]


def test_cmp_5_batches_with_other_horizons_are_not_joined(store: Store) -> None:
    put(store.log, ("a", None))
    clean(store, now_ms=NOW_MS)
    put(store.log, ("b", "1"))
    put(store.log, ("c", None))
    clean(store, now_ms=NOW_MS + 50)
    horizons = [batch.delete_horizon_ms for batch in batches(store)]
    assert horizons == [NOW_MS + DAY_MS, NOW_MS + 50 + DAY_MS]
    assert spans(store.log) == [(0, 2, 2), (2, 3, 1)]
    clean(store, now_ms=NOW_MS + DAY_MS)
    assert contents(store.log) == [(1, "b", "1"), (2, "c", None)]


def test_cmp_5_a_batch_that_is_kept_whole_but_for_its_horizon_keeps_its_timestamps(
    store: Store,
) -> None:
    values: list[bytes | None] = [b"1", None, b"\xc0"]
    store.log.append(build_batch(values, [1005, 1002, 1009], [b"a", b"b", b"c"]))
    before = rows(store.log)
    clean(store)
    assert rows(store.log) == before
    clean(store)
    assert rows(store.log) == before


def test_cmp_5_a_tombstone_that_was_superseded_leaves_no_horizon(store: Store) -> None:
    put(store.log, ("a", None), ("b", "À" + LARGE))
    put(store.log, ("a", "2"))
    clean(store)
    assert [batch.delete_horizon_ms for batch in batches(store)] == [None]
    assert contents(store.log)[1] == (2, "a", "2")


# ---- transactions


def test_cmp_4_aborted_records_go_and_never_win_a_key(store: Store) -> None:
    put(store.log, ("a", "1"), ("b", "1"))
    stamp = begin(7)
    put_for(store.log, stamp, ("a", "aborted"), ("c", "aborted"))
    end(store.log, stamp, commit=False)
    stamp = begin(8)
    put_for(store.log, stamp, ("b", "2"))
    end(store.log, stamp, commit=True)
    clean(store)
    assert contents(store.log) == [(0, "a", "1"), (5, "b", "2")]
    assert [batch.values() for batch in batches(store) if batch.producer_id == 7] == [
        [b"\x00\x00\x00\x00\x00\x00"]  # the marker
    ]
    check_log(store.log)


def test_cmp_6_markers_stay_until_their_data_is_gone_and_a_horizon_is_over(store: Store) -> None:
    store.with_config(delete_retention_ms=100)
    stamp = begin(7)
    put_for(store.log, stamp, ("a", "1"))
    end(store.log, stamp, commit=True)
    end(store.log, begin(7, epoch=1), commit=True)
    clean(store, now_ms=NOW_MS)
    assert [batch.is_control for batch in batches(store)] == [False, True, True]
    put(store.log, ("a", "2"))
    clean(store, now_ms=NOW_MS)  # sees the data for the last time
    assert [batch.delete_horizon_ms for batch in batches(store)] == [None, None, None, None]
    assert spans(store.log) == [(0, 1, 0), (1, 2, 1), (2, 3, 1), (3, 4, 1)]
    clean(store, now_ms=NOW_MS)
    horizons = [batch.delete_horizon_ms for batch in batches(store)]
    assert horizons == [None, NOW_MS + 100, None, None]
    clean(store, now_ms=NOW_MS + 99)
    assert len(batches(store)) == 4
    clean(store, now_ms=NOW_MS + 100)
    assert [batch.is_control for batch in batches(store)] == [False, True, False]
    assert spans(store.log)[0] == (0, 2, 0)
    assert contents(store.log) == [(3, "a", "2")]
    store.kill_and_open()
    assert store.log.describe_producers()[0].producer_epoch == 2, "of the last marker (CMP-7)"


def test_a_transaction_keeps_its_batches_as_they_are(store: Store) -> None:
    put(store.log, ("x", "1"))
    stamp = begin(7)
    put_for(store.log, stamp, ("a", "1"), ("b", "1"))
    put_for(store.log, stamp, ("c", "1"), ("d", "1"))
    end(store.log, stamp, commit=True)
    put(store.log, ("b", "2"), ("c", "2"))
    before = batches(store)
    clean(store)
    found = batches(store)
    assert [(b.base_offset, b.next_offset, b.record_count) for b in found] == [
        *((0, 1, 1), (1, 3, 1), (3, 5, 1), (5, 6, 1), (6, 8, 2)),
    ]
    for number in (1, 2, 3):
        for field in ("base_sequence", "producer_id", "producer_epoch", "attributes"):
            assert getattr(found[number], field) == getattr(before[number], field)
    assert found[3].body == before[3].body


# ---- producers


def test_cmp_7_the_last_batch_of_a_producer_keeps_its_sequence_without_records(
    store: Store,
) -> None:
    stamp = ProducerStamp(7, 0)
    put_for(store.log, stamp, ("a", "1"), ("b", "1"))
    put_for(store.log, stamp, ("a", "2"), ("b", "2"), ("b", "3"))
    put(store.log, ("a", "3"), ("b", "4"))
    clean(store)
    assert spans(store.log) == [(0, 2, 0), (2, 5, 0), (5, 7, 2)]
    last = batches(store)[1]
    assert (last.producer_id, last.base_sequence) == (7, 2)
    clean(store)
    assert spans(store.log) == [(0, 2, 0), (2, 5, 0), (5, 7, 2)]
    for name in store.names():
        if name.endswith(".snap"):
            store.disk.filesystem.unlink(f"{store.log_path}/{name}")
    store.kill_and_open()
    (found,) = store.log.describe_producers()
    assert (found.producer_id, found.last_sequence) == (7, 4)


def test_cmp_7_the_last_batch_of_a_producer_keeps_what_is_left_in_it(store: Store) -> None:
    stamp = ProducerStamp(7, 0)
    put_for(store.log, stamp, ("a", "1"), ("b", "1"))
    put(store.log, ("a", "3"))
    clean(store)
    assert [(b.producer_id, b.record_count) for b in batches(store)] == [(7, 1), (-1, 1)]
    put_for(store.log, stamp, ("c", "1"))
    clean(store)
    assert [(b.producer_id, b.record_count) for b in batches(store)] == [(-1, 2), (7, 1)]


@pytest.mark.parametrize("text", ["small", LARGE])
def test_other_batches_of_a_producer_become_nobodys(store: Store, text: str) -> None:
    stamp = ProducerStamp(7, 0)
    put_for(store.log, stamp, ("a", text))
    put_for(store.log, stamp, ("b", "1"))
    before = rows(store.log)
    clean(store)
    assert [(b.producer_id, b.base_sequence) for b in batches(store)] == [(-1, -1), (7, 1)]
    assert rows(store.log) == before


# ---- which batches they are in


def test_small_batches_are_joined_and_large_ones_copied(store: Store) -> None:
    put(store.log, ("a", "1"))
    put(store.log, ("b", "1"))
    put(store.log, ("c", LARGE))
    put(store.log, ("d", "1"))
    before = batches(store)
    clean(store)
    assert spans(store.log) == [(0, 2, 2), (2, 3, 1), (3, 4, 1)]
    assert [b.header for b in batches(store)[1:]] == [b.header for b in before[2:]]


def test_batches_are_joined_up_to_64_kib(store: Store) -> None:
    for number in range(40):
        put(store.log, (f"key-{number}", "x" * (LARGE_BYTES - 100)))
    clean(store)
    sizes = [batch.size_bytes for batch in batches(store)]
    assert len(sizes) == 5
    assert all(JOINED_BYTES // 2 < size <= JOINED_BYTES + 80 for size in sizes[:-1])


def test_no_joined_batch_is_above_max_message_bytes(store: Store) -> None:
    store.with_config(max_message_bytes=1000)
    for number in range(40):
        put(store.log, (f"key-{number}", "x" * 100), (f"key-{number - 1}", "x" * 100))
    clean(store)
    sizes = [batch.size_bytes for batch in batches(store)]
    assert max(sizes) <= 1000
    assert len(sizes) < 15


def test_a_batch_that_headers_make_large_counts_as_large_as_it_was(store: Store) -> None:
    headers = [(("h", b"x" * 20_000),), (("h", b"x" * 20_000),)]
    for number in range(4):
        keys: list[bytes | None] = [b"%d" % number, b"twice"]
        store.log.append(build_batch([b"1", b"2"], 1000, keys, headers))
    clean(store)
    assert [batch.record_count for batch in batches(store)] == [1, 1, 1, 2]


def test_what_goes_between_two_batches_is_covered_by_the_one_before(store: Store) -> None:
    put(store.log, ("a", "1"))
    put(store.log, ("b", "1"))
    put(store.log, ("b", "2"))
    put(store.log, ("c", LARGE))
    put(store.log, ("d", "1"))
    put(store.log, ("d", "2"))
    put(store.log, ("d", LARGE))
    clean(store)
    assert spans(store.log) == [(0, 3, 2), (3, 4, 1), (4, 6, 0), (6, 7, 1)]
    before = batches(store)
    result = clean(store)
    assert [b.header for b in batches(store)] == [b.header for b in before]
    assert result.segments_before == result.segments_after == 1


def test_a_leader_epoch_keeps_its_first_offset(store: Store) -> None:
    put(store.log, ("a", "1"))
    store.log.leader_epoch = 1
    put(store.log, ("a", "2"))
    put(store.log, ("b", "1"))
    store.log.leader_epoch = 2
    put(store.log, ("b", "2"))
    clean(store)
    assert [(b.base_offset, b.leader_epoch, b.record_count) for b in batches(store)] == [
        *((0, 0, 0), (1, 1, 1), (3, 2, 1)),
    ]
    found = store.log.end_offset_for_epoch(0)
    assert found is not None
    assert found.end_offset == 1


def test_log_append_time_stays_that_of_each_record(store: Store) -> None:
    for key, timestamp_ms in (("a", 1000), ("b", 1000), ("c", 1001), ("b", 1002)):
        batch = keyed((key, "1"), timestamp_ms=timestamp_ms)
        batch.attributes |= LOG_APPEND_TIME_BIT
        store.log.append(batch)
    put(store.log, ("d", "1"), timestamp_ms=1002)
    before = rows(store.log)
    clean(store)
    assert rows(store.log) == [before[0], *before[2:]]
    assert spans(store.log) == [(0, 2, 1), (2, 3, 1), (3, 4, 1), (4, 5, 1)]


def test_a_removed_batch_does_not_change_the_log_append_time_of_its_neighbour(
    store: Store,
) -> None:
    # It took over the greatest timestamp of the batch whose offsets it took over, and gave it to its records.
    for key, timestamp_ms in (("a", 1000), ("b", 1005), ("b", 1003)):
        batch = keyed((key, "1"), timestamp_ms=timestamp_ms)
        batch.attributes |= LOG_APPEND_TIME_BIT
        store.log.append(batch)
    clean(store)
    assert [row.timestamp_ms for row in rows(store.log)] == [1000, 1003]


@pytest.mark.parametrize("codec", [Codec.GZIP, Codec.SNAPPY, Codec.LZ4, Codec.ZSTD])
def test_compressed_batches_stay_compressed(store: Store, codec: Codec) -> None:
    compressor = Compressor(codec)
    for keys in ("ab", "bc", "de"):
        batch = keyed(*((key, "value" * 50) for key in keys))
        compressor.apply(batch)
        store.log.append(batch)
    put(store.log, ("f", "1"))
    before = rows(store.log)
    clean(store)
    assert rows(store.log) == [before[0], *before[2:]]
    assert [(b.codec, b.record_count) for b in batches(store)] == [(codec, 5), (0, 1)]


def test_a_codec_is_used_for_many_batches(store: Store) -> None:
    for number in range(40):
        batch = keyed((f"{number}", "x" * 4000), ("twice", "1"))
        Compressor(Codec.ZSTD).apply(batch)
        store.log.append(batch)
    before = rows(store.log)
    clean(store)
    assert [row for row in rows(store.log) if row.key != b"twice"] == before[::2]
    assert len(batches(store)) == 3
    assert {batch.codec for batch in batches(store)} == {Codec.ZSTD}


def test_an_empty_batch_of_a_compressed_one_is_not_compressed(store: Store) -> None:
    batch = keyed(("a", "value" * 50))
    Compressor(Codec.ZSTD).apply(batch)
    batch.stamp = ProducerStamp(7, 0)
    store.log.append(batch)
    put(store.log, ("a", "2"))
    clean(store)
    empty = batches(store)[0]
    assert (empty.codec, empty.body, empty.offsets(), empty.values()) == (0, b"", range(0), [])
    assert store.log.offset_of_max_timestamp() is not None
    check_log(store.log)


def test_an_empty_batch_has_the_timestamp_of_what_was_in_it(store: Store) -> None:
    # Or retention by time would keep a segment of nothing but such batches for as long as its file is young.
    put(store.log, ("a", "1"), timestamp_ms=1007)
    put(store.log, ("a", "2"), timestamp_ms=1003)
    store.log.roll()
    put(store.log, ("a", "3"), timestamp_ms=900)
    store.with_config(segment_bytes=256)  # the two are not merged
    clean(store)
    assert store.log.segments[0].largest_timestamp_ms() == 1007
    found = store.log.offset_of_max_timestamp()
    assert found is not None
    assert (found.offset, found.timestamp_ms) == (2, 900)
    found = store.log.offset_for_timestamp(901)
    assert found is None


class Output:
    """What a repacker without transactions hands out of a log with a key in each large batch."""

    def __init__(self, store: Store, *dirty: str) -> None:
        self.left_out: list[int] = []
        self.data = b""
        keys = KeyMap(1 << 20)
        end = store.log.log_end_offset
        keys.add([key.encode() for key in dirty] or [b"other"], len(dirty) or 1)
        self.subject = Repacker(
            keys,
            end,
            end,
            log_start_offset=0,
            aborted=AbortedData(()),
            last_batches=set(),
            now_ms=0,
            config=TopicConfig(),
        )
        self.subject.begin(self._write, self.left_out.append)
        for batch in batches(store):
            self.subject.add(batch)
        self.subject.flush()

    def _write(self, data: bytes) -> None:
        assert self.left_out, "told before anything is handed out"
        self.data += data


def test_nothing_is_handed_out_where_nothing_changes(store: Store) -> None:
    for key in "abc":
        put(store.log, (key, LARGE))
    put(store.log, ("d", "small"))
    output = Output(store)
    assert (output.left_out, output.data) == ([], b"")
    assert not output.subject.has_changes
    assert output.subject.records_after == 4


@pytest.mark.parametrize("changed", ["a", "b", "c", "d"])
def test_what_comes_before_the_first_change_is_left_out(store: Store, changed: str) -> None:
    ends = [0]
    for key in "abcd":
        put(store.log, (key, LARGE if key != "b" else "small"))
        ends.append(store.log.segments[0].position)
    output = Output(store, changed)
    assert output.subject.has_changes
    place = ends["abcd".index(changed)]
    # A small batch with one behind it that goes is joined with what is left of that: nothing.
    place = ends[1] if changed == "c" else place
    assert output.left_out == [place]
    content = store.disk.read(store.segment_path(0))[: ends[-1]]
    found = split_batches(content[:place] + output.data)
    assert [batch.header.next_offset for batch in found][-1] == 4
    kept = [key for batch in found for key in batch.keys() or ()]
    assert kept == [key.encode() for key in "abcd" if key != changed]


def test_a_body_that_cannot_be_read_is_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store.log, ("a", "1"))
    (batch,) = split_batches(store.log.read(0, 1000))
    changed = BatchView(batch.header._replace(body_encoding=99), batch.body)
    keys = KeyMap(1000)
    keys.add([b"a"], 1)
    subject = Repacker(
        keys,
        0,
        1,
        log_start_offset=0,
        aborted=AbortedData(()),
        last_batches=set(),
        now_ms=0,
        config=TopicConfig(),
    )
    subject.begin(lambda data: None)
    with pytest.raises(RecordDecodeError, match="batch at offset 0: expected body encoding"):
        subject.add(changed)
