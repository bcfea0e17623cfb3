"""What must hold of a damaged directory: every record as it was produced, or an error that names it (P4, P5, P6, I14, I15)."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from streamlog import Broker, Consumer, TopicPartition
from streamlog.errors import CorruptLogError, CorruptRecordError, StreamlogError
from streamlog.record import BatchView
from streamlog.runtime import VirtualClock
from streamlog.storage import PartitionRecovery, RecoveryOutcome
from tests.crash.damage_committed import CommittedVerdict
from tests.crash.damage_data import (
    GROUP,
    OFFSETS_TOPIC,
    POWER_FAILED,
    ROOT,
    STRAY,
    Damage,
    Dataset,
    Disk,
    Record,
    is_log,
    kill,
    open_broker,
    partition_of,
)
from tests.crash.damage_evidence import Evidence

_STATE = f"{ROOT}/STATE"
_NEEDED = {f"{ROOT}/FORMAT", f"{ROOT}/META"}

#: The end of a range of which nobody knows the end.
_UNKNOWN = 1 << 62

_APPENDED = Record(b"after", None, 1_700_000_000_000, ())


class Wrong(AssertionError):
    """A damaged directory was answered with something that was never produced, with silence, or with the wrong error."""


@attrs.define
class Reading:
    """What reading one partition from its start to its end gave."""

    start: int
    end: int
    #: First offset and the one behind the last, of what was returned and of what an error named.
    returned: list[tuple[int, int]] = attrs.Factory(list)
    refused: list[tuple[int, int]] = attrs.Factory(list)

    def returns(self, first: int, next_offset: int) -> None:
        if self.returned and self.returned[-1][1] == first:
            first = self.returned.pop()[0]
        self.returned.append((first, next_offset))


class Oracle:
    """Opens damaged copies of one data set and judges what the broker makes of them."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.disk = Disk(dataset.files, dataset.directories)

    def check(self, damage: Damage, *, thoroughly: bool = True) -> str:
        """Return in a word what became of the directory; raise Wrong when that may not be.

        *thoroughly*: also read the partitions that were not damaged, also through a consumer, also append, and look once more
        after a kill and after closing.
        """
        filesystem = self.disk.load(damage)
        try:
            broker = open_broker(filesystem, VirtualClock())
        except StreamlogError as error:
            return self._judge_refusal(damage, error)
        try:
            verdict = _Verdict(self.dataset, damage, broker)
            committed = CommittedVerdict(self.dataset, damage)
            outcome = verdict.judge(thoroughly=thoroughly)
            if thoroughly or committed.is_concerned:
                of_transactions = committed.judge(broker)
                outcome = of_transactions if outcome == "whole" else outcome
            if thoroughly:
                verdict.judge_consumer()
                verdict.judge_appends()
                committed.judge_use(broker)
                kill(broker)
                broker = open_broker(filesystem, VirtualClock())
                verdict.judge_again(broker)
                committed.judge(broker)
                broker.close()
                broker = open_broker(filesystem, VirtualClock())
                verdict.judge_again(broker)
                committed.judge(broker)
        finally:
            kill(broker)
            if thoroughly:
                self.disk.forget()
        return outcome

    def _judge_refusal(self, damage: Damage, error: StreamlogError) -> str:
        if not _NEEDED & set(damage) and not any(
            partition_of(path) is None and not isinstance(data, bytes)
            for path, data in damage.items()
        ):
            raise Wrong(f"the directory does not open: {error!r}") from error
        if ROOT not in str(error):
            raise Wrong(f"the error does not name what is damaged: {error!r}") from error
        return "not opened"


class _Verdict:
    """One opened directory against the truth."""

    def __init__(self, dataset: Dataset, damage: Damage, broker: Broker) -> None:
        self._dataset = dataset
        self._damage = damage
        self._broker = broker
        self._recoveries = {p.topic_partition: p for p in broker.recovery_report.partitions}
        self._no_state = _STATE in damage
        self._appended: dict[TopicPartition, int] = {}
        self._readings: dict[TopicPartition, Reading] = {}

    def judge(self, *, thoroughly: bool) -> str:
        damaged = {partition_of(path) for path in self._damage}
        outcomes = {
            self._judge_partition(tp)
            if thoroughly or self._no_state or tp in damaged
            else self._judge_bystander(tp)
            for tp in self._dataset.records
        }
        if any(tp is None or tp.topic == OFFSETS_TOPIC for tp in map(partition_of, self._damage)):
            outcomes.add(self._judge_offsets())
        self._judge_stray()
        for outcome in ("refused", "error", "cut"):
            if outcome in outcomes:
                return outcome
        return "whole"

    def _judge_stray(self) -> None:
        """What META does not name is left alone, and reported."""
        report, filesystem = self._broker.recovery_report, self._broker.runtime.filesystem
        for path, data in self._dataset.files.items():
            if f"/{STRAY}-0/" in path:
                expected = self._damage.get(path, data)
                if isinstance(expected, bytes) and filesystem.read_file(path, 1 << 20) != expected:
                    raise Wrong(f"{path} was changed")
                if path.rpartition("/")[0] not in report.ignored_paths:
                    raise Wrong(f"{path} is not in the report: {report.ignored_paths}")

    # ---- one partition

    def _judge_bystander(self, tp: TopicPartition) -> str:
        """Nothing of this partition was damaged (P6). It is read by the thorough checks; what opening made of it is seen at once."""
        partition = self._broker.partition(*tp)
        end = max(self._dataset.records[tp], default=-1) + 1
        found = (partition.log_start_offset, partition.log_end_offset)
        if found != (self._dataset.log_starts[tp], end):
            raise Wrong(f"{tp}: not damaged, and has offsets {found}")
        if self._recoveries[tp] in self._broker.recovery_report.damaged_partitions:
            raise Wrong(f"{tp}: not damaged, and said to be: {self._recoveries[tp]}")
        return "whole"

    def _judge_partition(self, tp: TopicPartition) -> str:
        files = {p: data for p, data in self._damage.items() if partition_of(p) == tp}
        partition = self._broker.partition(*tp)
        recovery = self._recoveries[tp]
        if partition.is_refused:
            self._judge_refused(tp, files, recovery)
            return "refused"
        reading = self._readings[tp] = self._read(tp, is_whole=not files)
        evidence = Evidence(self._dataset, tp, files, no_state=self._no_state)
        start = self._dataset.log_starts[tp]
        if reading.start != start and not self._no_state:
            raise Wrong(f"{tp}: the log starts at {reading.start}, not at {start}")
        self._judge_end(tp, reading, evidence, recovery)
        for first, next_offset in reading.refused:
            if not evidence.may_be_unread(first) and not any(
                found.first_bad_offset <= first
                and next_offset <= (found.next_good_offset or _UNKNOWN)
                for found in recovery.damaged_ranges
            ):
                raise Wrong(f"{tp}: {first}..{next_offset} was scanned, and is not in {recovery}")
            for batch in evidence.intact:
                named = batch.base_offset < next_offset and first < batch.next_offset
                if named and not evidence.may_be_cut(batch):
                    raise Wrong(
                        f"{tp}: {batch} is whole, yet an error names {first}..{next_offset}"
                    )
        if files:
            self._judge_lookups(tp, reading, evidence)
        if (
            files
            and not self._no_state
            and all(p.endswith((".idx", ".tix", ".txn", ".snap")) for p in files)
        ):
            self._judge_times(tp)
        if reading.refused:
            return "error"
        return "whole" if reading.end == evidence.end else "cut"

    def _judge_refused(
        self, tp: TopicPartition, files: Damage, recovery: PartitionRecovery
    ) -> None:
        error = self._broker.partition(*tp).log.error  # type: ignore[attr-defined]
        shrunk = any(
            not isinstance(data, bytes) or len(data) < len(self._dataset.files[path])
            for path, data in files.items()
        )
        if not shrunk:
            raise Wrong(f"{tp}: nothing is missing, yet it is not opened: {error!r}") from error
        if not isinstance(error, StreamlogError) or str(tp) not in str(error):
            raise Wrong(f"{tp}: the error does not name the partition: {error!r}") from error
        if recovery not in self._broker.recovery_report.damaged_partitions:
            raise Wrong(f"{tp}: not opened, and not in the report: {recovery}")

    def _read(self, tp: TopicPartition, *, is_whole: bool = False) -> Reading:
        """Read everything, comparing what comes with what was produced. *is_whole*: by the segment, for speed."""
        partition = self._broker.partition(*tp)
        end = partition.log_end_offset
        reading = Reading(partition.log_start_offset, end)
        offset = reading.start
        while offset < end:
            if is_whole:
                run, next_offset = self._dataset.runs[tp, offset]
                if partition.read(offset, 1 << 20) == run:
                    reading.returns(offset, next_offset)
                    offset = next_offset
                    continue
                is_whole = False
            try:
                batches = partition.read_batches(offset, 1 << 20, end)
            except CorruptLogError as error:
                offset = self._refused(tp, reading, offset, error)
                continue
            if not batches:
                raise Wrong(f"{tp}: nothing at offset {offset}, the log ends at {end}")
            for number, batch in enumerate(batches):
                if batch.base_offset > offset:
                    raise Wrong(f"{tp}: offsets {offset}..{batch.base_offset - 1} are skipped")
                if (number and batch.base_offset < offset) or batch.next_offset <= offset:
                    raise Wrong(f"{tp}: {batch.base_offset} comes again, {offset} is next")
                try:
                    self._compare(tp, batch)
                except CorruptRecordError:
                    reading.refused.append((offset, batch.next_offset))
                else:
                    reading.returns(offset, batch.next_offset)
                offset = batch.next_offset
        return reading

    def _refused(
        self, tp: TopicPartition, reading: Reading, offset: int, error: CorruptLogError
    ) -> int:
        next_good = error.next_good_offset
        if error.topic_partition != tp or error.first_bad_offset != offset:
            raise Wrong(f"{tp}: at offset {offset} the error names something else: {error!r}")
        if next_good is not None and next_good <= offset:
            raise Wrong(f"{tp}: an error that leads nowhere: {error!r}")
        reading.refused.append((offset, _UNKNOWN if next_good is None else next_good))
        return reading.refused[-1][1]

    def _compare(self, tp: TopicPartition, batch: BatchView) -> None:
        known = self._dataset.bodies.get((tp, batch.base_offset))
        if known is not None and known == (batch.header, batch.body):
            return
        batch.check()
        count = batch.record_count
        rows = zip(
            batch.offsets(),
            batch.values(),
            batch.keys() or [None] * count,
            batch.timestamps_ms(),
            batch.headers() or [()] * count,
            strict=True,
        )
        for offset, *fields in rows:
            expected = self._dataset.records[tp].get(offset)
            if self._appended.get(tp) == offset:
                expected = _APPENDED
            if Record(*fields) != expected:
                raise Wrong(f"{tp}: offset {offset}: expected {expected}, found {Record(*fields)}")

    def _judge_end(
        self,
        tp: TopicPartition,
        reading: Reading,
        evidence: Evidence,
        recovery: PartitionRecovery,
    ) -> None:
        if reading.end > evidence.end:
            raise Wrong(f"{tp}: ends at {reading.end}, only {evidence.end} were produced")
        if reading.end == evidence.end or (reading.refused and reading.refused[-1][1] == _UNKNOWN):
            return
        if recovery.outcome in (RecoveryOutcome.DAMAGED, RecoveryOutcome.DATA_LOSS):
            last = recovery.damaged_ranges[-1]
            if last.next_good_offset is None and last.first_bad_offset <= reading.end:
                return
        batch = evidence.batch_of(reading.end)
        if evidence.may_be_cut(batch):
            reported = recovery.outcome in (RecoveryOutcome.TORN_TAIL, RecoveryOutcome.LOST_PAGES)
            if reported or evidence.left_no_trace(batch):
                return
        if evidence.looks_torn(batch):
            return
        raise Wrong(f"{tp}: ends at {reading.end}, not at {evidence.end}, in silence: {recovery}")

    def _judge_lookups(self, tp: TopicPartition, reading: Reading, evidence: Evidence) -> None:
        """What can be read in order can be read from anywhere, by way of the indexes."""
        partition = self._broker.partition(*tp)
        for batch in evidence.intact[::5]:
            offset = batch.next_offset - 1
            if any(first <= offset < next_offset for first, next_offset in reading.returned):
                found = partition.read_batches(offset, 1, reading.end)[0]
                if not found.base_offset <= offset < found.next_offset:
                    raise Wrong(f"{tp}: found {found.base_offset} where {offset} was asked for")
                self._compare(tp, found)

    def _judge_times(self, tp: TopicPartition) -> None:
        """A lookup by time must not depend on what the index files hold."""
        start = self._dataset.log_starts[tp]
        records = {o: r for o, r in self._dataset.records[tp].items() if o >= start}
        times = sorted(record.timestamp_ms for record in records.values())
        partition = self._broker.partition(*tp)
        for time_ms in (times[0], times[len(times) // 3], times[-1], times[-1] + 1):
            expected = next((o for o, r in records.items() if r.timestamp_ms >= time_ms), None)
            found = partition.offset_for_timestamp(time_ms)
            if (found.offset if found else None) != expected:
                raise Wrong(f"{tp}: the first record from {time_ms} is {expected}, not {found}")
        latest = partition.offset_of_max_timestamp()
        if latest is None or latest.timestamp_ms != times[-1]:
            raise Wrong(f"{tp}: the greatest timestamp is {times[-1]}, not {latest}")

    # ---- groups

    def _judge_offsets(self) -> str:
        """A group must find what it committed last, or, where the end of that log was cut, before that."""
        with Consumer(self._broker, group_id=GROUP, enable_auto_commit=False) as consumer:
            try:
                found = {tp: consumer.committed(tp) for tp in self._dataset.committed}
            except StreamlogError as error:
                if OFFSETS_TOPIC not in str(error):
                    raise Wrong(f"committed offsets: {error!r}") from error
                return "error"
        cut = any(
            tp.topic == OFFSETS_TOPIC and self._end(tp) != reading.end
            for tp, reading in self._readings.items()
        )
        for tp, commits in self._dataset.committed.items():
            offset = found[tp].offset if found[tp] else None  # type: ignore[union-attr]
            if offset != commits[-1] and not (cut and offset in (None, *commits)):
                raise Wrong(f"{tp}: the group committed {commits}, and finds {offset}")
        return "cut" if cut else "whole"

    def _end(self, tp: TopicPartition) -> int:
        return max(self._dataset.records[tp], default=-1) + 1

    # ---- through the front door

    def judge_consumer(self) -> None:
        """A consumer must get what :meth:`judge` got: the same records, once, in order, and the same gaps."""
        partitions = {tp: reading.start for tp, reading in self._readings.items()}
        with Consumer(self._broker, auto_offset_reset="none") as consumer:
            consumer.assign(list(partitions))
            for tp, offset in partitions.items():
                consumer.seek(tp, offset)
            for tp, gap in _poll_all(consumer):
                if gap is not None:
                    partitions[tp] = gap
                    continue
                record = tp
                tp = TopicPartition(record.topic, record.partition)
                if record.offset != partitions[tp]:
                    raise Wrong(f"{tp}: polled {record.offset}, {partitions[tp]} is next")
                partitions[tp] += 1
                produced = self._dataset.records[tp].get(record.offset)
                found = Record(record.value, record.key, record.timestamp_ms, record.headers)
                if found != produced:
                    raise Wrong(f"{tp}: polled {found} at {record.offset}, produced was {produced}")
        for tp, reading in self._readings.items():
            if partitions[tp] < reading.end:
                raise Wrong(f"{tp}: polled up to {partitions[tp]}, the log ends at {reading.end}")

    def judge_appends(self) -> None:
        """Whatever can be appended to must give back what is appended next, and lose nothing for it."""
        assert _APPENDED.value is not None
        for tp, reading in list(self._readings.items()):
            partition = self._broker.partition(*tp)
            if tp.topic == OFFSETS_TOPIC:
                continue
            try:
                offset = partition.append_value(_APPENDED.value, _APPENDED.timestamp_ms)
            except CorruptLogError:
                continue
            if offset != reading.end:
                raise Wrong(f"{tp}: appended at {offset}, the log ended at {reading.end}")
            self._appended[tp] = offset
            again = self._readings[tp] = self._read(tp)
            if self._dataset.state == POWER_FAILED and self._is_shifted(tp):
                continue  # cut at the recovery point, which is in the middle of a batch now
            if (again.refused, again.end) != (reading.refused, offset + 1):
                raise Wrong(f"{tp}: {reading} before an append, {again} after it")

    def _is_shifted(self, tp: TopicPartition) -> bool:
        """Whether bytes were put in or taken out in front of the recovery point."""
        return any(
            isinstance(data, bytes) and len(data) != len(self._dataset.files[path])
            for path, data in self._damage.items()
            if is_log(path) and partition_of(path) == tp
        )

    def judge_again(self, broker: Broker) -> None:
        """Opened again the directory must look the same (I17)."""
        self._broker = broker
        for tp in self._dataset.records:
            before = self._readings.get(tp)
            if self._broker.partition(*tp).is_refused:
                if before is not None:
                    raise Wrong(f"{tp}: cannot be used the second time")
            elif before is None:
                raise Wrong(f"{tp}: damaged the first time, and usable the second")
            else:
                again = self._read(tp)
                if again != before:
                    raise Wrong(f"{tp}: {before} the first time, {again} the second")


def _poll_all(consumer: Consumer) -> Iterator[tuple]:
    """Yield (record, None) and, for each damaged range that was skipped, (partition, offset behind it)."""
    while True:
        try:
            records = consumer.poll(0, max_records=100_000)
        except CorruptLogError as error:
            tp, next_good = error.topic_partition, error.next_good_offset
            assert tp is not None
            if next_good is None:
                consumer.pause([tp])
                yield tp, _UNKNOWN
            else:
                consumer.seek(tp, next_good)
                yield tp, next_good
            continue
        if not records:
            return
        for record in records:
            yield record, None
