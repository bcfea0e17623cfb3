"""Batches of our own as Kafka's: made once for all who ask while they are remembered."""

from __future__ import annotations

import pytest

from streamlog.errors import CorruptRecordError
from streamlog.record import BatchView, build_batch
from streamlog.record.kafka_batch import pending_from_kafka, to_kafka
from streamlog.structs import TopicPartition
from streamlog.wire.encoded_batches import Allowance, EncodedBatches, TakesLongError
from tests.support.kafka_batches import FIRST_MS, GOLDEN, kafka_batch
from tests.support.storage import Store
from tests.unit.storage.conftest import memory_disk_of

T0, T1 = TopicPartition("t", 0), TopicPartition("t", 1)


@pytest.fixture
def views() -> list[BatchView]:
    store = Store(memory_disk_of(), segment_bytes=1 << 20, index_interval_bytes=0)
    for number in range(4):
        store.log.append(build_batch([b"%d" % number * 500] * 2, FIRST_MS))
    store.log.append(pending_from_kafka(GOLDEN[0]))
    return store.log.read_batches(0, 1 << 20)


def test_a_batch_is_encoded_once_however_often_it_is_read(views: list[BatchView]) -> None:
    encoded = EncodedBatches()
    first = encoded.get(T0, views[0])
    assert first == to_kafka(views[0])
    again = BatchView(views[0].header, views[0].body)
    assert encoded.get(T0, again) is first
    assert encoded.size_bytes == len(first)
    assert encoded.get(T1, again) is not first, "another partition may have other bytes there"


def test_those_that_were_asked_for_last_are_remembered(views: list[BatchView]) -> None:
    size = len(to_kafka(views[0]))
    encoded = EncodedBatches(3 * size)
    found = [encoded.get(T0, view) for view in views[:3]]
    assert encoded.get(T0, views[0]) is found[0]
    encoded.get(T0, views[3])
    assert encoded.size_bytes == 3 * size
    assert encoded.get(T0, views[0]) is found[0]
    assert encoded.get(T0, views[2]) is found[2]
    assert encoded.get(T0, views[1]) is not found[1]


def test_one_that_is_too_large_is_not_remembered(views: list[BatchView]) -> None:
    encoded = EncodedBatches(100)
    assert encoded.get(T0, views[0]) == to_kafka(views[0])
    assert encoded.size_bytes == 0


def test_what_is_stored_as_it_came_is_not_remembered(views: list[BatchView]) -> None:
    encoded = EncodedBatches()
    assert encoded.get(T0, views[4]) == to_kafka(views[4])
    assert encoded.size_bytes == 0


def test_counting_what_is_stored_as_it_came_costs_the_same_whatever_its_size() -> None:
    """More than 4 MiB of it went to one of the two large workers, though nothing is copied."""
    store = Store(memory_disk_of(), segment_bytes=1 << 24, index_interval_bytes=0)
    store.log.append(pending_from_kafka(kafka_batch([b"x" * 500_000])))
    (view,) = store.log.read_batches(0, 1 << 20)
    encoded, allowance = EncodedBatches(), Allowance(100_000)
    for _ in range(100):
        assert encoded.size_of(T0, view, allowance) == len(to_kafka(view))
    with pytest.raises(TakesLongError):
        for _ in range(100):
            encoded.get(T0, view, allowance)


def test_a_damaged_batch_is_an_error_each_time(views: list[BatchView]) -> None:
    encoded = EncodedBatches()
    damaged = BatchView(views[0].header, views[0].body[:-1] + b"?")
    for _ in range(2):
        with pytest.raises(CorruptRecordError, match="body checksum"):
            encoded.get(T0, damaged)
    assert encoded.size_bytes == 0


def test_batches_in_a_row_are_what_each_is(views: list[BatchView]) -> None:
    emptied = BatchView(
        views[4].header._replace(record_count=0, body_size=0, body_crc=0), b""
    )  # by compaction: of what came, its header alone is left
    several, encoded = [*views, views[0], emptied], EncodedBatches()
    found = list(encoded.each(T0, several, Allowance(1 << 20)))
    assert found == [to_kafka(view) for view in several]
    assert found[5] is found[0]
    assert list(encoded.each(T0, [])) == []


def test_batches_in_a_row_are_given_up_to_the_one_that_takes_long_or_is_damaged(
    views: list[BatchView],
) -> None:
    stored, own, other = views[4], views[0], views[1]
    damaged = BatchView(other.header, other.body[:-1] + b"?")
    each = EncodedBatches().each(T0, [stored, own, damaged, own])
    assert next(each) == to_kafka(stored)
    assert next(each) == to_kafka(own)
    with pytest.raises(CorruptRecordError, match="body checksum"):
        next(each)
    each = EncodedBatches().each(T0, [stored] * 3, Allowance(2 * (len(stored.body) // 32)))
    assert [next(each), next(each)] == [to_kafka(stored)] * 2
    with pytest.raises(TakesLongError):
        next(each)
