"""A table view of any mix of plain, committed and aborted records, of topics that are cut, grown and made anew, is what a dict is."""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from streamlog.broker.broker import Broker
from streamlog.client.table_view import TableView
from streamlog.structs import Isolation, TopicPartition
from streamlog.testing import MemoryFileSystem, VirtualClock
from tests.support.consuming import append
from tests.support.transactions import Transactions

LEVELS = list(Isolation)
PRODUCERS = 2
records = st.lists(
    st.tuples(
        st.sampled_from([b"a", b"b", b"c", None]), st.sampled_from([b"", b"1", b"2", b"3", None])
    ),
    min_size=1,
    max_size=5,
)


@attrs.define(eq=False)
class Transaction:
    """One transaction of the model; it writes to one partition."""

    first_offset: int
    is_open: bool = True
    is_aborted: bool = False


@attrs.define
class Entry:
    """One offset of the model; a marker has no key."""

    key: bytes | None
    value: bytes | None
    transaction: Transaction | None = None

    def counts(self, isolation: Isolation) -> bool:
        if self.key is None:
            return False
        aborted = self.transaction is not None and self.transaction.is_aborted
        return isolation is Isolation.READ_UNCOMMITTED or not aborted


@attrs.define
class Model:
    """What a view that is looked at now and then has to contain."""

    isolation: Isolation
    contents: dict[bytes, bytes] = attrs.field(factory=dict)
    offsets: dict[int, int] = attrs.field(factory=dict)

    def start_over(self) -> None:
        self.contents, self.offsets = {}, {}


class Tables(RuleBasedStateMachine):
    """A topic, a view of each isolation level that is looked at when a rule says so, and one that tells of every change."""

    broker: Broker

    @initialize()
    def open(self) -> None:
        self.clock = VirtualClock()
        self.filesystem = MemoryFileSystem()
        self.generation = 0
        self._create()
        self._open_broker()

    def _create(self) -> None:
        self.logs: list[list[Entry]] = [[]]
        self.starts = [0]
        self.open_transactions: dict[int, tuple[int, Transaction]] = {}

    def _open_broker(self) -> None:
        self.generation += 1
        self.broker = Broker("/data", clock=self.clock, filesystem=self.filesystem, seed=1)
        if self.generation == 1:
            self._create_topic()
        self._open_views()

    def _create_topic(self) -> None:
        configs = {"segment_bytes": 1024, "index_interval_bytes": 0}
        self.broker.create_topic("t", partitions=1, configs=configs)
        self.transactions = Transactions(self.broker)

    def _open_views(self) -> None:
        self.transactions = Transactions(self.broker)
        self.views = {one: TableView(self.broker, "t", isolation_level=one) for one in LEVELS}
        self.models = {one: Model(one) for one in LEVELS}
        self.told: dict[Any, Any] = {}
        self.teller = TableView(self.broker, "t")
        self.teller.on_change(self._on_change)
        self.told.update(self.teller)

    def _on_change(self, key: Any, old: Any, new: Any) -> None:
        assert self.told.get(key) == old
        assert old != new
        if new is None:
            del self.told[key]
        else:
            self.told[key] = new

    def teardown(self) -> None:
        if hasattr(self, "broker"):
            for isolation in LEVELS:
                self.look(isolation)
            self.let_time_pass()
            self.broker.close()

    def _keyed(self, partition: int, drawn: list[Any]) -> list[Entry]:
        """Return the records with keys that belong to *partition*, as they do with every default partitioner."""
        return [
            Entry(None if key is None else b"%d:%s" % (partition, key), value)
            for key, value in drawn
        ]

    # ---- what is written

    @rule(data=st.data(), drawn=records)
    def write(self, data: st.DataObject, drawn: list[Any]) -> None:
        partition = data.draw(st.integers(0, len(self.logs) - 1))
        entries = self._keyed(partition, drawn)
        append(
            self.broker,
            [entry.value for entry in entries],
            TopicPartition("t", partition),
            keys=[entry.key for entry in entries],
        )
        self.logs[partition] += entries

    @rule(data=st.data(), producer=st.integers(0, PRODUCERS - 1), drawn=records)
    def write_in_transaction(self, data: st.DataObject, producer: int, drawn: list[Any]) -> None:
        if producer in self.open_transactions:
            partition, transaction = self.open_transactions[producer]
        else:
            partition = data.draw(st.integers(0, len(self.logs) - 1))
            transaction = Transaction(len(self.logs[partition]))
        entries = self._keyed(partition, drawn)
        self.transactions.produce(
            self._producer_id(producer),
            *[entry.value for entry in entries],
            partition=TopicPartition("t", partition),
            keys=[entry.key for entry in entries],
        )
        self.open_transactions[producer] = partition, transaction
        self.logs[partition] += [attrs.evolve(entry, transaction=transaction) for entry in entries]

    def _producer_id(self, producer: int) -> int:
        return self.generation * PRODUCERS + producer

    @precondition(lambda self: self.open_transactions)
    @rule(data=st.data(), is_aborted=st.booleans())
    def end_transaction(self, data: st.DataObject, is_aborted: bool) -> None:
        producer = data.draw(st.sampled_from(sorted(self.open_transactions)))
        end = self.transactions.abort if is_aborted else self.transactions.commit
        end(self._producer_id(producer))
        self._ended(producer, is_aborted)

    def _ended(self, producer: int, is_aborted: bool) -> None:
        partition, transaction = self.open_transactions.pop(producer)
        transaction.is_open, transaction.is_aborted = False, is_aborted
        self.logs[partition].append(Entry(None, None))

    # ---- what happens to the topic

    @rule(data=st.data())
    def delete_records(self, data: st.DataObject) -> None:
        partition = data.draw(st.integers(0, len(self.logs) - 1))
        offset = data.draw(st.integers(self.starts[partition], len(self.logs[partition])))
        self.let_time_pass()  # the one that tells keeps up
        self.broker.partition("t", partition).delete_records(offset)
        self.starts[partition] = offset

    @precondition(lambda self: len(self.logs) < 3)
    @rule()
    def add_partition(self) -> None:
        self.logs.append([])
        self.starts.append(0)
        self.broker.create_partitions("t", len(self.logs))

    @precondition(lambda self: not self.open_transactions)
    @rule()
    def make_anew(self) -> None:
        self.broker.delete_topic("t")
        self.generation += 1
        self._create()
        self._create_topic()
        for model in self.models.values():
            model.start_over()

    @rule()
    def reopen(self) -> None:
        """What is left open is aborted by the broker that opens (D5)."""
        self.broker.close()
        self._open_broker()
        for producer in sorted(self.open_transactions):
            self._ended(producer, True)
        self.let_time_pass()

    # ---- what is read

    @rule(isolation=st.sampled_from(LEVELS))
    def look(self, isolation: Isolation) -> None:
        self._apply(self.models[isolation])
        view, expected = self.views[isolation], self.models[isolation].contents
        assert dict(view) == expected
        assert len(view) == len(expected)
        for key in (b"0:a", b"1:b", b"nowhere"):
            assert view.get(key) == expected.get(key)
            assert (key in view) == (key in expected)

    @rule()
    def let_time_pass(self) -> None:
        self.clock.advance(0)
        assert self.told == dict(self.teller)

    def _apply(self, model: Model) -> None:
        end_offsets = [
            self._end_offset(number, model.isolation) for number in range(len(self.logs))
        ]
        for number, end in enumerate(end_offsets):
            if model.offsets.setdefault(number, self.starts[number]) < min(
                self.starts[number], end
            ):
                model.start_over()
                break
        for number, (log, end) in enumerate(zip(self.logs, end_offsets, strict=True)):
            at = max(model.offsets.get(number, 0), self.starts[number])
            for entry in log[at:end]:
                if not entry.counts(model.isolation) or entry.key is None:
                    continue
                if entry.value is None:
                    model.contents.pop(entry.key, None)
                else:
                    model.contents[entry.key] = entry.value
            model.offsets[number] = max(end, model.offsets.get(number, 0))

    def _end_offset(self, number: int, isolation: Isolation) -> int:
        if isolation is Isolation.READ_UNCOMMITTED:
            return len(self.logs[number])
        first = [one.first_offset for at, one in self.open_transactions.values() if at == number]
        return max(min([*first, len(self.logs[number])]), self.starts[number])


Tables.TestCase.settings = settings(stateful_step_count=40)
TestTables = Tables.TestCase
