"""Transactions on a disk that is lost, at every moment, to kill -9 and to power cuts, in every flush mode.

After each crash: what a commit returned for is there in full, partitions and offsets; of every other
transaction all or nothing; of aborted ones nothing; nothing is left open; and the same producers go on.

``STREAMLOG_TRANSACTION_STATES`` says how many disks are looked at for each step (``make transaction-crashes STATES=20``),
``STREAMLOG_TRANSACTION_SEED`` which.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

import attrs
import pytest

from streamlog import Broker, Consumer, StreamlogError
from streamlog.broker.transactions.state import PREPARED
from streamlog.errors import ConcurrentTransactionsError
from streamlog.structs import OffsetAndMetadata, TopicPartition
from streamlog.testing import CrashLab
from tests.support.announcing_writer import AnnouncingWriter, new_announcer
from tests.support.transaction_writer import Writer, new_writer

STATES = int(os.environ.get("STREAMLOG_TRANSACTION_STATES", "1"))
"""So many of the disks that a power cut can leave are looked at for each step."""
SEED = int(os.environ.get("STREAMLOG_TRANSACTION_SEED", "1"))

pytestmark = [pytest.mark.crash, pytest.mark.timeout(600 + 60 * STATES)]

PLACES = [TopicPartition("a", number) for number in range(2)]
CONFIG: dict[str, Any] = {
    "transaction_state_log_num_partitions": 1,
    "offsets_topic_num_partitions": 1,
    "min_free_bytes": 0,
}


@attrs.frozen
class Planned:
    """A transaction of the program."""

    value: bytes
    transactional_id: str
    partitions: tuple[int, ...]
    offset: int | None
    commit: bool


PLAN = [
    Planned(b"1", "x", (0, 1), 1, commit=True),
    Planned(b"2", "x", (0,), None, commit=True),
    Planned(b"3", "x", (1,), 3, commit=False),
    Planned(b"4", "y", (0, 1), None, commit=True),
    Planned(b"5", "x", (1,), 5, commit=True),
    Planned(b"6", "x", (0,), None, commit=False),
    Planned(b"7", "x", (0,), None, commit=False),
    Planned(b"8", "y", (0, 1), 8, commit=True),
]


class Program:
    """Runs the plan, and knows how far each transaction has come.

    The producers of *announcing* ids are in other processes: they keep their epoch, and are still there after the crash.
    """

    def __init__(self, configs: dict[str, object], announcing: str = "") -> None:
        self.configs = configs
        self.announcing = announcing
        self.writers: dict[str, Writer | AnnouncingWriter] = {}
        self.current: Planned | None = None
        self.ending: set[bytes] = set()
        self.ended: set[bytes] = set()

    def run(self, broker: Broker) -> None:
        self.begin(broker)
        for planned in PLAN:
            self.write(planned)
            self.end(planned)
        self.write(Planned(b"9", "x", (0, 1), 9, commit=True))  # and never ended

    def begin(self, broker: Broker) -> None:
        broker.create_topic("a", partitions=2, configs=self.configs)
        for name in ("x", "y"):
            make = new_announcer if name in self.announcing else new_writer
            self.writers[name] = make(broker, name)

    def write(self, planned: Planned) -> Writer | AnnouncingWriter:
        writer = self.writers[planned.transactional_id]
        self.current = planned
        for partition in planned.partitions:
            writer.write("a", partition, planned.value)
        if planned.offset is not None:
            offsets = {PLACES[0]: OffsetAndMetadata(planned.offset)}
            if isinstance(writer, AnnouncingWriter):
                writer.send_offsets("g", offsets)
                return writer
            writer.broker.group_coordinator.commit_transactional_offsets(
                "g", "", -1, None, *writer.producer, offsets
            )
        return writer

    def end(self, planned: Planned) -> None:
        self.ending.add(planned.value)
        self.writers[planned.transactional_id].end(commit=planned.commit)
        self.ended.add(planned.value)
        self.current = None

    def check(self, broker: Broker) -> None:
        if "a" not in broker.topics():
            assert not self.ended
            return
        found = read_committed(broker)
        offset = committed_offset(broker)
        expected: int | None = None
        for planned in PLAN:
            seen = {planned.value in found[number] for number in planned.partitions}
            assert len(seen) == 1, f"half of transaction {planned.value!r}: {found}"
            (is_there,) = seen
            if not planned.commit or planned.value not in self.ending:
                assert not is_there, f"{planned.value!r} was never committed: {found}"
            elif planned.value in self.ended:
                assert is_there, f"{planned.value!r} was committed: {found}"
            if is_there and planned.offset is not None:
                expected = planned.offset
        assert offset == expected, "offsets go with the records"
        assert all(b"9" not in values for values in found)
        for name, writer in self.writers.items():
            if isinstance(writer, AnnouncingWriter):
                survivor = attrs.evolve(writer, broker=broker, sequences=dict(writer.sequences))
                self.survive(name, survivor, found)
        self.go_on(broker, found)

    def survive(self, name: str, writer: AnnouncingWriter, found: list[list[bytes]]) -> None:
        """A producer that is still there asks how its transaction ended, and goes on."""
        current = self.current
        if current is not None and current.transactional_id == name and writer.is_open:
            is_there = current.value in found[current.partitions[0]]
            try:
                writer.end(commit=True)
                assert is_there, f"{current.value!r} is said to be committed: {found}"
            except StreamlogError:
                pass
        with suppress(StreamlogError):
            writer.end(commit=False)
        try:
            writer.bump()
        except ConcurrentTransactionsError:
            raise
        except StreamlogError:
            return  # of an id that a power failure took it may be the owner no more
        for number, values in enumerate(found):
            values.append(name.upper().encode())
            writer.write("a", number, values[-1])
        writer.end(commit=True)
        assert read_committed(writer.broker) == found

    def go_on(self, broker: Broker, found: list[list[bytes]]) -> None:
        """The next process: both ids are taken again, and used."""
        for name in ("x", "y"):
            writer = new_writer(broker, name)
            for value, commit in ((b"no", False), (name.encode(), True)):
                for number, values in enumerate(found):
                    writer.write("a", number, value)
                    if commit:
                        values.append(value)
                writer.end(commit=commit)
        assert read_committed(broker) == found
        coordinator = broker.transaction_coordinator
        assert not {one.state for one in coordinator.list_transactions()} & PREPARED
        coordinator._check()
        broker.group_coordinator._check()


def read_committed(broker: Broker) -> list[list[bytes]]:
    """The committed values of each partition; nothing may be open."""
    for partition in broker.topic("a").partitions:
        assert partition.last_stable_offset == partition.high_watermark, partition
    found: list[list[bytes]] = [[] for _ in PLACES]
    with Consumer(broker, isolation_level="read_committed") as consumer:
        consumer.assign(PLACES)
        consumer.seek_to_beginning(*PLACES)
        while records := consumer.poll(0):
            for record in records:
                found[record.partition].append(record.value)
    return found


def committed_offset(broker: Broker) -> int | None:
    found = broker.group_coordinator.fetch_offsets("g", [PLACES[0]], require_stable=True)
    position = found[PLACES[0]]
    return None if position is None else position.offset


@pytest.mark.parametrize(
    ("flush", "announcing"),
    [({}, ""), ({"flush_messages": 1}, ""), ({"flush_ms": -1}, ""), ({}, "x"), ({}, "xy")],
    ids=str,
)
def test_transactions_are_whole_after_a_crash_at_any_moment(
    flush: dict[str, object], announcing: str
) -> None:
    """Invariants of durability 3.14 and TXN-8, whatever the partitions' own flush mode."""
    program = Program(flush, announcing)
    report = CrashLab(seed=SEED, config=CONFIG).explore(
        program.run, program.check, states_per_step=STATES
    )
    assert report.states > report.steps > 100


@pytest.mark.parametrize("announcing", ["", "xy"])
@pytest.mark.parametrize("keep", ["nothing", "everything", "chance"])
def test_finishing_what_was_left_open_may_be_interrupted_at_any_moment(
    keep: Any, announcing: str
) -> None:
    """A second crash, while the next process opens the directory."""
    lab = CrashLab(seed=SEED, config=CONFIG)
    program = Program({}, announcing)
    broker = lab.open_broker()
    program.begin(broker)
    for planned in PLAN[:4]:
        program.write(planned)
        program.end(planned)
    program.write(PLAN[4])
    lab.cut_power(keep)
    lab.explore(lambda _: None, program.check, states_per_step=STATES)


@pytest.mark.parametrize("markers", [0, 1, 2])
@pytest.mark.parametrize("end", ["kill", "power"])
def test_commit_that_was_decided_is_carried_out_although_its_markers_are_missing(
    markers: int, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = CrashLab(seed=SEED, config=CONFIG)
    program = Program({})
    broker = lab.open_broker()
    program.begin(broker)
    writer = broker.transaction_coordinator._markers
    write, written = writer.write, []

    def die(*arguments: Any) -> None:
        if len(written) == markers:
            raise SystemExit
        written.append(arguments)
        write(*arguments)

    program.write(PLAN[0])
    monkeypatch.setattr(writer, "write", die)
    with pytest.raises(SystemExit):
        program.end(PLAN[0])
    if end == "kill":
        lab.kill()
    else:
        lab.cut_power()
    with lab.open_broker() as broker:
        assert read_committed(broker) == [[b"1"], [b"1"]]
        assert committed_offset(broker) == 1
        program.check(broker)
    with lab.open_broker() as broker:
        assert broker.recovery_report.clean
        assert read_committed(broker) == [[b"1", b"x", b"y"]] * 2


def test_power_cut_while_the_next_process_carries_out_what_a_killed_one_decided() -> None:
    """The decision was stored, and not yet synced, when the process was killed."""
    lab = CrashLab(seed=SEED, config=CONFIG)
    program = Program({})
    broker = lab.open_broker()
    program.begin(broker)
    program.write(PLAN[0])

    def die(*_: object) -> None:
        raise SystemExit

    broker.transaction_coordinator._ending.sync_decision = die  # type: ignore[method-assign]
    with pytest.raises(SystemExit):
        program.end(PLAN[0])
    program.ended.clear()
    lab.kill()
    report = lab.explore(lambda _: None, program.check, states_per_step=max(STATES, 3))
    assert report.states > report.steps
