"""Broker configuration: every key, and the topic defaults that follow from it."""

from __future__ import annotations

import attrs
import pytest

from streamlog.config import BrokerConfig, TopicConfig
from streamlog.errors import InvalidConfigurationError
from tests.support.config_cases import (
    INT_MAX,
    boolean,
    check_complete,
    check_every_way,
    check_unsupported,
    integer,
    nullable_integer,
    number,
)
from tests.unit.config.test_topic_config import CASES as TOPIC_CASES

TOPIC_DEFAULTS = {
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

CASES = {
    "broker_id": integer(1, 0, INT_MAX),
    "num_partitions": integer(1, 1, INT_MAX),
    "default_replication_factor": integer(1, 1, 32_767),
    "auto_create_topics_enable": boolean(True),
    **{key: TOPIC_CASES[topic_key] for key, topic_key in TOPIC_DEFAULTS.items()},
    "log_cleaner_enable": boolean(True),
    "log_cleaner_threads": integer(1, 1, 1),
    "log_cleaner_backoff_ms": integer(15_000, 0),
    "log_cleaner_dedupe_buffer_size": integer(134_217_728, 1),
    "log_cleaner_io_buffer_load_factor": number(0.9, 0.01, 1)._replace(
        good=((0.01, 0.01), (1, 1)), bad=(0, 1.5, None, "0.5", True)
    ),
    "log_cleaner_io_max_bytes_per_second": nullable_integer(None, 1)._replace(
        good=((None, None), (1, 1), (2.5, 2.5)), bad=(0.5, "5", True, float("inf"))
    ),
    "log_retention_check_interval_ms": integer(300_000, 1),
    "log_initial_task_delay_ms": integer(30_000, 0),
    "offsets_topic_num_partitions": integer(50, 1, INT_MAX),
    "offset_metadata_max_bytes": integer(4096, 0, INT_MAX),
    "offsets_retention_minutes": integer(10_080, 1, INT_MAX),
    "offsets_retention_check_interval_ms": integer(600_000, 1),
    "transaction_state_log_num_partitions": integer(50, 1, INT_MAX),
    "transaction_max_timeout_ms": integer(900_000, 1, INT_MAX),
    "transaction_abort_timed_out_transaction_cleanup_interval_ms": integer(10_000, 1),
    "transactional_id_expiration_ms": integer(604_800_000, 1, INT_MAX),
    "transaction_remove_expired_transaction_cleanup_interval_ms": integer(3_600_000, 1),
    "producer_id_expiration_ms": integer(86_400_000, 1, INT_MAX),
    "producer_id_expiration_check_interval_ms": integer(600_000, 1),
    "group_initial_rebalance_delay_ms": integer(0, 0, INT_MAX),
    "group_consumer_session_timeout_ms": integer(45_000, 1, INT_MAX),
    "group_consumer_heartbeat_interval_ms": integer(500, 1, INT_MAX),
    "group_max_size": integer(INT_MAX, 1, INT_MAX),
    "group_consumer_max_size": integer(INT_MAX, 1, INT_MAX),
    "group_metadata_max_bytes": integer(67_108_864, 1),
    "group_min_session_timeout_ms": integer(6_000, 1, INT_MAX),
    "group_max_session_timeout_ms": integer(1_800_000, 1, INT_MAX),
    "max_open_segments": nullable_integer(None, 1)._replace(
        good=((None, None), (1, 1)), bad=(0, INT_MAX + 1, "5", True)
    ),
    "min_free_bytes": nullable_integer(None, 0),
    "read_only_refresh_ms": integer(100, 1, INT_MAX),
    "allow_network_fs": boolean(False),
}


@pytest.mark.parametrize("key", CASES)
def test_each_key_takes_good_values_and_refuses_bad_ones(key: str) -> None:
    """Defaults of REC-11, RET-1, CON-9, GRP-1."""
    check_every_way(BrokerConfig, key, CASES[key])


def test_the_cases_cover_every_key() -> None:
    check_complete(BrokerConfig, CASES)


def test_keys_of_kafka_that_are_not_supported_are_refused_with_the_reason() -> None:
    check_unsupported(BrokerConfig)


def test_topic_defaults_of_a_default_broker_are_the_topic_defaults() -> None:
    assert BrokerConfig().topic_defaults() == TopicConfig()


@pytest.mark.parametrize("key", TOPIC_DEFAULTS)
def test_each_topic_default_reaches_the_topic(key: str) -> None:
    topic_key = TOPIC_DEFAULTS[key]
    for given, stored in CASES[key].good:
        topic = BrokerConfig(**{key: given}).topic_defaults()
        assert topic == attrs.evolve(TopicConfig(), **{topic_key: stored})


@pytest.mark.parametrize(
    ("alias", "key"),
    [
        ("log.segment.ms", "log_roll_ms"),
        ("node.id", "broker_id"),
        ("log_delete_delay_ms", "log_segment_delete_delay_ms"),
    ],
)
def test_an_alias_sets_the_key_it_stands_for(alias: str, key: str) -> None:
    assert getattr(BrokerConfig.from_options({alias: 77}), key) == 77
    with pytest.raises(InvalidConfigurationError, match=f"{key} is given twice"):
        BrokerConfig.from_options({alias: 77, key: 78})


def test_min_compaction_lag_above_max_is_refused_as_a_default_too() -> None:
    with pytest.raises(
        InvalidConfigurationError, match=r"log_cleaner_min_compaction_lag_ms.*\(5\), found 6"
    ):
        BrokerConfig(log_cleaner_min_compaction_lag_ms=6, log_cleaner_max_compaction_lag_ms=5)
