"""What the parent knows of a directory: everything that was promised, and everything that was there when it was last read."""

from __future__ import annotations

import json
from array import array
from collections import Counter

import attrs

from streamlog import TopicPartition

KINDS = ("lost", "doubled", "unopenable", "wrong")


class Broken(AssertionError):
    """A promise was broken: *kind* says which."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind


@attrs.define
class PartitionLedger:
    """One partition: checksums of the values that were seen, by offset, and what was acknowledged since."""

    seen: array[int] = attrs.Factory(lambda: array("L"))
    #: Offset -> checksum.
    acked: dict[int, int] = attrs.Factory(dict)
    #: Checksums of records acknowledged without their offset.
    acked_somewhere: set[int] = attrs.Factory(set)
    start: int = 0


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
    phase: str = ""
    died_at: str = ""
    counts: Counter[str] = attrs.Factory(Counter)

    def begin(self, run: int, *, had_retention: bool) -> None:
        """Begin the next run."""
        self.run = run
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

    def _note_synced(self) -> None:
        pass

    def _note_failed(self, error: str) -> None:
        raise Broken("wrong", f"the child failed:\n{json.loads(error)}")

    def _note_ack(self, topic: str, partition: str, offset: str, crc: str) -> None:
        ledger = self.partition(topic, int(partition))
        self.counts["acked"] += 1
        if int(offset) < 0:
            ledger.acked_somewhere.add(int(crc))
        elif int(offset) in ledger.acked or int(offset) < len(ledger.seen):
            raise Broken("doubled", f"{topic}-{partition}: offset {offset} was given twice")
        else:
            ledger.acked[int(offset)] = int(crc)

    def partition(self, topic: str, partition: int) -> PartitionLedger:
        """Return the ledger of one partition."""
        return self.topics[topic].partitions.setdefault(partition, PartitionLedger())

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
