"""Where transactional ids live: in memory, and as records in the partitions of ``__transaction_state``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.broker.java_hash import partition_for_group
from streamlog.broker.topic_name import TRANSACTION_STATE_TOPIC
from streamlog.broker.transactions.records import (
    StoredTransaction,
    TransactionRecord,
    TransactionTombstone,
    encode_transaction,
    read_transactions,
)
from streamlog.broker.transactions.state import COMMITTED, OPEN, PREPARED
from streamlog.broker.transactions.transaction import Transaction
from streamlog.errors import (
    InvalidProducerIdMappingError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
)
from streamlog.record import build_batch
from streamlog.structs import ProducerIdAndEpoch, TopicPartition

if TYPE_CHECKING:
    from streamlog.broker.broker import Broker
    from streamlog.broker.partition import Partition
    from streamlog.broker.topic import Topic

_TOPIC_CONFIGS = {"cleanup_policy": "compact", "segment_bytes": 104_857_600}


class TransactionStore:
    """The transactional ids of one broker, each loaded when it is first asked for.

    * look: `find`, `find_by_producer_id`, `homes`, `load`, `load_all`, ``transactions``
    * change: `find_or_create`, `apply`, `note_begun`, `forget`

    As `GroupStore` it replays a partition as a whole when one of its ids is first used. Threads: whoever
    holds the coordinator's lock, except for `homes`. Source: Kafka ``TransactionStateManager``.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._clock = broker.runtime.clock
        self._loaded: set[int] = set()
        self._by_producer_id: dict[int, Transaction] = {}
        self.transactions: dict[str, Transaction] = {}
        """The ids loaded so far."""

    def find(self, transactional_id: str) -> Transaction | None:
        """Return the id's transaction, None when no producer ever took it, or it expired."""
        topic = self._topic()
        if topic is None:
            return None
        self.load(_home_in(topic, transactional_id))
        found = self.transactions.get(transactional_id)
        return found if found is not None and found.exists else None

    def require(self, transactional_id: str) -> Transaction:
        """Return what `find` does. Raises `InvalidProducerIdMappingError` instead of returning None."""
        found = self.find(transactional_id)
        if found is None:
            raise InvalidProducerIdMappingError(
                f"transactional id {transactional_id!r}: expected one that a producer has, found none: "
                "it never was one, or it expired"
            )
        return found

    def find_or_create(self, transactional_id: str) -> Transaction:
        """Return the id's transaction; there is a place to store it from now on."""
        self.load(self.home_or_create(transactional_id))
        found = self.transactions.get(transactional_id)
        if found is None:
            found = self.transactions[transactional_id] = Transaction(transactional_id)
        return found

    def has(self, transaction: Transaction) -> bool:
        """Whether *transaction* was not forgotten since it was found."""
        return self.transactions.get(transaction.transactional_id) is transaction

    def find_by_producer_id(self, producer_id: int) -> Transaction | None:
        """Return the transaction of a producer that took its id in this process, or of a loaded one."""
        return self._by_producer_id.get(producer_id)

    def find_transaction(
        self, producer: ProducerIdAndEpoch, topic_partition: TopicPartition
    ) -> Transaction | None:
        """Return the id whose present transaction is that of *producer* and has *topic_partition*, or whose
        last one is and was committed, or which owes its marker there; None when no id that is loaded has.
        Looks at all of them.
        """
        for transaction in self.transactions.values():
            owed = transaction.unsynced.get(topic_partition)
            if owed is not None and owed.producer == producer:
                return transaction
            if topic_partition in transaction.partitions and (
                transaction.marked_producer_id == producer.producer_id
                if transaction.state in OPEN | PREPARED
                else transaction.ended == producer and transaction.state in COMMITTED
            ):
                return transaction
        return None

    def load_all(self) -> None:
        """Load every id there is. Raises `CorruptLogError`, having loaded the partitions before."""
        for home in self.homes():
            self.load(home)

    def load(self, home: Partition) -> None:
        """Replay the partition unless that was done before. Raises `CorruptLogError`."""
        if home.number in self._loaded:
            return
        # Into the open only when all of it could be read, as in GroupStore.
        loaded: dict[str, Transaction] = {}
        for leader_epoch, record in read_transactions(home):
            if isinstance(record, TransactionTombstone):
                loaded.pop(record.transactional_id, None)
                continue
            transaction = loaded.get(record.transactional_id)
            if transaction is None:
                transaction = loaded[record.transactional_id] = Transaction(record.transactional_id)
            transaction.replay(record)
            transaction.was_lost = record.has_begun
            transaction.epochs_may_be_lost = leader_epoch < home.leader_epoch
        for transaction in loaded.values():
            transaction.assume_completed()
            self._by_producer_id[transaction.producer.producer_id] = transaction
        self.transactions.update(loaded)
        self._loaded.add(home.number)

    def topic_id(self, topic: str) -> str | None:
        """Return the id of the topic of that name, None without one. Threads: any."""
        try:
            return self._broker.topic(topic).topic_id
        except UnknownTopicOrPartitionError:
            return None

    def homes(self) -> list[Partition]:
        """Return the partitions of the topic, none before there is any. Threads: any."""
        topic = self._topic()
        return [] if topic is None else topic.partitions

    def apply(self, transaction: Transaction, record: TransactionRecord) -> None:
        """Store *record*, then apply it. Raises what the append raises, such as `DiskFullError`.

        Whatever it raises, memory says what the topic says: an append may be interrupted (Ctrl-C), or fail
        in its sync, and be there all the same.
        """
        self._append(transaction, record)

    def note_begun(self, transaction: Transaction) -> None:
        """Store that a transaction begins behind the last one, of which all stays as it is. Raises as `apply`."""
        record = transaction.record(
            transaction.state, transaction.producer, transaction.ended, self._clock.time_ms()
        )
        self._append(transaction, record._replace(has_begun=True))

    def forget(self, transaction: Transaction) -> None:
        """Store that nothing is remembered of the id any more, and remember nothing. Raises as `apply`."""
        self._append(transaction, TransactionTombstone(transaction.transactional_id))

    def home_or_create(self, transactional_id: str) -> Partition:
        """Return the partition that the id lives in; its topic is created by the first one (TXN-2)."""
        topic = self._topic()
        if topic is None:
            try:
                self._broker.create_topic(
                    TRANSACTION_STATE_TOPIC,
                    partitions=self._broker.config.transaction_state_log_num_partitions,
                    configs=_TOPIC_CONFIGS,
                )
            except TopicAlreadyExistsError:
                pass
            topic = self._broker.topic(TRANSACTION_STATE_TOPIC)
        return _home_in(topic, transactional_id)

    def _append(self, transaction: Transaction, record: StoredTransaction) -> None:
        key, value = encode_transaction(record)
        home = self.home_or_create(transaction.transactional_id)
        end_offset = home.log_end_offset
        try:
            home.append(build_batch([value], self._clock.time_ms(), [key]))
            self._replay(transaction, record)
        except BaseException:
            # Everybody who appends here holds the lock: what is new is the record. Perhaps again, as a whole.
            if not home.is_refused and home.log_end_offset != end_offset:
                self._replay(transaction, record)
            raise

    def _replay(self, transaction: Transaction, record: StoredTransaction) -> None:
        before = transaction.producer.producer_id
        if isinstance(record, TransactionTombstone):
            self._by_producer_id.pop(before, None)
            self.transactions.pop(transaction.transactional_id, None)
            return
        transaction.epochs_may_be_lost = transaction.was_lost = False
        transaction.replay(record)
        if record.producer.producer_id != before:
            self._by_producer_id.pop(before, None)
        self._by_producer_id[record.producer.producer_id] = transaction

    def _check(self) -> None:
        """Assert what holds while no call is under way. For tests."""
        for transactional_id, transaction in self.transactions.items():
            assert transactional_id == transaction.transactional_id
            transaction._check()
            if transaction.exists:
                assert self._by_producer_id[transaction.producer.producer_id] is transaction
        assert len(self._by_producer_id) <= len(self.transactions)

    def _topic(self) -> Topic | None:
        try:
            return self._broker.topic(TRANSACTION_STATE_TOPIC)
        except UnknownTopicOrPartitionError:
            return None


def _home_in(topic: Topic, transactional_id: str) -> Partition:
    return topic.partitions[partition_for_group(transactional_id, len(topic.partitions))]
