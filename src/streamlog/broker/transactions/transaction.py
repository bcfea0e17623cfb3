"""One transactional id: who has it, what its last transaction is doing, and where."""

from __future__ import annotations

from streamlog.broker.transactions.records import CommitMarker, LogEnd, TransactionRecord
from streamlog.broker.transactions.state import (
    COMMITTED,
    OPEN,
    PREPARED,
    TransactionEvent,
    TransactionState,
    following,
)
from streamlog.structs import ProducerIdAndEpoch, TopicPartition

NO_PRODUCER = ProducerIdAndEpoch(-1, -1)
"""Of an id that nobody has taken yet."""
LAST_EPOCH = 32_766
"""A producer id with this epoch has had its last transaction; then comes another id (TXN-4)."""


class Transaction:
    """What the coordinator knows of one transactional id. Threads: whoever holds its lock.

    Changes that outlive the process come in as records, by `replay`; `begin` and `fence` are about a
    transaction that lives with its producer, in this process. Source: Kafka ``TransactionMetadata``.
    """

    __slots__ = (
        "announces",
        "claim",
        "ended",
        "epochs_may_be_lost",
        "partitions",
        "producer",
        "started_monotonic_ms",
        "started_ms",
        "state",
        "timeout_ms",
        "transactional_id",
        "unmarked",
        "unsynced",
        "updated_ms",
        "was_lost",
    )

    def __init__(self, transactional_id: str) -> None:
        self.transactional_id = transactional_id
        self.state = TransactionState.EMPTY
        self.producer = NO_PRODUCER
        """What the transaction that is ongoing uses, or else the next one."""
        self.ended: ProducerIdAndEpoch | None = None
        """What the transaction that ended last used, or the producer had that the present one continues;
        None when whoever used it is fenced."""
        self.timeout_ms = 0
        self.updated_ms = 0
        self.announces = False
        """Whether the producer speaks the rules from before KIP-890, as those in other processes do: it
        announces the partitions of a transaction, keeps its epoch from one to the next, and may outlive
        this process."""
        self.was_lost = False
        """Whether a transaction that such a producer had begun was lost with the last process: it can but
        be aborted."""
        self.partitions: dict[TopicPartition, LogEnd | None] = {}
        """Those of the last transaction, in the order in which they joined it; where their logs ended when it
        was decided, None as long as that is not known."""
        self.started_ms = -1
        """When the first partition was added (wall clock); -1 unless ongoing."""
        self.started_monotonic_ms = 0.0
        self.claim: object | None = None
        """Whoever is ending, fencing or taking it; nobody else may change it meanwhile."""
        self.unmarked: list[TopicPartition] = []
        """Of a prepared transaction, the partitions without a marker."""
        self.unsynced: dict[TopicPartition, CommitMarker] = {}
        """Where the marker of the last commit there may not be on disk yet. A record that takes the place of
        that of the commit goes on to name it (`TransactionRecord.owed`)."""
        self.epochs_may_be_lost = False
        """Whether the power failed since the last record was written: later ones may be gone."""

    def __repr__(self) -> str:
        return (
            f"<Transaction {self.transactional_id!r} {self.state.value} of producer "
            f"{self.producer.producer_id} epoch {self.producer.producer_epoch}>"
        )

    @property
    def exists(self) -> bool:
        """Whether a producer ever took the id."""
        return self.producer is not NO_PRODUCER

    @property
    def is_exhausted(self) -> bool:
        """Whether the next transaction needs another producer id."""
        return self.producer.producer_epoch >= LAST_EPOCH

    @property
    def marker_epoch(self) -> int:
        """The epoch on the markers of a prepared transaction: above that of its batches, so that none of
        them that comes late is taken (TXN-11); the same where the producer keeps it.
        """
        ended = self.ended
        if ended is None or ended == self.producer:
            return self.producer.producer_epoch
        return ended.producer_epoch + 1

    @property
    def may_be_lost(self) -> bool:
        """Whether a producer that outlived the last process may have begun what is not there any more."""
        return self.announces and (self.was_lost or self.epochs_may_be_lost)

    @property
    def marked_producer_id(self) -> int:
        """The producer id on those markers."""
        return self.producer.producer_id if self.ended is None else self.ended.producer_id

    def begin(self, topic_partition: TopicPartition, now_ms: int, monotonic_ms: float) -> None:
        """Let *topic_partition* be part of the transaction; the first one begins it."""
        if self.state is not TransactionState.ONGOING:
            self.begin_empty(now_ms, monotonic_ms)
        self.partitions[topic_partition] = None

    def begin_empty(self, now_ms: int, monotonic_ms: float) -> None:
        """Begin a transaction that has no partition yet."""
        state = following(self.state, TransactionEvent.BEGUN)
        self.partitions = {}
        self.started_ms, self.started_monotonic_ms = now_ms, monotonic_ms
        self.ended = None
        self.state = state

    def fence(self) -> None:
        """Shut the producer of an ongoing transaction out. An abort has to follow (TXN-3, TXN-12)."""
        if self.state is TransactionState.ONGOING:
            producer_id, epoch = self.producer
            # One step: what is left after Ctrl-C is fenced, or not.
            self.producer, self.ended, self.state = (
                ProducerIdAndEpoch(producer_id, epoch + 1),
                None,
                following(self.state, TransactionEvent.FENCED),
            )

    def replay(self, record: TransactionRecord) -> None:
        """Apply *record*. Deterministic, never fails, and may be repeated."""
        unsynced = dict(record.owed)
        if record.state in COMMITTED and record.ended is not None:
            ends = record.ends or (None,) * len(record.partitions)
            for topic_partition, end in zip(record.partitions, ends, strict=True):
                unsynced[topic_partition] = CommitMarker(record.ended, end)
        self.unsynced = unsynced
        if record.state in PREPARED:
            self.unmarked = list(record.partitions)
        elif self.unmarked:
            self.unmarked = []
        self.producer, self.ended = record.producer, record.ended
        self.partitions = dict.fromkeys(record.partitions)
        if record.ends:
            self.partitions.update(zip(record.partitions, record.ends, strict=True))
        self.announces = record.announces
        self.timeout_ms, self.updated_ms = record.timeout_ms, record.updated_ms
        self.started_ms = -1
        self.state = record.state

    def assume_completed(self) -> None:
        """Take what a process that has ended decided for done: whoever opens the directory writes the
        markers that are missing (`LeftOpen`).
        """
        if self.state in PREPARED:
            self.state = following(self.state, TransactionEvent.COMPLETED)
            self.unmarked = []

    def record(
        self,
        state: TransactionState,
        producer: ProducerIdAndEpoch,
        ended: ProducerIdAndEpoch | None,
        now_ms: int,
    ) -> TransactionRecord:
        """Return the record that brings the id to *state*."""
        partitions = {} if state is TransactionState.EMPTY else self.partitions
        ends = tuple(partitions.values())
        told = partitions if state in COMMITTED else ()
        owed = tuple((one, marker) for one, marker in self.unsynced.items() if one not in told)
        return TransactionRecord(
            self.transactional_id,
            state,
            producer,
            ended,
            self.timeout_ms,
            now_ms,
            tuple(partitions),
            ends if any(ends) else (),
            self.announces,
            owed=owed,
        )

    def _check(self) -> None:
        """Assert what holds while no call is under way. For tests."""
        assert self.claim is None
        assert set(self.unmarked) <= set(self.partitions)
        assert not self.unmarked or self.state in PREPARED
        assert self.started_ms >= 0 or self.state not in OPEN
        assert self.exists or self.state is TransactionState.EMPTY
