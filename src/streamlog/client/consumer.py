"""The consumer: reads partitions in order, by itself or as a member of a group."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar

from streamlog.broker.member_session import MemberSession
from streamlog.client.argument_checks import check_broker, check_may_commit, check_timeout
from streamlog.client.classic_membership import ClassicMembership
from streamlog.client.commits import OffsetCommitter, require_group
from streamlog.client.consumer_commits import CommitCalls
from streamlog.client.consumer_inspection import InspectionCalls
from streamlog.client.consumer_interceptors import ConsumerInterceptors
from streamlog.client.consumer_positions import PositionCalls
from streamlog.client.consumer_records import EMPTY, ConsumerRecords
from streamlog.client.fetcher import Fetcher
from streamlog.client.group_protocol import AnyMembership, make_membership
from streamlog.client.offset_reset import OffsetReset
from streamlog.client.partition_arguments import some_from_arguments, to_partitions
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
    TopicPartition,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from streamlog.broker.broker import Broker
    from streamlog.config.options import ConsumerOptions

CLOSE_TIMEOUT_MS = 30_000
_BROKER_PATIENCE_S = 5.0

_logger = logging.getLogger("streamlog")


class Consumer(PositionCalls, CommitCalls, InspectionCalls):
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
    * look: `partitions_for`, `list_topics`, `metrics`

    Configuration keys are `ConsumerConfig`'s, as keyword arguments or in the mapping *config*
    (``{"group.id": ...}``). Raises `InvalidConfigurationError`, and `InvalidGroupIdError` for topics
    without a ``group_id`` (CON-3).

    Threads: one at a time; a second one gets `ConcurrentModificationError` (CON-2). Only `wakeup` and
    `metrics` may be called by any. After `close`, or that of the broker, every call raises
    `ClosedError`; in the child of a fork `ForkedError`. No thread runs behind the scenes: membership,
    auto-commit and callbacks all happen inside `poll`. Source: Kafka ``KafkaConsumer``.
    """

    _signal_type: ClassVar[type[Signal]] = Signal
    """Made once, and set by whoever has news for this consumer."""

    def __init__(
        self,
        broker: Broker,
        *topics: str,
        config: Mapping[str, object] | None = None,
        **consumer_config: Unpack[ConsumerOptions],
    ) -> None:
        check_broker("Consumer", broker)
        for topic in topics:
            if isinstance(topic, Mapping):
                raise TypeError(
                    "Consumer: expected topic names after the broker, found a"
                    f" {type(topic).__name__}: give a configuration as config={{...}}"
                )
            if not isinstance(topic, str):
                raise TypeError(
                    "Consumer: expected topic names after the broker, each by itself, found"
                    f" {topic!r:.80}: give a list of them as *topics"
                )
        settings = ConsumerConfig.from_options(config, **consumer_config)
        self.config: ConsumerConfig = settings
        """The configuration in force."""
        self._broker = broker
        if settings.group_id is not None and settings.enable_auto_commit:
            check_may_commit(broker)
        self._guard = ThreadGuard()
        self._limit = settings.max_poll_records
        self._group_id = settings.group_id
        self._isolation = settings.isolation_level
        self._interceptors = ConsumerInterceptors(settings.interceptors)
        self._iteration: RecordIteration | None = None
        self._is_closing = False
        self._polls = 0
        clock = broker.runtime.clock
        self._signal = self._signal_type()
        reset = OffsetReset(settings, clock)
        self._fetcher = Fetcher(settings, self._signal, reset.recover)
        self._subscription = SubscriptionState(self._fetcher.assign)
        self._positions = PositionFinder(reset, self._committed_offsets)
        self._membership: AnyMembership | None = None
        self._committer: OffsetCommitter | None = None
        if settings.group_id is not None:
            session = MemberSession(
                self._signal, settings.max_poll_interval_ms, clock.monotonic_ms()
            )
            self._membership = make_membership(
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
                self._subscription,
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
        if self._guard.refusal is not None:
            return f"<{self._name}, closed>"
        return f"<{self._name}, {len(self._subscription.assigned)} partition(s)>"

    @property
    def _name(self) -> str:
        return "Consumer of " + (
            "no group" if self._group_id is None else f"group {self._group_id!r}"
        )

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
            self._broker.check_writable(
                "Consumer.subscribe (assign() reads without joining the group)"
            )
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
            try:
                is_wrong = not timeout_ms >= 0
            except TypeError:
                is_wrong = True
            if is_wrong:
                check_timeout("poll", timeout_ms)
            self._iteration = None
            self._polls += 1
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
                    self._fetcher.delivered_count += 1
                    return record
                groups = self._loop.poll(None, self._limit)
                records = self._interceptors.on_consume(ConsumerRecords(groups))
                self._iteration = RecordIteration(records, self._fetcher.taken_from)

    def pause(self, *partitions: TopicPartition | Iterable[TopicPartition]) -> None:
        """Return nothing from *partitions* until `resume`; they stay assigned (CON-7).

        Forgotten when the group takes a partition away. Raises `IllegalStateError` for one that is
        not assigned, TypeError when none is named: all of them are ``consumer.assignment()``.
        """
        with self._guard:
            chosen = some_from_arguments("pause", partitions)
            for assigned in [self._subscription.require(one) for one in chosen]:
                assigned.paused = True
                assigned.rewind()

    def resume(self, *partitions: TopicPartition | Iterable[TopicPartition]) -> None:
        """Undo `pause`. Raises as that does; all of them are ``consumer.paused()``."""
        with self._guard:
            chosen = some_from_arguments("resume", partitions)
            for assigned in [self._subscription.require(one) for one in chosen]:
                assigned.paused = False
            self._fetcher.look_again()

    def paused(self) -> set[TopicPartition]:
        """Return the partitions that are paused."""
        with self._guard:
            return self._subscription.paused()

    def wakeup(self) -> None:
        """Let the present or the next waiting call raise `WakeupError`, once. Threads: any (CON-2).

        The waiting calls are `poll`, iteration, `position` of a partition that does not exist, and `position`
        and `committed` while an open transaction is about to commit offsets for the group.
        """
        self._loop.interrupt(WakeupError("consumer.wakeup() was called"))

    # ---- the group

    def group_metadata(self) -> ConsumerGroupMetadata:
        """Return this consumer's identity in its group; generation -1 while it is no member."""
        with self._guard:
            group_id = require_group(self._group_id, "group_metadata")
            membership = self._membership
            if membership is None:
                return ConsumerGroupMetadata(group_id)
            return ConsumerGroupMetadata(
                group_id, membership.epoch, membership.member_id, membership.instance_id
            )

    def enforce_rebalance(self, reason: str | None = None) -> None:
        """Let the next `poll` start a rebalance, which *reason* explains in the log.

        Raises `IllegalStateError` under ``group_protocol="consumer"``, where the coordinator alone
        decides when to assign anew (NGP-5), and for a consumer that is not subscribed.
        """
        with self._guard:
            membership = self._membership
            if isinstance(membership, ClassicMembership) and self._subscription.is_by_group:
                _logger.info("%r: rebalance asked for: %s", self, reason or "no reason given")
                membership.request_rejoin()
                self._loop.changed()
                return
            if self.config.group_protocol == "classic":
                raise IllegalStateError("enforce_rebalance: the consumer is not subscribed")
            raise IllegalStateError(
                "enforce_rebalance is not available with group_protocol='consumer': the coordinator "
                f"reassigns whenever members, subscriptions or topics change; reason given: {reason}"
            )

    def close(self, timeout_ms: float = CLOSE_TIMEOUT_MS) -> None:
        """Auto-commit if enabled, give up the partitions, leave the group, run pending callbacks.

        *timeout_ms* bounds how long a commit is tried again. Closing again changes nothing. Raises
        the first error on the way; the consumer is closed and out of the group all the same.
        """
        check_timeout("close", timeout_ms)
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
            self._guard.refusal = ClosedError(f"{self._name} is closed")
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
        membership = self._membership if self._subscription.is_by_group else None
        if membership is not None:
            membership.prepare_to_leave()
        self._loop.commit_before_revocation(self._timeout("close", timeout_ms))
        if membership is not None:
            membership.leave()

    def _refuse_in_callback(self, call: str) -> None:
        if self._membership is not None and self._membership.calls.is_running:
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
                f"the {self._name} was made before a fork and belongs to the parent process: make one in the "
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
    if isinstance(max_records, bool) or not isinstance(max_records, int):
        raise TypeError(f"poll: max_records: expected an int or None, found {max_records!r:.80}")
    if max_records < 1:
        raise ValueError(f"poll: max_records: expected 1 or more, found {max_records}")
    return max_records
