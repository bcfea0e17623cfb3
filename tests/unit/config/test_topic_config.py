"""Topic configuration: every key, and what `create_topic` and the broker do with it."""

from __future__ import annotations

import pytest

from streamlog.config import TopicConfig
from streamlog.errors import InvalidConfigurationError
from tests.support.config_cases import (
    GZIP_LEVEL,
    INT_MAX,
    LONG_MAX,
    LZ4_LEVEL,
    ZSTD_LEVEL,
    Case,
    check_complete,
    check_every_way,
    check_unsupported,
    choice,
    integer,
    nullable_integer,
    number,
)

CODECS = ("gzip", "snappy", "lz4", "zstd")

CASES = {
    "cleanup_policy": Case(
        ("delete",),
        (
            ("delete", ("delete",)),
            ("compact", ("compact",)),
            ("delete,compact", ("compact", "delete")),
            (" compact , delete ", ("compact", "delete")),
            (["delete", "delete"], ("delete",)),
            ({"delete", "compact"}, ("compact", "delete")),
            ((), ()),
            ("", ()),
        ),
        ("keep", "delete,keep", ["keep"], 5, None, True, [5], [[]], b"delete"),
    ),
    "segment_bytes": integer(1_073_741_824, 256, INT_MAX),
    "segment_ms": integer(604_800_000, 1),
    "segment_jitter_ms": integer(0, 0),
    "segment_index_bytes": integer(10_485_760, 64, INT_MAX),
    "index_interval_bytes": integer(4096, 0, INT_MAX),
    "retention_ms": integer(604_800_000, -1),
    "retention_bytes": integer(-1, -1),
    "flush_ms": nullable_integer(1000, 0),
    "flush_messages": nullable_integer(None, 1),
    "file_delete_delay_ms": integer(60_000, 0),
    "max_message_bytes": integer(1_048_588, 0, INT_MAX),
    "message_timestamp_type": choice("CreateTime", ("LogAppendTime",)),
    "message_timestamp_before_max_ms": integer(LONG_MAX, 0),
    "message_timestamp_after_max_ms": integer(3_600_000, 0),
    "min_insync_replicas": integer(1, 1, 1),
    "compression_type": choice("producer", ("uncompressed", *CODECS), "none", "brotli"),
    "compression_gzip_level": GZIP_LEVEL,
    "compression_lz4_level": LZ4_LEVEL,
    "compression_zstd_level": ZSTD_LEVEL,
    "min_cleanable_dirty_ratio": number(0.5, 0, 1),
    "min_compaction_lag_ms": integer(0, 0),
    "max_compaction_lag_ms": integer(LONG_MAX, 1),
    "delete_retention_ms": integer(86_400_000, 0),
}


@pytest.mark.parametrize("key", CASES)
def test_each_key_takes_good_values_and_refuses_bad_ones(key: str) -> None:
    """Defaults of RET-1, RET-8, REC-4, REC-6, LOG-2."""
    check_every_way(TopicConfig, key, CASES[key])


def test_the_cases_cover_every_key() -> None:
    check_complete(TopicConfig, CASES)


def test_keys_of_kafka_that_are_not_supported_are_refused_with_the_reason() -> None:
    check_unsupported(TopicConfig)


def test_minus_one_for_flush_ms_means_never() -> None:
    assert TopicConfig(flush_ms=-1).flush_ms is None
    assert TopicConfig.from_options({"flush.ms": "-1"}).flush_ms is None
    with pytest.raises(InvalidConfigurationError, match=r"flush_ms: expected .* -1 \(never\)"):
        TopicConfig(flush_ms=-2)


def test_min_compaction_lag_above_max_is_refused() -> None:
    with pytest.raises(InvalidConfigurationError, match=r"min_compaction_lag_ms.*\(5\), found 6"):
        TopicConfig(min_compaction_lag_ms=6, max_compaction_lag_ms=5)
    assert TopicConfig(min_compaction_lag_ms=5, max_compaction_lag_ms=5)


def test_overrides_replace_values_and_leave_the_original() -> None:
    base = TopicConfig(segment_bytes=1000, retention_ms=5)
    changed = base.with_overrides({"retention.ms": "-1", "cleanup_policy": "compact"})
    assert (changed.segment_bytes, changed.retention_ms) == (1000, -1)
    assert changed.cleanup_policy == ("compact",)
    assert base == TopicConfig(segment_bytes=1000, retention_ms=5)


def test_overrides_are_checked_one_by_one_and_together() -> None:
    with pytest.raises(InvalidConfigurationError, match=r"did you mean retention_ms\?"):
        TopicConfig().with_overrides({"retension_ms": 5})
    with pytest.raises(InvalidConfigurationError, match="min_compaction_lag_ms"):
        TopicConfig(max_compaction_lag_ms=5).with_overrides({"min_compaction_lag_ms": 6})


def test_parsed_overrides_are_plain_values_by_canonical_name() -> None:
    parsed = TopicConfig.parse_options({"cleanup.policy": "delete", "flush.ms": "-1"}, {})
    assert parsed == {"cleanup_policy": ("delete",), "flush_ms": None}
    assert TopicConfig().with_overrides(parsed) == TopicConfig(flush_ms=None)


def test_cmp_1_largest_compaction_lag_bounds_the_age_of_a_compacted_segment() -> None:
    """KIP-354: what is in an active segment cannot be compacted."""
    assert TopicConfig(segment_ms=9, max_compaction_lag_ms=5).max_segment_ms == 9
    for policy in ("compact", "compact,delete"):
        config = TopicConfig.from_options(
            {"cleanup.policy": policy, "segment.ms": 9, "max.compaction.lag.ms": 5}
        )
        assert config.max_segment_ms == 5
        assert config.with_overrides({"segment_ms": 3}).max_segment_ms == 3
