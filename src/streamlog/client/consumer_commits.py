"""The calls of a consumer about what it has read: commits, and what was committed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, overload

from streamlog.client.argument_checks import check_callback, check_timeout
from streamlog.client.commits import CommitCallback, OffsetCommitter, require_group, to_offsets
from streamlog.client.partition_arguments import to_partitions
from streamlog.structs import OffsetAndMetadata, TopicPartition

if TYPE_CHECKING:
    from streamlog.broker.broker import Broker
    from streamlog.client.poll_loop import PollLoop
    from streamlog.client.positions import PositionFinder
    from streamlog.client.thread_guard import ThreadGuard
    from streamlog.config import ConsumerConfig


class CommitCalls:
    """Part of `Consumer`, which supplies the attributes. Threads: as there."""

    config: ConsumerConfig
    _broker: Broker
    _committer: OffsetCommitter | None
    _group_id: str | None
    _guard: ThreadGuard
    _loop: PollLoop
    _positions: PositionFinder

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
            committer.commit(chosen, self._timeout("commit", timeout_ms))
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
            check_callback("commit_async", "callback", callback)
            committer = self._require_committer("commit_async")
            chosen = self._loop.consumed() if offsets is None else to_offsets(offsets)
            if committer.commit_async(chosen, callback):
                self._loop.mark_committed(chosen)

    @overload
    def committed(
        self, partitions: TopicPartition, *, timeout_ms: float | None = None
    ) -> OffsetAndMetadata | None: ...

    @overload
    def committed(
        self, partitions: Iterable[TopicPartition], *, timeout_ms: float | None = None
    ) -> dict[TopicPartition, OffsetAndMetadata | None]: ...

    def committed(self, partitions: Any, *, timeout_ms: float | None = None) -> Any:
        """Return what the group committed last for a partition, None for nothing.

        Several partitions give a dict with all of them (CON-15). Whoever committed it, assigned or
        not. While an open transaction is about to commit another offset, waits up to *timeout_ms* (None:
        ``default_api_timeout_ms``) for its end (TXN-7). Raises `InvalidGroupIdError` without a
        ``group_id``, `StreamlogTimeoutError`, `WakeupError`.
        """
        with self._guard:
            require_group(self._group_id, "committed")
            chosen = to_partitions(partitions)
            found = self._loop.until_stable(
                lambda: self._committed_offsets(chosen), self._timeout("committed", timeout_ms)
            )
            return found[partitions] if isinstance(partitions, TopicPartition) else found

    def _committed_offsets(
        self, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata | None]:
        if self._group_id is None:
            return {}
        # Stable ones, whatever the isolation level, as Kafka's consumer does.
        return self._broker.group_coordinator.fetch_offsets(
            self._group_id, partitions, require_stable=True
        )

    @property
    def clamped_offsets(self) -> dict[TopicPartition, int]:
        """Committed offsets, or those of a `seek`, below which the log had been cut when reading began.

        Reading went on where it was cut, with a warning in the log. Empty in the normal course.
        """
        return dict(self._positions.clamped)

    def _require_committer(self, call: str) -> OffsetCommitter:
        require_group(self._group_id, call)
        assert self._committer is not None
        return self._committer

    def _timeout(self, call: str, timeout_ms: float | None) -> float:
        if timeout_ms is None:
            return self.config.default_api_timeout_ms
        check_timeout(call, timeout_ms)
        return timeout_ms
