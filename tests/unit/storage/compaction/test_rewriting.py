"""Headers and bodies of the batches that compaction makes."""

from __future__ import annotations

import pytest

from streamlog.config import TopicConfig
from streamlog.record import BatchView, build_batch, split_batches
from streamlog.record.layout import (
    COLUMNS_ENCODING,
    SPARSE_COLUMNS_ENCODING,
    BatchHeader,
    pack_batch,
)
from streamlog.storage.compaction.rewriting import Rewriter, empty_batch, without_producer
from streamlog.storage.compaction.run import Columns, Run
from tests.support.storage import Disk, Store
from tests.unit.storage.conftest import memory_disk_of

VALUES: list[bytes | None] = [b"1", None, b"3", b"4"]
TIMES_MS = [1005, 1002, 1009, 1005]


def stored(disk: Disk | None = None) -> BatchView:
    """Return a batch of four records with keys, as it is read from a log."""
    store = Store(disk or memory_disk_of())
    store.log.append(build_batch(VALUES, TIMES_MS, [b"a", b"b", b"c", b"d"]))
    (batch,) = split_batches(store.log.read(0, 1000))
    return batch


def read_back(header: BatchHeader, body: bytes) -> BatchView:
    data = pack_batch(header, body)
    (batch,) = split_batches(data + bytes(-len(data) % 8))
    batch.check()
    batch.columns.check()
    return batch


@pytest.mark.parametrize("horizon_ms", [None, 77])
@pytest.mark.parametrize("kept", [(0, 1, 2, 3), (0, 1), (1, 3), (3,)])
def test_a_reduced_batch_has_the_records_that_stay_and_nothing_else_changes(
    kept: tuple[int, ...], horizon_ms: int | None
) -> None:
    batch = stored()
    found = read_back(*Rewriter(TopicConfig()).reduce(batch, kept, horizon_ms))
    assert list(found.offsets()) == list(kept)
    assert found.values() == [VALUES[number] for number in kept]
    assert found.timestamps_ms() == [TIMES_MS[number] for number in kept]
    assert found.delete_horizon_ms == horizon_ms
    assert (found.next_offset, found.max_timestamp_ms) == (4, 1009)
    dense = kept[-1] == len(kept) - 1
    assert found.body_encoding == (COLUMNS_ENCODING if dense else SPARSE_COLUMNS_ENCODING)


def test_equal_timestamps_take_no_column() -> None:
    found = read_back(*Rewriter(TopicConfig()).reduce(stored(), (0, 3), None))
    assert found.columns.timestamp_deltas() is None
    assert found.timestamps_ms() == [1005, 1005]
    found = read_back(*Rewriter(TopicConfig()).reduce(stored(), (0, 3), 1005))
    assert found.columns.timestamp_deltas() is None
    assert (found.delete_horizon_ms, found.timestamps_ms()) == (1005, [1005, 1005])


def test_a_run_without_records_is_an_empty_batch() -> None:
    run = Run(0, 3)
    run.cover(stored())
    found = read_back(*Rewriter(TopicConfig()).join(run))
    assert (found.base_offset, found.next_offset, found.record_count) == (0, 4, 0)
    assert (found.leader_epoch, found.max_timestamp_ms, found.body) == (3, 1009, b"")
    assert (found.producer_id, found.base_sequence) == (-1, -1)


def test_a_run_with_records_has_their_greatest_timestamp() -> None:
    batch = stored()
    run = Run(0, 0)
    columns = Columns.of(batch, (0, 1))
    run.take(batch, columns, columns.size_bytes(batch), None)
    found = read_back(*Rewriter(TopicConfig()).join(run))
    assert (found.max_timestamp_ms, found.next_offset) == (1005, 4)
    assert found.keys() == [b"a", b"b"]


def test_headers_alone_are_changed_where_records_are_not() -> None:
    header = stored().header._replace(producer_id=7, producer_epoch=1, base_sequence=5)
    assert without_producer(header, b"body") == (stored().header, b"body")
    found = empty_batch(header._replace(attributes=0x44, uncompressed_size=9))
    assert (found.record_count, found.last_offset_delta, found.attributes) == (0, 3, 0)
    assert (found.producer_id, found.base_sequence, found.uncompressed_size) == (7, 5, 0)
