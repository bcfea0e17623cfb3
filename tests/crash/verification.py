"""Reading a whole directory in a process of its own, and comparing it with what was promised."""

from __future__ import annotations

import logging
import pickle
import zlib
from array import array
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import attrs

from streamlog import Broker, Consumer, ConsumerRecord, TopicPartition
from streamlog.errors import StreamlogError
from tests.crash.child import AGAIN, RUNS_PER_KILL
from tests.crash.forked import Child, Reporter
from tests.crash.ledger import Broken, Ledger, PartitionLedger
from tests.crash.records import headers_for, is_plain, key_for, run_of, timestamp_for

CHUNK_BYTES = 64 * 1024
"""What a partition may have preallocated (less where its segments are smaller)."""


ALL = 1 << 62


@attrs.define
class Found:
    """What one opening found in a partition."""

    start: int
    end: int
    leader_epoch: int
    crcs: array[int]
    size_bytes: int


@attrs.define
class Contents:
    """What one opening found."""

    partitions: dict[TopicPartition, Found]
    counts: Counter[str]
    committed: dict[TopicPartition, int]
    topics: dict[str, int]

    def same_as(self, other: Contents) -> bool:
        """Return whether nothing changed in between."""
        return self.partitions == other.partitions and self.topics == other.topics


def verify(path: str, ledger: Ledger, *, dies_first: bool, ack_survives: bool = True) -> None:
    """Open the directory twice, compare every record with the ledger, and bring that up to date. Raises Broken.

    With *dies_first* a process that recovers and is killed comes before: what recovery does must not depend on how often it is
    done (I17). With *ack_survives* False only what is found is checked, not that everything acknowledged is: the log is a prefix.
    """
    first = in_child(lambda: _open_and_die(path, ledger, ack_survives)) if dies_first else None
    contents = in_child(lambda: _open_twice(path, ledger, ack_survives))
    if first is not None and not first.same_as(contents):
        raise Broken("wrong", "opening after a killed recovery found something else")
    _bring_up_to_date(ledger, contents)


def in_child(target: Callable[[], Contents]) -> Contents:
    """Return what *target* returns in a fresh process, or raise what it raises."""

    def answer(report: Reporter) -> None:
        logging.getLogger("streamlog").setLevel(
            logging.ERROR
        )  # a torn tail is nothing to talk about
        try:
            result: Contents | tuple[str, str] = target()
        except Broken as error:
            result = error.kind, str(error)
        except (StreamlogError, OSError) as error:
            result = "unopenable", f"{type(error).__name__}: {error}"
        report.raw(pickle.dumps(result))

    child = Child(answer)
    data = child.read_all()
    code = child.wait()
    child.end()
    if code != 0:
        raise Broken("unopenable", f"verifying ended with {code}: {data.decode(errors='replace')}")
    result = pickle.loads(data)
    if isinstance(result, Contents):
        return result
    raise Broken(*result)


def _open_and_die(path: str, ledger: Ledger, ack_survives: bool) -> Contents:
    """Open, read, and end without closing anything."""
    broker = Broker(path, offsets_topic_num_partitions=2)
    contents = _read_all(broker, ledger, ack_survives)
    _check_disk_use(path, contents, chunks=1)
    return contents


def _open_twice(path: str, ledger: Ledger, ack_survives: bool) -> Contents:
    with Broker(path, offsets_topic_num_partitions=2) as broker:
        contents = _read_all(broker, ledger, ack_survives)
    with Broker(path, offsets_topic_num_partitions=2) as broker:
        report = broker.recovery_report
        if not report.clean or report.scanned_bytes:
            raise Broken("wrong", f"opening after a clean close scanned: {report}")  # I18
        again = _read_all(broker, ledger, ack_survives, again=True)
    if not contents.same_as(again):
        raise Broken("wrong", "opening after a clean close found something else")
    _check_disk_use(path, contents, chunks=0)
    return contents


def _read_all(
    broker: Broker, ledger: Ledger, ack_survives: bool, *, again: bool = False
) -> Contents:
    counts: Counter[str] = Counter()
    report = broker.recovery_report
    counts["bytes cut off"] = sum(partition.cut_bytes for partition in report.partitions)
    counts["bytes scanned"] = report.scanned_bytes
    if report.damaged_partitions:
        raise Broken("lost", f"recovery reports damage: {report}")
    topics = {name: len(broker.describe_topic(name).partitions) for name in broker.topics()}
    _check_topics(topics, ledger)
    partitions = {}
    for name, count in topics.items():
        for number in range(count):
            known = ledger.partition(name, number)
            topic_partition = TopicPartition(name, number)
            partitions[topic_partition] = _read_partition(
                broker, topic_partition, known, ledger, counts, ack_survives, again
            )
    return Contents(partitions, counts, _check_group(broker, ledger, partitions), topics)


def _check_topics(found: dict[str, int], ledger: Ledger) -> None:
    for name, topic in ledger.topics.items():
        if name not in found and not topic.may_be_absent:
            raise Broken("lost", f"topic {name} is gone")
        if name in found and not topic.may_exist:
            raise Broken("wrong", f"topic {name} was deleted and is there")
        if name in found and found[name] not in topic.counts:
            raise Broken(
                "lost", f"topic {name}: expected {topic.counts} partitions, found {found[name]}"
            )
    for name in found.keys() - ledger.topics.keys():
        raise Broken("wrong", f"topic {name} was never created")


def _read_partition(
    broker: Broker,
    topic_partition: TopicPartition,
    known: PartitionLedger,
    ledger: Ledger,
    counts: Counter[str],
    ack_survives: bool,
    again: bool,
) -> Found:
    crcs = array("L")
    trusted_below = ALL if again else len(known.seen)
    log = broker.partition(*topic_partition).log
    new: list[bytes] = []
    with Consumer(broker, auto_offset_reset="earliest") as consumer:
        consumer.assign([topic_partition])
        start = consumer.beginning_offsets([topic_partition])[topic_partition]
        end = consumer.end_offsets([topic_partition])[topic_partition]
        # What has been seen before is compared by its checksums: records are made of what is new.
        while records := consumer.poll(
            0, max_records=max(trusted_below - start - len(crcs), 0) or 100_000
        ):
            expected = start + len(crcs)
            if expected < trusted_below:
                crcs.extend(map(zlib.crc32, records.values()))
                continue
            for offset, record in enumerate(records, expected):
                if record.offset != offset:
                    raise Broken(
                        "lost",
                        f"{topic_partition}: expected offset {offset}, found {record.offset}",
                    )
                _check_record(f"{topic_partition}, offset {offset}", record, ledger)
                crcs.append(zlib.crc32(record.value))
                new.append(record.value)
        if consumer.position(topic_partition) != end:
            raise Broken("lost", f"{topic_partition}: reading does not get to the end, {end}")
    if start + len(crcs) != end:
        raise Broken(
            "lost", f"{topic_partition}: expected {end - start} records, found {len(crcs)}"
        )
    if start > 0 and not ledger.had_retention:
        raise Broken("lost", f"{topic_partition}: the log starts at {start} instead of 0")
    if again:
        return Found(start, end, log.leader_epoch, crcs, log.size_bytes)
    if len(set(new)) != len(new):
        value = Counter(new).most_common(1)[0]
        raise Broken("doubled", f"{topic_partition}: found {value[0][:80]!r} {value[1]} times")
    if ack_survives:
        _compare(topic_partition, known, start, end, crcs)
    counts["records verified"] += len(crcs)
    counts["records not acked but there"] += (
        len(new) - sum(offset >= start for offset in known.acked) - len(known.acked_somewhere)
    )
    return Found(start, end, log.leader_epoch, crcs, log.size_bytes)


def _check_record(where: str, record: ConsumerRecord, ledger: Ledger) -> None:
    """Check one record that was not there the last time."""
    value = record.value
    try:
        run = run_of(value)
    except ValueError:
        raise Broken("wrong", f"{where}: a value that nobody sent: {value[:80]!r}") from None
    if run // RUNS_PER_KILL != ledger.run:
        raise Broken("doubled", f"{where}: {value[:80]!r} comes from an earlier run")
    if is_plain(value):
        return
    found = record.key, record.timestamp_ms, list(record.headers)
    headers = headers_for(value)
    if found not in (
        (key_for(value), timestamp_for(value), headers),
        (key_for(value), timestamp_for(value), []),
    ):
        raise Broken("wrong", f"{where}: {value[:80]!r} came with {found}")


def _compare(
    topic_partition: TopicPartition, known: PartitionLedger, start: int, end: int, crcs: array[int]
) -> None:
    """Everything that was seen or acknowledged is there, where it was; retention may have taken what is below *start*."""
    if end < len(known.seen):
        raise Broken("lost", f"{topic_partition}: ended at {len(known.seen)} before, now at {end}")
    if start < known.start:
        raise Broken("wrong", f"{topic_partition}: started at {known.start} before, now at {start}")
    if crcs[: max(len(known.seen) - start, 0)] != known.seen[start:]:
        raise Broken("wrong", f"{topic_partition}: records changed since they were last read")
    for offset, crc in known.acked.items():
        if offset >= end:
            raise Broken("lost", f"{topic_partition}: acked offset {offset}, the log ends at {end}")
        if offset >= start and crcs[offset - start] != crc:
            raise Broken("wrong", f"{topic_partition}: offset {offset} holds another value")
    missing = known.acked_somewhere.difference(crcs)
    if missing and start == known.start:
        raise Broken("lost", f"{topic_partition}: {len(missing)} acked records are not there")


def _check_group(
    broker: Broker, ledger: Ledger, partitions: dict[TopicPartition, Found]
) -> dict[TopicPartition, int]:
    """Commits that returned are there, and none is ahead of what was read or of the log."""
    committed: dict[TopicPartition, int] = {}
    with Consumer(broker, group_id="g") as consumer:
        for topic_partition, group in ledger.groups.items():
            found = consumer.committed(topic_partition)
            offset = 0 if found is None else found.offset
            if offset < group.committed:
                raise Broken(
                    "lost",
                    f"{topic_partition}: committed {group.committed}, found {offset}",
                )
            end = partitions[topic_partition].end
            if offset > group.next_unread or offset > end:
                raise Broken(
                    "lost",
                    f"{topic_partition}: found commit {offset} ahead of {group.next_unread} (log end {end})",
                )
            committed[topic_partition] = offset
    return committed


def _check_disk_use(path: str, contents: Contents, *, chunks: int) -> None:
    """Nothing is left over, and a log takes no more room than its records (I19), but for *chunks* ahead of each."""
    for name in ("", "topics", "quarantine"):
        for entry in Path(path, name).iterdir():
            known = name == "quarantine" and f"-{AGAIN}-" in entry.name
            if entry.name.endswith((".tmp", "-delete")) or (name == "quarantine" and not known):
                raise Broken("wrong", f"{entry} is left over")
    for topic_partition, found in contents.partitions.items():
        directory = Path(path, "topics", f"{topic_partition.topic}-{topic_partition.partition}")
        files = {entry.name: entry.stat() for entry in directory.iterdir()}
        logs = {name[:20] for name in files if name.endswith(".log")}
        strange = [name for name in files if name[:20] not in logs or name[20:] not in _SUFFIXES]
        if strange:
            raise Broken("wrong", f"{directory}: left over: {strange}")
        size = sum(status.st_size for name, status in files.items() if name.endswith(".log"))
        if not found.size_bytes <= size <= found.size_bytes + chunks * CHUNK_BYTES:
            raise Broken(
                "wrong", f"{directory}: {found.size_bytes} bytes of records in {size} of files"
            )
        indexes = sum(status.st_size for name, status in files.items() if "x" in name[20:])
        if indexes > found.size_bytes / 8 + 512 * len(files):
            raise Broken("wrong", f"{directory}: indexes of {indexes} bytes for {size} of records")


_SUFFIXES = (".log", ".idx", ".tix")


def _bring_up_to_date(ledger: Ledger, contents: Contents) -> None:
    """What was found is what there is from now on."""
    ledger.counts.update(contents.counts)
    for name, topic in list(ledger.topics.items()):
        if name not in contents.topics:
            del ledger.topics[name]
            continue
        topic.may_be_absent, topic.counts = False, {contents.topics[name]}
    for topic_partition, found in contents.partitions.items():
        known = ledger.partition(*topic_partition)
        taken = found.start - len(known.seen)  # retention may have been faster than we were
        known.seen = known.seen[: found.start] + array("L", [0] * taken) + found.crcs
        known.start = found.start
        known.acked.clear()
        known.acked_somewhere.clear()
    for topic_partition, offset in contents.committed.items():
        ledger.groups[topic_partition].committed = offset
