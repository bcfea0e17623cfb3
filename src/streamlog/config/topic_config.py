"""The configuration of one topic. Source: Kafka ``TopicConfig``, ``LogConfig``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs

from streamlog.config.codecs import TOPIC_CODECS, gzip_level, lz4_level, zstd_level
from streamlog.config.definition import Config, option
from streamlog.config.kinds import INT_MAX, LONG_MAX, choice, integer, nullable, number, words
from streamlog.config.unsupported import UNSUPPORTED_TOPIC_KEYS
from streamlog.errors import InvalidConfigurationError


@attrs.frozen(kw_only=True)
class TopicConfig(Config):
    """How a topic's partitions are cut into segments, kept, synced and checked.

    A topic that does not set a key has the broker's default, see `BrokerConfig.topic_defaults`.
    """

    unsupported: ClassVar[Mapping[str, str]] = UNSUPPORTED_TOPIC_KEYS

    cleanup_policy: tuple[str, ...] = option(
        words(("compact", "delete"), may_be_empty=True),
        ("delete",),
        "What happens to old segments: `delete` by age and size, `compact` by key, both, or nothing.",
    )
    segment_bytes: int = option(
        integer(256, INT_MAX),
        1_073_741_824,
        "A segment file is closed before it would grow above this size. Tiny values are for tests.",
    )
    segment_ms: int = option(
        integer(1), 604_800_000, "A segment is closed when its first record is older than this."
    )
    segment_jitter_ms: int = option(
        integer(0),
        0,
        "At most this much, at random, is taken off `segment_ms`, so that partitions do not all roll at once.",
    )
    segment_index_bytes: int = option(
        integer(64, INT_MAX),
        10_485_760,
        "A segment is closed when one of its indexes is this large.",
    )
    index_interval_bytes: int = option(
        integer(0, INT_MAX), 4096, "About one index entry is made for so many bytes of log."
    )
    retention_ms: int = option(
        integer(-1), 604_800_000, "Segments with only older records are deleted; -1 keeps them."
    )
    retention_bytes: int = option(
        integer(-1),
        -1,
        "The oldest segments are deleted while a partition stays at least this large; -1 keeps them.",
    )
    flush_ms: int | None = option(
        nullable(integer(0), "never", spellings=(-1,)),
        1000,
        "Appended records are synced to disk at the latest after this; None or -1 never, which leaves it"
        " to the operating system. Kafka's default is never.",
    )
    flush_messages: int | None = option(
        nullable(integer(1), "never"),
        None,
        "Records are synced to disk after so many; 1 makes every acknowledgement wait for its sync.",
    )
    file_delete_delay_ms: int = option(
        integer(0), 60_000, "Files of deleted segments stay this long, for readers still in them."
    )
    max_message_bytes: int = option(
        integer(0, INT_MAX), 1_048_588, "The largest batch the broker accepts, header included."
    )
    message_timestamp_type: str = option(
        choice(("CreateTime", "LogAppendTime")),
        "CreateTime",
        "Whether records keep the producer's time or get the broker's when appended.",
    )
    message_timestamp_before_max_ms: int = option(
        integer(0), LONG_MAX, "A `CreateTime` further in the past than this is refused."
    )
    message_timestamp_after_max_ms: int = option(
        integer(0), 3_600_000, "A `CreateTime` further in the future than this is refused."
    )
    min_insync_replicas: int = option(
        # One broker holds one replica: more would have to fail every `acks=all` (REP-3).
        integer(1, 1),
        1,
        "With `acks=all`, so many replicas must be in sync for an append; one broker has one.",
    )
    compression_type: str = option(
        choice(TOPIC_CODECS),
        "producer",
        "How batches are stored: `producer` as they come, any other value in that codec. The codecs need"
        " the extra `compression`.",
    )
    compression_gzip_level: int = gzip_level()
    compression_lz4_level: int = lz4_level()
    compression_zstd_level: int = zstd_level()
    min_cleanable_dirty_ratio: float = option(
        number(0, 1), 0.5, "A compacted log is cleaned when this part of it is not yet clean."
    )
    min_compaction_lag_ms: int = option(
        integer(0), 0, "Records younger than this are not compacted."
    )
    max_compaction_lag_ms: int = option(
        integer(1),
        LONG_MAX,
        "A log with uncompacted records older than this is cleaned in any case.",
    )
    delete_retention_ms: int = option(
        integer(0),
        86_400_000,
        "A tombstone stays readable this long after a cleaning first saw it.",
    )

    @property
    def max_segment_ms(self) -> int:
        """How old the first record of an active segment may be, jitter left out: ``segment_ms``, and in a
        compacted topic no more than ``max_compaction_lag_ms``, for what is in an active segment cannot be
        compacted. Source: Kafka ``LogConfig.maxSegmentMs``, KIP-354.
        """
        if "compact" in self.cleanup_policy:
            return min(self.segment_ms, self.max_compaction_lag_ms)
        return self.segment_ms

    def with_overrides(self, overrides: Mapping[str, object]) -> TopicConfig:
        """Return a copy in which *overrides* replace the values; names and values as
        `from_options`.
        """
        changes: dict[str, Any] = self.parse_options(overrides, {})
        return attrs.evolve(self, **changes)

    def check_together(self) -> None:
        """Raise when compaction must wait longer than it may."""
        if self.min_compaction_lag_ms > self.max_compaction_lag_ms:
            raise InvalidConfigurationError(
                f"TopicConfig: min_compaction_lag_ms: expected at most max_compaction_lag_ms"
                f" ({self.max_compaction_lag_ms}), found {self.min_compaction_lag_ms}"
            )
