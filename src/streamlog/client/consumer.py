"""The consumer: reads partitions in order, by itself or as a member of a group."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, overload

from streamlog.broker.member_session import MemberSession
from streamlog.client.commits import CommitCallback, OffsetCommitter, require_group, to_offsets
from streamlog.client.consumer_interceptors import ConsumerInterceptors
from streamlog.client.consumer_positions import PositionCalls
from streamlog.client.consumer_records import EMPTY, ConsumerRecords
from streamlog.client.fetcher import Fetcher
from streamlog.client.membership import Membership
from streamlog.client.offset_reset import OffsetReset
from streamlog.client.partition_arguments import from_arguments, to_partitions
from streamlog.client.poll_loop import PollLoop
from streamlog.client.positions import PositionFinder
from streamlog.client.rebalance_listener import as_listener
from streamlog.client.record_iteration import RecordIteration
from streamlog.client.subscription import SubscriptionState, subscription_request
from streamlog.client.thread_guard import ThreadGuard
from streamlog.config import ConsumerConfig
from streamlog.errors import ClosedError, ForkedError, IllegalStateError, WakeupError
from streamlog.runtime import Signal, on_fork_in_child
from streamlog.structs import (
    ConsumerGroupMetadata,
    ConsumerRecord,
    OffsetAndMetadata,
    TopicPartition,
)

if TYPE_CHECKING:
    from streamlog.broker.broker import Broker

CLOSE_TIMEOUT_MS = 30_000
_BROKER_PATIENCE_S = 5.0


class Consumer(PositionCalls):
    """Reads records from a broker in this process.

    >>> from streamlog import Broker, Consumer, Producer
    >>> with Broker() as broker, Producer(broker) as producer:
    ...     _ = producer.send("orders", b"one")
    ...     with Consumer(broker, "orders", group_id="g", auto_offset_reset="earliest") as consumer:
    ...         [record.value for record in consumer.poll(timeout_ms=1000)]
    [b'one']

    * what to read: topics given here or to `subscribe` (shared with the other members of
      ``group_id``), or partitions given to `assign`; `unsubscribe`, `assignment`, `subscription`
    * reading: `poll`, or iteration, which never ends; `pause`, `resume`, `paused`; `wakeup`
    * where: `position`, `seek`, `seek_to_beginning`, `seek_to_end`, `current_lag`,
      `beginning_offsets`, `end_offsets`, `offsets_for_times`
    * what was read: `commit`, `commit_async`, `committed`; by itself with ``enable_auto_commit``
    * the group: `group_metadata`, `enforce_rebalance`; `close` leaves it

    Configuration keys are `ConsumerConfig`'s, as keyword arguments or in the mapping *config*
    (``{"group.id": ...}``). Raises `InvalidConfigurationError`, and `InvalidGroupIdError` for topics
    without a ``group_id`` (CON-3).

    Threads: one at a time; a second one gets `ConcurrentModificationError` (CON-2). Only `wakeup`
    may be called by any. After `close`, or that of the broker, every call raises `ClosedError`; in
    the child of a fork `ForkedError`. No thread runs behind the scenes: membership, auto-commit and
    callbacks all happen inside `poll`. Source: Kafka ``KafkaConsumer``.
    """

    def __init__(
        self,
        broker: Broker,
        *topics: str,
        config: Mapping[str, object] | None = None,
        **consumer_config: object,
    ) -> None:
        settings = ConsumerConfig.from_options(config, **consumer_config)
        self.config: ConsumerConfig = settings
        """The configuration in force."""
        self._broker = broker
        self._guard = ThreadGuard()
        self._limit = settings.max_poll_records
        self._group_id = settings.group_id
        self._isolation = settings.isolation_level
        self._interceptors = ConsumerInterceptors(settings.interceptors)
        self._iteration: RecordIteration | None = None
        self._is_closing = False
        clock = broker.runtime.clock
        self._signal = Signal()
        reset = OffsetReset(settings, clock)
        self._fetcher = Fetcher(settings, self._signal, reset.recover)
        self._subscription = SubscriptionState(self._fetcher.assign)
        self._positions = PositionFinder(reset, self._committed_offsets)
        self._membership: Membership | None = None
        self._committer: OffsetCommitter | None = None
        if settings.group_id is not None:
            session = MemberSession(
                self._signal, settings.max_poll_interval_ms, clock.monotonic_ms()
            )
            self._membership = Membership(
                broker.group_coordinator,
                settings.group_id,
                settings,
                self._subscription,
                session,
            )
            self._committer = OffsetCommitter(
                broker.group_coordinator,
                settings.group_id,
                self._membership,
                self._interceptors,
                clock,
            )
        self._loop = PollLoop(
            broker,
            settings,
            self._signal,
            self._subscription,
            self._fetcher,
            self._positions,
            self._membership,
            self._committer,
        )
        if topics:
            self.subscribe(topics)
        broker.add_topic_listener(self._signal)
        self._client = _BrokerClient(self)
        broker.register_client(self._client)
        on_fork_in_child(self)

    def __repr__(self) -> str:
        group = f"group {self._group_id!r}" if self._group_id is not None else "no group"
        return f"<Consumer of {group}, {len(self._subscription.assigned)} partition(s)>"

    # ---- what to read

    def subscribe(
        self,
        topics: str | Iterable[str] | None = None,
        *,
        pattern: str | re.Pattern[str] | None = None,
        listener: object | None = None,
    ) -> None:
        """Read *topics*, or every topic whose whole name matches *pattern*, with the group's others.

        Replaces the subscription there was; no topics mean `unsubscribe`. The group shares the
        partitions out at the next `poll`; topics that come to match later are picked up by
        themselves. *listener* is a `RebalanceListener` or an object with some of its methods.

        Raises `InvalidGroupIdError` without a ``group_id``; `IllegalStateError` after `assign`, for
        both or neither of the two, and to change from topics to a pattern or back (CON-3).
        """
        with self._guard:
            self._refuse_in_callback("subscribe")
            require_group(self._group_id, "subscribe")
            told = as_listener(listener)
            request = subscription_request(
                topics, pattern, exclude_internal_topics=self.config.exclude_internal_topics
            )
            if pattern is None and not request.topics:
                self._unsubscribe()
                return
            self._subscription.subscribe(request, told)
            self._loop.changed()

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        """Read exactly *partitions*, in no group's name; none means `unsubscribe`.

        Those assigned before go on where they are. Offsets may be committed if there is a
        ``group_id`` of which nobody is a member (CON-12). Raises `IllegalStateError` while subscribed.
        """
        with self._guard:
            self._refuse_in_callback("assign")
            chosen = to_partitions(partitions)
            if not chosen:
                self._unsubscribe()
                return
            self._subscription.require_assignable()
            self._loop.commit_before_revocation()
            self._subscription.assign_from_user(chosen)
            self._loop.changed()

    def unsubscribe(self) -> None:
        """Read nothing and leave the group, after an auto-commit if enabled."""
        with self._guard:
            self._refuse_in_callback("unsubscribe")
            self._unsubscribe()

    def _unsubscribe(self) -> None:
        self._loop.changed()
        try:
            self._leave()
        finally:
            self._subscription.unsubscribe()

    def assignment(self) -> set[TopicPartition]:
        """Return the partitions assigned now; a group assigns inside `poll`."""
        with self._guard:
            return set(self._subscription.assigned)

    def subscription(self) -> set[str]:
        """Return the topics subscribed to by name, or those the pattern brought so far."""
        with self._guard:
            request = self._subscription.request
            if request.pattern is None:
                return set(request.topics)
            return {topic for topic, _ in self._subscription.assigned}

    # ---- reading

    def poll(self, timeout_ms: float = 0, max_records: int | None = None) -> ConsumerRecords:
        """Return records as soon as there are any, none once *timeout_ms* have passed.

        At most *max_records* (None: ``max_poll_records``); the rest stays buffered. The position of
        each partition moves past what is returned (CON-4). Before that, in this order: callbacks of
        `commit_async`, the group's changes with their listener, auto-commit of what earlier polls
        returned (CON-8).

        Raises `IllegalStateError` before `subscribe` or `assign`; `WakeupError`;
        `NoOffsetForPartitionError` and `OffsetOutOfRangeError` under ``auto_offset_reset="none"``
        (CON-5); `RecordDecodeError` and `CorruptLogError` when the next record of a partition cannot
        be read: seek past it, or go on polling for the others; StreamlogError with the exception of
        a rebalance listener as its cause. Source: Kafka ``KafkaConsumer.poll``.
        """
        guard = self._guard
        if guard.refusal is not None:
            guard.refuse()
        if not guard.try_acquire(False):
            guard.refuse_thread()
        try:
            limit = self._limit
            if max_records is not None:
                limit = _positive(max_records)
            if timeout_ms < 0:
                raise ValueError(f"poll: expected a timeout of 0 ms or more, found {timeout_ms}")
            self._iteration = None
            groups = self._loop.poll(timeout_ms, limit)
            if not groups:
                return EMPTY
            records = ConsumerRecords(groups)
            self._fetcher.deliver()
            if self._interceptors.is_consuming:
                return self._interceptors.on_consume(records)
            return records
        finally:
            guard.release()

    def __iter__(self) -> Consumer:
        return self

    def __next__(self) -> ConsumerRecord:
        """Return the next record, waiting for it as long as it takes; `wakeup` ends the wait.

        The position moves record by record: `commit` inside the loop commits what the loop has seen.
        """
        with self._guard:
            while True:
                iteration = self._iteration
                record = None if iteration is None else iteration.next()
                if record is not None:
                    return record
                groups = self._loop.poll(None, self._limit)
                records = self._interceptors.on_consume(ConsumerRecords(groups))
                self._iteration = RecordIteration(records, self._fetcher.taken_from)

    def pause(self, *partitions: TopicPartition | Iterable[TopicPartition]) -> None:
        """Return nothing from *partitions* until `resume`; they stay assigned (CON-7).

        Forgotten when the group takes a partition away. Raises `IllegalStateError` for one that is
        not assigned.
        """
        with self._guard:
            for assigned in [self._subscription.require(one) for one in from_arguments(partitions)]:
                assigned.paused = True
                assigned.rewind()

    def resume(self, *partitions: TopicPartition | Iterable[TopicPartition]) -> None:
        """Undo `pause`. Raises `IllegalStateError` for a partition that is not assigned."""
        with self._guard:
            for assigned in [self._subscription.require(one) for one in from_arguments(partitions)]:
                assigned.paused = False
            self._fetcher.look_again()

    def paused(self) -> set[TopicPartition]:
        """Return the partitions that are paused."""
        with self._guard:
            return {name for name, one in self._subscription.assigned.items() if one.paused}

    def wakeup(self) -> None:
        """Let the present or the next waiting call raise `WakeupError`, once. Threads: any (CON-2).

        The waiting calls are `poll`, iteration, and `position` of a partition that does not exist.
        """
        self._loop.interrupt(WakeupError("consumer.wakeup() was called"))

    # ---- what was read

    def commit(
        self,
        offsets: Mapping[TopicPartition, OffsetAndMetadata | int] | None = None,
        *,
        timeout_ms: float | None = None,
    ) -> None:
        """Commit *offsets*, or the positions of all assigned partitions, for the group.

        An offset is the *next* one to read (CON-9). It survives the end of the process once this
        returns. Callbacks of earlier `commit_async` run first. A temporary failure, such as a full
        disk, is tried again for *timeout_ms* (None: ``default_api_timeout_ms``) (CON-10).

        Raises `InvalidGroupIdError` without a ``group_id``; `CommitFailedError` when the group
        evicted this consumer, or someone outside commits while it has members (CON-11, CON-12);
        `OffsetMetadataTooLargeError`, `UnknownTopicOrPartitionError`, `StreamlogTimeoutError`.
        """
        with self._guard:
            committer = self._require_committer("commit")
            chosen = self._loop.consumed() if offsets is None else to_offsets(offsets)
            committer.commit(chosen, self._timeout(timeout_ms))
            self._loop.mark_committed(chosen)

    def commit_async(
        self,
        offsets: Mapping[TopicPartition, OffsetAndMetadata | int] | None = None,
        callback: CommitCallback | None = None,
    ) -> None:
        """Commit as `commit` does, without trying again, and without raising what went wrong.

        *callback* gets the offsets and the exception or None, from a later `poll`, `commit` or
        `close`, in the order of the calls; a temporary failure as `RetriableCommitFailedError`.
        """
        with self._guard:
            committer = self._require_committer("commit_async")
            chosen = self._loop.consumed() if offsets is None else to_offsets(offsets)
            if committer.commit_async(chosen, callback):
                self._loop.mark_committed(chosen)

    @overload
    def committed(self, partitions: TopicPartition) -> OffsetAndMetadata | None: ...

    @overload
    def committed(
        self, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata | None]: ...

    def committed(self, partitions: Any) -> Any:
        """Return what the group committed last for a partition, None for nothing.

        Several partitions give a dict with all of them (CON-15). Whoever committed it, assigned or
        not. Raises `InvalidGroupIdError` without a ``group_id``.
        """
        with self._guard:
            require_group(self._group_id, "committed")
            found = self._committed_offsets(to_partitions(partitions))
            return found[partitions] if isinstance(partitions, TopicPartition) else found

    def _committed_offsets(
        self, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata | None]:
        if self._group_id is None:
            return {}
        return self._broker.group_coordinator.fetch_offsets(self._group_id, partitions)

    @property
    def clamped_offsets(self) -> dict[TopicPartition, int]:
        """Committed offsets that were above the log end when reading began, because the log was cut.

        Reading went on at the log end, with a warning in the log. Empty in the normal course.
        """
        return dict(self._positions.clamped)

    # ---- the group

    def group_metadata(self) -> ConsumerGroupMetadata:
        """Return this consumer's identity in its group; generation -1 while it is no member."""
        with self._guard:
            group_id = require_group(self._group_id, "group_metadata")
            membership = self._membership
            if membership is None:
                return ConsumerGroupMetadata(group_id)
            return ConsumerGroupMetadata(group_id, membership.epoch, membership.member_id)

    def enforce_rebalance(self, reason: str | None = None) -> None:
        """Refused with `IllegalStateError`: under ``group_protocol="consumer"`` the coordinator alone
        decides when to assign anew (NGP-5).
        """
        with self._guard:
            raise IllegalStateError(
                "enforce_rebalance is not available with group_protocol='consumer': the coordinator "
                f"reassigns whenever members, subscriptions or topics change; reason given: {reason}"
            )

    def close(self, timeout_ms: float = CLOSE_TIMEOUT_MS) -> None:
        """Auto-commit if enabled, give up the partitions, leave the group, run pending callbacks.

        *timeout_ms* bounds how long a commit is tried again. Closing again changes nothing. Raises
        the first error on the way; the consumer is closed and out of the group all the same.
        """
        guard = self._guard
        if guard.refusal is not None:
            return
        # The broker may be at it from another thread, and then this one has nothing to add.
        patience_s = _BROKER_PATIENCE_S if self._is_closing else 0
        if not (guard.try_acquire(True, patience_s) if patience_s else guard.try_acquire(False)):
            guard.refuse_thread()
        try:
            if guard.refusal is None:
                self._refuse_in_callback("close")
                self._close(timeout_ms)
        finally:
            guard.release()

    def _close(self, timeout_ms: float) -> None:
        self._loop.changed()  # so that a listener that polls is told not to
        try:
            try:
                self._leave(timeout_ms)
            finally:
                if self._committer is not None:
                    self._committer.run_callbacks()
        finally:
            self._guard.refusal = ClosedError(f"{self!r} is closed")
            self._subscription.unsubscribe()
            self._iteration = None
            self._broker.remove_topic_listener(self._signal)
            self._broker.unregister_client(self._client)

    def __enter__(self) -> Consumer:
        with self._guard:
            return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # ---- how it is done

    def _leave(self, timeout_ms: float | None = None) -> None:
        self._loop.commit_before_revocation(self._timeout(timeout_ms))
        if self._membership is not None and self._subscription.is_by_group:
            self._membership.leave()

    def _require_committer(self, call: str) -> OffsetCommitter:
        require_group(self._group_id, call)
        assert self._committer is not None
        return self._committer

    def _timeout(self, timeout_ms: float | None) -> float:
        return self.config.default_api_timeout_ms if timeout_ms is None else timeout_ms

    def _refuse_in_callback(self, call: str) -> None:
        if self._membership is not None and self._membership.is_in_callback:
            raise IllegalStateError(f"{call}() was called from within a rebalance listener")

    def _close_for_broker(self) -> None:
        """Close because the broker closes. A thread that is polling is sent away first."""
        self._is_closing = True
        self._guard.closing = ClosedError(f"the broker is closing, and {self!r} with it")
        self._loop.interrupt(self._guard.closing)
        if not self._guard.try_acquire(True, _BROKER_PATIENCE_S):
            raise IllegalStateError(f"{self!r} is still in use by another thread")
        try:
            self._loop.leave_last_records_to_their_reader()
            self.close()
        finally:
            self._guard.release()

    def _forked(self) -> None:
        self._guard.forked(
            ForkedError(
                f"{self!r} was made before a fork and belongs to the parent process: make one in the "
                "process that uses it"
            )
        )


class _BrokerClient:
    """The consumer as the broker sees it: it may close it from any thread, which others may not."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer

    def __repr__(self) -> str:
        return repr(self._consumer)

    def close(self) -> None:
        self._consumer._close_for_broker()


def _positive(max_records: int) -> int:
    if max_records < 1:
        raise ValueError(f"poll: expected max_records of 1 or more, found {max_records}")
    return max_records
