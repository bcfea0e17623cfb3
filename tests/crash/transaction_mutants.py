"""Broken transactions, by name: what a commit has to do, and in which order. Registered with the others in `process_mutants`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from streamlog.broker.group_store import GroupStore
from streamlog.broker.transactions.ending import TransactionEnding
from streamlog.broker.transactions.left_open import LeftOpen
from streamlog.broker.transactions.state import COMMITTED
from streamlog.broker.transactions.store import TransactionStore
from streamlog.broker.transactions.transaction import Transaction
from tests.crash.process_mutants import mutant
from tests.support.patching import patched

CRASHES = "-m pytest tests/integration/test_transaction_crashes.py"


@mutant("transaction decided before its data is safe", CRASHES)
def decided_before_data() -> Iterator[None]:
    """A decision that is found after a power failure could not be carried out: half of the records are gone."""
    commit = TransactionEnding.commit

    def early(self: TransactionEnding, transaction: Transaction) -> None:
        with patched(TransactionEnding, "_sync", lambda *_: None):
            commit(self, transaction)

    with patched(TransactionEnding, "commit", early):
        yield


@mutant("markers before the decision is safe", CRASHES)
def markers_before_decision() -> Iterator[None]:
    """One partition would keep its marker over a power failure, and the other would be aborted."""
    with patched(TransactionEnding, "sync_decision", lambda *_: None):
        yield


@mutant("decision replaced before its markers are safe", CRASHES)
def replaced_before_markers() -> Iterator[None]:
    """Nothing would say any more how a transaction ended whose markers a power failure took."""
    commit = TransactionEnding.commit

    def forgetful(self: TransactionEnding, transaction: Transaction) -> None:
        transaction.unsynced.clear()
        commit(self, transaction)

    with patched(TransactionEnding, "commit", forgetful):
        with patched(TransactionEnding, "_settle", lambda *_: None):
            yield


@mutant(
    "marker that a commit owes is forgotten",
    "-m pytest tests/unit/broker/transactions/test_shut_partitions.py",
)
def owed_forgotten() -> Iterator[None]:
    """The next record of the id says nothing of it: whoever opens the directory aborts what was committed."""
    record = Transaction.record

    def forgetful(self: Transaction, *what: Any) -> Any:
        return record(self, *what)._replace(owed=())

    with patched(Transaction, "record", forgetful):
        yield


@mutant("epochs used twice after a power failure", CRASHES)
def epochs_twice() -> Iterator[None]:
    """Records of aborted transactions are not synced: their epochs may be in the partitions alone."""
    load = TransactionStore.load

    def trusting(self: TransactionStore, home: Any) -> None:
        load(self, home)
        for transaction in self.transactions.values():
            transaction.epochs_may_be_lost = False

    with patched(TransactionStore, "load", trusting):
        yield


@mutant("whatever is left open is aborted", CRASHES)
def always_aborted() -> Iterator[None]:
    """A commit that returned may have markers in some of its partitions only."""
    end = LeftOpen._end

    def abort(self: LeftOpen, transaction: Any, *where: Any) -> bool:
        return end(self, None, *where)

    with patched(LeftOpen, "_end", abort):
        yield


@mutant("offsets of a transaction count at once", CRASHES)
def offsets_at_once() -> Iterator[None]:
    """A group that goes on behind records whose outcome was aborted loses them."""

    def plain(self: GroupStore, group: Any, producer: Any, records: Any) -> None:
        self.apply(group, records)

    with patched(GroupStore, "apply_pending", plain):
        yield


@mutant(
    "markers with the epoch of their transaction",
    "-m pytest tests/unit/broker/transactions/test_transaction_coordinator.py",
)
def same_marker_epoch() -> Iterator[None]:
    """A batch that comes late would begin another transaction (TXN-11)."""
    epoch = property(lambda self: (self.ended or self.producer).producer_epoch)
    with patched(Transaction, "marker_epoch", epoch):
        yield


@mutant("transaction taken for the one before it in its epoch", CRASHES)
def taken_for_the_last() -> Iterator[None]:
    """What a client had begun, and never asked to commit, would count because the last transaction was committed."""

    def committed(self: LeftOpen, transaction: Any, producer: Any, partition: Any, _: int) -> bool:
        is_named = partition.topic_partition in transaction.partitions
        return producer == transaction.ended and is_named and transaction.state in COMMITTED

    with patched(LeftOpen, "_is_committed", committed):
        yield


@mutant("beginning of a client's transaction is not noted", CRASHES)
def beginning_not_noted() -> Iterator[None]:
    """Who asks to commit what was aborted would be told of the commit before."""
    with patched(TransactionStore, "note_begun", lambda *_: None):
        yield
