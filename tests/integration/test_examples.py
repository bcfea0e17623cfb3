"""Every example runs, and prints what it promises."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.programs import ROOT, run_program

EXAMPLES = ROOT / "examples"


def test_hello_reads_back_what_it_sent(tmp_path: Path) -> None:
    printed = run_program(EXAMPLES / "01_hello.py", cwd=tmp_path)
    assert printed.count("stored") == printed.count("read") == 2


def test_seed_scenario_prints_the_three_records_as_kafka_does(tmp_path: Path) -> None:
    lines = run_program(EXAMPLES / "02_seed_scenario.py", cwd=tmp_path).splitlines()
    pattern = re.compile(
        r"ConsumerRecord\(topic = test, partition = ([0-2]), leaderEpoch = 0, offset = (\d), "
        r"CreateTime = \d{13}, serialized key size = -1, serialized value size = (\d), "
        r"headers = RecordHeaders\(headers = \[\], isReadOnly = false\), key = null, value = (\w+)\)"
    )
    found = [match.groups() for match in map(pattern.fullmatch, lines) if match]
    assert [(offset, size, value) for _, offset, size, value in found] == [
        ("0", "5", "hello"),
        ("1", "4", "test"),
        ("2", "8", "sanghyun"),
    ]
    assert len({partition for partition, *_ in found}) == 1  # null keys stay together (PAR-2)


def test_replay_reads_again_from_a_moment_on_and_what_retention_left(tmp_path: Path) -> None:
    """TIM-1, RET-1, RET-9."""
    assert run_program(EXAMPLES / "03_replay.py", cwd=tmp_path).splitlines() == [
        "the last two days, from offset 192: 96 kWh",
        "the same again: 96 kWh",
        "offsets start at 50: 190 of 240 records are left",
        "after deleting what came before: 48 records",
    ]


def test_rebalance_hands_totals_over_with_their_partitions(tmp_path: Path) -> None:
    printed = run_program(EXAMPLES / "04_rebalance.py", cwd=tmp_path)
    assert printed.splitlines()[:3] == [
        "anna gets   payments-0, payments-1, payments-2, payments-3",
        "anna gives  payments-2, payments-3",
        "ben gets   payments-2, payments-3",
    ]
    assert printed.endswith("total: 10100, expected: 10100\n")


def test_static_member_comes_back_in_the_same_generation(tmp_path: Path) -> None:
    printed = run_program(EXAMPLES / "05_static_member.py", cwd=tmp_path)
    story = [
        "both are there: host-1 reads [0, 1], host-2 reads [2, 3], generation 2",
        "one restarts  : host-2 reads [2, 3], generation 2",
        "it is back    : host-1 reads [0, 1], host-2 reads [2, 3], generation 2",
        "it stays away : host-2 reads [0, 1, 2, 3], generation 3",
    ]
    protocols = ["group_protocol=classic", "group_protocol=consumer"]
    assert printed.splitlines() == [protocols[0], *story, protocols[1], *story]


def test_asyncio_consumers_share_what_is_produced(tmp_path: Path) -> None:
    printed = run_program(EXAMPLES / "06_asyncio.py", cwd=tmp_path)
    assert printed.endswith("43 records, sum 903\n")


def test_manual_commits_send_each_letter_once_although_one_got_stuck(tmp_path: Path) -> None:
    printed = run_program(EXAMPLES / "07_manual_commit.py", cwd=tmp_path)
    assert printed.splitlines() == [
        "stopped: letter 33 is stuck",
        "committed: offset 33, for letter 32 is sent",
        "sent 50 letters, each once: True",
    ]


def test_exactly_once_makes_each_invoice_once_however_often_it_fails(tmp_path: Path) -> None:
    """TXN-6, TXN-7."""
    printed = run_program(EXAMPLES / "08_exactly_once.py", "--records", "300", cwd=tmp_path)
    assert printed.splitlines() == [
        "failed in transaction 2: 50 invoices count",
        "failed in transaction 3: 150 invoices count",
        "300 orders, 300 invoices, each of them once",
    ]


def test_exactly_once_goes_on_in_its_directory(tmp_path: Path) -> None:
    """What was aborted stays so, and nothing is done twice, in the next process as well."""
    arguments = ("--records", "300", "--data", str(tmp_path / "data"))
    for _ in range(2):
        printed = run_program(EXAMPLES / "08_exactly_once.py", *arguments, cwd=tmp_path)
        assert printed.splitlines()[-1] == "300 orders, 300 invoices, each of them once"


def test_table_view_shows_the_last_of_each_key_and_tells_of_changes(tmp_path: Path) -> None:
    printed = run_program(EXAMPLES / "09_table_view.py", cwd=tmp_path)
    lines = printed.splitlines()
    assert lines[:2] == ["apples: {'count': 3}, 3 kinds in all", "changes:"]
    # Of two partitions: between them there is no order.
    assert sorted(lines[2:4]) == [
        "  apples: {'count': 3} -> {'count': 2}",
        "  plums: {'count': 2} -> None",
    ]
    assert lines[4:] == [
        "plums left: none",
        "the next day: {'apples': {'count': 2}, 'pears': {'count': 5}}",
    ]


def test_every_example_is_run_here() -> None:
    text = Path(__file__).read_text()
    assert [path.name for path in EXAMPLES.glob("*.py") if path.name not in text] == []


def test_application_of_kafka_survives_a_crash(tmp_path: Path) -> None:
    pytest.importorskip("confluent_kafka")
    # Which tests orders.py.
    printed = run_program(EXAMPLES / "10_kafka_clients.py", cwd=tmp_path)
    assert printed.splitlines()[:3] == [
        "100 orders are done; each of two processes has two partitions",
        "200 orders are done",
        "300 orders are done; the survivor has 4 partitions",
    ]
