"""From timestamps to offsets: TIM-1 and TIM-2, against a search of the whole list."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.errors import ClosedError, CorruptLogError, RecordDecodeError
from streamlog.record import Codec, Compressor, build_batch
from streamlog.record.layout import LOG_APPEND_TIME_BIT
from streamlog.storage import time_lookup
from streamlog.structs import OffsetAndTimestamp
from tests.support.sparse import Kept, append_cleaned, cleaned_batch, set_record_count
from tests.support.storage import Disk, Store
from tests.unit.storage.conftest import memory_disk_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.storage.segment import Segment

T0 = 1_700_000_000_000
BATCH = 104


def append(store: Store, *timestamps_ms: int, log_append_time_ms: int | None = None) -> None:
    batch = build_batch([b"12345678"] * len(timestamps_ms), timestamps_ms)
    if log_append_time_ms is not None:
        batch.attributes |= LOG_APPEND_TIME_BIT
        batch.max_timestamp_ms = log_append_time_ms
    store.log.append(batch)


def test_tim_1_the_first_offset_at_or_after_the_time_wins(store: Store) -> None:
    append(store, T0 + 5)
    append(store, T0 + 2, T0 + 9, T0 + 3)
    append(store, T0 + 7)
    found = {time: store.log.offset_for_timestamp(T0 + time) for time in range(11)}
    assert found[0] == found[5] == OffsetAndTimestamp(0, T0 + 5, 0)
    assert found[6] == found[9] == OffsetAndTimestamp(2, T0 + 9, 0)
    assert found[10] is None


def test_tim_1_only_what_is_visible_counts(store: Store) -> None:
    for number in range(20):
        append(store, T0 + number)
    assert store.log.offset_for_timestamp(T0 + 10, 10) is None
    assert store.log.offset_for_timestamp(T0 + 10, 11) == OffsetAndTimestamp(10, T0 + 10, 0)
    store.log.advance_log_start(12)
    assert store.log.offset_for_timestamp(0) == OffsetAndTimestamp(12, T0 + 12, 0)


def test_tim_2_the_greatest_timestamp_and_the_first_that_has_it(store: Store) -> None:
    assert store.log.offset_of_max_timestamp() is None
    append(store, T0 + 5)
    append(store, T0 + 2, T0 + 9, T0 + 9)
    append(store, T0 + 9)
    assert store.log.offset_of_max_timestamp() == OffsetAndTimestamp(2, T0 + 9, 0)
    assert store.log.offset_of_max_timestamp(2) == OffsetAndTimestamp(0, T0 + 5, 0)
    store.log.advance_log_start(3)
    assert store.log.offset_of_max_timestamp() == OffsetAndTimestamp(3, T0 + 9, 0)
    store.log.advance_log_start(5)
    assert store.log.offset_of_max_timestamp() is None


def test_a_batch_that_the_log_start_is_inside_of_is_found_under_log_append_time(
    store: Store,
) -> None:
    # Only the first record of such a batch was looked at, and that one is deleted.
    append(store, T0, T0, T0, log_append_time_ms=T0 + 50)
    store.log.advance_log_start(1)
    assert store.log.offset_for_timestamp(T0 + 50) == OffsetAndTimestamp(1, T0 + 50, 0)
    assert store.log.offset_of_max_timestamp() == OffsetAndTimestamp(1, T0 + 50, 0)


@given(st.data())
def test_lookups_agree_with_a_list(data: st.DataObject) -> None:
    store = Store(
        memory_disk_of(),
        segment_bytes=400,
        index_interval_bytes=data.draw(st.sampled_from([0, 150, 4096])),
    )
    stamps: list[int] = []
    times = st.integers(0, 25)
    for batch in data.draw(st.lists(st.lists(times, min_size=1, max_size=4), max_size=25)):
        append(store, *batch)
        stamps += batch
    if data.draw(st.booleans()):
        store.reopen()
    start = data.draw(st.integers(0, len(stamps)))
    store.log.advance_log_start(start)
    for _ in range(5):
        bound = data.draw(st.none() | st.integers(0, len(stamps) + 1))
        visible = list(enumerate(stamps))[start:bound]
        time = data.draw(times)
        expected = next((pair for pair in visible if pair[1] >= time), None)
        found = store.log.offset_for_timestamp(time, bound)
        assert expected == (found and (found.offset, found.timestamp_ms))
        expected = max(visible, key=lambda pair: (pair[1], -pair[0]), default=None)
        found = store.log.offset_of_max_timestamp(bound)
        assert expected == (found and (found.offset, found.timestamp_ms))
    store.close()


@pytest.mark.parametrize("rising", [True, False])
def test_the_greatest_timestamp_takes_no_walk_of_the_log(
    memory_disk: Disk, monkeypatch: pytest.MonkeyPatch, rising: bool
) -> None:
    # One walk of the whole segment was made for each record of it.
    store = Store(memory_disk)
    for number in range(500):
        append(store, T0 + (number if rising else -number))
    walked: list[int] = []
    original = time_lookup._headers

    def headers(segment: Segment, start: int, stop: int) -> object:
        for position, header in original(segment, start, stop):
            walked.append(position)
            yield position, header

    monkeypatch.setattr(time_lookup, "_headers", headers)
    found = store.log.offset_of_max_timestamp()
    assert found is not None
    assert found.offset == (499 if rising else 0)
    assert len(walked) == 1
    # Below a bound the greatest one has to be looked for, from the last index entry on.
    walked.clear()
    if rising:
        found = store.log.offset_of_max_timestamp(450)
        assert found is not None
        assert found.offset == 449
        assert len(walked) <= 41
    store.close()


# ---- damage and deletion


def test_damage_on_the_way_is_reported_and_not_passed_over(store: Store) -> None:
    for number in range(6):
        append(store, T0 + number)
    store.close()
    store.disk.flip(store.segment_path(), 3 * BATCH + 85)  # in a body
    store.open()
    for lookup in (
        lambda: store.log.offset_for_timestamp(T0 + 3),
        lambda: store.log.offset_of_max_timestamp(4),
    ):
        with pytest.raises(CorruptLogError, match="checksum") as caught:
            lookup()
        assert caught.value.topic_partition == store.log.topic_partition
        assert (caught.value.first_bad_offset, caught.value.next_good_offset) == (3, 4)
        assert (caught.value.file, caught.value.position) == (store.segment_path(), 3 * BATCH)
    store.kill()
    store.disk.flip(store.segment_path(), 3 * BATCH + 20)  # and in its header
    store.open()
    with pytest.raises(CorruptLogError, match="no valid batch header"):
        store.log.offset_for_timestamp(T0 + 3)
    assert store.log.offset_for_timestamp(T0 + 2) == OffsetAndTimestamp(2, T0 + 2, 0)


def test_tim_1_a_compressed_batch_is_looked_into_where_its_codec_is(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(store, T0)
    batch = build_batch([b"a", b"b", b"c"], [T0 + 1, T0 + 3, T0 + 2])
    Compressor(Codec.LZ4).apply(batch)
    store.log.append(batch)
    assert store.log.offset_for_timestamp(T0 + 2) == OffsetAndTimestamp(2, T0 + 3, 0)
    assert store.log.offset_of_max_timestamp(4) == OffsetAndTimestamp(2, T0 + 3, 0)
    monkeypatch.setitem(sys.modules, "cramjam", None)
    with pytest.raises(RecordDecodeError, match=r"lz4.*streamlog-broker\[compression\]") as caught:
        store.log.offset_for_timestamp(T0 + 2)
    assert caught.value.offset == 1
    assert str(caught.value).startswith(f"{store.segment_path()}: batch at offset 1: ")
    assert store.log.offset_for_timestamp(T0) == OffsetAndTimestamp(0, T0, 0)


def during(store: Store, monkeypatch: pytest.MonkeyPatch, step_in: Callable[[], object]) -> None:
    """Have *step_in* run when a lookup has just chosen its first segment."""
    calls = [step_in]
    original = time_lookup._headers

    def headers(segment: Segment, start: int, stop: int) -> object:
        if calls:
            calls.pop()()
        return original(segment, start, stop)

    monkeypatch.setattr(time_lookup, "_headers", headers)


def test_a_segment_that_retention_takes_meanwhile_is_passed_over(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        append(store, T0 + number)
    store.with_config(retention_bytes=0)
    during(store, monkeypatch, lambda: store.log.delete_expired(0, 18))
    assert store.log.offset_for_timestamp(T0) == OffsetAndTimestamp(18, T0 + 18, 0)


def test_a_log_that_is_closed_meanwhile_says_so(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(store, T0)
    during(store, monkeypatch, store.log.close)
    with pytest.raises(ClosedError):
        store.log.offset_for_timestamp(T0)


def test_tim_2_a_greater_timestamp_above_the_bound_does_not_count(store: Store) -> None:
    # The second segment has a greater one, and below the bound only smaller ones.
    append(store, T0 + 5)
    store.log.roll()
    append(store, T0 + 1)
    append(store, T0 + 9)
    assert store.log.offset_of_max_timestamp(2) == OffsetAndTimestamp(0, T0 + 5, 0)
    assert store.log.offset_of_max_timestamp() == OffsetAndTimestamp(2, T0 + 9, 0)


def test_a_missing_batch_on_the_way_is_reported(store: Store) -> None:
    for number in range(6):
        append(store, T0 + number)
    store.close()
    data = store.disk.read(store.segment_path())
    store.disk.write(store.segment_path(), data[: 2 * BATCH] + data[3 * BATCH :] + bytes(BATCH))
    for name in (".idx", ".tix"):
        store.disk.filesystem.unlink(store.segment_path(0, name))
    store.open()
    with pytest.raises(CorruptLogError):
        store.log.offset_for_timestamp(T0 + 4)
    assert store.log.offset_for_timestamp(T0 + 1) == OffsetAndTimestamp(1, T0 + 1, 0)


# ---- compacted


def test_tim_1_and_tim_2_name_records_that_are_left(store: Store) -> None:
    append_cleaned(store.log, [Kept(3, timestamp_ms=T0 + 4)], 5)
    append_cleaned(store.log, [], 5, delete_horizon_ms=T0 + 1000)
    append_cleaned(
        store.log,
        [Kept(1, timestamp_ms=T0 + 9), Kept(2, timestamp_ms=T0 + 6)],
        5,
        delete_horizon_ms=T0 + 1000,
    )
    assert store.log.offset_for_timestamp(T0) == OffsetAndTimestamp(3, T0 + 4, 0)
    assert store.log.offset_for_timestamp(T0 + 5) == OffsetAndTimestamp(11, T0 + 9, 0)
    assert store.log.offset_for_timestamp(T0 + 10) is None
    assert store.log.offset_of_max_timestamp() == OffsetAndTimestamp(11, T0 + 9, 0)
    assert store.log.offset_of_max_timestamp(11) == OffsetAndTimestamp(3, T0 + 4, 0)
    assert store.log.offset_of_max_timestamp(3) is None


def test_tim_2_the_greatest_timestamp_may_be_that_of_a_record_that_was_removed(
    store: Store,
) -> None:
    append(store, T0 + 5)
    batch = cleaned_batch([], 2)
    batch.max_timestamp_ms = T0 + 90
    store.log.append(batch)
    set_record_count(store.log.segments[-1], 1, 0)
    assert store.log.offset_of_max_timestamp() == OffsetAndTimestamp(0, T0 + 5, 0)
    assert store.log.offset_for_timestamp(T0 + 6) is None


def test_offsets_that_cannot_be_read_are_named_with_their_file(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.support.sparse.encode_sparse_columns", lambda *_: b"\xff" * 30)
    append_cleaned(store.log, [Kept(3)], 5)
    with pytest.raises(
        RecordDecodeError, match=r"0\.log: batch at offset 0: .*offsets of"
    ) as caught:
        store.log.offset_for_timestamp(T0)
    assert caught.value.offset == 0
