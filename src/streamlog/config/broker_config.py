"""The configuration of a broker. Source: Kafka ``ServerConfigs``, ``ServerLogConfigs``,
``LogConfig``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs

from streamlog.config.definition import Config, option
from streamlog.config.kinds import INT_MAX, LONG_MAX, boolean, integer, nullable, number
from streamlog.config.topic_config import TopicConfig
from streamlog.config.unsupported import UNSUPPORTED_BROKER_KEYS
from streamlog.errors import InvalidConfigurationError

_TOPIC_KEYS = {
    "log_segment_bytes": "segment_bytes",
    "log_roll_ms": "segment_ms",
    "log_roll_jitter_ms": "segment_jitter_ms",
    "log_index_size_max_bytes": "segment_index_bytes",
    "log_index_interval_bytes": "index_interval_bytes",
    "log_retention_ms": "retention_ms",
    "log_retention_bytes": "retention_bytes",
    "log_flush_interval_ms": "flush_ms",
    "log_flush_interval_messages": "flush_messages",
    "log_segment_delete_delay_ms": "file_delete_delay_ms",
    "log_cleanup_policy": "cleanup_policy",
    "log_message_timestamp_type": "message_timestamp_type",
    "log_message_timestamp_before_max_ms": "message_timestamp_before_max_ms",
    "log_message_timestamp_after_max_ms": "message_timestamp_after_max_ms",
    "message_max_bytes": "max_message_bytes",
    "min_insync_replicas": "min_insync_replicas",
    "compression_type": "compression_type",
    "compression_gzip_level": "compression_gzip_level",
    "compression_lz4_level": "compression_lz4_level",
    "compression_zstd_level": "compression_zstd_level",
    "log_cleaner_min_cleanable_ratio": "min_cleanable_dirty_ratio",
    "log_cleaner_min_compaction_lag_ms": "min_compaction_lag_ms",
    "log_cleaner_max_compaction_lag_ms": "max_compaction_lag_ms",
    "log_cleaner_delete_retention_ms": "delete_retention_ms",
}


def _topic_default(broker_key: str) -> Any:
    """Declare a broker key that is the default of a topic key: same kind, same default."""
    topic_field = getattr(attrs.fields(TopicConfig), _TOPIC_KEYS[broker_key])
    doc = f"Default of the topic key `{topic_field.name}`."
    return option(topic_field.metadata["kind"], topic_field.default, doc)


@attrs.frozen(kw_only=True)
class BrokerConfig(Config):
    """What a broker does by itself, and the defaults of its topics under Kafka's broker names."""

    aliases: ClassVar[Mapping[str, str]] = {
        "log_segment_ms": "log_roll_ms",
        "node_id": "broker_id",
        "log_delete_delay_ms": "log_segment_delete_delay_ms",
    }
    unsupported: ClassVar[Mapping[str, str]] = UNSUPPORTED_BROKER_KEYS

    broker_id: int = option(integer(0, INT_MAX), 1, "This broker's number, shown in metadata.")
    num_partitions: int = option(
        integer(1, INT_MAX), 1, "Partitions of a topic created without a number."
    )
    default_replication_factor: int = option(
        integer(1, 32_767), 1, "Replicas of a topic created without a number."
    )
    auto_create_topics_enable: bool = option(
        boolean(), True, "A topic is created when a client first uses its name."
    )
    log_segment_bytes: int = _topic_default("log_segment_bytes")
    log_roll_ms: int = _topic_default("log_roll_ms")
    log_roll_jitter_ms: int = _topic_default("log_roll_jitter_ms")
    log_index_size_max_bytes: int = _topic_default("log_index_size_max_bytes")
    log_index_interval_bytes: int = _topic_default("log_index_interval_bytes")
    log_retention_ms: int = _topic_default("log_retention_ms")
    log_retention_bytes: int = _topic_default("log_retention_bytes")
    log_flush_interval_ms: int | None = _topic_default("log_flush_interval_ms")
    log_flush_interval_messages: int | None = _topic_default("log_flush_interval_messages")
    log_segment_delete_delay_ms: int = _topic_default("log_segment_delete_delay_ms")
    log_cleanup_policy: tuple[str, ...] = _topic_default("log_cleanup_policy")
    log_message_timestamp_type: str = _topic_default("log_message_timestamp_type")
    log_message_timestamp_before_max_ms: int = _topic_default("log_message_timestamp_before_max_ms")
    log_message_timestamp_after_max_ms: int = _topic_default("log_message_timestamp_after_max_ms")
    message_max_bytes: int = _topic_default("message_max_bytes")
    min_insync_replicas: int = _topic_default("min_insync_replicas")
    compression_type: str = _topic_default("compression_type")
    compression_gzip_level: int = _topic_default("compression_gzip_level")
    compression_lz4_level: int = _topic_default("compression_lz4_level")
    compression_zstd_level: int = _topic_default("compression_zstd_level")
    log_cleaner_min_cleanable_ratio: float = _topic_default("log_cleaner_min_cleanable_ratio")
    log_cleaner_min_compaction_lag_ms: int = _topic_default("log_cleaner_min_compaction_lag_ms")
    log_cleaner_max_compaction_lag_ms: int = _topic_default("log_cleaner_max_compaction_lag_ms")
    log_cleaner_delete_retention_ms: int = _topic_default("log_cleaner_delete_retention_ms")
    log_cleaner_enable: bool = option(
        boolean(),
        True,
        "Whether compacted topics are cleaned by themselves. Group offsets and transactions are kept in such"
        " topics, and without it grow for ever; `Broker.compact` cleans all the same.",
    )
    log_cleaner_threads: int = option(
        integer(1, 1), 1, "One log is cleaned at a time, by the broker's one thread."
    )
    log_cleaner_backoff_ms: int = option(
        integer(0), 15_000, "How long after it found nothing to clean the broker looks again."
    )
    log_cleaner_dedupe_buffer_size: int = option(
        integer(1, LONG_MAX),
        134_217_728,
        "Memory for the keys of one pass, in bytes, as estimated; where there are more, it takes several.",
    )
    log_cleaner_io_buffer_load_factor: float = option(
        number(0.01, 1), 0.9, "The part of that memory that is used for keys."
    )
    log_cleaner_io_max_bytes_per_second: float | None = option(
        nullable(number(1), "no limit"),
        None,
        "Cleaning pauses to read and write no more than this, both together; not when `run_maintenance` or"
        " `compact` does it.",
    )
    log_retention_check_interval_ms: int = option(
        integer(1), 300_000, "How often segments are looked at for deletion."
    )
    log_initial_task_delay_ms: int = option(
        integer(0), 30_000, "The first look comes this long after the start."
    )
    offsets_topic_num_partitions: int = option(
        integer(1, INT_MAX),
        50,
        "Partitions of `__consumer_offsets`; takes effect when that topic is created.",
    )
    offset_metadata_max_bytes: int = option(
        integer(0, INT_MAX), 4096, "The longest note a committed offset may carry, as UTF-8."
    )
    offsets_retention_minutes: int = option(
        integer(1, INT_MAX),
        10_080,
        "How long offsets are kept after the last member left their group; those of a topic that its"
        " members no longer want, or of a group without members ever, after their commit.",
    )
    offsets_retention_check_interval_ms: int = option(
        integer(1), 600_000, "How often offsets are looked at for that."
    )
    transaction_state_log_num_partitions: int = option(
        integer(1, INT_MAX),
        50,
        "Partitions of `__transaction_state`; takes effect when that topic is created.",
    )
    transaction_max_timeout_ms: int = option(
        integer(1, INT_MAX), 900_000, "The longest `transaction_timeout_ms` of a producer."
    )
    transaction_abort_timed_out_transaction_cleanup_interval_ms: int = option(
        integer(1),
        10_000,
        "How often open transactions are looked at for having timed out.",
    )
    transactional_id_expiration_ms: int = option(
        integer(1, INT_MAX),
        604_800_000,
        "A transactional id that nobody used for so long, and that has no open transaction, is"
        " forgotten.",
    )
    transaction_remove_expired_transaction_cleanup_interval_ms: int = option(
        integer(1), 3_600_000, "How often transactional ids are looked at for that."
    )
    producer_id_expiration_ms: int = option(
        integer(1, INT_MAX),
        86_400_000,
        "A partition forgets an idempotent producer that wrote nothing to it for so long, by the time of its"
        " last record, and has no transaction open there.",
    )
    producer_id_expiration_check_interval_ms: int = option(
        integer(1), 600_000, "How often producers are looked at for that."
    )
    group_initial_rebalance_delay_ms: int = option(
        integer(0, INT_MAX),
        0,
        "How long the first rebalance of an empty classic group waits for more members; Kafka's 3,000"
        " would keep every first `poll` waiting.",
    )
    group_consumer_session_timeout_ms: int = option(
        integer(1, INT_MAX),
        45_000,
        "How long a static member may be away with `group_protocol='consumer'`, and how long a member in"
        " another process may be silent.",
    )
    group_consumer_heartbeat_interval_ms: int = option(
        integer(1, INT_MAX),
        500,
        "How often members in other processes are to ask for their assignment with"
        " `group.protocol=consumer`; Kafka's 5,000 would keep every rebalance waiting.",
    )
    group_max_size: int = option(
        integer(1, INT_MAX), INT_MAX, "Members that a classic group may have."
    )
    group_consumer_max_size: int = option(
        integer(1, INT_MAX),
        INT_MAX,
        "Members that a group with `group.protocol=consumer` may have.",
    )
    group_metadata_max_bytes: int = option(
        integer(1),
        67_108_864,
        "What all groups together may keep of what members in other processes say (names,"
        " subscriptions, assignments, 2 KiB for each besides); who would need more is refused.",
    )
    group_min_session_timeout_ms: int = option(
        integer(1, INT_MAX),
        6_000,
        "The shortest `session_timeout_ms` of a classic group's members.",
    )
    group_max_session_timeout_ms: int = option(
        integer(1, INT_MAX), 1_800_000, "The longest of them."
    )
    max_open_segments: int | None = option(
        nullable(integer(1, INT_MAX), "derived from the limit on open files"),
        None,
        "How many segment files stay open at once; None derives it from the process's limit.",
    )
    min_free_bytes: int | None = option(
        nullable(integer(0), "the storage layer's default"),
        None,
        "Appends are refused while the file system has less free space; None is the storage default.",
    )
    read_only_refresh_ms: int = option(
        integer(1, INT_MAX),
        100,
        "With `read_only=True`: how often the files are looked at while somebody waits for records, for a process"
        " that writes cannot wake one that reads.",
    )
    allow_network_fs: bool = option(
        boolean(),
        False,
        "Allow a data directory on a network file system, where locks and maps may not hold.",
    )

    def check_together(self) -> None:
        """Raise when compaction must by default wait longer than it may."""
        if self.log_cleaner_min_compaction_lag_ms > self.log_cleaner_max_compaction_lag_ms:
            raise InvalidConfigurationError(
                "BrokerConfig: log_cleaner_min_compaction_lag_ms: expected at most"
                f" log_cleaner_max_compaction_lag_ms ({self.log_cleaner_max_compaction_lag_ms}), found"
                f" {self.log_cleaner_min_compaction_lag_ms}"
            )

    def topic_defaults(self) -> TopicConfig:
        """Return the configuration of a topic that overrides nothing."""
        values: dict[str, Any] = {
            topic_key: getattr(self, broker_key) for broker_key, topic_key in _TOPIC_KEYS.items()
        }
        return TopicConfig(**values)
