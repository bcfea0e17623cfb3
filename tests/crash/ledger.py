"""What the parent knows of a directory: everything that was promised, and everything that was there when it was last read."""

from __future__ import annotations

import json
from array import array
from collections import Counter
from typing import TYPE_CHECKING

import attrs

from streamlog import TopicPartition
from tests.crash.table import KeyLedger, Put

if TYPE_CHECKING:
    from tests.crash.reading import Contents

KINDS = ("lost", "doubled", "unopenable", "wrong")


class Broken(AssertionError):
    """A promise was broken: *kind* says which."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.message = message


@attrs.define
class PartitionLedger:
    """One partition: checksums of the values that were seen, by offset, and what was acknowledged since."""

    seen: array[int] = attrs.Factory(lambda: array("L"))
    #: Offset -> checksum.
    acked: dict[int, int] = attrs.Factory(dict)
    #: Checksums of records acknowledged without their offset.
    acked_somewhere: set[int] = attrs.Factory(set)
    start: int = 0
    #: What survives a power loss: everything below this offset, and of `acked_somewhere` these.
    durable_end: int = 0
    durable_somewhere: set[int] = attrs.Factory(set)

    @property
    def end(self) -> int:
        """The offset behind all that is known to be there."""
        return max(len(self.seen), max(self.acked, default=-1) + 1)


@attrs.define
class TopicLedger:
    """One topic: the numbers of partitions it may have; none of them while it may not exist."""

    partitions: dict[int, PartitionLedger] = attrs.Factory(dict)
    counts: set[int] = attrs.Factory(set)
    may_be_absent: bool = True
    may_exist: bool = True


@attrs.define
class GroupLedger:
    """The group's progress in one partition."""

    #: Of a commit that returned.
    committed: int = 0
    #: Of one that survives a power loss.
    durable: int = 0
    #: One more than the greatest offset that it has dealt with: the first it may not have seen.
    next_unread: int = 0


@attrs.define
class Ledger:
    """Everything about one directory."""

    topics: dict[str, TopicLedger] = attrs.Factory(dict)
    groups: dict[TopicPartition, GroupLedger] = attrs.Factory(dict)
    generation: int = 0
    generations_now: list[int] = attrs.Factory(list)
    #: The run of the records that may be new; those of earlier runs have all been seen.
    run: int = 0
    had_retention: bool = False
    #: Whether an acknowledgement means that the record is on the disk.
    acks_are_durable: bool = False
    #: What is durable once the sync under way returns: ends and commits.
    syncing: list[tuple[PartitionLedger, int, set[int]]] = attrs.Factory(list)
    syncing_commits: list[tuple[GroupLedger, int]] = attrs.Factory(list)
    #: The keys of the compacted topic.
    table: dict[str, KeyLedger] = attrs.Factory(dict)
    syncing_keys: list[tuple[KeyLedger, int]] = attrs.Factory(list)
    phase: str = ""
    died_at: str = ""
    counts: Counter[str] = attrs.Factory(Counter)

    def begin(self, run: int, *, had_retention: bool, acks_are_durable: bool = False) -> None:
        """Begin the next run."""
        self.run = run
        self.acks_are_durable = acks_are_durable
        self.had_retention |= had_retention
        self.phase = self.died_at = ""
        self.generation = max([self.generation, *self.generations_now])
        self.generations_now = []

    def note(self, lines: list[str]) -> None:
        """Take down what a child reported. Raises Broken for what cannot be."""
        for line in lines:
            word, _, rest = line.partition(" ")
            getattr(self, f"_note_{word}")(*([rest] if word == "failed" else rest.split()))

    def _note_phase(self, name: str) -> None:
        self.phase = name

    def _note_seam(self, call: str) -> None:
        self.died_at = call

    def _note_syncing(self) -> None:
        self.syncing = [
            (partition, partition.end, set(partition.acked_somewhere))
            for topic in self.topics.values()
            for partition in topic.partitions.values()
        ]
        self.syncing_keys = [(key, key.acked) for key in self.table.values()]
        self.syncing_commits = [(group, group.committed) for group in self.groups.values()]

    def _note_synced(self) -> None:
        for partition, end, somewhere in self.syncing:
            partition.durable_end = max(partition.durable_end, end)
            partition.durable_somewhere |= somewhere
        for key, index in self.syncing_keys:
            key.durable = max(key.durable, index)
        for group, offset in self.syncing_commits:
            group.durable = max(group.durable, offset)

    def _note_failed(self, error: str) -> None:
        raise Broken("wrong", f"the child failed:\n{json.loads(error)}")

    def _note_ack(self, topic: str, partition: str, offset: str, crc: str) -> None:
        ledger = self.partition(topic, int(partition))
        self.counts["acked"] += 1
        if int(offset) < 0:
            ledger.acked_somewhere.add(int(crc))
            if self.acks_are_durable:
                ledger.durable_somewhere.add(int(crc))
        elif int(offset) in ledger.acked or int(offset) < len(ledger.seen):
            raise Broken("doubled", f"{topic}-{partition}: offset {offset} was given twice")
        else:
            ledger.acked[int(offset)] = int(crc)
            if self.acks_are_durable:
                # All that comes before it in the partition is on the disk with it.
                ledger.durable_end = max(ledger.durable_end, int(offset) + 1)

    def _note_put(self, key: str, run: str, number: str, is_tombstone: str) -> None:
        put = Put(int(run), int(number), is_tombstone == "1")
        self.table.setdefault(key, KeyLedger()).put(put)

    def _note_stored(self, key: str, run: str, number: str) -> None:
        self.counts["acked"] += 1
        self.table[key].stored(int(run), int(number), is_durable=self.acks_are_durable)

    def partition(self, topic: str, partition: int) -> PartitionLedger:
        """Return the ledger of one partition."""
        return self.topics[topic].partitions.setdefault(partition, PartitionLedger())

    def take_over(self, contents: Contents) -> None:
        """What was found is what there is from now on, and it is on the disk: who looked has closed it."""
        self.counts.update(contents.counts)
        for name, topic in list(self.topics.items()):
            if name in contents.topics:
                topic.may_be_absent, topic.counts = False, {contents.topics[name]}
            else:
                del self.topics[name]
        for topic_partition, found in contents.partitions.items():
            before = self.partition(*topic_partition)
            taken = found.start - len(before.seen)  # retention may have been faster than we were
            seen = before.seen[: found.start] + array("L", [0] * taken) + found.crcs
            self.topics[topic_partition.topic].partitions[topic_partition.partition] = (
                PartitionLedger(seen, start=found.start, durable_end=found.end)
            )
        for key, known in self.table.items():
            known.take_over(contents.table.get(key))
        for topic_partition, offset in contents.positions.items():
            end = contents.partitions[topic_partition].end
            known_unread = self.groups[topic_partition].next_unread
            self.groups[topic_partition] = GroupLedger(offset, offset, min(known_unread, end))

    # ---- topics

    def _note_create(self, name: str, partitions: str) -> None:
        self.topics[name] = TopicLedger(counts={int(partitions)})

    def _note_created(self, name: str) -> None:
        self.topics[name].may_be_absent = False

    def _note_grow(self, name: str, partitions: str) -> None:
        self.topics[name].counts.add(int(partitions))

    def _note_grown(self, name: str) -> None:
        self.topics[name].counts = {max(self.topics[name].counts)}

    def _note_delete(self, name: str) -> None:
        self.topics[name].may_be_absent = True

    def _note_deleted(self, name: str) -> None:
        self.topics[name].may_exist = False

    # ---- groups

    def group(self, topic: str, partition: str) -> GroupLedger:
        """Return the group's progress in one partition."""
        return self.groups.setdefault(TopicPartition(topic, int(partition)), GroupLedger())

    def _note_generation(self, number: str) -> None:
        if int(number) <= self.generation:
            raise Broken(
                "wrong", f"generation {number}: {self.generation} was given by a dead process"
            )
        self.generations_now.append(int(number))

    def _note_read(self, topic: str, partition: str, offset: str) -> None:
        group = self.group(topic, partition)
        if int(offset) > group.next_unread and not self.had_retention:
            raise Broken(
                "lost",
                f"{topic}-{partition}: the group skipped from offset {group.next_unread} to {offset}",
            )
        group.next_unread = max(group.next_unread, int(offset) + 1)
        self.counts["read by the group"] += 1

    def _note_commit(self, topic: str, partition: str, offset: str) -> None:
        group = self.group(topic, partition)
        group.committed = max(group.committed, int(offset))
        self.counts["commits"] += 1
