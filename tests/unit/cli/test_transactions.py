"""TXN-12 and KIP-664 from outside: ids listed and described, hanging transactions found and aborted."""

from __future__ import annotations

import pytest

from streamlog import Producer, TopicPartition
from tests.support.cli import Terminal
from tests.support.transactions import Transactions


@pytest.fixture(autouse=True)
def _ids(terminal: Terminal) -> None:
    with terminal.broker() as broker:
        broker.create_topic("orders")
        with Producer(broker, transactional_id="done") as producer:
            producer.init_transactions()
            producer.begin_transaction()
            producer.send("orders", b"v")
            producer.commit_transaction()


def test_list_shows_each_id_with_its_state(terminal: Terminal) -> None:
    rows = terminal.lines("transactions", "list")
    assert rows[0] == ["TRANSACTIONAL-ID", "PRODUCER-ID", "TRANSACTION-STATE"]
    assert [row[::2] for row in rows[1:]] == [["done", "complete_commit"]]
    number = rows[1][1]
    assert len(terminal.json("transactions", "list", "--producer-id", number)) == 1
    assert terminal.json("transactions", "list", "--producer-id", "999999") == []
    assert terminal.json("transactions", "list", "--state", "Ongoing,PrepareCommit") == []


def test_an_unknown_state_is_wrong_usage(terminal: Terminal) -> None:
    code, reason = terminal.failure("transactions", "list", "--state", "happy")
    assert (code, "expected some of empty, ongoing" in reason) == (2, True)


def test_an_open_transaction_is_described_and_can_be_ended(terminal: Terminal) -> None:
    with terminal.broker() as broker:
        producer = Producer(broker, transactional_id="open")
        producer.init_transactions()
        producer.begin_transaction()
        producer.send("orders", b"v")
        producer.flush()
        with terminal.attached(broker):
            described = terminal.json("transactions", "describe", "--transactional-id", "open")
            ongoing = terminal.json("transactions", "list", "--state", "ongoing")
            producers = terminal.json(
                "transactions", "describe-producers", "--topic", "orders", "--partition", "0"
            )
            assert terminal.run("transactions", "find-hanging").stderr == "No transaction hangs.\n"
            refused = terminal.failure(
                *("transactions", "abort", "--topic", "orders", "--partition", "0"),
                *("--start-offset", "2"),
            )
            ended = terminal.run("transactions", "force-terminate", "--transactional-id", "open")
            again = terminal.json("transactions", "force-terminate", "--transactional-id", "open")
            after = terminal.json("transactions", "describe", "--transactional-id", "open")
        producer.close()
    assert described["transaction_state"] == "ongoing"
    assert described["topic_partitions"] == ["orders-0"]
    assert [one["transactional_id"] for one in ongoing] == ["open"]
    assert [one["current_transaction_start_offset"] for one in producers] == [None, 2]
    assert refused[0] == 1
    assert ended.stderr == "No transaction of open is open.\n"
    assert after["transaction_state"] == again["transaction_state"] == "complete_abort"


def test_a_transaction_that_hangs_is_found_and_aborted(terminal: Terminal) -> None:
    """TXN-13: it keeps readers with read_committed from all that came later."""
    with terminal.broker() as broker:
        # Nobody told the coordinator of these.
        writes = Transactions(broker)
        for producer_id in (7_000, 7_001):
            writes.produce(producer_id, partition=TopicPartition("orders", 0))
        with terminal.attached(broker):
            found = terminal.json("transactions", "find-hanging", "--topic", "orders")
            where = ("transactions", "abort", "--topic", "orders", "--partition", "0")
            by_offset = terminal.run(*where, "--start-offset", "2")
            by_producer = terminal.json(*where, "--producer-id", "7001", "--producer-epoch", "0")
            assert terminal.json("transactions", "find-hanging") == []
        stable = broker.partition("orders", 0).last_stable_offset
    assert [one["producer_id"] for one in found] == [7_000, 7_001]
    assert [one["current_transaction_start_offset"] for one in found] == [2, 3]
    assert by_offset.stderr == "Aborted the transaction of producer 7000 in orders-0.\n"
    assert by_producer == {
        "topic": "orders",
        "partition": 0,
        "producer_id": 7_001,
        "producer_epoch": 0,
    }
    assert stable == 6


def test_an_id_that_nobody_has_is_not_found(terminal: Terminal) -> None:
    for command in ("describe", "force-terminate"):
        assert terminal.failure("transactions", command, "--transactional-id", "none")[0] == 3
    code, reason = terminal.failure(
        *("transactions", "abort", "--topic", "orders", "--partition", "0", "--start-offset", "7")
    )
    assert (code, reason) == (3, "orders-0: no transaction that begins at offset 7 is open")


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--producer-id", "1"],
        ["--producer-epoch", "1"],
        ["--start-offset", "0", "--producer-id", "1", "--producer-epoch", "0"],
    ],
)
def test_abort_wants_an_offset_or_a_producer(terminal: Terminal, options: list[str]) -> None:
    where = ("transactions", "abort", "--topic", "orders", "--partition", "0")
    code, reason = terminal.failure(*where, *options)
    assert (code, "expected --start-offset, or --producer-id" in reason) == (2, True)
