"""Batches of Kafka's clients and our own on one topic: whoever reads in the process sees no difference, and neither does a client."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streamlog import Broker, Consumer
from streamlog.record import Codec, Compressor, PendingBatch, build_batch
from streamlog.record.kafka_batch import to_kafka
from streamlog.record.kafka_columns import decode_kafka_body
from streamlog.record.kafka_layout import read_kafka_header
from streamlog.runtime import VirtualClock
from tests.support.consuming import NOW_MS, T0
from tests.support.kafka_batches import as_kafka
from tests.support.storage import Store, check_log
from tests.unit.storage.conftest import memory_disk_of

blobs = st.none() | st.binary(max_size=70)
rows = st.tuples(
    blobs,
    blobs,
    st.integers(-50, 50),
    st.lists(st.tuples(st.text(max_size=3), blobs), max_size=2).map(tuple),
)
#: A batch: its records, its codec, and whether a client of Kafka sent it.
contents = st.lists(
    st.tuples(st.lists(rows, min_size=1, max_size=9), st.sampled_from(Codec), st.booleans()),
    max_size=10,
)


def batch_of(found: list[Any], codec: Codec, is_kafka: bool) -> PendingBatch:
    values, keys, late_ms, headers = (list(column) for column in zip(*found, strict=True))
    columns = values, [NOW_MS + late for late in late_ms], keys, headers
    if is_kafka:
        return as_kafka(*columns, codec)
    batch = build_batch(*columns)
    Compressor(codec, 3).apply(batch)
    return batch


class Reading:
    """Whatever a consumer says while it reads *content* from *start* on."""

    def __init__(
        self, content: Any, start: int, limit: int, by_iteration: bool, configs: dict[str, Any]
    ) -> None:
        self.records: list[Any] = []
        self.values: list[Any] = []
        self.polls: list[Any] = []
        with Broker(clock=VirtualClock()) as broker:
            broker.create_topic("t")
            partition = broker.partition(*T0)
            for batch in content:
                partition.append(batch_of(*batch))
            with Consumer(broker, **configs) as consumer:
                consumer.assign([T0])
                start = min(start, partition.log_end_offset)
                consumer.seek(T0, start)
                if by_iteration and start < partition.log_end_offset:
                    self.records.append(next(consumer))
                while found := consumer.poll(1, max_records=limit):
                    self.values += found.values()
                    self.records += found
                    self.polls.append((len(found), consumer.position(T0)))
                self.times = [
                    consumer.offsets_for_times({T0: NOW_MS + late_ms})
                    for late_ms in range(-60, 60, 7)
                ]
            self.latest = partition.log.offset_of_max_timestamp(1 << 40)


@given(
    content=contents,
    start=st.integers(0, 60),
    limit=st.integers(1, 12),
    by_iteration=st.booleans(),
    configs=st.fixed_dictionaries(
        {
            "fetch_max_bytes": st.sampled_from([0, 200, 10_000_000]),
            "check_crcs": st.booleans(),
            "value_deserializer": st.sampled_from([None, lambda data: data and len(data)]),
        }
    ),
)
def test_a_consumer_sees_no_difference(
    content: Any, start: int, limit: int, by_iteration: bool, configs: dict[str, Any]
) -> None:
    native = [(found, codec, False) for found, codec, _ in content]
    expected = Reading(native, start, limit, by_iteration, configs)
    found = Reading(content, start, limit, by_iteration, configs)
    assert found.records == expected.records
    assert found.values == expected.values
    assert (found.times, found.latest) == (expected.times, expected.latest)
    if configs["fetch_max_bytes"] > 1000:  # with less it depends on how large batches are
        assert found.polls == expected.polls


@given(content=contents, kill=st.booleans(), without_state=st.booleans())
def test_a_mixed_log_opens_as_it_was_and_goes_out_whole(
    content: Any, kill: bool, without_state: bool
) -> None:
    store = Store(memory_disk_of(), segment_bytes=2048, index_interval_bytes=0)
    for batch in content:
        store.log.append(batch_of(*batch))
    end = store.log.log_end_offset
    store.kill() if kill else store.close()
    if without_state:
        store.disk.filesystem.unlink(f"{store.path}/STATE")
    log = store.open()
    check_log(log)
    assert log.log_end_offset == end
    assert store.recovery.cut_bytes == 0
    expected = [row for found, _, _ in content for row in found]
    offset = 0
    while offset < end:
        for view in log.read_batches(offset, 1 << 20):
            view.check()
            view.columns.check()
            data = bytes(to_kafka(view))
            header = read_kafka_header(data)
            assert header.base_offset == offset
            assert header.attributes & 7 == view.codec
            columns = decode_kafka_body(data)
            offset = view.next_offset
            part = expected[header.base_offset : offset]
            assert columns.values == view.values() == [row[0] for row in part]
            assert (columns.keys or [None] * len(part)) == [row[1] for row in part]
            assert view.timestamps_ms() == [NOW_MS + row[2] for row in part]
            assert (columns.headers or [()] * len(part)) == [row[3] for row in part]
    store.close()
