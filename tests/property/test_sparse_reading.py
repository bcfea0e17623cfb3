"""Whatever compaction left, and however it is read: the records that are left, each once and in order (LOG-8)."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streamlog import Broker, Consumer, OffsetAndTimestamp
from streamlog.record import Codec
from streamlog.runtime import VirtualClock
from tests.support.consuming import NOW_MS, T0
from tests.support.sparse import Kept, append_cleaned
from tests.support.storage import Store, check_log, read_values
from tests.unit.storage.conftest import memory_disk_of

#: A batch: how many offsets it takes, which of them are left and with which timestamps, and how it is stored.
batches = st.lists(
    st.integers(1, 12).flatmap(
        lambda offsets: st.tuples(
            st.just(offsets),
            st.dictionaries(st.integers(0, offsets - 1), st.integers(0, 50)).map(
                lambda kept: sorted(kept.items())
            ),
            st.sampled_from([Codec.NONE, Codec.LZ4, Codec.ZSTD]),
            st.none() | st.integers(NOW_MS, NOW_MS + 1000),
        )
    ),
    max_size=12,
)


def append_all(target: Any, content: Any) -> dict[int, int]:
    """Append the batches; return the timestamp of each record by its offset. Its value is its offset."""
    left: dict[int, int] = {}
    offset = 0
    for offsets, kept, codec, horizon_ms in content:
        rows = [
            Kept(delta, b"%d" % (offset + delta), b"k", NOW_MS + late_ms) for delta, late_ms in kept
        ]
        assert (
            append_cleaned(target, rows, offsets, codec=codec, delete_horizon_ms=horizon_ms)
            == offset
        )
        left.update({offset + row.delta: row.timestamp_ms for row in rows})
        offset += offsets
    return left


@given(
    content=batches,
    limit=st.integers(1, 20),
    start=st.integers(0, 150),
    fetch_max_bytes=st.sampled_from([0, 200, 10_000_000]),
    by_iteration=st.booleans(),
)
def test_every_record_that_is_left_comes_once_and_in_order(
    content: Any, limit: int, start: int, fetch_max_bytes: int, by_iteration: bool
) -> None:
    with Broker(clock=VirtualClock()) as broker:
        broker.create_topic("t")
        partition = broker.partition(*T0)
        left = append_all(partition, content)
        end = partition.log_end_offset
        start = min(start, end)
        expected = [offset for offset in left if offset >= start]
        with Consumer(broker, fetch_max_bytes=fetch_max_bytes) as consumer:
            consumer.assign([T0])
            consumer.seek(T0, start)
            offsets: list[int] = []
            while by_iteration and len(offsets) < len(expected):
                record = next(consumer)
                assert (record.value, record.timestamp_ms) == (
                    b"%d" % record.offset,
                    left[record.offset],
                )
                assert consumer.position(T0) == record.offset + 1
                offsets.append(record.offset)
            while found := consumer.poll(1, max_records=limit):
                assert len(found) <= limit
                assert found.values() == [b"%d" % record.offset for record in found]
                assert [record.timestamp_ms for record in found] == [
                    left[record.offset] for record in found
                ]
                offsets += [record.offset for record in found]
                assert (
                    offsets[-1]
                    < consumer.position(T0)
                    <= min((offset for offset in left if offset > offsets[-1]), default=end)
                )
            assert offsets == expected
            assert consumer.position(T0) == end
            assert consumer.current_lag(T0) == 0


@given(content=batches, bound=st.integers(1, 150))
def test_tim_1_and_tim_2_find_records_that_are_left(content: Any, bound: int) -> None:
    store = Store(memory_disk_of(), segment_bytes=1024, index_interval_bytes=0)
    left = append_all(store.log, content)
    visible = {offset: stamp for offset, stamp in left.items() if offset < bound}
    for late_ms in range(-1, 52, 4):
        time_ms = NOW_MS + late_ms
        first = next((offset for offset, stamp in visible.items() if stamp >= time_ms), None)
        found = store.log.offset_for_timestamp(time_ms, bound)
        assert found == (None if first is None else OffsetAndTimestamp(first, visible[first], 0))
    greatest = max(visible.values(), default=None)
    found = store.log.offset_of_max_timestamp(bound)
    if greatest is None:
        assert found is None
    else:
        first = next(offset for offset, stamp in visible.items() if stamp == greatest)
        assert found == OffsetAndTimestamp(first, greatest, 0)
    store.directory.close()


@given(content=batches, kill=st.booleans(), without_state=st.booleans())
def test_a_log_with_gaps_opens_as_it_was(content: Any, kill: bool, without_state: bool) -> None:
    store = Store(memory_disk_of(), segment_bytes=1024, index_interval_bytes=0)
    left = append_all(store.log, content)
    end = store.log.log_end_offset
    store.kill() if kill else store.close()
    if without_state:
        store.disk.filesystem.unlink(f"{store.path}/STATE")
    log = store.open()
    check_log(log)
    assert log.log_end_offset == end
    assert read_values(log) == [(offset, b"%d" % offset) for offset in left]
    assert store.recovery.cut_bytes == 0
    for offset in range(end):
        assert (
            log.read_batches(offset, 1)[0].base_offset
            <= offset
            < log.read_batches(offset, 1)[0].next_offset
        )
    store.close()
