from __future__ import annotations

import pytest

from streamlog import Admin, Producer, TopicPartition
from tests.support.cli import START_MS, Terminal


@pytest.fixture(autouse=True)
def _records(terminal: Terminal) -> None:
    with terminal.broker() as broker:
        broker.create_topic("orders", partitions=4)
        broker.create_topic("prices")
        with Producer(broker) as producer:
            for number in range(3):
                producer.send(
                    "orders", b"v", partition=1, timestamp_ms=START_MS + 1_000 * (2 - number)
                )
        broker.partition("orders", 1).delete_records(1)


def offsets(terminal: Terminal, *options: str) -> dict[str, object]:
    rows = terminal.json("offsets", *options)
    return {f"{row['topic']}-{row['partition']}": row["offset"] for row in rows}


def test_the_end_of_each_partition_is_shown_by_default(terminal: Terminal) -> None:
    assert terminal.lines("offsets") == [
        ["TOPIC", "PARTITION", "OFFSET"],
        ["orders", "0", "0"],
        ["orders", "1", "3"],
        ["orders", "2", "0"],
        ["orders", "3", "0"],
        ["prices", "0", "0"],
    ]


@pytest.mark.parametrize(
    ("time", "offset"),
    [
        ("latest", 3),
        ("-1", 3),
        ("earliest", 1),
        ("-2", 1),
        ("max-timestamp", 1),
        ("-3", 1),
        ("earliest-local", 1),
        ("latest-tiered", None),
        (str(START_MS), 1),
        ("2023-11-14T22:13:21Z", 1),
        ("2023-11-14T22:13:22Z", None),
    ],
)
def test_a_time_is_a_name_a_number_of_kafkas_or_a_moment(
    terminal: Terminal, time: str, offset: int | None
) -> None:
    """TIM-1, TIM-2."""
    found = offsets(terminal, "--topic", "orders", "--partitions", "1", "--time", time)
    assert found == {"orders-1": offset}


def test_the_time_of_a_record_that_was_found_is_shown(terminal: Terminal) -> None:
    rows = terminal.lines("offsets", "--topic", "orders", "--partitions", "0,1", "--time", "-3")
    assert rows == [
        ["TOPIC", "PARTITION", "OFFSET", "TIMESTAMP"],
        ["orders", "0", "-", "-"],
        ["orders", "1", "1", "2023-11-14T22:13:21.000Z"],
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("orders:1", ["orders-1"]),
        ("orders:0-2,prices", ["orders-0", "orders-1", "prices-0"]),
        ("orders:2-", ["orders-2", "orders-3"]),
        ("orders:-1", ["orders-0"]),
    ],
)
def test_topics_with_ranges_of_partitions(
    terminal: Terminal, text: str, expected: list[str]
) -> None:
    assert list(offsets(terminal, "--topic-partitions", text)) == expected


def test_internal_topics_are_left_out_unless_asked_for(terminal: Terminal) -> None:
    with terminal.broker(offsets_topic_num_partitions=2) as broker:
        Admin(broker).alter_consumer_group_offsets("g", {TopicPartition("orders", 0): 0})
    assert "__consumer_offsets-0" not in offsets(terminal)
    assert "__consumer_offsets-0" not in offsets(terminal, "--exclude-internal-topics")
    assert "__consumer_offsets-1" in offsets(terminal, "--include-internal")


@pytest.mark.parametrize(
    ("options", "code", "reason"),
    [
        (["--time", "-9"], 2, "expected latest, earliest"),
        (["--time", "soon"], 2, "expected latest, earliest"),
        (["--topic-partitions", "orders:x"], 2, "expected topic, topic:0 or topic:0-3"),
        (["--topic-partitions", "orders:"], 2, "expected topic, topic:0 or topic:0-3"),
        (["--topic-partitions", "orders", "--topic", "prices"], 2, "stands alone"),
        (["--topic", "none"], 3, "topic 'none' does not exist"),
    ],
)
def test_what_is_no_time_and_no_topic_is_refused(
    terminal: Terminal, options: list[str], code: int, reason: str
) -> None:
    found, said = terminal.failure("offsets", *options)
    assert found == code
    assert reason in said
