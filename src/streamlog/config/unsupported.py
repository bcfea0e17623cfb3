"""Kafka's configuration keys that streamlog refuses, each with the reason.

An option that were accepted and ignored would be a lie, so each of these raises. A key moves from
here into a configuration class when what it stands for is built. Source: Kafka 4.x documentation.
"""

from __future__ import annotations

from streamlog.config.definition import unsupported_keys

_NO_NETWORK = "there is no network between a client and its broker"
_NO_SERVER = "there is no server to bootstrap; pass the Broker object"
_NO_ACCESS_CONTROL = "everything runs in one process, which has no users"
_NO_TIERS = "tiered storage is not supported yet"
_NO_CLUSTER = "one broker has no peers; replication is not supported yet"
_NO_METRICS_PUSH = "nothing is pushed: ask a producer or consumer by its metrics()"
_NO_OLD_METADATA = "the broker in this process tells of every change of topics at once"
_NO_QUOTA = "there are no quotas"
_NO_GROUP_CONFIGS = "no group has a configuration of its own, which would have to keep within it"

_NETWORK_KEYS = (
    "client_dns_lookup",
    "connections_max_idle_ms",
    "receive_buffer_bytes",
    "reconnect_backoff_max_ms",
    "reconnect_backoff_ms",
    "send_buffer_bytes",
    "socket_connection_setup_timeout_max_ms",
    "socket_connection_setup_timeout_ms",
    "metadata_recovery_*",
)
_ACCESS_KEYS = ("security_*", "ssl_*", "sasl_*", "config_providers", "config_providers_*")
_METRICS_KEYS = (
    "enable_metrics_push",
    "metric_reporters",
    "metrics_*",
    "auto_include_jmx_reporter",
)

UNSUPPORTED_PRODUCER_KEYS = unsupported_keys(
    {
        _NO_SERVER: ("bootstrap_servers",),
        _NO_NETWORK: _NETWORK_KEYS,
        _NO_ACCESS_CONTROL: _ACCESS_KEYS,
        _NO_METRICS_PUSH: _METRICS_KEYS,
        "a transaction has no second coordinator": ("transaction_two_phase_commit_enable",),
        _NO_OLD_METADATA: ("metadata_max_age_ms", "metadata_max_idle_ms"),
        "no partition can be slower to reach than another": (
            "partitioner_availability_timeout_ms",
        ),
        "pass a name, a callable or an object as partitioner": ("partitioner_class",),
        "pass objects as interceptors": ("interceptor_classes",),
    }
)

UNSUPPORTED_CONSUMER_KEYS = unsupported_keys(
    {
        _NO_SERVER: ("bootstrap_servers",),
        _NO_NETWORK: _NETWORK_KEYS,
        _NO_ACCESS_CONTROL: _ACCESS_KEYS,
        _NO_METRICS_PUSH: _METRICS_KEYS,
        "a member learns of a rebalance at its next poll, and nothing is sent meanwhile": (
            "heartbeat_interval_ms",
        ),
        "the broker is in this process, so no request waits or backs off; see default_api_timeout_ms": (
            "request_timeout_ms",
            "retry_backoff_ms",
            "retry_backoff_max_ms",
        ),
        _NO_OLD_METADATA: ("metadata_max_age_ms",),
        "all replicas are in this process": ("client_rack",),
        "share groups are not supported yet": (
            "share_acknowledgement_mode",
            "share_acquire_mode",
        ),
        "pass objects as interceptors": ("interceptor_classes",),
    }
)

UNSUPPORTED_TOPIC_KEYS = unsupported_keys(
    {
        _NO_TIERS: ("remote_*", "local_retention_bytes", "local_retention_ms"),
        _NO_CLUSTER: (
            "follower_replication_throttled_replicas",
            "leader_replication_throttled_replicas",
            "unclean_leader_election_enable",
        ),
        "segments are always preallocated": ("preallocate",),
        "segment_bytes itself may be small": ("internal_segment_bytes",),
        "removed from Kafka; see message_timestamp_before_max_ms and message_timestamp_after_max_ms": (
            "message_timestamp_difference_max_ms",
        ),
        "removed from Kafka; there is one format": (
            "message_format_version",
            "message_downconversion_enable",
        ),
    }
)

UNSUPPORTED_BROKER_KEYS = unsupported_keys(
    {
        "the broker is in this process and listens nowhere": (
            "advertised_listeners",
            "listeners",
            "listener_*",
            "host_name",
            "port",
            "early_start_listeners",
            "inter_broker_listener_name",
            "num_io_threads",
            "num_network_threads",
            "queued_max_*",
            "request_timeout_ms",
            "socket_*",
            "max_connection_creation_rate",
            "max_connections",
            "max_connections_*",
            "connections_*",
            "max_incremental_fetch_session_cache_slots",
            "fetch_max_bytes",
        ),
        "the broker is its own controller": (
            "process_roles",
            "controller_*",
            "zookeeper_*",
            "metadata_*",
            "initial_broker_registration_timeout_ms",
            "broker_heartbeat_interval_ms",
            "broker_session_timeout_ms",
            "broker_id_generation_enable",
            "reserved_broker_max_id",
        ),
        "give the directory as the broker's path": ("log_dir", "log_dirs", "log_dir_*"),
        "use log_retention_ms": ("log_retention_hours", "log_retention_minutes"),
        "use log_roll_ms": ("log_roll_hours",),
        "use log_roll_jitter_ms": ("log_roll_jitter_hours",),
        "syncs are timed by log_flush_interval_ms, checkpoints follow them": (
            "log_flush_scheduler_interval_ms",
            "log_flush_offset_checkpoint_interval_ms",
            "log_flush_start_offset_checkpoint_interval_ms",
        ),
        "segments are always preallocated": ("log_preallocate",),
        "cleaning reads a batch at a time": ("log_cleaner_io_buffer_size",),
        "offsets are a few bytes each, and stored as they are": (
            "offsets_topic_compression_codec",
        ),
        "the number of threads does not depend on it": (
            "background_threads",
            "num_recovery_threads_per_data_dir",
            "num_replica_alter_log_dirs_threads",
        ),
        _NO_CLUSTER: (
            "auto_leader_rebalance_enable",
            "leader_imbalance_*",
            "num_replica_fetchers",
            "replica_*",
            "unclean_leader_election_enable",
            "controlled_shutdown_*",
            "inter_broker_protocol_version",
            "broker_rack",
            "offsets_topic_replication_factor",
            "transaction_state_log_min_isr",
            "transaction_state_log_replication_factor",
            "follower_replication_*",
            "leader_replication_*",
        ),
        "change the configuration of __consumer_offsets instead": ("offsets_topic_segment_bytes",),
        "commits are appended by the caller and need no timeout": (
            "offsets_commit_timeout_ms",
            "offsets_load_buffer_size",
        ),
        _NO_GROUP_CONFIGS: (
            "group_consumer_max_heartbeat_interval_ms",
            "group_consumer_max_session_timeout_ms",
            "group_consumer_min_*",
        ),
        "one coordinator does its work in the threads of those who ask": ("group_coordinator_*",),
        "the assignors are Kafka's own: range and uniform": ("group_consumer_assignors",),
        "a pattern is matched when it is new and when topics are": ("group_consumer_regex_*",),
        "a group can always go from either protocol to the other: bidirectional": (
            "group_consumer_migration_policy",
        ),
        "share groups are not supported yet": ("group_share_*", "share_*"),
        "streams groups are not supported": ("group_streams_*",),
        "change the configuration of __transaction_state instead": (
            "transaction_state_log_segment_bytes",
        ),
        "transactions are read as fast as the disk gives them": (
            "transaction_state_log_load_buffer_size",
        ),
        "every batch of a transaction is verified": ("transaction_partition_verification_enable",),
        "a transaction is committed in one call: nobody else has to prepare": (
            "transaction_two_phase_commit_enable",
        ),
        "topics can always be deleted; there is no access control": ("delete_topic_enable",),
        _NO_ACCESS_CONTROL: (
            *_ACCESS_KEYS,
            "authorizer_class_name",
            "delegation_token_*",
            "password_encoder_*",
            "principal_builder_class",
            "super_users",
            "allow_everyone_if_no_acl_found",
        ),
        _NO_QUOTA: ("quota_*", "client_quota_callback_class", "alter_log_dirs_replication_*"),
        _NO_TIERS: ("remote_*",),
        _NO_METRICS_PUSH: (
            *_METRICS_KEYS,
            "kafka_metrics_*",
            "telemetry_*",
            "client_metrics_*",
        ),
        "policies are Python: check before you call": (
            "create_topic_policy_class_name",
            "alter_config_policy_class_name",
        ),
        "removed from Kafka; see log_message_timestamp_before_max_ms and ..._after_max_ms": (
            "log_message_timestamp_difference_max_ms",
        ),
        "removed from Kafka; there is one format": (
            "log_message_format_version",
            "log_message_downconversion_enable",
        ),
    }
)
