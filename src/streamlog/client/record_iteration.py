"""Records one by one, with the position moving along: what iterating over a consumer uses."""

from __future__ import annotations

from collections.abc import Iterable

from streamlog.client.assigned_partition import AssignedPartition
from streamlog.client.consumer_records import ConsumerRecords
from streamlog.structs import ConsumerRecord


class RecordIteration:
    """The records of one fetch, handed out one at a time.

    ``poll`` moves the position past all records it returns. Here it moves past each record as it is
    handed out, so that a commit inside the loop commits what the loop has seen and no more. Records
    of a partition that was sought, paused or taken away in between are left out. Threads: the
    consumer's. Source: kafka-python ``KafkaConsumer.__next__``.
    """

    def __init__(self, records: ConsumerRecords, taken_from: Iterable[AssignedPartition]) -> None:
        self._records = iter(records)
        self._taken_from = {one.topic_partition: (one, one.version) for one in taken_from}

    def next(self) -> ConsumerRecord | None:
        """Return the next record and move the position past it; None when there is none left."""
        for record in self._records:
            found = self._taken_from.get(record.topic_partition)
            if found is not None:
                assigned, version = found
                if assigned.version != version:
                    continue
                assigned.position = record.offset + 1
                assigned.leader_epoch = record.leader_epoch
            return record
        # Past the end of the last batch, whose last records compaction may have removed (LOG-8).
        for assigned, version in self._taken_from.values():
            if assigned.version == version:
                assigned.deliver()
        self._taken_from = {}
        return None
