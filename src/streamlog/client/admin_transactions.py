"""The calls of the admin client about producers and their transactions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from streamlog.broker.transactions.state import TransactionState
from streamlog.client.admin_arguments import several
from streamlog.client.argument_checks import check_timeout
from streamlog.client.for_each import for_each
from streamlog.client.partition_arguments import to_partition, to_partitions
from streamlog.errors import (
    ConcurrentTransactionsError,
    InvalidConfigurationError,
    TransactionalIdNotFoundError,
)
from streamlog.runtime import Signal

if TYPE_CHECKING:
    from streamlog.broker.broker import Broker
    from streamlog.broker.transactions.description import (
        TransactionDescription,
        TransactionListing,
    )
    from streamlog.structs import ProducerIdAndEpoch, ProducerStateInfo, TopicPartition

T = TypeVar("T")

_TIMEOUT_MS = 60_000
"""So long a transaction that is being completed is waited for: Kafka's ``default.api.timeout.ms``."""
_BACKOFF_MS = 100


class TransactionAdministration:
    """Part of `Admin`, which supplies `_use`. Threads: any."""

    def list_transactions(
        self,
        *,
        states: Iterable[TransactionState | str] | None = None,
        producer_ids: Iterable[int] | None = None,
        longer_than_ms: float | None = None,
    ) -> list[TransactionListing]:
        """Return every transactional id, sorted; only those in one of *states*, which may be their values
        such as ``"ongoing"``, those with one of *producer_ids*, those with a transaction that has been open
        in this process for longer than *longer_than_ms*, when given. Reads all of ``__transaction_state`` at the first
        call. Raises ValueError for what is no state and a negative time, TypeError. Source: KIP-664.
        """
        broker = self._use()
        wanted = None if states is None else _states(states)
        numbers = None if producer_ids is None else _producer_ids(producer_ids)
        if longer_than_ms is not None:
            check_timeout("list_transactions", longer_than_ms, "longer_than_ms")
        now_ms = broker.runtime.clock.time_ms()

        def is_wanted(listed: TransactionListing) -> bool:
            if wanted is not None and listed.state not in wanted:
                return False
            if numbers is not None and listed.producer_id not in numbers:
                return False
            if longer_than_ms is None:
                return True
            try:
                start_ms = coordinator.describe(listed.transactional_id).transaction_start_time_ms
            except TransactionalIdNotFoundError:
                return False  # expired since
            return start_ms is not None and now_ms - start_ms > longer_than_ms

        coordinator = broker.transaction_coordinator
        return [listed for listed in coordinator.list_transactions() if is_wanted(listed)]

    def describe_transactions(
        self, transactional_ids: Iterable[str]
    ) -> dict[str, TransactionDescription]:
        """Return the transactional ids with their state, producer and partitions, by id.

        Raises `TransactionalIdNotFoundError` (KIP-664).
        """
        coordinator = self._use().transaction_coordinator
        return for_each({name: name for name in _ids(transactional_ids)}, coordinator.describe)

    def describe_producers(
        self, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, list[ProducerStateInfo]]:
        """Return what each partition knows of its idempotent producers, and which of their transactions are
        open there. Raises `UnknownTopicOrPartitionError` (KIP-664).
        """
        broker = self._use()
        return for_each(
            {partition: partition for partition in to_partitions(partitions)},
            lambda partition: broker.partition(*partition).describe_producers(),
        )

    def fence_producers(self, transactional_ids: Iterable[str]) -> dict[str, ProducerIdAndEpoch]:
        """Take the ids from whoever has them, as a new producer would, and return the epochs that are free
        from then on (TXN-16). Open transactions are aborted. An id that nobody had is made.

        Waits up to a minute for one that is being completed, then raises `ConcurrentTransactionsError`.
        Source: KIP-664.
        """
        broker = self._use()
        coordinator = broker.transaction_coordinator
        timeout_ms = min(_TIMEOUT_MS, broker.config.transaction_max_timeout_ms)
        return for_each(
            {name: name for name in _ids(transactional_ids)},
            lambda name: _patiently(broker, lambda: coordinator.init_producer_id(name, timeout_ms)),
        )

    def force_terminate_transaction(self, transactional_id: str) -> None:
        """Abort the open transaction of an id, whose producer is fenced; nothing happens without one.

        Raises `TransactionalIdNotFoundError`; waits and raises as `fence_producers` (KIP-939).
        """
        broker = self._use()
        (name,) = _ids([transactional_id])
        _patiently(broker, lambda: broker.transaction_coordinator.force_terminate(name))

    def abort_transaction(
        self, topic_partition: TopicPartition, producer_id: int, producer_epoch: int
    ) -> None:
        """Abort a transaction that hangs in one partition: open there, and unknown to the coordinator.

        It keeps readers with ``read_committed`` from all that came later (TXN-13); `describe_producers` names
        it. Raises `InvalidTxnStateError` when no such transaction is open there, or when the coordinator
        knows it, which can be ended by `force_terminate_transaction`; `UnknownTopicOrPartitionError`;
        TypeError (KIP-664).
        """
        broker = self._use()
        partition = to_partition(topic_partition)
        for name, number in ("producer_id", producer_id), ("producer_epoch", producer_epoch):
            if isinstance(number, bool) or not isinstance(number, int):
                raise TypeError(f"abort_transaction: {name}: expected an int, found {number!r:.80}")
        broker.transaction_coordinator.abort_hanging(partition, producer_id, producer_epoch)

    def _use(self) -> Broker:
        raise NotImplementedError


def _ids(transactional_ids: Iterable[str]) -> list[str]:
    """Return *transactional_ids* as a list; raise TypeError or `InvalidConfigurationError` for what is none."""
    names = list(several(transactional_ids))
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"expected a transactional id (a str), found {name!r:.80}")
        if not name:
            raise InvalidConfigurationError("expected a transactional id, found an empty one")
    return names


def _producer_ids(producer_ids: Any) -> set[int]:
    if not isinstance(producer_ids, Iterable) or isinstance(producer_ids, (str, bytes)):
        raise TypeError(f"producer_ids: expected a list of ints, found {producer_ids!r:.80}")
    wanted = set(producer_ids)
    for one in wanted:
        if isinstance(one, bool) or not isinstance(one, int):
            raise TypeError(f"producer_ids: expected ints, found {one!r:.80}")
    return wanted


def _states(states: Iterable[TransactionState | str]) -> set[TransactionState]:
    wanted = set()
    for state in several(states):
        if not isinstance(state, (TransactionState, str)):
            raise TypeError(
                f"states: expected a TransactionState or its value, found {state!r:.80}"
            )
        try:
            wanted.add(TransactionState(state))
        except ValueError:
            known = ", ".join(repr(one.value) for one in TransactionState)
            raise ValueError(f"states: expected some of {known}, found {state!r:.80}") from None
    return wanted


def _patiently(broker: Broker, call: Callable[[], T]) -> T:
    """Return what *call* returns once no transaction of the id is being completed."""
    clock = broker.runtime.clock
    deadline_ms = clock.monotonic_ms() + _TIMEOUT_MS
    while True:
        try:
            return call()
        except ConcurrentTransactionsError:
            if clock.monotonic_ms() >= deadline_ms:
                raise
        clock.wait_until(_never, Signal(), _BACKOFF_MS)


def _never() -> bool:
    return False
