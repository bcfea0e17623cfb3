"""A partition of a directory that another process may be writing."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast

from streamlog.broker.partition import Partition
from streamlog.broker.read_only import refusal
from streamlog.errors import StreamlogError

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.broker.append_gate import AppendGate
    from streamlog.broker.refused_log import RefusedLog
    from streamlog.record import PendingBatch, ProducerStamp
    from streamlog.runtime import Signal
    from streamlog.runtime.threads import Lock
    from streamlog.storage.partition_log import PartitionLog
    from streamlog.storage.read_only_log import ReadOnlyLog
    from streamlog.structs import Durability, TopicPartition

_Error = TypeVar("_Error", bound=Exception)


class ReadOnlyPartition(Partition):
    """A `Partition` whose bounds are looked up in the files each time they are asked for.

    The log end is that of what is stored, whether or not it is on the disk: how far replicas or syncs got is known in the process
    that writes alone. So the high watermark is the log end here.
    """

    __slots__ = ("_arm", "_look_at_topics", "_path")

    def __init__(
        self,
        topic_partition: TopicPartition,
        log: ReadOnlyLog | RefusedLog,
        gate: AppendGate,
        *,
        waiters_lock: Lock,
        promise: Durability,
        path: str,
        arm: Callable[[], object],
        look_at_topics: Callable[[], object],
    ) -> None:
        """*arm* is called when somebody begins to wait; *look_at_topics* finds out whether the topic was deleted."""
        super().__init__(
            topic_partition,
            cast("PartitionLog | RefusedLog", log),
            gate,
            waiters_lock=waiters_lock,
            promise=promise,
        )
        self._path = path
        self._arm = arm
        self._look_at_topics = look_at_topics

    @property
    def is_waited_for(self) -> bool:
        """Whether somebody waits for records."""
        return bool(self._waiters)

    def refresh(self) -> None:
        """Look for what was stored since the last look, and wake who waits for it. Raises as reading does."""
        log = cast("ReadOnlyLog", self.log)
        try:
            is_moved = log.refresh()
        except (StreamlogError, OSError) as error:
            raise self._refusal_instead_of(error) from None
        if is_moved:
            self.wake_waiters()

    def _refusal_instead_of(self, error: _Error) -> _Error | StreamlogError:
        """Return why the log is out of use, if it is: that its topic was deleted is found out here."""
        self._look_at_topics()
        if self.is_refused:
            return cast("RefusedLog", self.log).error
        return error

    # ---- bounds

    @property
    def log_start_offset(self) -> int:
        """The first offset that can be read."""
        self.refresh()
        return self.log.log_start_offset

    @property
    def log_end_offset(self) -> int:
        """The offset after the last record that is stored, maybe not durably."""
        self.refresh()
        return self.log.log_end_offset

    @property
    def high_watermark(self) -> int:
        """The log end: how much of it is durable is not known here."""
        return self.log_end_offset

    @property
    def last_stable_offset(self) -> int:
        """The end of what belongs to no open transaction (TXN-13)."""
        self.refresh()
        return self.log.last_stable_offset

    def open_transactions(self) -> dict[int, tuple[int, int]]:
        """Return epoch and first offset of each transaction that is open here, by producer id. Raises as reading does."""
        self.refresh()
        return cast("ReadOnlyLog", self.log).open_transactions()

    def may_lack_tombstones(self, offset: int, idle_ms: int) -> bool:
        """As `Partition.may_lack_tombstones`. Up to where compaction has been is not known here, so any may be gone in time."""
        config = self.log.config
        return "compact" in config.cleanup_policy and idle_ms >= config.delete_retention_ms

    # ---- wait

    def add_waiter(self, signal: Signal) -> None:
        """As `Partition.add_waiter`; the files are looked at every ``read_only_refresh_ms`` from then on."""
        super().add_waiter(signal)
        self._arm()

    # ---- what writes

    def append(self, batch: PendingBatch) -> int:
        """Raise `ReadOnlyError`."""
        raise refusal(f"{self.topic_partition}: append", self._path)

    def append_takes_long(
        self, size_bytes: int, is_compressed: bool, max_timestamp_ms: int, producer_id: int
    ) -> bool:
        """Return False: it is refused at once."""
        return False

    def append_value(
        self, value: bytes, timestamp_ms: int, stamp: ProducerStamp | None = None
    ) -> int:
        """Raise `ReadOnlyError`."""
        raise refusal(f"{self.topic_partition}: append", self._path)

    def append_marker(self, batch: PendingBatch) -> int:
        """Raise `ReadOnlyError`."""
        raise refusal(f"{self.topic_partition}: append", self._path)

    def sync(self) -> None:
        """Raise `ReadOnlyError`."""
        raise refusal(f"{self.topic_partition}: sync", self._path)

    def delete_records(self, offset: int) -> int:
        """Raise `ReadOnlyError`."""
        raise refusal(f"{self.topic_partition}: delete_records", self._path)
