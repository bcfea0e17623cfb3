"""The calls of a consumer about where it is and where it could be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from streamlog.client.admin_arguments import numbers_by_partition
from streamlog.client.argument_checks import check_timeout
from streamlog.client.assigned_partition import EARLIEST, LATEST
from streamlog.client.partition_arguments import from_arguments, to_partition, to_partitions
from streamlog.structs import OffsetAndMetadata, OffsetAndTimestamp, TopicPartition

if TYPE_CHECKING:
    from streamlog.broker.broker import Broker
    from streamlog.client.fetcher import Fetcher
    from streamlog.client.poll_loop import PollLoop
    from streamlog.client.subscription import SubscriptionState
    from streamlog.client.thread_guard import ThreadGuard
    from streamlog.config import ConsumerConfig
    from streamlog.structs import Isolation


class PositionCalls:
    """Part of `Consumer`, which supplies the attributes. Threads: as there."""

    config: ConsumerConfig
    _broker: Broker
    _guard: ThreadGuard
    _fetcher: Fetcher
    _isolation: Isolation
    _loop: PollLoop
    _subscription: SubscriptionState

    # ---- assigned partitions

    def position(self, partition: TopicPartition, *, timeout_ms: float | None = None) -> int:
        """Return the offset of the next record `poll` would return.

        Looked up now if no poll did so yet: committed offset, else the reset policy (CON-5). Of a
        partition that does not exist, waits *timeout_ms* (None: ``default_api_timeout_ms``) for it; and for
        the end of an open transaction that is about to commit offsets for the group (TXN-7).
        Raises `IllegalStateError` unless assigned, `StreamlogTimeoutError`, `WakeupError`,
        `NoOffsetForPartitionError`, `LogTruncationError`.
        """
        with self._guard:
            assigned = self._subscription.require(to_partition(partition))
            if timeout_ms is None:
                timeout_ms = self.config.default_api_timeout_ms
            check_timeout("position", timeout_ms)
            return self._loop.position(assigned, timeout_ms)

    def seek(self, partition: TopicPartition, offset: int | OffsetAndMetadata) -> None:
        """Go on at *offset* of an assigned partition; what was buffered of it is dropped.

        Lazy: an offset outside the log is noticed by the next `poll` (CON-6), and so is one that was cut
        off and given again since, if the ``leader_epoch`` of the last record read comes with it (REP-6).
        Raises `IllegalStateError` unless assigned, ValueError below 0, TypeError for what is no int.
        """
        with self._guard:
            assigned = self._subscription.require(to_partition(partition))
            target = offset if isinstance(offset, OffsetAndMetadata) else OffsetAndMetadata(offset)
            # First: finding out later that the topic is another one would take the position back.
            self._loop.notice_topics()
            is_validated = target.leader_epoch is None
            assigned.move_to(target.offset, target.leader_epoch, is_validated=is_validated)
            if is_validated:
                self._fetcher.look_again()
            else:
                self._loop.changed()

    def seek_to_beginning(self, *partitions: TopicPartition | Iterable[TopicPartition]) -> None:
        """Go on at the log start of *partitions*, of all assigned ones when none is given.

        Lazy: what the start is, the next `poll` or `position` finds out.
        """
        self._request_reset(partitions, EARLIEST)

    def seek_to_end(self, *partitions: TopicPartition | Iterable[TopicPartition]) -> None:
        """Go on after the last visible record of *partitions*, of all assigned ones when none is given.

        Lazy: what the end is, the next `poll` or `position` finds out. Under ``read_committed`` it is
        the last stable offset (CON-6).
        """
        self._request_reset(partitions, LATEST)

    def _request_reset(self, partitions: tuple[object, ...], where: str) -> None:
        with self._guard:
            chosen = from_arguments(partitions) or list(self._subscription.assigned)
            self._loop.notice_topics()  # as in `seek`
            for assigned in [self._subscription.require(one) for one in chosen]:
                assigned.request_reset(where)
            self._loop.changed()

    def current_lag(self, partition: TopicPartition) -> int | None:
        """Return how many offsets are between position and visible end; None before the first look.

        An upper bound for the number of records: offsets may have gaps (REC-8). Raises
        `IllegalStateError` unless assigned (CON-15).
        """
        with self._guard:
            return self._subscription.require(to_partition(partition)).lag(self._isolation)

    # ---- any partition

    def beginning_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the log start of each partition (TIM-3), assigned or not.

        Raises `UnknownTopicOrPartitionError` at once where Kafka would wait for its timeout.
        """
        with self._guard:
            return {
                one: self._broker.partition(*one).log_start_offset
                for one in to_partitions(partitions)
            }

    def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the offset after the last visible record of each partition (TIM-3).

        The high watermark, or the last stable offset under ``read_committed``. Raises as
        `beginning_offsets` does.
        """
        with self._guard:
            return {
                one: self._broker.partition(*one).end_offset(self._isolation)
                for one in to_partitions(partitions)
            }

    def offsets_for_times(
        self, timestamps_ms: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, OffsetAndTimestamp | None]:
        """Return for each partition the first record at or after its time in ms since 1970 (TIM-1).

        None where there is no such record. Raises TypeError unless a time is an int, ValueError for a
        negative one, otherwise as `beginning_offsets` does.
        """
        with self._guard:
            wanted = numbers_by_partition("a time in ms", timestamps_ms)
            return {
                one: self._broker.partition(*one).offset_for_timestamp(time_ms, self._isolation)
                for one, time_ms in wanted.items()
            }
