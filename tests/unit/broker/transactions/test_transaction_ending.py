from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.broker.transactions.state import TransactionState
from streamlog.errors import (
    ConcurrentTransactionsError,
    DiskFullError,
    InvalidTxnStateError,
)
from streamlog.record.control import ControlType
from streamlog.runtime import VirtualClock
from streamlog.structs import ProducerIdAndEpoch
from tests.support.transaction_writer import TIMEOUT_MS, markers, new_writer, state

S = TransactionState


def init(broker: Broker, **options: Any) -> ProducerIdAndEpoch:
    return broker.transaction_coordinator.init_producer_id("t", TIMEOUT_MS, **options)


# ---- what cannot be finished at once


class Refusal:
    """Lets the markers of one partition fail, as on a full disk."""

    def __init__(self, partition: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.error: BaseException | None = DiskFullError("no room")
        append = partition.log.append

        def refuse(batch: Any) -> int:
            if batch.is_control and self.error is not None:
                raise self.error
            return append(batch)  # type: ignore[no-any-return]

        monkeypatch.setattr(partition.log, "append", refuse)


def test_marker_that_cannot_be_written_is_written_later(
    broker: Broker,
    clock: VirtualClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    writer = new_writer(broker)
    writer.write("a", 0)
    writer.write("a", 1)
    refusal = Refusal(broker.partition("a", 0), monkeypatch)
    with caplog.at_level(logging.WARNING, "streamlog"):
        writer.end(
            commit=True
        )  # decided: that some markers are missing is not the caller's business
    assert "a-0: the marker that ends a transaction of 't' could not be written" in caplog.text
    assert state(broker) is S.PREPARE_COMMIT
    assert markers(broker, "a", 1) == [(ControlType.COMMIT, 1, 1)]
    with pytest.raises(ConcurrentTransactionsError):
        writer.write("a", 1)
    with pytest.raises(ConcurrentTransactionsError):
        init(broker)
    refusal.error = None
    clock.advance(10_000)
    assert state(broker) is S.COMPLETE_COMMIT
    assert markers(broker, "a", 0) == [(ControlType.COMMIT, 1, 1)]
    assert len(markers(broker, "a", 1)) == 1, "each marker once"
    writer.write("a", 1)
    writer.end(commit=True)
    broker.transaction_coordinator._check()


@pytest.mark.parametrize("commit", [True, False])
def test_end_that_was_interrupted_between_markers_is_finished_by_the_next_call(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, commit: bool
) -> None:
    writer = new_writer(broker)
    began = writer.producer
    writer.write("a", 0)
    writer.write("a", 1)
    refusal = Refusal(broker.partition("a", 1), monkeypatch)
    refusal.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        writer.end(commit=commit)
    broker.transaction_coordinator._check()
    refusal.error = None
    after = broker.transaction_coordinator.end_transaction("t", *began, commit=commit)
    assert after == (began.producer_id, 1)
    assert len(markers(broker, "a", 0)) == len(markers(broker, "a", 1)) == 1
    assert state(broker) is (S.COMPLETE_COMMIT if commit else S.COMPLETE_ABORT)


def test_end_that_was_interrupted_between_markers_is_finished_by_the_clock(
    broker: Broker, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = new_writer(broker)
    writer.write("a")
    refusal = Refusal(broker.partition("a", 0), monkeypatch)
    refusal.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        writer.end(commit=True)
    refusal.error = None
    clock.advance(10_000)
    assert state(broker) is S.COMPLETE_COMMIT
    assert broker.partition("a", 0).last_stable_offset == 2


def test_decision_that_cannot_be_stored_is_not_made(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = new_writer(broker)
    writer.write("a")
    coordinator = broker.transaction_coordinator
    home = coordinator._store.home_or_create("t")
    with monkeypatch.context() as patch:
        patch.setattr(
            home.log, "append", lambda batch: (_ for _ in ()).throw(DiskFullError("full"))
        )
        with pytest.raises(DiskFullError):
            writer.end(commit=True)
    assert state(broker) is S.ONGOING
    writer.end(commit=False)
    assert state(broker) is S.COMPLETE_ABORT


def test_ctrl_c_after_the_decision_was_stored_does_not_undo_it(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = new_writer(broker)
    began = writer.producer
    writer.write("a")
    home = broker.transaction_coordinator._store.home_or_create("t")
    append = home.log.append

    def interrupted(batch: Any) -> int:
        append(batch)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(home.log, "append", interrupted)
        with pytest.raises(KeyboardInterrupt):
            writer.end(commit=True)
    assert state(broker) is S.PREPARE_COMMIT
    with pytest.raises(InvalidTxnStateError):
        broker.transaction_coordinator.end_transaction("t", *began, commit=False)
    broker.transaction_coordinator.end_transaction("t", *began, commit=True)
    assert state(broker) is S.COMPLETE_COMMIT


def test_partition_cannot_join_while_the_transaction_is_being_ended(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = new_writer(broker)
    writer.write("a")
    refused = []

    def sync() -> None:
        for work in (lambda: writer.write("a", 1), lambda: writer.end(commit=False)):
            with pytest.raises(ConcurrentTransactionsError):
                work()
            refused.append(1)

    monkeypatch.setattr(broker.partition("a", 0).log, "sync", sync)
    writer.end(commit=True)
    assert refused == [1, 1]
    assert broker.partition("a", 1).log_end_offset == 0


# ---- a commit survives a loss of power


def noted(steps: list[str], step: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """Return *call* with a note in *steps* whenever it is made."""

    def calling(*arguments: Any) -> Any:
        steps.append(step)
        return call(*arguments)

    return calling


def test_commit_syncs_data_then_decision_then_writes_markers(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Durability 3.14: what a commit promises is on disk before anybody can see that it was made."""
    writer = new_writer(broker)
    writer.write("a", 0)
    writer.write("a", 1)
    home = broker.transaction_coordinator._store.home_or_create("t")
    steps: list[str] = []
    for partition in (broker.partition("a", 0), broker.partition("a", 1), home):
        log = partition.log
        name = f"{partition.topic}-{partition.number}" if partition is not home else "home"
        for verb in ("sync", "append"):
            monkeypatch.setattr(log, verb, noted(steps, f"{verb} {name}", getattr(log, verb)))
    writer.end(commit=True)
    decided = steps.index("append home")
    assert steps[:decided] == ["sync a-0", "sync a-1"]
    assert steps[decided + 1] == "sync home"
    assert [step for step in steps if step.startswith("append")] == [
        *("append home", "append a-0", "append a-1", "append home"),
    ]
    steps.clear()

    # The record that says commit is replaced only when its markers are on disk.
    writer.write("a", 0)
    steps.clear()
    writer.end(commit=False)
    assert steps[: steps.index("append home")] == ["sync a-0", "sync a-1"]
    steps.clear()
    writer.write("a", 0)
    steps.clear()
    writer.end(commit=False)
    assert not [step for step in steps if step.startswith("sync")], (
        "an abort syncs nothing of its own"
    )
