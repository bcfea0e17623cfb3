"""What a producer counts, under Kafka's metric names with underscores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.record.columns import encode_single_value
from streamlog.record.layout import HEADER_SIZE
from streamlog.runtime import Lock

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streamlog.client.buffer_pool import BufferPool
    from streamlog.client.partition_queue import PartitionQueue


_SINGLE_OVERHEAD_BYTES = HEADER_SIZE + len(encode_single_value(b""))
"""What a batch of one record takes besides the value."""


class ProducerMetrics:
    """Counters of one producer since it was made; kept per batch, never per record.

    Threads: any. Source: Kafka ``SenderMetricsRegistry``.
    """

    __slots__ = (
        "_lock",
        "_record_error_total",
        "_record_retry_total",
        "_splits",
    )

    def __init__(self) -> None:
        self._lock = Lock()
        self._record_error_total = 0
        self._record_retry_total = 0
        self._splits = 0

    def failed(self, record_count: int) -> None:
        """Count records that failed for good."""
        with self._lock:
            self._record_error_total += record_count

    def retried(self, record_count: int) -> None:
        """Count the records of a batch that will be tried again."""
        with self._lock:
            self._record_retry_total += record_count

    def split(self) -> None:
        """Count a batch that was cut in two because it was too large for its topic."""
        with self._lock:
            self._splits += 1

    def as_dict(self, pool: BufferPool, queues: Iterable[PartitionQueue]) -> dict[str, float]:
        """Return all metrics by name: sizes in bytes, averages 0.0 before the first batch.

        *queues* count what was appended, each in the thread that appends. A record that ``send``
        appended by itself is a batch of one; its size is exact to a few bytes.
        """
        records = batches = batch_bytes = 0
        for queue in queues:
            records += queue.batch_records + queue.single_count
            batches += queue.batch_count + queue.single_count
            batch_bytes += queue.batch_bytes + queue.single_bytes
            batch_bytes += queue.single_count * _SINGLE_OVERHEAD_BYTES
        with self._lock:
            return {
                "record_send_total": records,
                "record_error_total": self._record_error_total,
                "record_retry_total": self._record_retry_total,
                "request_total": batches,
                "records_per_request_avg": records / batches if batches else 0.0,
                "batch_size_avg": batch_bytes / batches if batches else 0.0,
                "batch_split_total": self._splits,
                "buffer_available_bytes": pool.available_bytes,
                "buffer_total_bytes": pool.total_bytes,
                "waiting_threads": pool.waiting,
            }
