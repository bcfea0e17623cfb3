"""Transactional ids as they are stored by another process."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

import attrs

from streamlog.broker.read_only import refusal
from streamlog.broker.transactions.coordinator import TransactionCoordinator
from streamlog.broker.transactions.description import (
    TransactionDescription,
    TransactionListing,
    describe_transaction,
)
from streamlog.broker.transactions.records import TransactionTombstone, read_transactions
from streamlog.broker.transactions.state import PREPARED, TransactionState
from streamlog.broker.transactions.store import TransactionStore
from streamlog.broker.transactions.transaction import Transaction
from streamlog.errors import StreamlogError
from streamlog.structs import ProducerIdAndEpoch, TopicPartition

if TYPE_CHECKING:
    from streamlog.broker.broker import Broker
    from streamlog.broker.partition import Partition
    from streamlog.broker.read_only_partition import ReadOnlyPartition


class ReadOnlyTransactionStore(TransactionStore):
    """The ids of a directory that another process may be writing: each look replays what was added since the last.

    What is decided and not completed is shown as that: completing it is for the process that writes. Threads: as `TransactionStore`.
    """

    def __init__(self, broker: Broker) -> None:
        super().__init__(broker)
        # By number: the partition that was replayed, up to which offset, and its ids.
        self._replayed: dict[int, tuple[Partition, int, dict[str, Transaction]]] = {}

    def load(self, home: Partition) -> None:
        """Replay what is new in the partition; all of it when it is another one, or shorter than it was.

        Raises `CorruptLogError`, having changed nothing.
        """
        end_offset = home.high_watermark
        known, start_offset, loaded = self._replayed.get(home.number, (home, 0, {}))
        if known is not home or end_offset < start_offset:
            for transactional_id in loaded:
                self.transactions.pop(transactional_id, None)
            start_offset, loaded = 0, {}
        if start_offset == end_offset:
            return
        for _, record in list(read_transactions(home, start_offset, end_offset)):
            if isinstance(record, TransactionTombstone):
                loaded.pop(record.transactional_id, None)
                self.transactions.pop(record.transactional_id, None)
                continue
            transaction = loaded.get(record.transactional_id)
            if transaction is None:
                transaction = loaded[record.transactional_id] = Transaction(record.transactional_id)
            transaction.replay(record)
            transaction.was_lost = record.has_begun  # or will be, if its process dies
        self.transactions.update(loaded)
        self._replayed[home.number] = home, end_offset, loaded


class ReadOnlyTransactions(TransactionCoordinator):
    """A `TransactionCoordinator` that shows transactions and refuses to change them.

    That one has begun is not stored before it ends, but for producers that announce it. Where one is open, the partitions tell: it is
    ongoing, from its first record there to its marker. Of a partition that cannot be read nobody knows. Threads: any.
    """

    def __init__(self, broker: Broker) -> None:
        super().__init__(broker)
        self._store = ReadOnlyTransactionStore(broker)

    def describe(self, transactional_id: str) -> TransactionDescription:
        """As `TransactionCoordinator.describe`; when a transaction began is not known here."""
        with self._lock:
            transaction = self._require(transactional_id)
            found, has_begun = describe_transaction(transaction), transaction.was_lost
        return self._as_it_is(found, has_begun, self._open_transactions())

    def list_transactions(self) -> list[TransactionListing]:
        """As `TransactionCoordinator.list_transactions`."""
        with self._lock:
            self._store.load_all()
            known = [
                (describe_transaction(transaction), transaction.was_lost)
                for _, transaction in sorted(self._store.transactions.items())
            ]
        opened = self._open_transactions()
        described = [self._as_it_is(one, has_begun, opened) for one, has_begun in known]
        return [
            TransactionListing(one.transactional_id, one.producer_id, one.state)
            for one in described
        ]

    def _as_it_is(
        self,
        stored: TransactionDescription,
        has_begun: bool,
        opened: dict[ProducerIdAndEpoch, list[TopicPartition]],
    ) -> TransactionDescription:
        """Return what is *stored* of an id, or its transaction that is not over."""
        # Whoever closes the directory ends what has begun.
        is_announced = has_begun and not self._broker.recovery_report.clean
        producer = ProducerIdAndEpoch(stored.producer_id, stored.producer_epoch)
        if stored.state in PREPARED or not (is_announced or producer in opened):
            return stored
        return attrs.evolve(
            stored,
            state=TransactionState.ONGOING,
            topic_partitions=tuple(sorted(opened.get(producer, ()))),
        )

    def _open_transactions(self) -> dict[ProducerIdAndEpoch, list[TopicPartition]]:
        """Return where each producer has a transaction open: asked for after what is stored, or one that ended in between would be."""
        found: dict[ProducerIdAndEpoch, list[TopicPartition]] = {}
        for topic in self._broker.topic_registry.topics():
            for partition in topic.partitions:
                try:
                    opened = cast("ReadOnlyPartition", partition).open_transactions()
                except (StreamlogError, OSError):
                    continue  # who reads there is told
                for producer_id, (epoch, _) in opened.items():
                    producer = ProducerIdAndEpoch(producer_id, epoch)
                    found.setdefault(producer, []).append(partition.topic_partition)
        return found

    def init_producer_id(
        self,
        transactional_id: str,
        transaction_timeout_ms: int,
        expected: ProducerIdAndEpoch | None = None,
        *,
        announces: bool = False,
    ) -> ProducerIdAndEpoch:
        """Raise `ReadOnlyError`."""
        raise self._refusal(f"transactional id {transactional_id!r}: take it")

    def end_transaction(
        self, transactional_id: str, producer_id: int, producer_epoch: int, commit: bool
    ) -> ProducerIdAndEpoch:
        """Raise `ReadOnlyError`."""
        raise self._refusal(f"transactional id {transactional_id!r}: end its transaction")

    def announce(
        self,
        transactional_id: str,
        producer_id: int,
        producer_epoch: int,
        partitions: Iterable[TopicPartition],
    ) -> None:
        """Raise `ReadOnlyError`."""
        raise self._refusal(f"transactional id {transactional_id!r}: begin a transaction")

    def add_partition(
        self, producer_id: int, producer_epoch: int, topic_partition: TopicPartition
    ) -> None:
        """Raise `ReadOnlyError`."""
        raise self._refusal(f"{topic_partition}: begin a transaction")

    def force_terminate(self, transactional_id: str) -> None:
        """Raise `ReadOnlyError`."""
        raise self._refusal(f"transactional id {transactional_id!r}: end its transaction")

    def abort_hanging(
        self, topic_partition: TopicPartition, producer_id: int, producer_epoch: int
    ) -> None:
        """Raise `ReadOnlyError`."""
        raise self._refusal(f"{topic_partition}: abort a transaction")

    def expire_ids(self) -> int:
        """Expire nothing: that is for the process that writes."""
        return 0

    def close(self) -> None:
        """Leave everything as it is."""
        self._watch.close()

    def _refusal(self, what: str) -> Exception:
        return refusal(what, str(self._broker.path))
