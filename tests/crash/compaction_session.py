"""A program that compacts what idempotent and transactional producers wrote, on a disk that may crash at any step (CMP-1 to CMP-9)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from streamlog import Broker, Durability, Producer
from streamlog.record import PendingBatch, build_batch
from tests.crash.observation import MARKER, Observation, open_broker
from tests.crash.transaction_session import CrashedTransactions, TransactionSession
from tests.support.keyed_log import DELETE_RETENTION_MS, KeyedLog, content_of
from tests.support.producer_walk import batches_of, check_producers
from tests.support.transaction_model import At, Shown, ShownLog
from tests.support.transaction_world import TOPIC, World, Written

#: The memory for keys does not hold those of a partition: a call makes several passes.
_DEDUPE_BYTES = 700


class CompactedTransactions(CrashedTransactions):
    """The model of a world whose logs are compacted."""

    logs: list[KeyedLog]  # type: ignore[assignment]

    def violations(self, seen: Observation, *, power_failed: bool) -> Iterator[str]:
        """Yield, in words, everything in *seen* that must not be."""
        yield from super().violations(seen, power_failed=power_failed)
        if seen.error or TOPIC not in seen.topics:
            return
        for number, (log, found) in enumerate(zip(self.logs, seen.topics[TOPIC].logs, strict=True)):
            if found.start != 0:
                yield f"partition {number}: CMP-8: the log starts at {found.start}"
            if found.first_dirty < log.cleaned_end:
                yield (
                    f"partition {number}: CMP-1: a pass came to {log.cleaned_end}, "
                    f"and nobody knows behind {found.first_dirty}"
                )
            names = {entry.offset: entry.value for entry in log.entries}
            for offset, epoch, value, key, timestamp_ms, _ in found.records:
                if epoch == MARKER or offset not in names:
                    continue
                if (key, value, timestamp_ms) != content_of(names[offset]):
                    yield f"partition {number}: I2: {names[offset]!r} at {offset} became {value!r}"

    def differences(self, shown: Shown, **how: bool) -> Iterator[str]:
        """As that of the base, with the names of records in place of their values."""
        yield from super().differences(self.named(shown), **how)

    def named(self, shown: Shown) -> Shown:
        """Return *shown* with the names of records in place of their values: tombstones have one as well."""
        logs = []
        for log, found in zip(self.logs, shown.logs, strict=True):
            names = {entry.offset: entry.value for entry in log.entries}
            uncommitted = [_named(at, names) for at in found.uncommitted]
            committed = [_named(at, names) for at in found.committed]
            logs.append(ShownLog(uncommitted, committed, found.last_stable_offset, found.end))
        return Shown(logs, shown.group_offset)

    def fingerprint(self) -> object:
        """Return what decides which disks are right."""
        return (
            super().fingerprint(),
            tuple(
                (
                    log.cleaned_end,
                    sum(entry.may_be_gone for entry in log.entries),  # type: ignore[attr-defined]
                    sum(entry.must_be_gone for entry in log.entries),  # type: ignore[attr-defined]
                )
                for log in self.logs
            ),
        )


def _named(at: At, names: dict[Any, bytes]) -> At:
    offset, value = at
    name = names.get(offset, b"")
    if value in (name, content_of(name)[1]):
        return offset, name
    return offset, b"a tombstone that nobody sent" if value is None else value


class KeyedWorld(World):
    """Whoever writes gives keys, and some null values."""

    model: CompactedTransactions
    lost_power = False

    def create(self, broker: Broker) -> None:
        super().create(broker)
        # Of each producer the last batch is all that compaction is sure to leave (CMP-7).
        self.kept_batches = 1
        self._follow(broker)

    def reopened(self, broker: Broker) -> None:
        super().reopened(broker)
        self._follow(broker)

    def crashed(self, broker: Broker, *, power_failed: bool) -> None:
        for log in self.model.logs:
            log.survived = log.disk_end if power_failed else log.process_end
        before = [len(written) for written in self.written]
        super().crashed(broker, power_failed=power_failed)
        self.lost_power |= power_failed
        if [len(written) for written in self.written] != before:
            # What the power took was the batch that tells where its producer was; the ones before it may be nobody's by now.
            self.writer_id = broker.new_producer_id()
            self.written = [[] for _ in self.written]

    def _follow(self, broker: Broker) -> None:
        for number, log in enumerate(self.model.logs):
            log.log_end = lambda number=number: broker.partition(TOPIC, number).log_end_offset

    def show(self) -> Shown:
        return self.model.named(super().show())

    def compact(self, *, roll: bool, everything: bool) -> None:
        """Compact the topic, or all that can be."""
        now_ms = self.passes_begin(with_active=roll)
        results = self.broker.compact(None if everything else TOPIC, roll=roll)
        for result in results:
            if result.topic_partition.topic == TOPIC:
                log = self.model.logs[result.topic_partition.partition]
                log.pass_ended(now_ms, result.end_offset)
        self.check()
        for partition in self.broker.topic(TOPIC).partitions:
            check_producers(partition, batches_of(partition), may_know_more=self.lost_power)

    def passes_begin(self, *, with_active: bool = False) -> int:
        """From now on a pass may be in any log. Return the time."""
        now_ms = self.clock.time_ms()
        for number, log in enumerate(self.model.logs):
            partition = self.broker.partition(TOPIC, number)
            end = partition.log.segments[-1].base_offset
            end = partition.log_end_offset if with_active else end
            log.pass_begins(now_ms, min(end, partition.last_stable_offset))
        return now_ms

    def advance(self, milliseconds: int) -> None:
        """Let time pass, in which the cleaner may be at work."""
        self.passes_begin()
        super().advance(milliseconds)
        self.passes_begin()

    def _is_left(self, written: Written, log: ShownLog) -> bool:
        return written.offset + len(written.values) <= log.end

    def _store(
        self, producer: Producer, partition: int, values: list[bytes]
    ) -> tuple[int, Durability]:
        for name in values:
            key, value, timestamp_ms = content_of(name)
            future = producer.send(
                TOPIC, value, key=key, partition=partition, timestamp_ms=timestamp_ms
            )
        metadata = future.result(timeout=0)
        return metadata.offset, metadata.durability

    def _batch(self, values: list[bytes]) -> PendingBatch:
        keys, contents, timestamps_ms = zip(*map(content_of, values), strict=True)
        return build_batch(contents, timestamps_ms, keys)


class CompactionSession(TransactionSession):
    """A program whose topic is compacted, as the broker's own topics are."""

    world: KeyedWorld

    def _new_world(self, partitions: int, configs: dict[str, Any]) -> World:
        configs = {
            **configs,
            "cleanup_policy": "compact",
            "delete_retention_ms": DELETE_RETENTION_MS,
        }
        model = CompactedTransactions([KeyedLog() for _ in range(partitions)])
        return KeyedWorld(model, configs, self.clock)

    def _open(self) -> Broker:
        return open_broker(
            self.disk,
            self.clock,
            offsets_retention_minutes=10_080,
            log_cleaner_dedupe_buffer_size=_DEDUPE_BYTES,
        )

    def fill(self) -> None:
        """Have something of every kind in closed segments: keys that come again, tombstones, transactions that end either way."""
        world = self.world
        for name in ("x1", "y1"):
            if name not in world.actors or world.actors[name].is_over:
                world.join(name)
        for partition in range(world.partitions):
            for count in (3, 1):
                world.write(partition, count)
            for name, commits in (("x1", True), ("y1", False)):
                if not world.in_transaction(name):
                    world.begin(name)
                    world.send(name, partition, 3)
                    (world.commit if commits else world.abort)(name)
                world.send_plain(partition, 3)
            world.write(partition, 1)
            world.roll(partition)

    def later(self) -> None:
        """Let so much time pass that what was a tombstone before may go."""
        self.world.advance(DELETE_RETENTION_MS)

    def compact(self) -> None:
        """Compact the topic up to its active segment, or all of it."""
        self.world.compact(roll=self.chance.random() < 0.7, everything=False)

    def compact_all(self) -> None:
        """Compact all there is, the broker's own topics too."""
        self.world.compact(roll=True, everything=True)
