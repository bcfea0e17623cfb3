"""Finding producers again by headers: what is damaged, foreign or newer is stepped over."""

from __future__ import annotations

import pytest

from streamlog.record import ControlType, PendingBatch, build_batch, build_marker
from streamlog.record.layout import CONTROL_BIT, HEADER_SIZE, TRANSACTIONAL_BIT, aligned
from streamlog.storage.producer_replay import replay
from streamlog.storage.producer_state import ProducerStates
from streamlog.storage.segment import Segment
from streamlog.structs import TopicPartition
from tests.support.segments import new_segment
from tests.support.sparse import Kept, append_cleaned
from tests.unit.storage.conftest import memory_disk_of

T0 = 1_700_000_000_000


def batch_of(
    sequence: int, count: int = 2, *, producer_id: int = 7, epoch: int = 0, attributes: int = 0
) -> PendingBatch:
    batch = build_batch([b"value"] * count, T0 + sequence)
    batch.producer_id, batch.producer_epoch, batch.base_sequence = producer_id, epoch, sequence
    batch.attributes = attributes
    return batch


def segment_of(*batches: PendingBatch, start: int = 0) -> Segment:
    segment = new_segment(memory_disk_of(), start)
    offset = start
    for batch in batches:
        segment.reserve(segment.position + aligned(batch.size_bytes), 1 << 20)
        segment.append(batch, offset, 0)
        offset += batch.record_count
    return segment


def found(segment: Segment, start_offset: int = 0) -> dict[int, list[tuple[int, int, int, int]]]:
    """The batches of each producer."""
    states = ProducerStates(TopicPartition("t", 0))
    replay(segment, start_offset, states)
    states._check()
    return {producer_id: list(entry.recent) for producer_id, entry in states.entries.items()}


def test_every_batch_of_a_producer_is_told() -> None:
    segment = segment_of(batch_of(0), build_batch([b"plain"], T0), batch_of(2, 3))
    assert found(segment) == {7: [(0, 1, 0, T0), (2, 4, 3, T0 + 2)]}
    assert found(segment, 3) == {7: [(2, 4, 3, T0 + 2)]}
    assert found(segment, 6) == {}


def test_nothing_is_told_of_an_empty_segment() -> None:
    assert found(new_segment(memory_disk_of(), 5)) == {}


def test_markers_and_open_transactions_are_told() -> None:
    segment = segment_of(
        batch_of(0, producer_id=1, attributes=TRANSACTIONAL_BIT),
        batch_of(0, producer_id=2, attributes=TRANSACTIONAL_BIT),
        build_marker(ControlType.COMMIT, 1, 1, 5, T0),
    )
    states = ProducerStates(TopicPartition("t", 0))
    replay(segment, 0, states)
    assert states.open_transactions() == {2: (0, 2)}
    assert (states.entries[1].producer_epoch, states.entries[1].coordinator_epoch) == (1, 5)


@pytest.mark.parametrize("place", [20, HEADER_SIZE + 20])
def test_damaged_batch_is_stepped_over(place: int) -> None:
    """A damaged header hides its batch; a damaged body changes nothing that is told."""
    segment = segment_of(batch_of(0), batch_of(2), batch_of(4))
    mapping = segment.mapping_for_read()
    position = segment.position // 3
    byte = mapping[position + place]
    mapping[position + place : position + place + 1] = bytes((byte ^ 0xFF,))
    known = [batch[0] for batch in found(segment)[7]]
    assert known == ([0, 4] if place < HEADER_SIZE else [0, 2, 4])


def test_damage_at_the_end_ends_it() -> None:
    segment = segment_of(batch_of(0), batch_of(2))
    mapping = segment.mapping_for_read()
    position = segment.position // 2
    mapping[position + 20 : position + 24] = b"\xff" * 4
    assert found(segment) == {7: [(0, 1, 0, T0)]}


def test_batch_that_comes_again_is_not_told_again() -> None:
    segment = segment_of(batch_of(0), batch_of(2))
    mapping = segment.mapping_for_read()
    half = segment.position // 2
    mapping[half : 2 * half] = mapping[0:half]
    assert found(segment) == {7: [(0, 1, 0, T0)]}


def test_marker_that_cannot_be_read_leaves_the_transaction_open() -> None:
    begin = batch_of(0, attributes=TRANSACTIONAL_BIT)
    newer = build_marker(ControlType.COMMIT, 7, 1, 0, T0)
    newer.body = build_batch([bytes(6)], T0, [b"\0\0\0\7"]).body
    for marker, damage in ((newer, 0), (build_marker(ControlType.COMMIT, 7, 1, 0, T0), 0xFF)):
        segment = segment_of(begin, marker)
        mapping, last = segment.mapping_for_read(), segment.position - 8
        mapping[last : last + 1] = bytes((mapping[last] ^ damage,))
        states = ProducerStates(TopicPartition("t", 0))
        replay(segment, 0, states)
        assert states.open_transactions() == {7: (0, 0)}


def test_batch_without_a_sequence_is_not_told() -> None:
    """No client may write one (REC-10), and nothing could be said of what follows it."""
    assert found(segment_of(batch_of(-1))) == {}


def test_cmp_7_a_batch_that_lost_records_has_the_sequences_it_had() -> None:
    segment = new_segment(memory_disk_of())
    append_cleaned(segment, [Kept(1)], 4, producer=(7, 0, 10))
    append_cleaned(segment, [], 3, producer=(7, 0, 14))
    append_cleaned(segment, [], 5, producer=(8, 2, 0))
    assert found(segment) == {
        7: [(10, 13, 0, T0), (14, 16, 4, T0)],
        8: [(0, 4, 7, T0)],
    }


def test_a_marker_that_lost_its_record_tells_nothing() -> None:
    segment = segment_of(batch_of(0, producer_id=1, attributes=TRANSACTIONAL_BIT))
    append_cleaned(segment, [], 1, producer=(1, 0, -1), attributes=TRANSACTIONAL_BIT | CONTROL_BIT)
    states = ProducerStates(TopicPartition("t", 0))
    replay(segment, 0, states)
    assert states.first_unstable_offset == 0
