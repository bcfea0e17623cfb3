"""Any mix of plain, committed and aborted records, read at either isolation level, is what a list says it is (TXN-13, TXN-14)."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streamlog.broker.broker import Broker
from streamlog.broker.partition import Partition
from streamlog.client.consumer import Consumer
from streamlog.errors import OffsetOutOfRangeError
from streamlog.structs import Isolation
from streamlog.testing import MemoryFileSystem, VirtualClock
from tests.support.consuming import T0, append
from tests.support.transactions import Transactions

LEVELS = list(Isolation)
PRODUCERS = 3
levels = st.sampled_from(LEVELS)
producers = st.integers(0, PRODUCERS - 1)
small = st.integers(1, 5)


@attrs.define(eq=False)
class Transaction:
    """One transaction of the model."""

    first_offset: int
    is_open: bool = True
    is_aborted: bool = False


@attrs.define
class Entry:
    """One offset of the model: a record, or a marker, which has no value."""

    value: bytes | None
    transaction: Transaction | None = None

    def counts(self, isolation: Isolation) -> bool:
        if self.value is None:
            return False
        aborted = self.transaction is not None and self.transaction.is_aborted
        return isolation is Isolation.READ_UNCOMMITTED or not aborted


class ReadCommitted(RuleBasedStateMachine):
    """One partition with small segments, a consumer of each isolation level, and a list."""

    broker: Broker
    consumers: dict[Isolation, Consumer]
    transactions: Transactions

    @initialize()
    def open(self) -> None:
        self.clock = VirtualClock()
        self.filesystem = MemoryFileSystem()
        self.entries: list[Entry] = []
        self.log_start_offset = 0
        self.open_transactions: dict[int, Transaction] = {}
        self.positions = dict.fromkeys(LEVELS, 0)
        self.generation = 0
        self._open_broker()

    def _open_broker(self) -> None:
        self.generation += 1
        self.broker = Broker("/data", clock=self.clock, filesystem=self.filesystem, seed=1)
        if self.generation == 1:
            configs = {"segment_bytes": 1024, "index_interval_bytes": 0}
            self.broker.create_topic("t", configs=configs)
        self.transactions = Transactions(self.broker)
        self.consumers = {}
        for isolation in LEVELS:
            self.consumers[isolation] = consumer = Consumer(
                self.broker, isolation_level=isolation, auto_offset_reset="earliest"
            )
            consumer.assign([T0])
            consumer.seek(T0, self.positions[isolation])

    def teardown(self) -> None:
        if hasattr(self, "broker"):
            self.read_everything_in_one_go()
            self.broker.close()

    @property
    def partition(self) -> Partition:
        return self.broker.partition(*T0)

    def _new_values(self, count: int) -> list[bytes]:
        return [b"%d" % (len(self.entries) + number) for number in range(count)]

    def _producer_id(self, producer: int) -> int:
        # The coordinator raised the epochs of those whose transactions it ended when the broker was opened.
        return self.generation * PRODUCERS + producer

    # ---- what is written

    @rule(count=small)
    def write_plain(self, count: int) -> None:
        values = self._new_values(count)
        assert append(self.broker, values) == len(self.entries)
        self.entries += map(Entry, values)

    @rule(producer=producers, count=small)
    def write_in_transaction(self, producer: int, count: int) -> None:
        values = self._new_values(count)
        offset = self.transactions.produce(self._producer_id(producer), *values)
        assert offset == len(self.entries)
        transaction = self.open_transactions.setdefault(producer, Transaction(offset))
        self.entries += [Entry(value, transaction) for value in values]

    @precondition(lambda self: self.open_transactions)
    @rule(data=st.data(), is_aborted=st.booleans())
    def end_transaction(self, data: st.DataObject, is_aborted: bool) -> None:
        producer = data.draw(st.sampled_from(sorted(self.open_transactions)))
        end = self.transactions.abort if is_aborted else self.transactions.commit
        assert end(self._producer_id(producer)) == [len(self.entries)]
        self._ended(self.open_transactions.pop(producer), is_aborted)

    def _ended(self, transaction: Transaction, is_aborted: bool) -> None:
        transaction.is_open, transaction.is_aborted = False, is_aborted
        self.entries.append(Entry(None))

    # ---- what happens to the log

    @rule()
    def roll(self) -> None:
        self.partition.log.roll()

    @rule()
    def checkpoint(self) -> None:
        self.partition.sync()
        self.clock.advance(2_000)

    @rule(data=st.data())
    def delete_records(self, data: st.DataObject) -> None:
        offset = data.draw(st.integers(self.log_start_offset, len(self.entries)))
        self.partition.delete_records(offset)
        self.log_start_offset = offset
        for isolation, consumer in self.consumers.items():
            consumer.seek(T0, self.positions[isolation])  # what was read ahead is still returned

    @rule(data=st.data(), damage=st.sampled_from(["none", "delete", "tear", "flip"]))
    def reopen(self, data: st.DataObject, damage: str) -> None:
        """Whatever is left open is aborted by the broker that opens (D5), in whatever order."""
        directory = "/data/topics/t-0"
        self.broker.close()
        for name in self.filesystem.list_dir(directory):
            if name.endswith(".txn") and damage != "none":
                self._damage(f"{directory}/{name}", damage, data)
        self._open_broker()
        for transaction in self.open_transactions.values():
            self._ended(transaction, True)
        self.open_transactions.clear()

    def _damage(self, path: str, damage: str, data: st.DataObject) -> None:
        if damage == "delete":
            self.filesystem.unlink(path)
            return
        file = self.filesystem.open(path)
        if not file.size():
            return
        at = data.draw(st.integers(0, file.size() - 1))
        if damage == "tear":
            file.truncate(at)
        else:
            file.write_at(at, bytes([file.read_at(at, 1)[0] ^ 0xFF]))
        file.close()

    # ---- what is read

    @rule(isolation=levels, limit=st.integers(1, 8))
    def poll(self, isolation: Isolation, limit: int) -> None:
        start = max(self.positions[isolation], self.log_start_offset)
        end = self._end_offset(isolation)
        expected = [
            (offset, self.entries[offset].value)
            for offset in range(start, end)
            if self.entries[offset].counts(isolation)
        ][:limit]
        consumer = self.consumers[isolation]
        records = consumer.poll(0, limit)
        assert [(record.offset, record.value) for record in records] == expected
        if len(expected) == limit:
            self.positions[isolation] = expected[-1][0] + 1
        else:
            self.positions[isolation] = max(start, end)
        assert consumer.position(T0) == self.positions[isolation]
        if records:
            assert records.next_offsets[T0].offset == self.positions[isolation]
        assert consumer.current_lag(T0) == end - self.positions[isolation]

    @rule(data=st.data(), isolation=levels)
    def seek(self, data: st.DataObject, isolation: Isolation) -> None:
        offset = data.draw(st.integers(0, len(self.entries)))
        self.consumers[isolation].seek(T0, offset)
        self.positions[isolation] = offset

    @rule(isolation=levels)
    def seek_to_end(self, isolation: Isolation) -> None:
        consumer = self.consumers[isolation]
        consumer.seek_to_end(T0)
        assert consumer.position(T0) == self._end_offset(isolation)
        self.positions[isolation] = self._end_offset(isolation)

    @rule(isolation=levels)
    def an_offset_behind_the_log_end_is_out_of_range(self, isolation: Isolation) -> None:
        options = {"isolation_level": isolation, "auto_offset_reset": "none"}
        with Consumer(self.broker, **options) as consumer:
            consumer.assign([T0])
            consumer.seek(T0, len(self.entries) + 1)
            try:
                consumer.poll()
            except OffsetOutOfRangeError:
                return
        raise AssertionError("expected OffsetOutOfRangeError")

    def _end_offset(self, isolation: Isolation) -> int:
        if isolation is Isolation.READ_UNCOMMITTED:
            return len(self.entries)
        unstable = min(
            (one.first_offset for one in self.open_transactions.values()),
            default=len(self.entries),
        )
        return max(unstable, self.log_start_offset)

    @invariant()
    def bounds_are_those_of_the_list(self) -> None:
        """LOG-6, TIM-3."""
        if not hasattr(self, "broker"):
            return
        partition = self.partition
        assert partition.log_start_offset == self.log_start_offset
        assert partition.log_end_offset == len(self.entries)
        for isolation in LEVELS:
            end = self._end_offset(isolation)
            assert partition.end_offset(isolation) == end
            assert self.consumers[isolation].end_offsets([T0]) == {T0: end}

    @rule()
    def read_everything_in_one_go(self) -> None:
        for isolation in LEVELS:
            assert self._read_all(isolation) == [
                entry.value
                for entry in self.entries[self.log_start_offset : self._end_offset(isolation)]
                if entry.counts(isolation)
            ]

    def _read_all(self, isolation: Isolation) -> Sequence[bytes]:
        with Consumer(self.broker, isolation_level=isolation) as consumer:
            consumer.assign([T0])
            consumer.seek_to_beginning(T0)
            return consumer.poll(0, 1_000_000).values()


TestReadCommitted = ReadCommitted.TestCase
TestReadCommitted.settings = settings(settings.default, stateful_step_count=30)
