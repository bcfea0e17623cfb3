"""CLI-3: every way to let a group go on elsewhere; nothing changes without --execute."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamlog import Admin, Consumer, Producer, TopicPartition
from tests.support.cli import START_MS, Terminal

RESET = ("groups", "reset-offsets")
BILLING = (*RESET, "--group", "billing", "--all-topics")
DRY_RUN = "Dry run: nothing was changed. --execute commits these offsets.\n"


@pytest.fixture(autouse=True)
def _groups(terminal: Terminal) -> None:
    """Partition 0 of orders holds offsets 2 to 9, a second between two records; partition 1 is empty."""
    with terminal.broker() as broker, Admin(broker) as admin:
        broker.create_topic("orders", partitions=2)
        broker.create_topic("prices")
        with Producer(broker) as producer:
            for number in range(10):
                timestamp_ms = START_MS + 1_000 * number
                producer.send("orders", b"v", partition=0, timestamp_ms=timestamp_ms)
        broker.partition("orders", 0).delete_records(2)
        partition = TopicPartition("orders", 0)
        admin.alter_consumer_group_offsets("billing", {partition: 5})
        admin.alter_consumer_group_offsets("reports", {partition: 7})


def committed(terminal: Terminal, group: str = "billing") -> dict[TopicPartition, int]:
    with terminal.broker() as broker:
        found = Admin(broker).list_consumer_group_offsets(group)
    return {tp: one.offset for tp, one in found.items() if one is not None}


@pytest.mark.parametrize(
    ("mode", "offset"),
    [
        (["--to-earliest"], 2),
        (["--to-latest"], 10),
        (["--to-current"], 5),
        (["--to-offset", "4"], 4),
        (["--to-offset", "1"], 2),
        (["--to-offset", "99"], 10),
        (["--to-datetime", "2023-11-14T22:13:23.001Z"], 4),
        (["--to-datetime", str(START_MS + 6_000)], 6),
        (["--to-datetime", "2030-01-01"], 10),
        (["--shift-by", "-2"], 3),
        (["--shift-by", "3"], 8),
        (["--shift-by", "-99"], 2),
    ],
)
def test_each_mode_leads_to_its_offset_within_the_log(
    terminal: Terminal, mode: list[str], offset: int
) -> None:
    planned = terminal.json(*RESET, "--group", "billing", "--topic", "orders:0", *mode)
    assert [row["new_offset"] for row in planned] == [offset]
    assert committed(terminal) == {TopicPartition("orders", 0): 5}
    done = terminal.json(*RESET, "--group", "billing", "--topic", "orders:0", *mode, "--execute")
    assert done == planned
    assert committed(terminal) == {TopicPartition("orders", 0): offset}


def test_a_duration_counts_back_from_now(terminal: Terminal) -> None:
    terminal.clock.advance_to(START_MS + 8_000)
    rows = terminal.json(
        *RESET, "--group", "billing", "--topic", "orders:0", "--by-duration", "PT3S"
    )
    assert [row["new_offset"] for row in rows] == [5]


def test_without_execute_it_says_that_nothing_was_changed(terminal: Terminal) -> None:
    for said in ([], ["--dry-run"]):
        done = terminal.run(*BILLING, "--to-earliest", *said)
        assert (done.exit_code, done.stderr) == (0, DRY_RUN)
        assert done.stdout.splitlines()[1:] == ["billing\torders\t0\t2", "billing\torders\t1\t0"]
    assert terminal.run(*BILLING, "--to-earliest", "--execute").stderr == ""


def test_a_topic_or_some_partitions_of_it_limit_what_is_reset(terminal: Terminal) -> None:
    rows = terminal.json(
        *(*RESET, "--group", "billing", "--topic", "orders:1", "--topic", "prices", "--to-latest")
    )
    assert [(row["topic"], row["partition"]) for row in rows] == [("orders", 1), ("prices", 0)]


def test_all_groups_are_reset_together(terminal: Terminal) -> None:
    rows = terminal.json(*RESET, "--all-groups", "--topic", "orders:0", "--shift-by", "1")
    assert [(row["group"], row["new_offset"]) for row in rows] == [("billing", 6), ("reports", 8)]


def test_no_group_is_changed_when_one_cannot_be(terminal: Terminal) -> None:
    code, reason = terminal.failure(
        *(*RESET, "--group", "billing", "--group", "new", "--topic", "orders:0"),
        *("--shift-by", "-1", "--execute"),
    )
    assert (code, "expected a committed offset to shift by -1" in reason) == (1, True)
    assert committed(terminal) == {TopicPartition("orders", 0): 5}


def test_a_group_that_does_not_exist_yet_can_be_prepared_for_a_topic(terminal: Terminal) -> None:
    terminal.lines(*RESET, "--group", "new", "--topic", "orders:0", "--to-latest", "--execute")
    assert committed(terminal, "new") == {TopicPartition("orders", 0): 10}
    code, reason = terminal.failure(*RESET, "--group", "none", "--all-topics", "--to-latest")
    assert (code, reason) == (3, "group 'none' does not exist")


def test_a_group_with_members_is_refused(terminal: Terminal) -> None:
    options = {"group_id": "billing", "enable_auto_commit": False}
    with terminal.broker() as broker, Consumer(broker, config=options) as consumer:
        consumer.subscribe(["orders"])
        consumer.poll(1_000)
        with terminal.attached(broker):
            code, reason = terminal.failure(*BILLING, "--to-earliest", "--execute")
    assert (code, "expected no members" in reason) == (1, True)
    assert committed(terminal) == {TopicPartition("orders", 0): 5}


def test_an_export_is_what_from_file_reads(terminal: Terminal, tmp_path: Path) -> None:
    file = tmp_path / "offsets.csv"
    exported = terminal.run(*BILLING, "--to-current", "--export")
    assert exported.stdout == "orders,0,5\norders,1,0\n"
    file.write_text(exported.stdout)
    terminal.lines(*BILLING, "--to-latest", "--execute")
    from_file = (*RESET, "--group", "billing", "--from-file", str(file))
    assert [row["new_offset"] for row in terminal.json(*from_file)] == [5, 0]
    terminal.lines(*from_file, "--execute")
    assert committed(terminal)[TopicPartition("orders", 0)] == 5


def test_an_export_of_several_groups_names_them(terminal: Terminal) -> None:
    both = ("--group", "billing", "--group", "reports")
    exported = terminal.run(*RESET, *both, "--topic", "orders:0", "--to-current", "--export").stdout
    assert exported == "billing,orders,0,5\nreports,orders,0,7\n"
    moved = exported.replace(",7", ",99").replace("\n", "\n\n", 1)
    terminal.lines(*RESET, *both, "--from-file", "-", "--execute", given=moved)
    assert committed(terminal, "reports") == {TopicPartition("orders", 0): 10}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected a line for each partition, found none"),
        ("orders,0\n", "line 1: expected topic,partition,offset"),
        ("orders,0,1\norders,x,1\n", "line 2: expected topic,partition,offset"),
        ("orders,0,-1\n", "line 1: expected topic,partition,offset"),
        ("orders,0,1\norders,0,2\n", "line 2: orders-0 is there twice"),
        ("reports,orders,0,1\n", "line 1: group 'reports' was not asked for"),
    ],
)
def test_a_file_that_says_something_else_is_refused(
    terminal: Terminal, text: str, reason: str
) -> None:
    code, said = terminal.failure(*RESET, "--group", "billing", "--from-file", "-", given=text)
    assert (code, said[: len("<stdin>: ")]) == (1, "<stdin>: ")
    assert reason in said


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--group", "g", "--all-topics"], "expected one of --to-earliest, "),
        (["--group", "g", "--all-topics", "--to-latest", "--shift-by", "0"], "--shift-by"),
        (["--all-topics", "--to-latest"], "expected --group or --all-groups"),
        (["--all-groups", "--group", "g", "--all-topics", "--to-latest"], "--all-groups, one of"),
        (["--group", "g", "--to-latest"], "expected --topic or --all-topics"),
        (["--group", "g", "--topic", "t", "--all-topics", "--to-latest"], "expected --topic or"),
        (["--group", "g", "--from-file", "-", "--all-topics"], "--from-file says itself"),
        (["--group", "g", "--all-topics", "--to-latest", "--execute", "--dry-run"], "found both"),
        (["--group", "g", "--all-topics", "--by-duration", "1H"], "ISO-8601 duration"),
        (["--group", "g", "--all-topics", "--to-offset", "-1"], "--to-offset"),
    ],
)
def test_options_that_do_not_go_together_are_wrong_usage(
    terminal: Terminal, options: list[str], reason: str
) -> None:
    code, said = terminal.failure(*RESET, *options)
    assert code == 2
    assert reason in said
