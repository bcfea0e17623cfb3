"""Ctrl-C at every moment of the coordinator: the same call again, or the clock, finishes what was begun."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import streamlog.broker.transactions
from streamlog.broker.broker import Broker
from streamlog.record import ControlType
from streamlog.runtime import VirtualClock
from streamlog.structs import OffsetAndMetadata, ProducerIdAndEpoch, TopicPartition
from tests.support.interrupts import interrupted_at, moments
from tests.support.transaction_writer import TIMEOUT_MS, Writer, markers, new_writer

PACKAGE = str(Path(streamlog.broker.transactions.__file__).parent)
A0 = TopicPartition("a", 0)


class Case:
    """A broker with one producer in an open transaction: two partitions and an offset."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.broker = Broker(
            clock=self.clock,
            transaction_state_log_num_partitions=1,
            offsets_topic_num_partitions=1,
        )
        self.broker.create_topic("a", partitions=2)
        self.writer = new_writer(self.broker)
        self.began = self.writer.producer

    def write(self) -> None:
        for number in range(2):
            self.writer.write("a", number)
        self.broker.group_coordinator.commit_transactional_offsets(
            "g", "", -1, None, *self.writer.producer, {A0: OffsetAndMetadata(5)}
        )

    def end(self, *, commit: bool) -> ProducerIdAndEpoch:
        coordinator = self.broker.transaction_coordinator
        return coordinator.end_transaction("t", *self.began, commit=commit)

    def check_ended(self, kinds: set[ControlType]) -> ControlType:
        """Everything has ended in one and the same way, one of *kinds*; return which."""
        self.broker.transaction_coordinator._check()
        self.broker.group_coordinator._check()
        found = set()
        for number in range(2):
            partition = self.broker.partition("a", number)
            assert partition.last_stable_offset == partition.high_watermark
            found |= {kind for kind, _, _ in markers(self.broker, "a", number)}
        (kind,) = found
        assert kind in kinds
        offsets = self.broker.group_coordinator.fetch_offsets("g", [A0], require_stable=True)
        assert (offsets[A0] is not None) is (kind is ControlType.COMMIT)
        return kind

    def check_goes_on(self) -> None:
        """The id can be taken, and used, and closed."""
        writer: Writer = new_writer(self.broker)
        assert writer.producer.producer_id == self.began.producer_id
        assert writer.producer.producer_epoch > self.began.producer_epoch
        writer.write("a")
        writer.end(commit=True)
        self.broker.transaction_coordinator._check()
        self.broker.close()


def each_moment(work: Callable[[Case], object], prepare: Callable[[Case], object]) -> list[int]:
    case = Case()
    prepare(case)
    with case.broker:
        return moments(lambda: work(case), of_each=1, watched=PACKAGE)


@pytest.mark.slow
@pytest.mark.parametrize("commit", [True, False])
def test_interrupted_end_is_finished_by_the_same_call(commit: bool) -> None:
    kind = ControlType.COMMIT if commit else ControlType.ABORT
    all_moments = each_moment(lambda case: case.end(commit=commit), Case.write)
    assert len(all_moments) > 100
    for moment in all_moments:
        case = Case()
        case.write()
        interrupted_at(moment, lambda case=case: case.end(commit=commit), watched=PACKAGE)  # type: ignore[misc]
        assert case.end(commit=commit) == (case.began.producer_id, 1), f"moment {moment}"
        case.check_ended({kind})
        case.check_goes_on()


@pytest.mark.slow
def test_interrupted_commit_is_finished_by_the_clock() -> None:
    ends = set()
    for moment in each_moment(lambda case: case.end(commit=True), Case.write):
        case = Case()
        case.write()
        interrupted_at(moment, lambda case=case: case.end(commit=True), watched=PACKAGE)  # type: ignore[misc]
        case.clock.advance(TIMEOUT_MS + 10_000)
        # Aborted for its time if it was not decided.
        ends.add(case.check_ended({ControlType.COMMIT, ControlType.ABORT}))
        case.check_goes_on()
    assert ends == {ControlType.COMMIT, ControlType.ABORT}


@pytest.mark.slow
def test_interrupted_fencing_is_finished_by_the_same_call() -> None:
    def take(case: Case) -> None:
        try:
            new_writer(case.broker)
        except streamlog.errors.ConcurrentTransactionsError:
            pass

    for moment in each_moment(take, Case.write):
        case = Case()
        case.write()
        interrupted_at(moment, lambda case=case: take(case), watched=PACKAGE)  # type: ignore[misc]
        take(case)
        case.check_ended({ControlType.ABORT})
        case.check_goes_on()


@pytest.mark.slow
def test_transaction_that_was_interrupted_as_it_began_does_not_stay_open() -> None:
    for moment in each_moment(Case.write, lambda _: None):
        case = Case()
        interrupted_at(moment, case.write, watched=PACKAGE)
        case.clock.advance(TIMEOUT_MS + 10_000)
        for number in range(2):
            partition = case.broker.partition("a", number)
            assert partition.last_stable_offset == partition.high_watermark
        case.check_goes_on()
