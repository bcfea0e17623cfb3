"""Calling the rebalance listener: in the middle of a step that has to be finished all the same."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from streamlog.errors import StreamlogError, WakeupError
from streamlog.structs import TopicPartition

if TYPE_CHECKING:
    from streamlog.client.subscription import SubscriptionState


class ListenerCalls:
    """Runs the listener of a subscription, and keeps what it raises for the end of the rebalance.

    A half-finished step would leave two members with one partition, or none. Threads: the consumer's.
    Source: Kafka ``ConsumerRebalanceListenerInvoker``; CON-13.
    """

    def __init__(self, group_id: str, subscription: SubscriptionState) -> None:
        self._group_id = group_id
        self._subscription = subscription
        self.is_running = False
        """Whether the listener is being called."""
        self._error: Exception | None = None

    def assigned(self, partitions: Collection[TopicPartition]) -> None:
        """Tell of partitions that came, perhaps none."""
        self._call("on_partitions_assigned", partitions)

    def revoked(self, partitions: Collection[TopicPartition]) -> None:
        """Tell of partitions that are about to be given up; they may still be committed."""
        self._call("on_partitions_revoked", partitions)

    def lost(self, partitions: Collection[TopicPartition]) -> None:
        """Tell of partitions that belong to somebody else by now."""
        self._call("on_partitions_lost", partitions)

    def raise_error(self) -> None:
        """Raise StreamlogError from the first exception since the last call, WakeupError as it is."""
        error, self._error = self._error, None
        if isinstance(error, WakeupError):
            raise error
        if error is not None:
            raise StreamlogError(
                f"group {self._group_id!r}: the rebalance listener failed: {error!r}"
            ) from error

    def _check(self) -> None:
        """Assert what holds while no call is under way. For tests."""
        assert not self.is_running
        assert self._error is None

    def _call(self, method: str, partitions: Collection[TopicPartition]) -> None:
        listener = self._subscription.listener
        if listener is None:
            return
        self.is_running = True
        try:
            getattr(listener, method)(sorted(partitions))
        except Exception as error:  # noqa: BLE001 - the caller's code may raise anything
            if self._error is None:
                self._error = error
        finally:
            self.is_running = False
