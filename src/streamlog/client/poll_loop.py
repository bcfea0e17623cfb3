"""What happens inside `Consumer.poll`: membership, commits, positions, then records or waiting."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sized
from typing import TYPE_CHECKING, TypeVar

from streamlog.client.subscription import SubscriptionKind
from streamlog.errors import (
    ClosedError,
    IllegalStateError,
    StreamlogError,
    StreamlogTimeoutError,
    UnknownTopicOrPartitionError,
    UnstableOffsetCommitError,
)
from streamlog.runtime.threads import get_ident, is_alive
from streamlog.structs import OffsetAndMetadata

if TYPE_CHECKING:
    from streamlog.broker.broker import Broker
    from streamlog.client.assigned_partition import AssignedPartition
    from streamlog.client.commits import OffsetCommitter, Offsets
    from streamlog.client.fetcher import Fetcher, Group
    from streamlog.client.group_protocol import AnyMembership
    from streamlog.client.positions import PositionFinder
    from streamlog.client.subscription import SubscriptionState
    from streamlog.config import ConsumerConfig
    from streamlog.runtime import Signal

_log = logging.getLogger("streamlog")

_Found = TypeVar("_Found")

_NEVER = float("inf")
_RETRY_BACKOFF_MS = 100.0


class PollLoop:
    """The moving parts of one consumer, in the order in which a poll needs them.

    A poll with nothing to do but return records compares three numbers with the last ones it saw
    (news from the group, the epoch of the topics, the time of the next auto-commit) and goes to the
    fetcher. Threads: the consumer's, except `interrupt`. Source: Kafka ``AsyncKafkaConsumer.poll``.
    """

    def __init__(
        self,
        broker: Broker,
        config: ConsumerConfig,
        signal: Signal,
        subscription: SubscriptionState,
        fetcher: Fetcher,
        positions: PositionFinder,
        membership: AnyMembership | None,
        committer: OffsetCommitter | None,
    ) -> None:
        self._broker = broker
        self._clock = broker.runtime.clock
        self._monotonic_ms = self._clock.monotonic_ms
        self._signal = signal
        self._subscription = subscription
        self._fetcher = fetcher
        self._positions = positions
        self._membership = membership
        self._committer = committer
        self._completed: Sized = () if committer is None else committer.completed
        self._topics = broker.topic_registry
        self._auto_create = config.allow_auto_create_topics
        self._topic_epoch = -1
        self._is_changed = True
        # When to look again for offsets that are part of an open transaction.
        self._retry_ms = _NEVER
        self._interrupt: StreamlogError | None = None
        # The thread that was given records last.
        self._reader = 0
        self._auto_commit_ms = float(config.auto_commit_interval_ms)
        self._next_auto_commit_ms = _NEVER
        if membership is not None:
            membership.before_revocation = self.commit_before_revocation
        if config.enable_auto_commit and committer is not None:
            self._next_auto_commit_ms = self._monotonic_ms() + self._auto_commit_ms

    # ---- one poll

    def poll(self, timeout_ms: float | None, limit: int) -> list[Group]:
        """Return up to *limit* records, as soon as there are any; none when the time is up.

        None waits without a limit. The positions do not move: see `deliver`.
        """
        now_ms = self._monotonic_ms()
        self._maintain(now_ms)
        groups = self._fetcher.collect(limit, now_ms)
        if not groups and timeout_ms != 0:
            groups = self._wait(now_ms, timeout_ms, limit)
        if groups:
            self._reader = get_ident()
        return groups

    def _maintain(self, now_ms: float) -> None:
        """Do what is due, which is nothing most of the time."""
        if self._interrupt is not None:
            if isinstance(self._interrupt, ClosedError):
                # The broker closes. Whoever polls is done with what was returned before.
                self.commit_before_revocation()
            self._raise_interrupt()
        membership = self._membership
        if membership is not None:
            session = membership.session
            session.last_poll_ms = now_ms
            if self._completed and self._committer is not None:
                self._committer.run_callbacks()
            if session.news != membership.news_seen:
                self._is_changed = True
        if self._is_changed or self._topics.epoch != self._topic_epoch:
            self.refresh()
        if now_ms >= self._next_auto_commit_ms:
            is_done = self._auto_commit()
            pause_ms = self._auto_commit_ms if is_done else _RETRY_BACKOFF_MS
            self._next_auto_commit_ms = now_ms + pause_ms

    def _wait(self, now_ms: float, timeout_ms: float | None, limit: int) -> list[Group]:
        deadline_ms = _NEVER if timeout_ms is None else now_ms + timeout_ms
        membership = self._membership
        try:
            while True:
                if membership is not None:
                    # Waiting is not the silence that max_poll_interval_ms is about (CON-14).
                    membership.session.last_poll_ms = _NEVER
                pause_ms = self._pause_ms(now_ms, deadline_ms)
                self._clock.wait_until(self.has_work, self._signal, pause_ms)
                # The wait took the signal down, so the fetcher cannot tell by it.
                self._fetcher.look_again()
                now_ms = self._monotonic_ms()
                self._maintain(now_ms)
                groups = self._fetcher.collect(limit, now_ms)
                if groups or now_ms >= deadline_ms:
                    return groups
        finally:
            if membership is not None:
                membership.session.last_poll_ms = self._monotonic_ms()

    def _pause_ms(self, now_ms: float, deadline_ms: float) -> float | None:
        """Return how long there is nothing to do unless the signal says so; None for ever."""
        until_ms = min(deadline_ms, self._fetcher.due_ms, self._retry_ms)
        if self._next_auto_commit_ms < until_ms and self._uncommitted():
            until_ms = self._next_auto_commit_ms
        return None if until_ms == _NEVER else until_ms - now_ms

    def begin_wait(self, deadline_ms: float) -> float | None:
        """Return for how many ms to wait for the signal, None without a limit, 0 when there is work.

        For those who wait in their own way; `end_wait` and a `poll` follow.
        """
        if self._membership is not None:
            self._membership.session.last_poll_ms = _NEVER
        self._signal.clear()
        if self.has_work():
            return 0
        return self._pause_ms(self._monotonic_ms(), deadline_ms)

    def end_wait(self) -> None:
        """The wait is over, for whatever reason."""
        if self._membership is not None:
            self._membership.session.last_poll_ms = self._monotonic_ms()
        self._fetcher.look_again()

    def has_work(self) -> bool:
        """Return whether a poll would do something now. Changes nothing the user can see."""
        membership = self._membership
        return (
            self._interrupt is not None
            or self._topics.epoch != self._topic_epoch
            or (membership is not None and membership.session.news != membership.news_seen)
            or self._fetcher.has_work(self._monotonic_ms())
        )

    def interrupt(self, error: StreamlogError) -> None:
        """Let the present wait, or the next poll, raise *error*, once. Threads: any."""
        self._interrupt = error
        self._signal.set()

    def _raise_interrupt(self) -> None:
        error, self._interrupt = self._interrupt, None
        if error is not None:
            raise error

    # ---- membership and positions

    def changed(self) -> None:
        """The subscription changed, or a position has to be looked up: see to it at the next poll."""
        self._is_changed = True
        self._fetcher.look_again()

    def refresh(self) -> None:
        """Bring topics, membership and positions up to date.

        Raises `IllegalStateError` when nothing is subscribed or assigned (CON-3), `InvalidTopicError`
        for a name no topic can have, what `Membership.update` and `PositionFinder.find` raise.
        """
        subscription = self._subscription
        if subscription.kind is SubscriptionKind.NONE:
            raise IllegalStateError(
                "the consumer is not subscribed to any topic and has no partition assigned: call "
                "subscribe() or assign() before poll()"
            )
        membership = self._membership
        if membership is not None and membership.calls.is_running:
            raise IllegalStateError("poll() was called from within a rebalance listener")
        self._is_changed = True  # stays so when one of the steps raises
        if subscription.kind is SubscriptionKind.TOPICS:
            self._create_topics(subscription.request.topics)
        elif subscription.kind is SubscriptionKind.ASSIGNED:
            self._create_topics({topic for topic, _ in subscription.assigned})
        # Before the look, so that a change in the meantime is seen as one.
        self._topic_epoch = self._topics.epoch
        if membership is not None and subscription.is_by_group:
            self._attach_all()  # first: what was deleted is not to be committed when it is revoked
            membership.update()
        self._attach_all()
        self._fetcher.look_again()
        self._positions.find(subscription.assigned.values())
        self._is_changed = self._positions.is_waiting
        self._retry_ms = self._monotonic_ms() + _RETRY_BACKOFF_MS if self._is_changed else _NEVER

    def position(self, assigned: AssignedPartition, timeout_ms: float) -> int:
        """Return the position of *assigned*, looked up now if need be (CON-15).

        Waits for a partition that does not exist; raises `StreamlogTimeoutError` when nobody created
        it in time, and `WakeupError`.
        """
        if assigned.position is None or assigned.partition is None or not assigned.is_validated:
            self._create_topics({assigned.topic_partition.topic})
            self._attach(assigned)
            self._positions.find([assigned])
        deadline_ms = self._monotonic_ms() + timeout_ms
        while assigned.position is None:
            left_ms = deadline_ms - self._monotonic_ms()
            if assigned.partition is None:
                self._clock.wait_until(lambda: self._appears(assigned), self._signal, left_ms)
                self._end_pause()
            else:
                self._pause_before_retry(left_ms)
            self._attach(assigned)
            self._positions.find([assigned])
            if self._monotonic_ms() >= deadline_ms:
                break
        if assigned.position is None:
            raise StreamlogTimeoutError(
                f"{assigned.topic_partition} has no position after {timeout_ms:.0f} ms: "
                + (
                    "it does not exist"
                    if assigned.partition is None
                    else "a transaction that commits offsets for the group has not ended"
                )
            )
        return assigned.position

    def until_stable(self, look_up: Callable[[], _Found], timeout_ms: float) -> _Found:
        """Return what *look_up* returns once it no longer raises `UnstableOffsetCommitError` (TXN-7).

        Raises `StreamlogTimeoutError` when that takes longer, and `WakeupError`.
        """
        deadline_ms = self._monotonic_ms() + timeout_ms
        while True:
            try:
                return look_up()
            except UnstableOffsetCommitError as error:
                left_ms = deadline_ms - self._monotonic_ms()
                if left_ms <= 0:
                    raise StreamlogTimeoutError(
                        f"no stable offsets after {timeout_ms:.0f} ms: {error}"
                    ) from error
            self._pause_before_retry(left_ms)

    def _pause_before_retry(self, left_ms: float) -> None:
        pause_ms = min(left_ms, _RETRY_BACKOFF_MS)
        self._clock.wait_until(lambda: self._interrupt is not None, self._signal, pause_ms)
        self._end_pause()

    def _end_pause(self) -> None:
        # The wait took the signal down, so the fetcher cannot tell by it.
        self._fetcher.look_again()
        if self._interrupt is not None:
            self._raise_interrupt()

    def _appears(self, assigned: AssignedPartition) -> bool:
        self._attach(assigned)
        return assigned.partition is not None or self._interrupt is not None

    def notice_topics(self) -> None:
        """Find out which of the assigned partitions were deleted, or replaced by others of their name."""
        if self._topics.epoch != self._topic_epoch:
            self._attach_all()

    def _attach_all(self) -> None:
        for one in self._subscription.assigned.values():
            self._attach(one)

    def _attach(self, assigned: AssignedPartition) -> None:
        """Find the partition of that name, which may have come, gone or been replaced."""
        try:
            partition = self._broker.partition(*assigned.topic_partition)
        except UnknownTopicOrPartitionError:
            self._fetcher.detach(assigned)
            return
        if partition is not assigned.partition:
            if assigned.was_found:
                assigned.move_to(None)  # a new topic under an old name
            assigned.was_found = True
            self._fetcher.attach(assigned, partition)

    def _create_topics(self, names: frozenset[str] | set[str]) -> None:
        for name in sorted(names):
            try:
                self._broker.topic_or_create(name, self._auto_create)
            except UnknownTopicOrPartitionError:
                if self._topic_epoch < 0:
                    _log.warning("topic %r does not exist (yet)", name)

    # ---- auto-commit

    def _auto_commit(self, timeout_ms: float = 0) -> bool:
        """Commit the positions that moved since they were last committed; False when that failed."""
        committer, offsets = self._committer, self._uncommitted()
        if committer is None or not offsets:
            return True
        if not committer.commit_quietly(offsets, timeout_ms):
            return False
        self.mark_committed(offsets)
        return True

    def commit_before_revocation(self, timeout_ms: float = 0) -> bool:
        """Auto-commit, if enabled, before partitions are given up (CON-8). A failure is logged; return
        whether there was none.
        """
        return self._next_auto_commit_ms == _NEVER or self._auto_commit(timeout_ms)

    def leave_last_records_to_their_reader(self) -> None:
        """Auto-commit nothing more if another thread may still be at work on what it polled last.

        For a close that comes from outside: what is committed there and not processed would be skipped.
        """
        if self._reader not in (0, get_ident()) and is_alive(self._reader):
            self._next_auto_commit_ms = _NEVER

    def mark_committed(self, offsets: Offsets) -> None:
        """Remember what was committed, so that auto-commit does not repeat it."""
        for topic_partition, committed in offsets.items():
            assigned = self._subscription.assigned.get(topic_partition)
            if assigned is not None:
                assigned.committed_position = committed.offset

    def consumed(self) -> Offsets:
        """Return the positions of all assigned partitions that have one: what `commit` commits."""
        self.notice_topics()  # nobody can commit for a topic that was deleted
        return {
            topic_partition: OffsetAndMetadata(one.position, leader_epoch=one.leader_epoch)
            for topic_partition, one in self._subscription.assigned.items()
            if one.position is not None and one.partition is not None
        }

    def _uncommitted(self) -> Offsets:
        assigned = self._subscription.assigned
        return {
            topic_partition: position
            for topic_partition, position in self.consumed().items()
            if position.offset != assigned[topic_partition].committed_position
        }
