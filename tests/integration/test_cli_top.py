"""`streamlog top` and the bar of `verify` through a pseudo-terminal, beside a broker that writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from streamlog import Broker, Consumer, Producer
from tests.support.terminal import spawn


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def owner(data: Path) -> Iterator[Broker]:
    with Broker(data) as broker:
        broker.create_topic("orders", partitions=2)
        broker.create_topic("payments")
        yield broker


def left(child: pexpect.spawn[str]) -> int | None:
    child.expect(pexpect.EOF)
    child.close()
    status: int | None = child.exitstatus
    return status


def test_top_follows_what_another_process_does(data: Path, owner: Broker) -> None:
    child = spawn(data, "top", "--interval", "0.2")
    child.expect(r"orders +2 +\S+ +\S+ +0 +0 +2 ")
    with Producer(owner) as producer:
        for _ in range(41):
            producer.send("orders", b"x", partition=0)
    child.expect(r"orders +2 +\S+ +\S+ +0 +41 +2 ")
    with Consumer(owner, "orders", group_id="billing", auto_offset_reset="earliest") as consumer:
        consumer.poll(1000, max_records=40)
        consumer.commit()
        # The state of a group with members is known to its own process alone; that it has none is stored.
        child.expect(r"billing +- +\d+ +\S+ +1 +orders")
        child.expect(r"billing  epoch 0 to \d+")
    child.expect(r"billing +empty +\d+ +\S+ +1 +orders")
    child.send("q")
    assert left(child) == 0


def test_keys_sort_and_filter(data: Path, owner: Broker) -> None:
    with Producer(owner) as producer:
        producer.send("payments", b"x" * 5000)
    child = spawn(data, "top", "--interval", "60")
    child.expect(r"orders .*\n.*payments ")
    child.send("s")
    child.expect(r"payments .*\n.*orders ")
    child.send("/ord")
    child.expect_exact("filter: ord_")
    child.send("\r")
    child.expect(r"q quit.*filter: ord")
    child.send("\x1b")
    child.expect(r"payments ")
    child.send("q")
    assert left(child) == 0


def test_the_terminal_is_given_back_after_q_and_after_ctrl_c(data: Path, owner: Broker) -> None:
    for end, status in (("q", 0), ("\x03", 130)):
        child = spawn(data, "top", "--interval", "60")
        child.expect_exact("\x1b[?1049h")  # the other screen
        child.expect_exact("q quit")
        assert not child.getecho()
        child.send(end)
        child.expect_exact("\x1b[?1049l")
        assert left(child) == status


def test_verify_shows_a_bar_on_a_terminal_and_leaves_only_what_it_found(
    data: Path, owner: Broker
) -> None:
    with Producer(owner) as producer:
        producer.send("orders", b"x" * 10_000)
    child = spawn(data, "verify")
    child.expect(r"verify .*━")
    child.expect_exact("checked 3 logs, 1 batches, 1 records")
    assert left(child) == 0
