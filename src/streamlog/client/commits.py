"""Commits: now, later, or by themselves; and what is told to whom afterwards."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from streamlog.client.partition_arguments import to_partition
from streamlog.errors import (
    CommitFailedError,
    IllegalGenerationError,
    InvalidGroupIdError,
    RetriableCommitFailedError,
    RetriableError,
    StaleMemberEpochError,
    StreamlogError,
    StreamlogTimeoutError,
    UnknownMemberIdError,
    UnknownTopicOrPartitionError,
)
from streamlog.runtime import Signal
from streamlog.structs import OffsetAndMetadata, TopicPartition

if TYPE_CHECKING:
    from streamlog.broker.group_coordinator import GroupCoordinator
    from streamlog.client.consumer_interceptors import ConsumerInterceptors
    from streamlog.client.group_protocol import AnyMembership
    from streamlog.client.subscription import SubscriptionState
    from streamlog.runtime import Clock

Offsets = dict[TopicPartition, OffsetAndMetadata]
CommitCallback = Callable[[Offsets, "Exception | None"], object]

_log = logging.getLogger("streamlog")

RETRY_BACKOFF_MS = 100


class OffsetCommitter:
    """Commits the offsets of one consumer. Threads: the consumer's.

    A commit is an append in this process: `commit` and `commit_async` do the same at the same
    moment, and differ in who is told and how (CON-10). Source: Kafka ``ConsumerCoordinator``.
    """

    def __init__(
        self,
        coordinator: GroupCoordinator,
        group_id: str,
        membership: AnyMembership,
        subscription: SubscriptionState,
        interceptors: ConsumerInterceptors,
        clock: Clock,
    ) -> None:
        self._coordinator = coordinator
        self._group_id = group_id
        self._membership = membership
        self._subscription = subscription
        self._interceptors = interceptors
        self._clock = clock
        self.completed: deque[tuple[CommitCallback | None, Offsets, Exception | None]] = deque()
        """Asynchronous commits whose callbacks are still to be run, oldest first."""
        self.commit_count = 0
        """Commits that were stored."""

    def commit(self, offsets: Offsets, timeout_ms: float) -> None:
        """Commit *offsets*, repeating a temporary failure until *timeout_ms* have passed.

        Callbacks of earlier asynchronous commits run first. Raises `CommitFailedError` when this
        consumer is no member any more (CON-11), `StreamlogTimeoutError` with the last temporary
        failure as its cause, and whatever else is wrong with the request.
        """
        self.run_callbacks()
        self._store_in_time(offsets, timeout_ms)
        self._interceptors.on_commit(offsets)

    def commit_async(self, offsets: Offsets, callback: CommitCallback | None) -> bool:
        """Commit *offsets* once; the outcome goes to *callback* from a later poll or commit, and is
        also returned: True for success.
        """
        failure: Exception | None = None
        try:
            self._store(offsets)
        except RetriableError as error:
            failure = RetriableCommitFailedError(
                f"group {self._group_id!r}: could not commit {_names(offsets)}: {error}"
            )
            failure.__cause__ = error
        except StreamlogError as error:
            failure = error
        self.completed.append((callback, offsets, failure))
        return failure is None

    def commit_quietly(self, offsets: Offsets, timeout_ms: float = 0) -> bool:
        """Commit *offsets* as auto-commit does: a failure is logged; return whether it succeeded."""
        try:
            self._store_in_time(offsets, timeout_ms)
        except StreamlogError as error:
            _log.warning(
                "group %r: auto-commit of %s failed: %s", self._group_id, _names(offsets), error
            )
            return False
        self._interceptors.on_commit(offsets)
        return True

    def run_callbacks(self) -> None:
        """Run the callbacks of finished asynchronous commits, oldest first. What one raises comes out
        here; the others run next time.
        """
        while self.completed:
            callback, offsets, error = self.completed.popleft()
            if error is None:
                self._interceptors.on_commit(offsets)
            if callback is not None:
                callback(offsets, error)
            elif error is not None:
                _log.warning("group %r: commit_async: %s", self._group_id, error)

    def _store_in_time(self, offsets: Offsets, timeout_ms: float) -> None:
        deadline_ms: float | None = None
        while True:
            try:
                self._store(offsets)
                return
            except UnknownTopicOrPartitionError:
                raise  # a deleted topic does not come back by waiting
            except RetriableError as error:
                now_ms = self._clock.monotonic_ms()
                if deadline_ms is None:  # asked for only here: most commits succeed at once
                    deadline_ms = now_ms + timeout_ms
                left_ms = deadline_ms - now_ms
                if left_ms <= 0:
                    raise StreamlogTimeoutError(
                        f"group {self._group_id!r}: could not commit {_names(offsets)} in "
                        f"{timeout_ms:.0f} ms: {error}"
                    ) from error
            # A signal of its own, which nobody sets: this is a pause, not a wait for something.
            self._clock.wait_until(_never, Signal(), min(RETRY_BACKOFF_MS, left_ms))

    def _store(self, offsets: Offsets) -> None:
        if not offsets:
            return
        membership = self._membership
        try:
            self._coordinator.commit_offsets(
                self._group_id,
                membership.member_id,
                membership.epoch,
                offsets,
                membership.instance_id,
            )
            self.commit_count += 1
        except (UnknownMemberIdError, StaleMemberEpochError, IllegalGenerationError) as error:
            if self._subscription.is_by_group:
                advice = (
                    "the partitions may belong to another consumer by now: poll to join again, and "
                    "make more frequent polls or a larger max_poll_interval_ms if that was the reason"
                )
            else:
                advice = (
                    "this consumer did not subscribe and is no member: give it another group_id, or "
                    "subscribe instead of assigning partitions"
                )
            raise CommitFailedError(
                f"cannot commit {_names(offsets)}: {error}; {advice}"
            ) from error


def to_offsets(offsets: Mapping[TopicPartition, Any]) -> Offsets:
    """Return *offsets* with plain numbers made into `OffsetAndMetadata`.

    Raises ValueError for a negative one, TypeError for keys and values of other types.
    """
    if not isinstance(offsets, Mapping):
        raise TypeError(
            "offsets: expected a mapping from TopicPartition to OffsetAndMetadata or int, found"
            f" {type(offsets).__name__}"
        )
    converted: Offsets = {}
    for name, position in offsets.items():
        topic_partition = to_partition(name)
        if isinstance(position, int) and not isinstance(position, bool):
            position = OffsetAndMetadata(position)
        elif not isinstance(position, OffsetAndMetadata):
            raise TypeError(
                f"offsets of {topic_partition}: expected OffsetAndMetadata or int, "
                f"found {type(position).__name__}"
            )
        converted[topic_partition] = position
    return converted


def require_group(group_id: str | None, call: str) -> str:
    """Return *group_id*; raise `InvalidGroupIdError` when there is none (CON-3)."""
    if group_id is None:
        raise InvalidGroupIdError(
            f"{call} needs a group_id, and this consumer was made without one"
        )
    return group_id


def _names(offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> str:
    shown = [
        f"{topic_partition}@{position.offset}" for topic_partition, position in offsets.items()
    ]
    return ", ".join(shown[:10]) + (", ..." if len(shown) > 10 else "")


def _never() -> bool:
    return False
