"""The configuration keys as keyword arguments, for editors and type checkers.

`Broker`, `Producer` and `Consumer` take them by ``**options: Unpack[...]``, so that a misspelt key is
found before the program runs and an editor can complete one. What is accepted at run time is decided
by the configuration classes alone; a test compares the two. Aliases are left out on purpose.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol, TypedDict

from streamlog.structs import Isolation

SerdeName = Literal["bytes", "str", "int", "int32", "float", "json", "msgpack"]
"""The stock serializers and deserializers."""
PartitionerName = Literal[
    "murmur2",
    "murmur2_random",
    "consistent_random",
    "consistent",
    "random",
    "round_robin",
    "sticky",
]
AssignorName = Literal["range", "roundrobin", "sticky", "cooperative-sticky"]
CleanupPolicy = Literal["delete", "compact"]
ProducerCodec = Literal["none", "gzip", "snappy", "lz4", "zstd"]
TopicCodec = Literal["producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"]


class HasSerialize(Protocol):
    """A serializer like Kafka's."""

    def serialize(self, topic: str, data: Any, /) -> bytes | None:
        """Return the bytes of *data*."""


class HasDeserialize(Protocol):
    """A deserializer like Kafka's."""

    def deserialize(self, topic: str, data: bytes, /) -> Any:
        """Return what *data* stands for."""


class HasPartition(Protocol):
    """A partitioner of one's own, see the key ``partitioner``."""

    def partition(self, topic: str, key: Any, value: Any, partition_count: int, /) -> int | None:
        """Return the number of the partition."""


class HasAssign(Protocol):
    """A `PartitionAssignor`, see the key ``partition_assignment_strategy``."""

    name: str

    def assign(self, members: Any, partition_counts: Any) -> Any:
        """Return each member's partitions."""


class BrokerOptions(TypedDict, total=False):
    """The keys of `BrokerConfig`, which says what they mean."""

    broker_id: int
    num_partitions: int
    default_replication_factor: int
    auto_create_topics_enable: bool
    log_segment_bytes: int
    log_roll_ms: int
    log_roll_jitter_ms: int
    log_index_size_max_bytes: int
    log_index_interval_bytes: int
    log_retention_ms: int
    log_retention_bytes: int
    log_flush_interval_ms: int | None
    log_flush_interval_messages: int | None
    log_segment_delete_delay_ms: int
    log_cleanup_policy: CleanupPolicy | Sequence[CleanupPolicy]
    log_message_timestamp_type: Literal["CreateTime", "LogAppendTime"]
    log_message_timestamp_before_max_ms: int
    log_message_timestamp_after_max_ms: int
    message_max_bytes: int
    min_insync_replicas: int
    compression_type: TopicCodec
    compression_gzip_level: int
    compression_lz4_level: int
    compression_zstd_level: int
    log_cleaner_min_cleanable_ratio: float
    log_cleaner_min_compaction_lag_ms: int
    log_cleaner_max_compaction_lag_ms: int
    log_cleaner_delete_retention_ms: int
    log_cleaner_enable: bool
    log_cleaner_threads: Literal[1]
    log_cleaner_backoff_ms: int
    log_cleaner_dedupe_buffer_size: int
    log_cleaner_io_buffer_load_factor: float
    log_cleaner_io_max_bytes_per_second: float | None
    log_retention_check_interval_ms: int
    log_initial_task_delay_ms: int
    offsets_topic_num_partitions: int
    offset_metadata_max_bytes: int
    offsets_retention_minutes: int
    offsets_retention_check_interval_ms: int
    transaction_state_log_num_partitions: int
    transaction_max_timeout_ms: int
    transaction_abort_timed_out_transaction_cleanup_interval_ms: int
    transactional_id_expiration_ms: int
    transaction_remove_expired_transaction_cleanup_interval_ms: int
    producer_id_expiration_ms: int
    producer_id_expiration_check_interval_ms: int
    group_initial_rebalance_delay_ms: int
    group_consumer_session_timeout_ms: int
    group_consumer_heartbeat_interval_ms: int
    group_max_size: int
    group_consumer_max_size: int
    group_metadata_max_bytes: int
    group_min_session_timeout_ms: int
    group_max_session_timeout_ms: int
    max_open_segments: int | None
    min_free_bytes: int | None
    read_only_refresh_ms: int
    allow_network_fs: bool


class ProducerOptions(TypedDict, total=False):
    """The keys of `ProducerConfig`, which says what they mean."""

    client_id: str
    key_serializer: SerdeName | Callable[[Any], bytes | None] | HasSerialize | None
    value_serializer: SerdeName | Callable[[Any], bytes | None] | HasSerialize | None
    acks: Literal["all", "-1", "0", "1", -1, 0, 1]
    linger_ms: float
    batch_size: int
    buffer_memory: int
    max_block_ms: int
    max_request_size: int
    delivery_timeout_ms: int
    request_timeout_ms: int
    retries: int
    retry_backoff_ms: int
    retry_backoff_max_ms: int
    max_in_flight_requests_per_connection: int
    partitioner: PartitionerName | Callable[..., int | None] | HasPartition | None
    partitioner_ignore_keys: bool
    partitioner_adaptive_partitioning_enable: bool
    interceptors: Sequence[Any]
    enable_idempotence: bool
    transactional_id: str | None
    transaction_timeout_ms: int
    compression_type: ProducerCodec
    compression_gzip_level: int
    compression_lz4_level: int
    compression_zstd_level: int


class ConsumerOptions(TypedDict, total=False):
    """The keys of `ConsumerConfig`, which says what they mean."""

    client_id: str
    group_id: str | None
    group_instance_id: str | None
    session_timeout_ms: int
    key_deserializer: SerdeName | Callable[[bytes], Any] | HasDeserialize | None
    value_deserializer: SerdeName | Callable[[bytes], Any] | HasDeserialize | None
    auto_offset_reset: str
    enable_auto_commit: bool
    auto_commit_interval_ms: int
    fetch_min_bytes: int
    fetch_max_wait_ms: int
    fetch_max_bytes: int
    max_partition_fetch_bytes: int
    max_poll_records: int
    max_poll_interval_ms: int
    isolation_level: Isolation | Literal["read_uncommitted", "read_committed"]
    default_api_timeout_ms: int
    check_crcs: bool
    allow_auto_create_topics: bool
    interceptors: Sequence[Any]
    partition_assignment_strategy: (
        AssignorName | HasAssign | type[HasAssign] | Sequence[AssignorName | object]
    )
    group_remote_assignor: Literal["range", "uniform"]
    exclude_internal_topics: bool
    group_protocol: Literal["consumer", "classic"]
