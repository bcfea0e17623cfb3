"""CLI-2: create, list, describe, alter and delete topics."""

from __future__ import annotations

import pytest

from streamlog import Admin, TopicPartition
from tests.support.cli import Terminal


def test_a_created_topic_has_what_the_options_say(terminal: Terminal) -> None:
    """CLI-2: partitions, replication factor and configs."""
    created = terminal.run(
        *(
            "topics",
            "create",
            "--topic",
            "orders",
            "--partitions",
            "3",
            "--replication-factor",
            "1",
        ),
        *("--config", "retention.ms=3600000", "--config", "cleanup_policy=delete"),
    )
    assert (created.exit_code, created.stdout) == (0, "")
    assert created.stderr == "Created topic orders.\n"
    with terminal.broker() as broker:
        topic = broker.describe_topic("orders")
    assert len(topic.partitions) == 3
    assert topic.configs["retention_ms"] == 3_600_000


def test_a_topic_that_is_there_is_an_error_unless_that_is_allowed(terminal: Terminal) -> None:
    terminal.lines("topics", "create", "--topic", "orders")
    code, reason = terminal.failure("topics", "create", "--topic", "orders", "--partitions", "5")
    assert (code, reason) == (1, "topic 'orders' already exists")
    again = terminal.run("topics", "create", "--topic", "orders", "--if-not-exists")
    assert (again.exit_code, again.stderr) == (0, "Topic orders is there already.\n")


def test_a_created_topic_is_described_in_json(terminal: Terminal) -> None:
    created = terminal.json("topics", "create", "--topic", "orders", "--config", "retention.ms=1")
    assert created["topic"] == "orders"
    assert created["configs"] == {"retention.ms": 1}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--config", "retentoin.ms=1"], "retentoin"),
        (["--replication-factor", "2"], "replication"),
        (["--partitions", "0"], "expected 1 partition or more"),
    ],
)
def test_what_no_topic_can_have_is_refused(
    terminal: Terminal, options: list[str], reason: str
) -> None:
    code, said = terminal.failure("topics", "create", "--topic", "orders", *options)
    assert code == 1
    assert reason in said
    assert terminal.lines("topics", "list") == []


def test_a_config_without_a_value_is_wrong_usage(terminal: Terminal) -> None:
    code, reason = terminal.failure("topics", "create", "--topic", "orders", "--config", "a")
    assert (code, reason) == (2, "Invalid value for '--config': expected key=value, found 'a'")


def test_list_shows_internal_topics_only_when_asked(terminal: Terminal) -> None:
    with terminal.broker() as broker:
        broker.create_topic("orders", partitions=2)
        Admin(broker).alter_consumer_group_offsets("g", {TopicPartition("orders", 0): 0})
        broker.create_topic("prices")
    assert terminal.lines("topics", "list") == [["orders"], ["prices"]]
    names = terminal.lines("topics", "list", "--include-internal")
    assert names == [["__consumer_offsets"], ["orders"], ["prices"]]
    assert terminal.lines("topics", "list", "--exclude-internal") == [["orders"], ["prices"]]
    assert terminal.json("topics", "list")[0] == {
        "topic": "orders",
        "partitions": 2,
        "is_internal": False,
    }


def test_describe_prints_a_topic_as_kafka_does(terminal: Terminal) -> None:
    """CLI-2: leader, replicas, ISR, ELR and configs."""
    terminal.lines(
        *("topics", "create", "--topic", "orders", "--partitions", "2"),
        *("--config", "cleanup.policy=", "--config", "retention.ms=1"),
    )
    topic_id = terminal.json("topics", "describe")[0]["topic_id"]
    assert terminal.lines("topics", "describe", "--topic", "orders") == [
        [
            "Topic: orders",
            f"TopicId: {topic_id}",
            "PartitionCount: 2",
            "ReplicationFactor: 1",
            "Configs: cleanup.policy=[],retention.ms=1",
        ],
        ["", "Topic: orders", "Partition: 0", "Leader: 1", "Replicas: 1", "Isr: 1", "Elr: -"],
        ["", "Topic: orders", "Partition: 1", "Leader: 1", "Replicas: 1", "Isr: 1", "Elr: -"],
    ]


def test_describe_of_no_topic_is_not_found(terminal: Terminal) -> None:
    with terminal.broker():
        pass
    assert terminal.failure("topics", "describe", "--topic", "a") == (
        3,
        "topic 'a' does not exist",
    )


def test_an_empty_name_is_wrong_usage(terminal: Terminal) -> None:
    assert terminal.failure("topics", "describe", "--topic", "") == (
        2,
        "Invalid value for '--topic': expected a name, found an empty one",
    )


def test_alter_gives_more_partitions_and_never_fewer(terminal: Terminal) -> None:
    terminal.lines("topics", "create", "--topic", "orders", "--partitions", "2")
    terminal.lines("topics", "alter", "--topic", "orders", "--partitions", "4")
    assert terminal.json("topics", "list")[0]["partitions"] == 4
    code, reason = terminal.failure("topics", "alter", "--topic", "orders", "--partitions", "3")
    assert (code, "expected more partitions than the 4" in reason) == (1, True)
    altered = terminal.json("topics", "alter", "--topic", "orders", "--partitions", "5")
    assert altered["partition_count"] == 5


def test_deleted_topics_are_gone_and_a_missing_one_is_an_error_unless_allowed(
    terminal: Terminal,
) -> None:
    for name in ("a", "b", "c"):
        terminal.lines("topics", "create", "--topic", name)
    deleted = terminal.json("topics", "delete", "--topic", "a", "--topic", "b")
    assert deleted == [{"topic": "a"}, {"topic": "b"}]
    assert terminal.failure("topics", "delete", "--topic", "a")[0] == 3
    done = terminal.run("topics", "delete", "--topic", "a", "--topic", "c", "--if-exists")
    assert done.stderr == "There is no topic a.\nDeleted topic c.\n"
    assert terminal.lines("topics", "list") == []
