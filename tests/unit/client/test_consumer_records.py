from __future__ import annotations

from streamlog.client.consumer_records import EMPTY, ConsumerRecords
from streamlog.client.record_slice import as_slice
from streamlog.record import BatchView, build_batch
from streamlog.record.layout import HEADER_SIZE, BatchHeader
from streamlog.structs import OffsetAndMetadata, TopicPartition

A0, A1, B0 = TopicPartition("a", 0), TopicPartition("a", 1), TopicPartition("b", 0)


def view(base_offset: int, *values: bytes) -> BatchView:
    body = build_batch(list(values), 5).body
    header = BatchHeader(
        HEADER_SIZE + len(body), 0, b"", len(body), base_offset, 0, 2, 0, 0, 0,
        len(values), len(values) - 1, -1, -1, -1, 0, 0, 5, 5,
    )  # fmt: skip
    return BatchView(header, body)


def records() -> ConsumerRecords:
    return ConsumerRecords(
        [
            (A0, [view(7, b"1", b"2")]),
            (B0, [view(0, b"3")]),
            (A1, [as_slice(view(4, b"4"))]),
            (A0, [view(9, b"5")]),
        ]
    )


def test_iteration_gives_records_and_values_gives_their_values_in_the_same_order() -> None:
    found = records()
    assert [(r.topic, r.partition, r.offset, r.value) for r in found] == [
        ("a", 0, 7, b"1"),
        ("a", 0, 8, b"2"),
        ("b", 0, 0, b"3"),
        ("a", 1, 4, b"4"),
        ("a", 0, 9, b"5"),
    ]
    assert found.values() == [record.value for record in found] == [b"1", b"2", b"3", b"4", b"5"]


def test_length_count_and_truth_agree() -> None:
    assert (len(records()), records().count, bool(records())) == (5, 5, True)
    assert (len(EMPTY), EMPTY.count, bool(EMPTY)) == (0, 0, False)


def test_empty_records_have_nothing_of_anything() -> None:
    assert (list(EMPTY), EMPTY.values(), EMPTY.partitions, EMPTY.next_offsets) == ([], [], (), {})
    assert EMPTY.records(A0) == []
    assert repr(EMPTY) == "<ConsumerRecords empty>"


def test_records_are_chosen_by_partition_or_by_topic() -> None:
    found = records()
    assert found.partitions == (A0, B0, A1)
    assert [r.value for r in found.records(A0)] == [b"1", b"2", b"5"]
    assert [r.value for r in found.records("a")] == [b"1", b"2", b"4", b"5"]
    assert found.records("c") == []
    assert repr(found) == "<ConsumerRecords a-0: 3, b-0: 1, a-1: 1>"


def test_next_offsets_say_what_to_commit() -> None:
    assert records().next_offsets == {
        A0: OffsetAndMetadata(10, leader_epoch=2),
        B0: OffsetAndMetadata(1, leader_epoch=2),
        A1: OffsetAndMetadata(5, leader_epoch=2),
    }


def test_lists_belong_to_the_caller() -> None:
    found = records()
    found.values().clear()
    assert len(found.values()) == 5
    one = ConsumerRecords([(A0, [view(0, b"1", b"2")])])
    one.values().clear()
    assert one.values() == [b"1", b"2"]


def test_records_can_be_iterated_again() -> None:
    found = records()
    assert list(found) == list(found)
