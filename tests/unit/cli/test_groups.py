"""CLI-3: groups listed, described and deleted, and what they committed forgotten."""

from __future__ import annotations

import pytest

from streamlog import Admin, Consumer, Producer, TopicPartition
from tests.support.cli import Terminal


@pytest.fixture(autouse=True)
def _groups(terminal: Terminal) -> None:
    with terminal.broker() as broker, Admin(broker) as admin:
        broker.create_topic("orders", partitions=2)
        with Producer(broker) as producer:
            for number in range(6):
                producer.send("orders", b"v", partition=number % 2)
        for name in ("billing", "reports"):
            with Consumer(broker, group_id=name, enable_auto_commit=False) as consumer:
                consumer.subscribe(["orders"])
                while not consumer.assignment():
                    consumer.poll(1_000)
                consumer.commit({TopicPartition("orders", 0): 1, TopicPartition("orders", 1): 3})
        admin.alter_consumer_group_offsets("lonely", {TopicPartition("orders", 0): 2})


def test_list_shows_types_and_states(terminal: Terminal) -> None:
    """CLI-3."""
    assert terminal.lines("groups", "list") == [
        ["GROUP", "TYPE", "STATE", "MEMBERS"],
        ["billing", "consumer", "empty", "0"],
        ["lonely", "simple", "empty", "0"],
        ["reports", "consumer", "empty", "0"],
    ]


def test_list_can_be_narrowed_by_type_and_state(terminal: Terminal) -> None:
    simple = terminal.json("groups", "list", "--type", "Simple,classic")
    assert [row["group"] for row in simple] == ["lonely"]
    assert len(terminal.json("groups", "list", "--state", "Empty")) == 3
    assert terminal.json("groups", "list", "--state", "Stable,PreparingRebalance") == []


@pytest.mark.parametrize("option", ["--state", "--type"])
def test_an_unknown_type_or_state_is_wrong_usage(terminal: Terminal, option: str) -> None:
    code, reason = terminal.failure("groups", "list", option, "happy")
    assert code == 2
    assert "expected some of " in reason


def test_describe_shows_how_far_a_group_is(terminal: Terminal) -> None:
    """CLI-3: topic, partition, current offset, log end, lag, member, host, client."""
    assert terminal.lines("groups", "describe", "--group", "billing") == [
        [
            *("GROUP", "TOPIC", "PARTITION", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG"),
            *("CONSUMER-ID", "HOST", "CLIENT-ID"),
        ],
        ["billing", "orders", "0", "1", "3", "2", "-", "-", "-"],
        ["billing", "orders", "1", "3", "3", "0", "-", "-", "-"],
    ]


def test_describe_state_is_a_line_for_each_group(terminal: Terminal) -> None:
    rows = terminal.lines("groups", "describe", "--all-groups", "--state")
    assert rows[0] == ["GROUP", "COORDINATOR", "ASSIGNMENT-STRATEGY", "STATE", "MEMBERS"]
    assert [row[0] for row in rows[1:]] == ["billing", "lonely", "reports"]
    described = terminal.json("groups", "describe", "--group", "lonely", "--state")
    assert (described[0]["type"], described[0]["lag"]) == ("simple", 1)


def test_describe_members_of_a_group_without_any_says_so(terminal: Terminal) -> None:
    done = terminal.run("groups", "describe", "--group", "billing", "--members")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == "Group billing has no members.\n"


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
def test_describe_members_shows_what_each_has(terminal: Terminal, protocol: str) -> None:
    with terminal.broker() as broker:
        options = {"group_protocol": protocol, "client_id": "me"}
        consumer = Consumer(broker, group_id="billing", config=options)
        consumer.subscribe(["orders"])
        while not consumer.assignment():
            consumer.poll(1_000)
        description = Admin(broker).describe_consumer_groups(["billing"])["billing"]
        with terminal.attached(broker):
            members = terminal.json("groups", "describe", "--group", "billing", "--members")
            lines = terminal.lines(
                "groups", "describe", "--group", "billing", "--members", "--verbose"
            )
            (listed,) = terminal.json("groups", "list", "--state", "stable", "--type", protocol)
            offsets = terminal.json("groups", "describe", "--group", "billing")
        consumer.close()
    assert (listed["group"], listed["members"]) == ("billing", 1)
    assert members[0]["consumer_id"] == description.members[0].member_id
    assert lines[1][-1] == "orders-0,orders-1"
    assert {row["client_id"] for row in offsets} == {"me"}


def test_describe_wants_groups_or_all(terminal: Terminal) -> None:
    assert terminal.failure("groups", "describe")[0] == 2
    assert terminal.failure("groups", "describe", "--group", "a", "--all-groups")[0] == 2


def test_describe_of_no_group_is_not_found(terminal: Terminal) -> None:
    code, reason = terminal.failure("groups", "describe", "--group", "none")
    assert (code, reason) == (3, "group 'none' does not exist")


def test_deleted_groups_are_gone(terminal: Terminal) -> None:
    assert terminal.json("groups", "delete", "--group", "lonely") == [{"group": "lonely"}]
    done = terminal.run("groups", "delete", "--all-groups")
    assert done.stderr == "Deleted group billing.\nDeleted group reports.\n"
    assert terminal.json("groups", "list") == []
    assert terminal.failure("groups", "delete", "--group", "lonely")[0] == 3


def test_groups_that_were_deleted_are_named_also_when_another_is_not_there(
    terminal: Terminal,
) -> None:
    done = terminal.run("groups", "delete", "--group", "nobody", "--group", "lonely")
    assert done.exit_code == 3
    assert done.stderr.startswith(
        "Deleted group lonely.\nstreamlog: group 'nobody' does not exist\n"
    )


def test_deleted_offsets_are_forgotten_and_the_others_kept(terminal: Terminal) -> None:
    deleted = terminal.lines(
        "groups", "delete-offsets", "--group", "billing", "--topic", "orders:1"
    )
    assert deleted == [
        ["GROUP", "TOPIC", "PARTITION", "DELETED-OFFSET"],
        ["billing", "orders", "1", "3"],
    ]
    rows = terminal.json("groups", "describe", "--group", "billing")
    assert [(row["partition"], row["current_offset"]) for row in rows] == [(0, 1)]
    rest = terminal.json("groups", "delete-offsets", "--group", "billing", "--topic", "orders")
    assert [row["deleted_offset"] for row in rest] == [1, None]
