"""Reading a whole directory and comparing it with what was promised."""

from __future__ import annotations

import zlib
from array import array
from collections import Counter

import attrs

from streamlog import Broker, Consumer, ConsumerRecord, TopicPartition
from tests.crash.child import RUNS_PER_KILL
from tests.crash.ledger import Broken, Ledger, PartitionLedger
from tests.crash.records import headers_for, is_plain, key_for, run_of, timestamp_for
from tests.crash.table import NOTHING, PARTITIONS, TABLE, Put, put_of


@attrs.define
class Found:
    """What one opening found in a partition."""

    start: int
    end: int
    leader_epoch: int
    #: Checksums of the values, from *start* on.
    crcs: array[int]
    size_bytes: int


@attrs.define
class Contents:
    """What one opening found."""

    partitions: dict[TopicPartition, Found]
    topics: dict[str, int]
    #: Where the group would go on.
    positions: dict[TopicPartition, int]
    #: What each key of the compacted topic shows, and the logs of that: of which it is not known what should be in them.
    table: dict[str, Put]
    table_logs: dict[TopicPartition, Found]
    counts: Counter[str]

    def same_as(self, other: Contents) -> bool:
        """Return whether nothing changed in between."""
        return (
            self.partitions == other.partitions
            and self.topics == other.topics
            and self.table == other.table
        )


class Reading:
    """One look at everything in an open broker. Every method raises Broken.

    With *lost_power* only what was on the disk has to be there, and of the rest a prefix.
    """

    def __init__(self, broker: Broker, ledger: Ledger, *, lost_power: bool) -> None:
        self._broker = broker
        self._ledger = ledger
        self._lost_power = lost_power
        self._counts: Counter[str] = Counter()

    def values(self) -> dict[TopicPartition, Found]:
        """Return what is there, compared with nothing."""
        return {
            partition: self._read(partition, len_of_known=1 << 62)[0]
            for partition in self._partitions(self._topics())
        }

    def table(self) -> tuple[dict[str, Put], dict[TopicPartition, Found]]:
        """Return what each key of the compacted topic shows to who reads it from its beginning, and the logs, compared with nothing.

        A key never shows something that is older than what it showed before.
        """
        last: dict[str, Put] = {}
        shown: dict[str, Put] = {}
        logs: dict[TopicPartition, Found] = {}
        if TABLE not in self._topics():
            return shown, logs
        for number in range(PARTITIONS):
            partition = TopicPartition(TABLE, number)
            with Consumer(self._broker, auto_offset_reset="earliest") as consumer:
                consumer.assign([partition])
                end = consumer.end_offsets([partition])[partition]
                while records := consumer.poll(0, max_records=100_000):
                    for record in records:
                        self._see(f"{partition}, offset {record.offset}", record, last, shown)
                if consumer.position(partition) != end:
                    raise Broken("lost", f"{partition}: cannot be read up to {end}")
            log = self._broker.partition(*partition).log
            logs[partition] = Found(0, end, log.leader_epoch, array("L"), log.size_bytes)
        return shown, logs

    def _see(
        self, where: str, record: ConsumerRecord, last: dict[str, Put], shown: dict[str, Put]
    ) -> None:
        key = (record.key or b"").decode()
        try:
            put = put_of(key, record.value)
        except ValueError:
            raise Broken(
                "wrong", f"{where}: a value that nobody sent: {record.value[:80]!r}"
            ) from None
        if put is None:
            shown.pop(key, None)
            return
        if put <= last.get(key, NOTHING):
            raise Broken("wrong", f"{where}: key {key} shows {put} after {last[key]}")
        last[key] = shown[key] = put

    def _compared_table(self) -> tuple[dict[str, Put], dict[TopicPartition, Found]]:
        table, logs = self.table()
        for key in table.keys() - self._ledger.table.keys():
            raise Broken("wrong", f"{TABLE}: key {key} was never put")
        for key, known in self._ledger.table.items():
            problem = known.problem(table.get(key), lost_power=self._lost_power)
            if problem is not None:
                raise Broken("lost", f"{TABLE}: key {key}: {problem}")
        self._counts["keys verified"] += len(self._ledger.table)
        return table, logs

    def compared(self) -> Contents:
        """Return what is there, compared with the ledger."""
        report = self._broker.recovery_report
        for partition in report.partitions:
            self._counts["bytes cut off"] += partition.cut_bytes
            self._counts[f"logs {partition.outcome.value}"] += 1
        self._counts["bytes scanned"] = report.scanned_bytes
        if report.damaged_partitions:
            raise Broken("lost", f"recovery reports damage: {report}")
        topics = self._topics()
        self._compare_topics(topics)
        found = {
            partition: self._compared_partition(partition) for partition in self._partitions(topics)
        }
        positions = self._group_after_power_loss(found) if self._lost_power else self._group(found)
        return Contents(found, topics, positions, *self._compared_table(), self._counts)

    def _topics(self) -> dict[str, int]:
        broker = self._broker
        return {name: len(broker.describe_topic(name).partitions) for name in broker.topics()}

    def _partitions(self, topics: dict[str, int]) -> list[TopicPartition]:
        return [
            TopicPartition(name, n)
            for name, count in topics.items()
            for n in range(count)
            if name != TABLE
        ]

    def _compare_topics(self, found: dict[str, int]) -> None:
        for name, topic in self._ledger.topics.items():
            if name not in found and not topic.may_be_absent:
                raise Broken("lost", f"topic {name} is gone")
            if name in found and not topic.may_exist:
                raise Broken("wrong", f"topic {name} was deleted and is there")
            if name in found and found[name] not in topic.counts:
                raise Broken(
                    "lost", f"topic {name}: expected {topic.counts} partitions, found {found[name]}"
                )
        for name in found.keys() - self._ledger.topics.keys():
            raise Broken("wrong", f"topic {name} was never created")

    # ---- records

    def _read(self, partition: TopicPartition, len_of_known: int) -> tuple[Found, list[bytes]]:
        """Return what is in a partition, and the values of what is new in it, each checked by itself."""
        crcs = array("L")
        new: list[bytes] = []
        with Consumer(self._broker, auto_offset_reset="earliest") as consumer:
            consumer.assign([partition])
            start = consumer.beginning_offsets([partition])[partition]
            end = consumer.end_offsets([partition])[partition]
            # What has been seen before is compared by its checksums: records are made of what is new.
            while records := consumer.poll(
                0, max_records=max(len_of_known - start - len(crcs), 0) or 100_000
            ):
                expected = start + len(crcs)
                if expected < len_of_known:
                    crcs.extend(map(zlib.crc32, records.values()))
                    continue
                for offset, record in enumerate(records, expected):
                    self._check_record(f"{partition}, offset {offset}", record, offset)
                    crcs.append(zlib.crc32(record.value))
                    new.append(record.value)
            if consumer.position(partition) != end or start + len(crcs) != end:
                raise Broken(
                    "lost", f"{partition}: expected {end - start} records, found {len(crcs)}"
                )
        if start > 0 and not self._ledger.had_retention:
            raise Broken("lost", f"{partition}: the log starts at {start} instead of 0")
        log = self._broker.partition(*partition).log
        return Found(start, end, log.leader_epoch, crcs, log.size_bytes), new

    def _check_record(self, where: str, record: ConsumerRecord, offset: int) -> None:
        """Check one record that was not there the last time."""
        if record.offset != offset:
            raise Broken("lost", f"{where}: found {record.offset} instead")
        value = record.value
        try:
            run = run_of(value)
        except ValueError:
            raise Broken("wrong", f"{where}: a value that nobody sent: {value[:80]!r}") from None
        if run // RUNS_PER_KILL != self._ledger.run:
            raise Broken("doubled", f"{where}: {value[:80]!r} comes from an earlier run")
        if is_plain(value):
            return
        found = record.key, record.timestamp_ms, list(record.headers)
        expected = key_for(value), timestamp_for(value), headers_for(value)
        if found not in (expected, (*expected[:2], [])):  # send_many sends no headers
            raise Broken("wrong", f"{where}: {value[:80]!r} came with {found}")

    def _compared_partition(self, partition: TopicPartition) -> Found:
        known = self._ledger.partition(*partition)
        found, new = self._read(partition, len(known.seen))
        if len(set(new)) != len(new):
            value, times = Counter(new).most_common(1)[0]
            raise Broken("doubled", f"{partition}: found {value[:80]!r} {times} times")
        self._compare(partition, known, found)
        self._counts["records verified"] += len(found.crcs)
        acked = sum(offset >= found.start for offset in known.acked) + len(known.acked_somewhere)
        self._counts["records not acked but there"] += max(len(new) - acked, 0)
        return found

    def _compare(self, partition: TopicPartition, known: PartitionLedger, found: Found) -> None:
        """What must be there is there, where it was; retention may have taken what is below the log start."""
        start, end, crcs = found.start, found.end, found.crcs
        must_reach = known.durable_end if self._lost_power else known.end
        somewhere = known.durable_somewhere if self._lost_power else known.acked_somewhere
        if end < must_reach:
            raise Broken("lost", f"{partition}: expected all up to {must_reach}, found up to {end}")
        if start < known.start:
            raise Broken("wrong", f"{partition}: started at {known.start} before, now at {start}")
        seen = known.seen[start:end]
        if crcs[: len(seen)] != seen:
            raise Broken("wrong", f"{partition}: records changed since they were last read")
        for offset, crc in known.acked.items():
            if start <= offset < end and crcs[offset - start] != crc:
                raise Broken("wrong", f"{partition}: offset {offset} holds another value")
        missing = somewhere.difference(crcs)
        if missing and start == known.start:
            raise Broken("lost", f"{partition}: {len(missing)} acked records are not there")
        self._counts["acked records lost, as is allowed"] += len(known.acked) - sum(
            offset < end for offset in known.acked
        )

    # ---- the group

    def _group(self, partitions: dict[TopicPartition, Found]) -> dict[TopicPartition, int]:
        """Commits that returned are there, and none is ahead of what was read or of the log."""
        positions: dict[TopicPartition, int] = {}
        with Consumer(self._broker, group_id="g") as consumer:
            for partition, group in self._ledger.groups.items():
                committed = consumer.committed(partition)
                offset = 0 if committed is None else committed.offset
                most = min(group.next_unread, partitions[partition].end)
                if not group.committed <= offset <= most:
                    raise Broken(
                        "lost",
                        f"{partition}: expected a commit from {group.committed} to {most}, found {offset}",
                    )
                positions[partition] = offset
        return positions

    def _group_after_power_loss(
        self, partitions: dict[TopicPartition, Found]
    ) -> dict[TopicPartition, int]:
        """A member goes on where nothing is skipped: at what was last known to be read, or before, or at the end of the log.

        Its commit may be ahead of the log, which lost more than the offsets topic did.
        """
        positions: dict[TopicPartition, int] = {}
        if not self._ledger.groups:
            return positions
        topics = sorted({partition.topic for partition in self._ledger.groups})
        with Consumer(
            self._broker,
            *topics,
            group_id="g",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        ) as consumer:
            first = {
                record.topic_partition: record.offset for record in consumer.poll(0, max_records=1)
            }
            for partition, group in self._ledger.groups.items():
                position = first.get(partition, consumer.position(partition))
                found = partitions[partition]
                # Retention may have deleted what the group had not read yet.
                most = min(max(group.next_unread, found.start), found.end)
                if not min(group.durable, most) <= position <= most:
                    raise Broken(
                        "lost",
                        f"{partition}: expected the group to go on from {group.durable} to {most}, found {position}",
                    )
                positions[partition] = position
        return positions
