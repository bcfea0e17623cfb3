"""Killing a broker and cutting its power, by hand and everywhere."""

from __future__ import annotations

import pytest

from streamlog import Broker, ClosedError, Consumer, Producer
from streamlog.testing import CrashFailureError, CrashLab


def values(broker: Broker, topic: str = "t") -> list[bytes | None]:
    if topic not in broker.topics():
        return []
    with Consumer(broker, topic, group_id="g", auto_offset_reset="earliest") as consumer:
        return list(consumer.poll(timeout_ms=10).values())


def send(broker: Broker, *sent: bytes, flush_messages: int | None = None) -> None:
    if "t" not in broker.topics():
        broker.create_topic("t", configs={"flush_messages": flush_messages})
    with Producer(broker) as producer:
        for value in sent:
            producer.send("t", value).result()


def test_a_kill_loses_nothing_and_the_next_power_cut_what_was_not_synced() -> None:
    lab = CrashLab()
    send(lab.open_broker(), b"1", b"2")
    lab.kill()
    broker = lab.open_broker()
    assert values(broker) == [b"1", b"2"]
    lab.cut_power()
    with lab.open_broker() as broker:
        assert values(broker) == []


def test_a_power_cut_can_spare_everything() -> None:
    lab = CrashLab()
    send(lab.open_broker(), b"1")
    lab.cut_power("everything")
    with lab.open_broker() as broker:
        assert values(broker) == [b"1"]
        assert broker.recovery_report.power_may_have_failed


def test_a_power_cut_by_chance_leaves_a_prefix_and_follows_the_seed() -> None:
    def left(seed: int) -> list[int]:
        lab, lengths = CrashLab(seed=seed), []
        for _ in range(8):
            send(lab.open_broker(), b"1", b"2", b"3")
            lab.cut_power("chance")
            with lab.open_broker() as broker:
                found = values(broker)
                lengths.append(len(found))
                assert set(found) <= {b"1", b"2", b"3"}
        return lengths

    assert left(1) == left(1)
    assert any(left(1)[n] != left(2)[n] for n in range(8))


def test_what_was_acknowledged_on_disk_survives_the_power_cut() -> None:
    lab = CrashLab()
    send(lab.open_broker(), b"1", b"2", flush_messages=1)
    lab.cut_power()
    with lab.open_broker() as broker:
        assert values(broker) == [b"1", b"2"]


def test_the_broker_of_a_dead_process_is_of_no_more_use() -> None:
    lab = CrashLab()
    broker = lab.open_broker()
    lab.kill()
    with pytest.raises(ClosedError, match="its process or its power ended"):
        broker.topics()
    broker.close()


def test_an_unknown_way_to_lose_power_is_refused() -> None:
    with pytest.raises(ValueError, match="found 'some'"):
        CrashLab().cut_power("some")  # type: ignore[arg-type]


def test_exploring_finds_an_acknowledgement_that_a_power_cut_takes_back() -> None:
    """The program takes an acknowledgement of the process for one of the disk."""
    acknowledged: list[bytes] = []

    def program(broker: Broker) -> None:
        for value in (b"1", b"2"):
            send(broker, value)
            acknowledged.append(value)

    def check(broker: Broker) -> None:
        assert values(broker)[: len(acknowledged)] == acknowledged

    with pytest.raises(CrashFailureError, match="power cut, left: nothing unsynced") as caught:
        CrashLab(seed=3).explore(program, check)
    assert isinstance(caught.value.__cause__, AssertionError)
    acknowledged.clear()
    with pytest.raises(CrashFailureError) as again:
        CrashLab(seed=3).explore(program, check, only_step=caught.value.step)
    assert str(again.value) == str(caught.value)


def test_exploring_goes_through_opening_and_closing_as_well() -> None:
    seen: list[tuple[bool, int]] = []

    def check(broker: Broker) -> None:
        seen.append((broker.recovery_report.clean, broker.recovery_report.generation))

    lab = CrashLab()
    report = lab.explore(lambda broker: None, check, states_per_step=2)
    assert report.states == len(seen)
    assert {clean for clean, _ in seen} == {True, False}
    assert {generation for _, generation in seen} == {1, 2}
    with lab.open_broker() as broker:
        assert broker.recovery_report.clean
