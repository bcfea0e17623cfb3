"""What a transactional producer asks of the coordinators, again while they are busy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from streamlog.errors import (
    RetriableError,
    StreamlogTimeoutError,
    UnknownTopicOrPartitionError,
)
from streamlog.runtime import Signal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from streamlog.config import ProducerConfig
    from streamlog.runtime import Clock
    from streamlog.structs import (
        ConsumerGroupMetadata,
        OffsetAndMetadata,
        ProducerIdAndEpoch,
        TopicPartition,
    )

T = TypeVar("T")


class Coordinator(Protocol):
    """What a producer asks of the transaction coordinator."""

    def init_producer_id(
        self,
        transactional_id: str,
        transaction_timeout_ms: int,
        expected: ProducerIdAndEpoch | None = None,
    ) -> ProducerIdAndEpoch:
        """Return the identity to write with, older producers of the id fenced (TXN-3, TXN-4)."""

    def end_transaction(
        self, transactional_id: str, producer_id: int, producer_epoch: int, commit: bool
    ) -> ProducerIdAndEpoch:
        """Decide the transaction; return the identity of the next one (TXN-8, TXN-11)."""


class GroupOffsets(Protocol):
    """What a producer asks of the group coordinator."""

    def commit_transactional_offsets(
        self,
        group_id: str,
        member_id: str,
        member_epoch: int,
        instance_id: str | None,
        producer_id: int,
        producer_epoch: int,
        offsets: Mapping[TopicPartition, OffsetAndMetadata],
    ) -> None:
        """Commit *offsets* as part of the producer's transaction (TXN-7)."""


class TransactionRequests:
    """The requests of one transactional id: `init`, `end`, `commit_offsets`.

    Each is repeated while its error is temporary, with pauses from ``retry_backoff_ms`` up to
    ``retry_backoff_max_ms``, until *deadline_ms* on the monotonic clock; then it raises
    `StreamlogTimeoutError` with the last error as its cause, in the name of *call*. Other errors come out
    as they are. Threads: any. Source: Kafka ``TransactionManager.TxnRequestHandler``.
    """

    def __init__(
        self,
        transactional_id: str,
        transaction_timeout_ms: int,
        config: ProducerConfig,
        clock: Clock,
        coordinator: Callable[[], Coordinator],
        groups: Callable[[], GroupOffsets],
    ) -> None:
        """The coordinators are asked for when they are needed: a broker makes them at first use."""
        self.transactional_id = transactional_id
        self._timeout_ms = transaction_timeout_ms
        self._backoff_ms = config.retry_backoff_ms
        self._backoff_max_ms = config.retry_backoff_max_ms
        self._clock = clock
        self._coordinator = coordinator
        self._groups = groups

    def monotonic_ms(self) -> float:
        """Return the clock that deadlines are measured with."""
        return self._clock.monotonic_ms()

    def init(
        self, call: str, identity: ProducerIdAndEpoch | None, deadline_ms: float
    ) -> ProducerIdAndEpoch:
        """Return a new identity, in place of *identity* if the producer has one already (TXN-4)."""
        return self._retry(
            call,
            lambda: self._coordinator().init_producer_id(
                self.transactional_id, self._timeout_ms, identity
            ),
            deadline_ms,
        )

    def end(
        self, call: str, identity: ProducerIdAndEpoch, commit: bool, deadline_ms: float
    ) -> ProducerIdAndEpoch:
        """Decide the transaction of *identity*; return the next one's."""
        return self._retry(
            call,
            lambda: self._coordinator().end_transaction(self.transactional_id, *identity, commit),
            deadline_ms,
        )

    def commit_offsets(
        self,
        call: str,
        identity: ProducerIdAndEpoch,
        group: ConsumerGroupMetadata,
        offsets: Mapping[TopicPartition, OffsetAndMetadata],
        deadline_ms: float,
    ) -> None:
        """Make *offsets* part of the transaction of *identity*."""
        self._retry(
            call,
            lambda: self._groups().commit_transactional_offsets(
                group.group_id,
                group.member_id,
                group.generation_id,
                group.group_instance_id,
                *identity,
                offsets,
            ),
            deadline_ms,
        )

    def _retry(self, call: str, attempt: Callable[[], T], deadline_ms: float) -> T:
        """Return what *attempt* returns, repeated while its error is temporary and there is time."""
        pause_ms = self._backoff_ms
        while True:
            try:
                return attempt()
            except UnknownTopicOrPartitionError:
                raise  # a deleted topic does not come back by waiting
            except RetriableError as error:
                left_ms = deadline_ms - self._clock.monotonic_ms()
                if left_ms <= 0:
                    raise StreamlogTimeoutError(
                        f"{call} of {self.transactional_id!r}: not done in time: {error}"
                    ) from error
            # A signal of its own, which nobody sets: this is a pause, not a wait for something.
            self._clock.wait_until(_never, Signal(), min(pause_ms, self._backoff_max_ms, left_ms))
            pause_ms *= 2


def _never() -> bool:
    return False
