from __future__ import annotations

from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

from streamlog.broker import topic_registry
from streamlog.broker.broker import Broker
from streamlog.broker.config_entry import (
    AlterConfigOp,
    ConfigEntry,
    ConfigResource,
    ConfigResourceType,
    ConfigSource,
    OpType,
)
from streamlog.client.admin import Admin
from streamlog.client.new_topic import NewTopic
from streamlog.client.offset_spec import ListedOffset, OffsetSpec
from streamlog.errors import (
    ClosedError,
    InvalidConfigurationError,
    InvalidPartitionsError,
    InvalidReplicationFactorError,
    InvalidRequestError,
    InvalidTopicError,
    OffsetOutOfRangeError,
    PolicyViolationError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
)
from streamlog.record import build_batch
from streamlog.runtime import VirtualClock
from streamlog.structs import Isolation, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NOW_MS = 1_700_000_000_000
ORDERS = ConfigResource(ConfigResourceType.TOPIC, "orders")
ORDERS_0 = TopicPartition("orders", 0)
ORDERS_1 = TopicPartition("orders", 1)


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker(clock=VirtualClock(), broker_id=4, log_retention_ms=7_000) as broker:
        yield broker


@pytest.fixture
def admin(broker: Broker) -> Iterator[Admin]:
    with Admin(broker) as admin:
        yield admin


def append(broker: Broker, *timestamps_ms: int, partition: int = 0) -> None:
    for timestamp_ms in timestamps_ms:
        broker.partition("orders", partition).append(build_batch([b"v"], timestamp_ms))


# ---- topics


def test_topics_are_created_and_described_in_the_order_given(admin: Admin) -> None:
    new = NewTopic("payments", partitions=3, replication_factor=1, configs={"retention.ms": 5})
    created = admin.create_topics([new, "orders"])
    assert list(created) == ["payments", "orders"]
    assert [len(created[name].partitions) for name in created] == [3, 1]
    assert created["payments"].configs["retention_ms"] == 5
    assert created["orders"].partitions[0].leader == 4
    assert admin.list_topics() == ["orders", "payments"]
    assert admin.describe_topics() == {name: created[name] for name in ("orders", "payments")}
    assert admin.describe_topics(["orders"]) == {"orders": created["orders"]}


def test_validate_only_describes_and_creates_nothing(admin: Admin, broker: Broker) -> None:
    described = admin.create_topics([NewTopic("orders", 2)], validate_only=True)
    assert described["orders"].name == "orders"
    assert len(described["orders"].partitions) == 2
    assert admin.list_topics() == []
    for bad, error in (
        (NewTopic("a/b"), InvalidTopicError),
        (NewTopic("a", 0), InvalidPartitionsError),
        (NewTopic("a", 1, 2), InvalidReplicationFactorError),
        (NewTopic("a", configs={"retension_ms": 1}), InvalidConfigurationError),
    ):
        with pytest.raises(error):
            admin.create_topics([bad], validate_only=True)
    broker.create_topic("orders")
    with pytest.raises(TopicAlreadyExistsError):
        admin.create_topics(["orders"], validate_only=True)


def test_one_failure_keeps_no_other_from_happening_and_the_first_is_raised(admin: Admin) -> None:
    with pytest.raises(InvalidPartitionsError, match="'b'") as caught:
        admin.create_topics(["a", NewTopic("b", 0), "c/d", "e"])
    assert admin.list_topics() == ["a", "e"]
    (note,) = caught.value.__notes__
    assert note.startswith("and: InvalidTopicError: ")
    assert "'c/d'" in note


def test_topic_named_twice_is_an_invalid_request_and_nothing_happens(admin: Admin) -> None:
    with pytest.raises(InvalidRequestError, match="'a' is named more than once"):
        admin.create_topics(["a", NewTopic("a", 2)])
    assert admin.list_topics() == []


def test_deleted_topics_are_gone_and_unknown_ones_raise(admin: Admin) -> None:
    admin.create_topics(["a", "b", "c"])
    with pytest.raises(UnknownTopicOrPartitionError, match="'x'"):
        admin.delete_topics(["a", "x", "c"])
    assert admin.list_topics() == ["b"]
    with pytest.raises(UnknownTopicOrPartitionError, match="'a'"):
        admin.describe_topics(["b", "a"])


def test_internal_topics_are_listed_on_request(admin: Admin) -> None:
    admin.create_topics(["a", "__consumer_offsets"])
    assert admin.list_topics() == ["a"]
    assert admin.list_topics(include_internal=True) == ["__consumer_offsets", "a"]


def test_rec_11_partitions_may_only_grow(admin: Admin) -> None:
    admin.create_topics([NewTopic("orders", 2)])
    admin.create_partitions({"orders": 3}, validate_only=True)
    assert len(admin.describe_topics()["orders"].partitions) == 2
    admin.create_partitions({"orders": 3})
    assert len(admin.describe_topics()["orders"].partitions) == 3
    for validate_only in (False, True):
        with pytest.raises(InvalidPartitionsError, match="'orders'"):
            admin.create_partitions({"orders": 3}, validate_only=validate_only)


# ---- offsets


def listed(admin: Admin, spec: OffsetSpec | int, **options: Any) -> ListedOffset | None:
    return admin.list_offsets({ORDERS_0: spec}, **options)[ORDERS_0]


def test_tim_2_special_positions(admin: Admin, broker: Broker) -> None:
    admin.create_topics(["orders"])
    append(broker, 5, 9, 9, 3)
    admin.delete_records({ORDERS_0: 1})
    for isolation in (*Isolation, "read_committed"):
        for spec, answer in (
            (OffsetSpec.LATEST, ListedOffset(4, None, 0)),
            (OffsetSpec.EARLIEST, ListedOffset(1, None, 0)),
            (OffsetSpec.MAX_TIMESTAMP, ListedOffset(1, 9, 0)),
            (OffsetSpec.EARLIEST_LOCAL, ListedOffset(1, None, 0)),
            (OffsetSpec.LATEST_TIERED, None),
            (-1, ListedOffset(4, None, 0)),
        ):
            assert listed(admin, spec, isolation_level=isolation) == answer, spec


def test_tim_1_timestamp_finds_the_first_record_at_or_after(admin: Admin, broker: Broker) -> None:
    admin.create_topics(["orders"])
    append(broker, 5, 3, 9)
    assert [listed(admin, t) for t in (0, 6, 10)] == [
        ListedOffset(0, 5, 0),
        ListedOffset(2, 9, 0),
        None,
    ]


def test_empty_partition_has_ends_and_no_records(admin: Admin) -> None:
    admin.create_topics(["orders"])
    assert listed(admin, OffsetSpec.LATEST) == listed(admin, OffsetSpec.EARLIEST)
    assert listed(admin, OffsetSpec.MAX_TIMESTAMP) is None
    assert listed(admin, 0) is None


def test_number_that_is_no_spec_is_an_invalid_request(admin: Admin) -> None:
    admin.create_topics(["orders"])
    with pytest.raises(InvalidRequestError, match=r"orders-0: .*found -6"):
        listed(admin, -6)
    with pytest.raises(UnknownTopicOrPartitionError, match="orders-1"):
        admin.list_offsets({ORDERS_1: OffsetSpec.LATEST})
    with pytest.raises(ValueError, match="read_everything"):
        listed(admin, 0, isolation_level="read_everything")


def test_ret_9_delete_records_returns_the_new_log_starts(admin: Admin, broker: Broker) -> None:
    admin.create_topics([NewTopic("orders", 2)])
    append(broker, 1, 2, 3)
    append(broker, 1, 2, partition=1)
    assert admin.delete_records({ORDERS_0: 2, ORDERS_1: -1}) == {ORDERS_0: 2, ORDERS_1: 2}
    with pytest.raises(OffsetOutOfRangeError) as caught:
        admin.delete_records({ORDERS_0: 4, ORDERS_1: 0})
    assert caught.value.offsets == {ORDERS_0: 4}
    admin.create_topics([NewTopic("__consumer_offsets", configs={"cleanup_policy": "compact"})])
    with pytest.raises(PolicyViolationError, match="__consumer_offsets-0"):
        admin.delete_records({TopicPartition("__consumer_offsets", 0): 0})


# ---- configuration


def test_configs_tell_where_each_value_comes_from(admin: Admin) -> None:
    admin.create_topics([NewTopic("orders", configs={"segment_bytes": 5000})])
    configs = admin.describe_configs(["orders"])[ORDERS]
    assert configs["segment_bytes"] == ConfigEntry(
        "segment_bytes", 5000, ConfigSource.DYNAMIC_TOPIC_CONFIG
    )
    assert configs["retention_ms"] == ConfigEntry(
        "retention_ms", 7000, ConfigSource.STATIC_BROKER_CONFIG
    )
    assert configs["flush_ms"] == ConfigEntry("flush_ms", 1000, ConfigSource.DEFAULT_CONFIG)
    assert configs["flush_ms"].is_default
    assert not configs["retention_ms"].is_default


def test_broker_configs_are_described_and_fixed(admin: Admin) -> None:
    resource = ConfigResource(ConfigResourceType.BROKER, "4")
    configs = admin.describe_configs([resource])[resource]
    assert configs["broker_id"].value == 4
    assert configs["log_retention_ms"].source is ConfigSource.STATIC_BROKER_CONFIG
    assert configs["num_partitions"].source is ConfigSource.DEFAULT_CONFIG
    with pytest.raises(InvalidRequestError, match=r"broker '4'.*fixed when it opens"):
        admin.incremental_alter_configs({resource: [AlterConfigOp("num_partitions", 2)]})
    with pytest.raises(InvalidRequestError, match=r"broker '5'.*this broker's number, 4"):
        admin.describe_configs([ConfigResource(ConfigResourceType.BROKER, "5")])


def test_altered_configs_are_in_force_at_once(admin: Admin, broker: Broker) -> None:
    admin.create_topics([NewTopic("orders", configs={"segment_bytes": 5000})])
    change = [
        AlterConfigOp("retention.ms", "9"),
        AlterConfigOp("segment_bytes", op=OpType.DELETE),
        AlterConfigOp("cleanup.policy", "delete", OpType.SUBTRACT),
    ]
    admin.incremental_alter_configs({"orders": change}, validate_only=True)
    assert broker.topic("orders").overrides == {"segment_bytes": 5000}
    admin.incremental_alter_configs({"orders": change})
    config = broker.topic("orders").config
    assert (config.retention_ms, config.segment_bytes, config.cleanup_policy) == (
        9,
        1_073_741_824,
        (),
    )
    admin.incremental_alter_configs(
        {ORDERS: [AlterConfigOp("cleanup_policy", ["delete"], OpType.APPEND)]}
    )
    assert broker.topic("orders").config.cleanup_policy == ("delete",)


@pytest.mark.parametrize(
    ("operations", "error", "message"),
    [
        ([AlterConfigOp("nonsense", 1)], InvalidConfigurationError, "nonsense"),
        ([AlterConfigOp("nonsense", op=OpType.DELETE)], InvalidConfigurationError, "nonsense"),
        ([AlterConfigOp("nonsense", 1, OpType.APPEND)], InvalidConfigurationError, "nonsense"),
        ([AlterConfigOp("retention_ms", 1, OpType.APPEND)], InvalidConfigurationError, "no list"),
        ([AlterConfigOp("retention_ms", -2)], InvalidConfigurationError, "retention_ms"),
        (
            [AlterConfigOp("cleanup_policy", "compress", OpType.APPEND)],
            InvalidConfigurationError,
            "cleanup_policy: expected",
        ),
        (
            [AlterConfigOp("flush_ms", 5), AlterConfigOp("flush.ms", op=OpType.DELETE)],
            InvalidRequestError,
            "flush_ms is changed more than once",
        ),
    ],
)
def test_bad_change_is_refused_as_a_whole(
    admin: Admin,
    broker: Broker,
    operations: list[AlterConfigOp],
    error: type[Exception],
    message: str,
) -> None:
    admin.create_topics(["orders"])
    before = broker.topic("orders").config
    for validate_only in (True, False):
        with pytest.raises(error, match=message):
            admin.incremental_alter_configs(
                {"orders": [AlterConfigOp("segment_bytes", 600), *operations]},
                validate_only=validate_only,
            )
    assert broker.topic("orders").config == before


def test_changes_of_one_topic_at_once_are_all_made(
    admin: Admin, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one began with what the other one was about to change, and put that back."""
    admin.create_topics(["orders"])
    subtraction = {"orders": [AlterConfigOp("cleanup_policy", "delete", OpType.SUBTRACT)]}
    other = Thread(target=admin.incremental_alter_configs, args=(subtraction,))
    original = topic_registry.topic_overrides

    def overrides(configs: Any) -> dict[str, Any]:
        if not other.ident:
            other.start()
            if not broker.topic_registry._lock.locked():
                other.join()  # nobody holds it up
        return original(configs)

    monkeypatch.setattr(topic_registry, "topic_overrides", overrides)
    addition = AlterConfigOp("cleanup_policy", "compact", OpType.APPEND)
    admin.incremental_alter_configs({"orders": [addition]})
    other.join()
    assert broker.topic("orders").config.cleanup_policy == ("compact",)


# ---- life


def test_admin_takes_a_broker_and_nothing_else() -> None:
    with pytest.raises(
        TypeError, match="Admin: expected a Broker as the first argument, found str"
    ):
        Admin("localhost:9092")  # type: ignore[arg-type]


CALLS: list[Callable[[Admin], object]] = [
    lambda admin: admin.create_topics([]),
    lambda admin: admin.delete_topics([]),
    lambda admin: admin.describe_topics(),
    lambda admin: admin.list_topics(),
    lambda admin: admin.create_partitions({}),
    lambda admin: admin.list_offsets({}),
    lambda admin: admin.delete_records({}),
    lambda admin: admin.describe_configs([]),
    lambda admin: admin.incremental_alter_configs({}),
    lambda admin: admin.__enter__(),
]


@pytest.mark.parametrize("call", CALLS)
def test_every_call_after_close_raises_closed_error(
    broker: Broker, call: Callable[[Admin], object]
) -> None:
    admin = Admin(broker)
    admin.close()
    admin.close()
    with pytest.raises(ClosedError, match="admin client is closed"):
        call(admin)
    assert broker.topics() == []  # the broker stays open


@pytest.mark.parametrize("call", CALLS)
def test_every_call_after_the_broker_closed_raises_closed_error(
    call: Callable[[Admin], object],
) -> None:
    with Broker() as broker:
        admin = Admin(broker)
    with pytest.raises(ClosedError, match="broker in memory is closed"):
        call(admin)
    with pytest.raises(ClosedError, match="broker in memory is closed"):
        Admin(broker)
