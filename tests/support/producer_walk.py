"""What a partition has to know of its producers, from the batches in its log alone: a second opinion on `storage.producer_state`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from streamlog import TopicPartition
from streamlog.broker.partition import Partition
from streamlog.record import BatchView, read_marker, split_batches
from streamlog.structs import ProducerStateInfo

_SEQUENCES = 1 << 31


class Known(NamedTuple):
    """One producer, without its times."""

    producer_epoch: int
    last_sequence: int = -1
    coordinator_epoch: int | None = None
    #: Where its open transaction begins.
    open_since: int | None = None


def producers_of(batches: Iterable[BatchView]) -> dict[int, Known]:
    """Return what follows from *batches*, in the order of their log (IDM-7)."""
    known: dict[int, Known] = {}
    for batch in batches:
        if batch.producer_id < 0:
            continue
        one = known.get(batch.producer_id, Known(batch.producer_epoch))
        if one.producer_epoch != batch.producer_epoch:
            one = one._replace(producer_epoch=batch.producer_epoch, last_sequence=-1)
        if batch.is_control:
            one = one._replace(coordinator_epoch=read_marker(batch)[1], open_since=None)
        else:
            # Compaction takes records and leaves the sequences (CMP-7).
            last = (batch.base_sequence + batch.next_offset - 1 - batch.base_offset) % _SEQUENCES
            one = one._replace(last_sequence=last)
            if batch.is_transactional and one.open_since is None:
                one = one._replace(open_since=batch.base_offset)
        known[batch.producer_id] = one
    return known


def batches_of(partition: Partition) -> list[BatchView]:
    """Return all batches that *partition* holds."""
    log = partition.log
    batches: list[BatchView] = []
    offset = log.log_start_offset
    while offset < log.log_end_offset:
        batches += split_batches(log.read(offset, 1 << 20))
        offset = batches[-1].next_offset
    return batches


def told(producers: Iterable[ProducerStateInfo]) -> dict[int, Known]:
    """Return what a partition says, in the same words."""
    return {
        one.producer_id: Known(
            one.producer_epoch,
            one.last_sequence,
            one.coordinator_epoch,
            one.current_transaction_start_offset,
        )
        for one in producers
    }


def check_producers(
    partition: Partition, batches: Iterable[BatchView], *, may_know_more: bool = False
) -> None:
    """Assert that *partition* knows its producers; *batches* are all that it holds.

    Of producers whose batches are no longer in the log it may know more; with *may_know_more* also of those whose last one a power cut
    took, when compaction had made the others nobody's.
    """
    expected, found = producers_of(batches), told(partition.describe_producers())
    if partition.log_start_offset == 0 and not may_know_more:
        extra = sorted(found.keys() - expected.keys())
        place = TopicPartition(partition.topic, partition.number)
        assert not extra, f"{place}: knows producers {extra}, who have written nothing"
    wrong = {i: (one, found.get(i)) for i, one in expected.items() if found.get(i) != one}
    assert not wrong, f"{partition}: IDM-7: producers as in the log, and as known: {wrong}"
