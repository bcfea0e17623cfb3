"""Consumer configuration: every key, and the rules between them."""

from __future__ import annotations

import pytest

from streamlog.client.partition_assignor import RangeAssignor
from streamlog.config import ConsumerConfig
from streamlog.errors import InvalidConfigurationError
from streamlog.structs import Isolation
from tests.support.config_cases import (
    INT_MAX,
    Case,
    boolean,
    check_complete,
    check_every_way,
    check_unsupported,
    choice,
    integer,
    objects,
    plugin,
    text,
)

SERDES = ("bytes", "str", "int", "int32", "float", "json", "msgpack")
ASSIGNOR = RangeAssignor()
RESETS = ("earliest", "latest", "none", "by_duration:PT1H", "by_duration:P1DT0.5S")

CASES = {
    "client_id": text(""),
    "group_id": Case(
        None,
        ((None, None), ("billing", "billing"), (" g", " g")),
        ("", "  ", 5, b"g", True, [], "\ud800", "x" * 32_768),
    ),
    "group_instance_id": Case(None, ((None, None), ("host-1", "host-1")), ("", "  ", 5, b"g", [])),
    "session_timeout_ms": integer(45_000, 1, INT_MAX),
    "key_deserializer": plugin(SERDES, "deserialize"),
    "value_deserializer": plugin(SERDES, "deserialize"),
    "auto_offset_reset": Case(
        "latest",
        tuple((policy, policy) for policy in RESETS),
        (
            *("Earliest", "", "smallest", "by_duration", "by_duration:", "by_duration:PT"),
            *("by_duration:-PT1H", "by_duration:PT-1H", "by_duration:1h", "PT1H"),
            *(None, 5, True, []),
        ),
    ),
    "enable_auto_commit": boolean(True),
    "auto_commit_interval_ms": integer(5000, 0, INT_MAX),
    "fetch_min_bytes": integer(1, 0, INT_MAX),
    "fetch_max_wait_ms": integer(500, 0, INT_MAX),
    "fetch_max_bytes": integer(52_428_800, 0, INT_MAX),
    "max_partition_fetch_bytes": integer(1_048_576, 0, INT_MAX),
    "max_poll_records": integer(500, 1, INT_MAX),
    "max_poll_interval_ms": integer(300_000, 1, INT_MAX),
    "isolation_level": Case(
        Isolation.READ_UNCOMMITTED,
        (
            *((level, level) for level in Isolation),
            ("read_committed", Isolation.READ_COMMITTED),
            ("read_uncommitted", Isolation.READ_UNCOMMITTED),
        ),
        ("READ_COMMITTED", "", None, 1, True, []),
    ),
    "default_api_timeout_ms": integer(60_000, 0, INT_MAX),
    "check_crcs": boolean(True),
    "allow_auto_create_topics": boolean(True),
    "interceptors": objects("on_consume", "on_commit"),
    "partition_assignment_strategy": Case(
        ("range", "cooperative-sticky"),
        (
            ("range", ("range",)),
            (["sticky", "range"], ("sticky", "range")),
            ("roundrobin, range", ("roundrobin", "range")),
            ([RangeAssignor], (RangeAssignor,)),
            (RangeAssignor, (RangeAssignor,)),
            (ASSIGNOR, (ASSIGNOR,)),
        ),
        ("", [], ["range", "range"], ["range", object()], "uniform", None, 5, "Range"),
    ),
    "group_remote_assignor": choice("range", ("uniform",), "sticky"),
    "exclude_internal_topics": boolean(True),
    "group_protocol": choice("consumer", ("classic",)),
}


CLASSIC_KEYS = ("session_timeout_ms", "partition_assignment_strategy")


@pytest.mark.parametrize(
    "key", [key for key in CASES if key not in ("enable_auto_commit", *CLASSIC_KEYS)]
)
def test_each_key_takes_good_values_and_refuses_bad_ones(key: str) -> None:
    """Defaults of CON-1."""
    check_every_way(ConsumerConfig, key, CASES[key])


@pytest.mark.parametrize("key", CLASSIC_KEYS)
def test_keys_of_the_classic_protocol_are_refused_under_the_other(key: str) -> None:
    """NGP-5."""
    case = CASES[key]
    assert getattr(ConsumerConfig(), key) == case.default
    for given, kept in case.good:
        made = ConsumerConfig.from_options(**{key: given}, group_protocol="classic")
        assert getattr(made, key) == kept
        with pytest.raises(
            InvalidConfigurationError, match=f"{key} has no meaning with group_protocol='consumer'"
        ):
            ConsumerConfig.from_options(**{key: given})
    for given in case.bad:
        with pytest.raises(InvalidConfigurationError, match=key):
            ConsumerConfig.from_options(**{key: given}, group_protocol="classic")
    with pytest.raises(InvalidConfigurationError, match="group_remote_assignor has no meaning"):
        ConsumerConfig.from_options(group_protocol="classic", group_remote_assignor="range")


def test_the_cases_cover_every_key() -> None:
    check_complete(ConsumerConfig, CASES)


def test_keys_of_kafka_that_are_not_supported_are_refused_with_the_reason() -> None:
    check_unsupported(ConsumerConfig)


def test_auto_commit_is_on_in_a_group_and_off_without_one() -> None:
    """CON-1, CON-3: without a group there is nowhere to commit."""
    assert ConsumerConfig.from_options(group_id="g").enable_auto_commit is True
    assert ConsumerConfig.from_options().enable_auto_commit is False
    made = ConsumerConfig.from_options({"enable.auto.commit": "FALSE"}, group_id="g")
    assert made.enable_auto_commit is False


def test_auto_commit_asked_for_without_a_group_is_refused() -> None:
    """CON-3."""
    with pytest.raises(
        InvalidConfigurationError, match=r"enable_auto_commit: .*without a group_id"
    ):
        ConsumerConfig.from_options(enable_auto_commit=True)


@pytest.mark.parametrize("bad", [0, 1, None, "yes", []])
def test_auto_commit_takes_nothing_but_booleans(bad: object) -> None:
    with pytest.raises(InvalidConfigurationError, match="enable_auto_commit: expected True or Fal"):
        ConsumerConfig.from_options(group_id="g", enable_auto_commit=bad)


def test_reset_by_duration_tells_the_milliseconds() -> None:
    """CON-5, KIP-1106."""
    made = ConsumerConfig(auto_offset_reset="by_duration:PT1H0.25S")
    assert made.auto_offset_reset_duration_ms == 3_600_250
    assert ConsumerConfig(auto_offset_reset="earliest").auto_offset_reset_duration_ms is None


def test_a_refused_value_that_kafka_knows_says_why() -> None:
    with pytest.raises(InvalidConfigurationError, match="learns of a rebalance at its next poll"):
        ConsumerConfig.from_options({"heartbeat.interval.ms": 3_000})
    with pytest.raises(InvalidConfigurationError, match="tells of every change of topics at once"):
        ConsumerConfig.from_options({"metadata.max.age.ms": 300_000})
    with pytest.raises(InvalidConfigurationError, match="pass the Broker"):
        ConsumerConfig.from_options(bootstrap_servers="localhost:9092")
