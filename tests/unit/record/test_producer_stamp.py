from __future__ import annotations

import pytest

from streamlog.record import ProducerStamp
from streamlog.record.layout import HEADER, STAMPED_HEADER, TRANSACTIONAL_BIT, _as_header


@pytest.mark.parametrize("is_transactional", [False, True])
def test_packed_pieces_make_the_header_of_a_plain_record_of_the_producer(
    is_transactional: bool,
) -> None:
    stamp = ProducerStamp(2**40 + 3, 32_000, is_transactional)
    packed = STAMPED_HEADER.pack(
        bytes(12), 20, 7, 8, 9, stamp.single_flags, 10, stamp.producer_fields, 11, 11
    )
    header = _as_header(HEADER.unpack(packed))
    assert (header.producer_id, header.producer_epoch) == (2**40 + 3, 32_000)
    assert header.attributes == (TRANSACTIONAL_BIT if is_transactional else 0)
    assert (header.leader_epoch, header.base_sequence, header.record_count) == (9, 10, 1)
    assert (header.last_offset_delta, header.uncompressed_size, header.body_encoding) == (0, 0, 0)
    assert (header.first_timestamp_ms, header.max_timestamp_ms) == (11, 11)


def test_new_stamp_starts_with_sequence_0_and_says_whose_it_is() -> None:
    """IDM-1."""
    assert ProducerStamp(5, 2).next_sequence == 0
    assert repr(ProducerStamp(5, 2)) == "<ProducerStamp of producer 5 epoch 2 next 0>"
    assert "transactional producer 5" in repr(ProducerStamp(5, 2, is_transactional=True))
