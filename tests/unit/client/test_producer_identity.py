"""Ids, epochs and stamps of an idempotent producer."""

from __future__ import annotations

from itertools import count

import pytest

from streamlog.client.producer_identity import MAX_PRODUCER_EPOCH, ProducerIdentity
from streamlog.errors import DiskFullError
from streamlog.record import ProducerStamp
from streamlog.structs import ProducerIdAndEpoch


@pytest.fixture
def identity() -> ProducerIdentity:
    ids = count(7)
    return ProducerIdentity(lambda: next(ids))


def parts(stamp: ProducerStamp) -> tuple[int, int, int]:
    assert not stamp.is_transactional
    return stamp.producer_id, stamp.producer_epoch, stamp.next_sequence


def test_stamps_begin_at_sequence_0_of_the_present_epoch(identity: ProducerIdentity) -> None:
    """IDM-1: each partition has a sequence of its own."""
    first, second = identity.stamp(), identity.stamp()
    assert first is not second
    assert parts(first) == parts(second) == (7, 0, 0)
    assert "7 epoch 0" in repr(identity)


def test_a_renewed_stamp_has_the_next_epoch(identity: ProducerIdentity) -> None:
    """IDM-6."""
    renewed = identity.renewed(identity.stamp())
    assert parts(renewed) == (7, 1, 0)
    assert identity.current == ProducerIdAndEpoch(7, 1)
    assert parts(identity.renewed(renewed)) == (7, 2, 0)


def test_another_queue_takes_over_the_epoch_that_is_new_to_it(identity: ProducerIdentity) -> None:
    """IDM-6: epochs are not used up by partitions that are behind."""
    stamps = [identity.stamp() for _ in range(3)]
    assert [parts(identity.renewed(stamp)) for stamp in stamps] == [(7, 1, 0)] * 3


def test_after_the_last_epoch_comes_another_id(identity: ProducerIdentity) -> None:
    """IDM-6."""
    stamp = identity.stamp()
    for _ in range(MAX_PRODUCER_EPOCH):
        stamp = identity.renewed(stamp)
    assert parts(stamp) == (7, 32_767, 0)
    assert parts(identity.renewed(stamp)) == (8, 0, 0)
    assert parts(identity.stamp()) == (8, 0, 0)


def test_without_another_id_the_old_one_stays() -> None:
    def none_left() -> int:
        raise DiskFullError("STATE cannot be written")

    identity = ProducerIdentity(lambda: 7)
    identity._new_producer_id = none_left
    identity.current = ProducerIdAndEpoch(7, MAX_PRODUCER_EPOCH)
    with pytest.raises(DiskFullError):
        identity.renewed(identity.stamp())
    assert identity.current == ProducerIdAndEpoch(7, MAX_PRODUCER_EPOCH)
