"""What readers of committed records must be shown of a damaged directory: whole transactions that were committed, or an error (I7, P4).

Damage to what is made from the logs (``.snap``, ``.txn``, ``.idx``, ``.tix``) costs nothing: all that is committed, and every
duplicate found. Damage to a log, or to the coordinator's, may hide records with an error or behind the last stable offset;
nothing that was aborted is ever shown.
"""

from __future__ import annotations

from streamlog import Broker, Consumer, TopicPartition
from streamlog.errors import StreamlogError
from streamlog.record import build_batch
from streamlog.storage import RecoveryOutcome
from tests.crash.damage_data import Damage, Dataset, is_log, partition_of
from tests.crash.damage_evidence import Evidence
from tests.crash.damage_transactions import (
    GROUP,
    KEPT,
    LEDGERS,
    OFFSETS_HOME,
    PARTITIONS,
    STATE_HOME,
    TOPIC,
    TRANSACTIONAL_IDS,
)
from tests.support.transaction_writer import new_writer


class WrongTransaction(AssertionError):
    """A reader of committed records was shown what does not count, or missed in silence what does."""


class CommittedVerdict:
    """One opened directory against what was committed."""

    def __init__(self, dataset: Dataset, damage: Damage) -> None:
        self._dataset = dataset
        self._damage = damage
        self._truth = dataset.transactions
        self._logs = {partition_of(path) for path in damage if is_log(path)}
        self._rooted = any(partition_of(path) is None for path in damage)
        # What judge_use() appended: by place, and whether it has to be there.
        self._used: dict[tuple[TopicPartition, int], bytes] = {}
        # What was missing the first time, which the report of a second opening does not tell.
        self._lost: set[tuple[TopicPartition, int]] = set()
        self._lost_offsets = False

    @property
    def is_concerned(self) -> bool:
        """Whether anything was damaged that could make a difference."""
        return self._rooted or any(partition_of(path) in PARTITIONS for path in self._damage)

    def judge(self, broker: Broker) -> str:
        """Return in a word what readers are shown; raise when that may not be."""
        outcomes = {self._judge_offsets(broker)}
        shown, refused = _read(broker, "read_committed")
        for tp in LEDGERS:
            outcomes.add(self._judge_shown(broker, tp, shown[tp], tp in refused))
            if tp not in self._logs and not self._rooted:
                self._judge_duplicate(broker, tp)
        return next((o for o in ("error", "cut") if o in outcomes), "whole")

    def _judge_shown(
        self, broker: Broker, tp: TopicPartition, shown: dict[int, bytes], is_refused: bool
    ) -> str:
        for offset, value in shown.items():
            expected = self._value(tp, offset)
            if value != expected:
                raise WrongTransaction(f"{tp}: {value!r} at {offset}, produced was {expected!r}")
            if not value.startswith(KEPT):
                raise WrongTransaction(f"{tp}: offset {offset} was aborted, and is shown")
        missing = [offset for offset in self._truth.kept(tp) if offset not in shown]
        if is_refused and tp not in self._logs:
            raise WrongTransaction(f"{tp}: the log is whole, and an error says that it is not")
        for offset in missing:
            if not (
                is_refused or (tp, offset) in self._lost or self._may_be_missing(broker, tp, offset)
            ):
                raise WrongTransaction(f"{tp}: {offset} was committed, and is not shown")
            self._lost.add((tp, offset))
        return "error" if is_refused else "cut" if missing else "whole"

    def _value(self, tp: TopicPartition, offset: int) -> bytes | None:
        used = self._used.get((tp, offset))
        return self._truth.values[tp].get(offset) if used is None else used

    def _may_be_missing(self, broker: Broker, tp: TopicPartition, offset: int) -> bool:
        """Whether that *offset* is not shown is said elsewhere, or looks as if it had never been written."""
        if STATE_HOME in self._logs and (
            offset in self._truth.decided or offset >= broker.partition(*tp).last_stable_offset
        ):
            return True  # nobody knows what was decided
        return tp in self._logs and self._is_cut(broker, tp, offset)

    def _is_cut(self, broker: Broker, tp: TopicPartition, offset: int) -> bool:
        recovered = {p.topic_partition: p for p in broker.recovery_report.partitions}
        if recovered[tp].outcome not in (RecoveryOutcome.CLEAN, RecoveryOutcome.SCANNED):
            return True
        files = {path: data for path, data in self._damage.items() if partition_of(path) == tp}
        evidence = Evidence(self._dataset, tp, files, no_state=self._rooted)
        # A marker that left no trace takes its transaction along.
        return any(
            evidence.looks_torn(batch)
            or (evidence.may_be_cut(batch) and evidence.left_no_trace(batch))
            for batch in evidence.batches
            if batch.next_offset > offset
        )

    def _judge_duplicate(self, broker: Broker, tp: TopicPartition) -> None:
        """What an idempotent producer sent last is known when it comes again (IDM-2)."""
        sent = self._truth.sent[tp]
        batch = build_batch([sent.value], broker.runtime.clock.time_ms())
        batch.producer_id, batch.producer_epoch = sent.producer_id, 0
        batch.base_sequence = sent.base_sequence
        offset = broker.partition(*tp).append(batch)
        if offset != sent.offset:
            raise WrongTransaction(f"{tp}: what is at {sent.offset} was appended again at {offset}")

    def _judge_offsets(self, broker: Broker) -> str:
        """The group finds what its last committed transaction committed, never what an aborted one would have."""
        blamed = bool(self._logs & {OFFSETS_HOME, STATE_HOME})
        try:
            found = broker.group_coordinator.fetch_offsets(
                GROUP, [LEDGERS[0]], require_stable=True
            )[LEDGERS[0]]
        except StreamlogError as error:
            if not blamed:
                raise WrongTransaction(f"offsets of {GROUP}: {error!r}") from error
            return "error"
        commits = self._truth.offsets
        offset = found.offset if found is not None else None
        if offset == commits[-1]:
            return "whole"
        is_older = offset is None or offset in commits
        if is_older and (
            self._lost_offsets
            or (OFFSETS_HOME in self._logs and self._is_cut(broker, OFFSETS_HOME, 0))
        ):
            self._lost_offsets = True
            return "cut"
        raise WrongTransaction(f"the group committed {commits}, and finds {offset}")

    def judge_use(self, broker: Broker) -> None:
        """The transactional ids can be taken again; what they commit now is shown, or an error says why not."""
        for transactional_id in TRANSACTIONAL_IDS:
            value = KEPT + transactional_id.encode()
            try:
                writer = new_writer(broker, transactional_id)
                for tp in LEDGERS:
                    self._used[tp, writer.write(TOPIC, tp.partition, value)] = value
                writer.end(commit=True)
            except StreamlogError as error:
                if self._logs & set(PARTITIONS):
                    continue
                raise WrongTransaction(f"{transactional_id!r} cannot be used: {error!r}") from error


def _read(
    broker: Broker, isolation_level: str
) -> tuple[dict[TopicPartition, dict[int, bytes]], set[TopicPartition]]:
    """Return what a consumer is shown of each partition, and the partitions of which an error told it."""
    shown: dict[TopicPartition, dict[int, bytes]] = {tp: {} for tp in LEDGERS}
    refused: set[TopicPartition] = set()
    with Consumer(broker, isolation_level=isolation_level, auto_offset_reset="none") as consumer:
        consumer.assign(list(LEDGERS))
        for tp in LEDGERS:
            consumer.seek(tp, 0)
        before: list[int] = []
        while True:
            try:
                records = consumer.poll(0)
            except StreamlogError as error:
                damaged = next(
                    (
                        tp
                        for tp in LEDGERS
                        if str(tp) in f"{error} {getattr(error, 'topic_partition', None)}"
                    ),
                    None,
                )
                if damaged is None or damaged in consumer.paused():
                    raise WrongTransaction(f"an error that names nothing: {error!r}") from error
                refused.add(damaged)
                next_good = getattr(error, "next_good_offset", None)
                if next_good is None:
                    consumer.pause([damaged])
                else:
                    consumer.seek(damaged, next_good)
                continue
            for record in records:
                found = shown[TopicPartition(record.topic, record.partition)]
                if record.offset <= max(found, default=-1):
                    raise WrongTransaction(f"{record.topic}: {record.offset} comes again")
                assert record.value is not None
                found[record.offset] = record.value
            positions = [consumer.position(tp) for tp in LEDGERS if tp not in consumer.paused()]
            if not records and positions == before:
                return shown, refused
            before = positions
