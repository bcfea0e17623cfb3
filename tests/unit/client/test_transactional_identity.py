"""Who a transactional producer is to its partitions: TXN-11."""

from __future__ import annotations

import pytest

from streamlog.broker.broker import Broker
from streamlog.client.transactional_identity import TransactionalIdentity
from streamlog.errors import InvalidRecordError
from streamlog.structs import ProducerIdAndEpoch


def test_a_stamp_carries_what_was_taken_and_says_that_it_is_transactional() -> None:
    identity = TransactionalIdentity()
    identity.take(ProducerIdAndEpoch(7, 3))
    stamp = identity.stamp()
    assert (stamp.producer_id, stamp.producer_epoch, stamp.next_sequence) == (7, 3, 0)
    assert stamp.is_transactional
    assert identity.is_of(stamp)
    identity.take(ProducerIdAndEpoch(7, 4))
    assert not identity.is_of(stamp)


def test_a_stamp_made_before_there_is_an_id_is_taken_by_no_partition(broker: Broker) -> None:
    broker.create_topic("t")
    with pytest.raises(InvalidRecordError, match="expected a producer id"):
        broker.partition("t", 0).append_value(b"v", 1, TransactionalIdentity().stamp())


def test_a_renewed_stamp_begins_again_in_the_same_epoch() -> None:
    """Unlike that of an idempotent producer (IDM-6): the epoch is the coordinator's."""
    identity = TransactionalIdentity()
    identity.take(ProducerIdAndEpoch(7, 3))
    stamp = identity.stamp()
    stamp.next_sequence = 5
    renewed = identity.renewed(stamp)
    assert (renewed.producer_id, renewed.producer_epoch, renewed.next_sequence) == (7, 3, 0)


def test_has_written_knows_stamps_of_this_transaction_and_those_renewed_in_it() -> None:
    identity = TransactionalIdentity()
    identity.take(ProducerIdAndEpoch(7, 3))
    unused, used = identity.stamp(), identity.stamp()
    used.next_sequence = 1
    assert not identity.has_written([None, unused])
    assert identity.has_written([unused, used])
    identity.renewed(unused)
    assert not identity.has_written([unused])
    identity.renewed(used)
    assert identity.has_written([unused])
    identity.take(ProducerIdAndEpoch(7, 4))
    assert not identity.has_written([unused, used])
    identity.renewed(used)
    assert not identity.has_written([])
