"""Broken builds of idempotence and transactions, caught by crash states as those of `mutants` are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from streamlog.broker.group_store import GroupStore
from streamlog.broker.transactions.ending import TransactionEnding
from streamlog.broker.transactions.left_open import LeftOpen
from streamlog.broker.transactions.state import TransactionEvent
from streamlog.client import fetcher
from streamlog.record import ControlType
from streamlog.storage.log_producers import ProducerLog
from streamlog.storage.producer_state import ProducerStates
from tests.crash.mutants import mutant
from tests.support.patching import patched


@mutant("producers forgotten with the process")
def producers_forgotten() -> Iterator[None]:
    """A batch that is sent again after a restart is stored a second time."""

    def find_producers(self: ProducerLog) -> ProducerStates:
        states = ProducerStates(self.topic_partition)
        states.on_aborted = self._note_aborted
        return states

    with patched(ProducerLog, "_find_producers", find_producers):
        yield


@mutant("only the last batch known after a restart")
def one_batch_known() -> Iterator[None]:
    """What a producer knows to have sent before that is out of order, and not a duplicate."""
    find_producers = ProducerLog._find_producers

    def forgetful(self: ProducerLog) -> ProducerStates:
        states = find_producers(self)
        for entry in states.entries.values():
            while len(entry.recent) > 1:
                entry.recent.popleft()
        return states

    with patched(ProducerLog, "_find_producers", forgetful):
        yield


@mutant("markers written before the decision")
def markers_first() -> Iterator[None]:
    """A crash between two markers leaves half a transaction."""

    def commit(self: TransactionEnding, transaction: Any) -> None:
        self._sync([*transaction.partitions, *transaction.unsynced])
        transaction.unsynced.clear()
        producer_id, epoch = transaction.producer
        for partition in transaction.partitions:
            self._markers.write(partition, ControlType.COMMIT, producer_id, epoch + 1, 0)
        self._prepare(transaction, TransactionEvent.COMMIT)
        self.sync_decision(transaction)

    with patched(TransactionEnding, "commit", commit):
        yield


@mutant("decision not synced")
def decision_not_synced() -> Iterator[None]:
    """A commit that returned is gone after a power cut."""
    with patched(TransactionEnding, "sync_decision", lambda self, transaction: None):
        yield


@mutant("partitions not synced before the decision")
def partitions_not_synced() -> Iterator[None]:
    """A power cut leaves the decision without all that it is about."""
    with patched(TransactionEnding, "_sync", lambda self, partitions: None):
        yield


@mutant("prepared commit not completed at reopen")
def prepared_forgotten() -> Iterator[None]:
    """What was decided is aborted where the marker was missing."""
    end = LeftOpen._end

    def abort(self: LeftOpen, transaction: Any, *where: Any) -> bool:
        return end(self, None, *where)

    with patched(LeftOpen, "_end", abort):
        yield


@mutant("offsets count before their marker")
def offsets_too_early() -> Iterator[None]:
    """The group has moved on, and what was made of what it read is aborted."""

    def apply_pending(self: GroupStore, group: Any, producer: Any, records: list[Any]) -> None:
        self.apply(group, records)

    with patched(GroupStore, "apply_pending", apply_pending):
        yield


@mutant("aborted records delivered")
def aborted_delivered() -> Iterator[None]:
    """Behind the last stable offset everything is taken for committed."""

    def keep_all(batches: Iterable[Any], aborted: Iterable[Any]) -> None:
        return

    with patched(fetcher, "empty_aborted", keep_all):
        yield


#: For each of them a program in which the explorer meets it soon.
CAUGHT_BY = {
    "producers forgotten with the process": "transactions/ack/kill",
    "only the last batch known after a restart": "transactions/asked/write,write,write,reopen,rewrite",
    "markers written before the decision": "transactions/asked/commit",
    "decision not synced": "transactions/asked/commit",
    "partitions not synced before the decision": "transactions/asked/commit",
    "prepared commit not completed at reopen": "transactions/asked/commit",
    "offsets count before their marker": "transactions/ack/kill",
    "aborted records delivered": "transactions/ack/abort",
}
