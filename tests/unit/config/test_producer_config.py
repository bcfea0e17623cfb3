"""Producer configuration: every key, and the rules between them."""

from __future__ import annotations

import logging

import pytest

from streamlog.config import ProducerConfig
from streamlog.errors import InvalidConfigurationError
from tests.support.config_cases import (
    GZIP_LEVEL,
    INT_MAX,
    LZ4_LEVEL,
    ZSTD_LEVEL,
    Case,
    boolean,
    check_complete,
    check_every_way,
    check_unsupported,
    choice,
    integer,
    number,
    objects,
    plugin,
    text,
)

SERDES = ("bytes", "str", "int", "int32", "float", "json", "msgpack")
PARTITIONERS = (
    "murmur2",
    "murmur2_random",
    "consistent_random",
    "consistent",
    "random",
    "round_robin",
    "sticky",
)

CASES = {
    "client_id": text(""),
    "key_serializer": plugin(SERDES, "serialize"),
    "value_serializer": plugin(SERDES, "serialize"),
    "acks": Case(
        "all",
        (
            *((spelling, "all") for spelling in ("all", -1, "-1")),
            *((spelling, 0) for spelling in (0, "0")),
            *((spelling, 1) for spelling in (1, "1")),
        ),
        (2, -2, "2", "ALL", "", None, True, False, []),
    ),
    "linger_ms": number(0, 0),
    "batch_size": integer(16_384, 1, INT_MAX)._replace(
        good=((1, 1), (0, 1), (INT_MAX, INT_MAX)), bad=(-1, INT_MAX + 1, None, "5", True)
    ),
    "buffer_memory": integer(33_554_432, 0),
    "max_block_ms": integer(60_000, 0),
    "max_request_size": integer(1_048_576, 0, INT_MAX),
    "delivery_timeout_ms": Case(
        120_000, ((30_000, 30_000), (INT_MAX, INT_MAX)), (-1, INT_MAX + 1, None, "5", True, 5.0)
    ),
    "request_timeout_ms": Case(
        30_000, ((0, 0), (120_000, 120_000)), (-1, INT_MAX + 1, None, "5", True, 5.0)
    ),
    "retries": integer(2_147_483_647, 0, INT_MAX),
    "retry_backoff_ms": integer(100, 0),
    "retry_backoff_max_ms": integer(1000, 0),
    "max_in_flight_requests_per_connection": integer(5, 1, INT_MAX),
    "partitioner": plugin(PARTITIONERS, "partition"),
    "partitioner_ignore_keys": boolean(False),
    "partitioner_adaptive_partitioning_enable": boolean(True),
    "interceptors": objects("on_send", "on_acknowledgement"),
    "enable_idempotence": boolean(True),
    "transactional_id": Case(
        None, ((None, None), ("tx-1", "tx-1")), ("", " ", 5, False, b"tx-1", ["tx-1"])
    ),
    "transaction_timeout_ms": integer(60_000, 1, INT_MAX),
    "compression_type": choice("none", ("gzip", "snappy", "lz4", "zstd"), "producer", "brotli"),
    "compression_gzip_level": GZIP_LEVEL,
    "compression_lz4_level": LZ4_LEVEL,
    "compression_zstd_level": ZSTD_LEVEL,
}


NOT_WITH_IDEMPOTENCE = ("acks", "retries", "max_in_flight_requests_per_connection")
"""Some of their values exclude it."""


@pytest.mark.parametrize("key", CASES)
def test_each_key_takes_good_values_and_refuses_bad_ones(key: str) -> None:
    """Defaults of PRD-1, except linger_ms."""
    needed = {"enable_idempotence": False} if key in NOT_WITH_IDEMPOTENCE else {}
    check_every_way(ProducerConfig, key, CASES[key], **needed)


def test_the_cases_cover_every_key() -> None:
    check_complete(ProducerConfig, CASES)


def test_keys_of_kafka_that_are_not_supported_are_refused_with_the_reason() -> None:
    check_unsupported(ProducerConfig)


def test_prd_2_idempotence_is_on_unless_acks_or_retries_exclude_it() -> None:
    assert ProducerConfig().enable_idempotence
    assert ProducerConfig.from_options().enable_idempotence
    assert ProducerConfig.from_options(acks=-1, retries=1, max_in_flight=5).enable_idempotence
    for excluding in ({"acks": "1"}, {"acks": 0}, {"retries": 0}, {"acks": 1, "retries": "0"}):
        assert not ProducerConfig.from_options(excluding).enable_idempotence
        explicitly = {"enable.idempotence": "false", **excluding}
        assert not ProducerConfig.from_options(explicitly).enable_idempotence


@pytest.mark.parametrize("excluding", [{"acks": 1}, {"acks": 0}, {"retries": 0}])
def test_prd_2_idempotence_asked_for_next_to_what_excludes_it_is_refused(
    excluding: dict[str, int],
) -> None:
    (name, value), *_ = excluding.items()
    message = f"enable_idempotence: expected .*, found {name}={value}"
    with pytest.raises(InvalidConfigurationError, match=message):
        ProducerConfig.from_options(excluding, enable_idempotence=True)
    with pytest.raises(InvalidConfigurationError, match=message):
        ProducerConfig.from_options({"enable.idempotence": "true"}, **excluding)
    with pytest.raises(InvalidConfigurationError, match=message):
        ProducerConfig(enable_idempotence=True, **excluding)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options", [{}, {"enable_idempotence": True}, {"acks": 1}, {"acks": 0, "retries": 0}]
)
def test_prd_2_more_than_five_in_flight_are_refused_even_where_idempotence_is_a_default(
    options: dict[str, object],
) -> None:
    """An error since 4.0, and looked at before anything turns idempotence off."""
    with pytest.raises(
        InvalidConfigurationError,
        match="max_in_flight_requests_per_connection: expected at most 5 with idempotence, found 6",
    ):
        ProducerConfig.from_options(options, max_in_flight=6)


@pytest.mark.parametrize(
    "excluding", [{"enable_idempotence": False}, {"acks": 1}, {"acks": 0}, {"retries": 0}]
)
def test_prd_2_a_transactional_id_without_idempotence_is_refused(
    excluding: dict[str, object],
) -> None:
    """Also where idempotence is only switched off by other keys."""
    with pytest.raises(InvalidConfigurationError, match="transactional_id: expected enable_idemp"):
        ProducerConfig.from_options(excluding, transactional_id="tx-1")
    assert ProducerConfig.from_options(transactional_id="tx-1").enable_idempotence


def test_without_idempotence_more_than_five_requests_in_flight_are_accepted() -> None:
    """PRD-2: the limit of 5 belongs to idempotence."""
    options = {"enable.idempotence": "false", "max.in.flight.requests.per.connection": "6"}
    made = ProducerConfig.from_options(options)
    assert made.max_in_flight_requests_per_connection == 6


def test_delivery_timeout_given_below_linger_plus_request_timeout_is_refused() -> None:
    """PRD-3."""
    options = {"linger_ms": 5.5, "request_timeout_ms": 100, "delivery_timeout_ms": 105}
    message = r"delivery_timeout_ms: .*\(5\.5 \+ 100\), found 105"
    with pytest.raises(InvalidConfigurationError, match=message):
        ProducerConfig.from_options(options)
    with pytest.raises(InvalidConfigurationError, match=message):
        ProducerConfig(**options)
    made = ProducerConfig.from_options({**options, "delivery_timeout_ms": 106})
    assert made.delivery_timeout_ms == 106


def test_delivery_timeout_left_to_its_default_is_raised_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """PRD-3."""
    with caplog.at_level(logging.WARNING, logger="streamlog"):
        made = ProducerConfig.from_options({"linger.ms": "100000.5"})
    assert made.delivery_timeout_ms == 130_001
    assert "delivery_timeout_ms raised" in caplog.text


def test_delivery_timeout_stays_at_its_default_when_that_is_enough(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """PRD-3."""
    assert ProducerConfig.from_options(linger_ms=90_000).delivery_timeout_ms == 120_000
    assert caplog.text == ""


def test_linger_too_long_for_any_delivery_timeout_is_capped() -> None:
    """PRD-3: Kafka caps the sum at the largest int."""
    made = ProducerConfig.from_options(linger_ms=INT_MAX)
    assert made.delivery_timeout_ms == INT_MAX


def test_ignoring_keys_needs_the_default_partitioner() -> None:
    """PRD-11: Kafka ignores partitioner.ignore.keys next to a partitioner; here it is refused."""
    for partitioner in (None, "murmur2"):
        made = ProducerConfig(partitioner=partitioner, partitioner_ignore_keys=True)
        assert made.partitioner_ignore_keys
    with pytest.raises(InvalidConfigurationError, match=r"partitioner_ignore_keys: .*'consistent'"):
        ProducerConfig(partitioner="consistent", partitioner_ignore_keys=True)


def test_numbers_in_a_mapping_may_be_text_and_keep_their_kind() -> None:
    made = ProducerConfig.from_options({"linger.ms": "5", "batch.size": " 100 "})
    assert made.linger_ms == 5
    assert type(made.linger_ms) is int
    assert made.batch_size == 100
    assert ProducerConfig.from_options({"linger.ms": "0.5"}).linger_ms == 0.5
    # strip() takes a few separators that int() and float() refuse: they were a bare ValueError.
    odd = {"linger.ms": "0.5\x1e", "batch.size": "\x1f100", "retries": "7\x85"}
    made = ProducerConfig.from_options(odd)
    assert (made.linger_ms, made.batch_size, made.retries) == (0.5, 100, 7)
    assert ProducerConfig.from_options({"linger.ms": "5\x1e"}).linger_ms == 5


@pytest.mark.parametrize(
    "value", ["1e3", "nan", "inf", "0x10", "1_000", "\u0663", "", "-", "5 5", "."]
)
def test_text_that_is_not_a_plain_number_is_refused(value: str) -> None:
    with pytest.raises(InvalidConfigurationError, match="linger_ms: expected a finite number"):
        ProducerConfig.from_options({"linger.ms": value})
    with pytest.raises(InvalidConfigurationError, match="batch_size: expected an int"):
        ProducerConfig.from_options({"batch.size": value})
