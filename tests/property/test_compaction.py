"""Whatever is written, aborted, cleaned, deleted and restarted: who keeps up ends with what a full replay gives (CMP-9).

A dict for each partition is the oracle. Besides: compaction changes no record and moves no offset (CMP-3), loses no newest record, brings
back nothing that was aborted (CMP-4), leaves the log start (CMP-8) and what idempotent producers are checked by, in the log itself (CMP-7), and no
marker is gone before the data of its transaction (CMP-6).
"""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streamlog.broker.broker import Broker
from streamlog.client.consumer import Consumer
from streamlog.client.table_view import TableView
from streamlog.errors import ClosedError
from streamlog.record import build_batch
from streamlog.structs import Isolation, TopicPartition
from streamlog.testing import MemoryFileSystem, VirtualClock
from tests.support.transactions import Transactions

PARTITIONS = 2
PRODUCERS = 2
RETENTION_MS = 10_000
"""Of tombstones."""
BACKOFF_MS = 700
DERIVED = [".idx", ".tix", ".txn", ".snap"]
"""Files that may be deleted at any time."""
records = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from([b"", b"1", b"2" * 40, b"3", None])),
    min_size=1,
    max_size=6,
)
partitions = st.integers(0, PARTITIONS - 1)
producers = st.integers(0, PRODUCERS - 1)

Key = bytes
Value = bytes | None


@attrs.define(eq=False)
class Transaction:
    """One transaction of the model; it writes to one partition."""

    partition: int
    first_offset: int
    is_aborted: bool = False


@attrs.define
class Entry:
    """One offset of the model; a marker has no key."""

    key: Key | None
    value: Value
    transaction: Transaction | None = None

    @property
    def counts(self) -> bool:
        aborted = self.transaction is not None and self.transaction.is_aborted
        return self.key is not None and not aborted


def fold(contents: dict[Key, bytes], key: Key | None, value: Value) -> None:
    """Apply a record to *contents*."""
    assert key is not None
    if value is None:
        contents.pop(key, None)
    else:
        contents[key] = value


class Compaction(RuleBasedStateMachine):
    """Two partitions with tiny segments, a cleaner that is at work between the calls, a reader and a view that keep up, and dicts."""

    broker: Broker

    @initialize(
        policy=st.sampled_from(["compact", "compact,delete"]),
        ratio=st.sampled_from([0, 0.5]),
        dedupe=st.sampled_from([1, 1_000, 1_000_000]),
        rate=st.sampled_from([None, 5_000]),
        codec=st.sampled_from(["producer", "lz4"]),
    )
    def open(self, policy: str, ratio: float, dedupe: int, rate: int | None, codec: str) -> None:
        self.clock = VirtualClock()
        self.disk = MemoryFileSystem()
        self.config: dict[str, Any] = {
            "log_cleaner_backoff_ms": BACKOFF_MS,
            "log_cleaner_dedupe_buffer_size": dedupe,
            "log_cleaner_io_max_bytes_per_second": rate,
        }
        self.policy = policy
        self.logs: list[list[Entry]] = [[] for _ in range(PARTITIONS)]
        self.starts = [0] * PARTITIONS
        self.open_transactions: dict[int, Transaction] = {}
        self.sequences: dict[tuple[int, int], int] = {}
        self.last_batches: dict[tuple[int, int], tuple[int, int, list[Any]]] = {}
        self.generation = 0
        self.positions = [0] * PARTITIONS
        self.followed: dict[Key, bytes] = {}
        self.polled_ms = self.clock.now
        self._open_broker()
        self.broker.create_topic(
            "t",
            partitions=PARTITIONS,
            configs={
                "cleanup_policy": policy,
                "segment_bytes": 512,
                "index_interval_bytes": 0,
                "min_cleanable_dirty_ratio": ratio,
                "delete_retention_ms": RETENTION_MS,
                "retention_ms": -1,
                "compression_type": codec,
            },
        )
        self._open_readers()

    def _open_broker(self) -> None:
        self.generation += 1
        self.broker = Broker("/data", clock=self.clock, filesystem=self.disk, seed=1, **self.config)
        self.transactions = Transactions(self.broker)

    def _open_readers(self) -> None:
        self.consumer = self._consumer(self.positions)
        self.view = TableView(self.broker, "t")
        self.told: dict[Key, bytes] = {}
        self.view.on_change(lambda key, old, new: fold(self.told, key, new))
        self.told.update(self.view)

    def _consumer(self, positions: list[int] | None = None) -> Consumer:
        consumer = Consumer(
            self.broker, isolation_level="read_committed", auto_offset_reset="earliest"
        )
        places = [TopicPartition("t", number) for number in range(PARTITIONS)]
        consumer.assign(places)
        for place, offset in zip(places, positions or (), strict=False):
            consumer.seek(place, offset)
        return consumer

    def teardown(self) -> None:
        if hasattr(self, "broker") and not self.broker.closed:
            for producer in sorted(self.open_transactions):
                self.transactions.commit(self._producer_id(producer))
                self._ended(producer, is_aborted=False)
            self.compact(roll=True)
            self.clock.advance(RETENTION_MS // 2)
            self.keep_up()
            self.clock.advance(RETENTION_MS // 2 + 1)
            self.compact(roll=True)
            self.replay()
            self.restart(is_killed=True, lost=set(DERIVED))
            self.keep_up()
            self.replay()
            self.broker.close()

    # ---- what is written

    def _entries(self, partition: int, drawn: list[Any]) -> list[Entry]:
        return [Entry(b"%d:%d" % (partition, key), value) for key, value in drawn]

    def _batch(self, entries: list[Entry]) -> Any:
        return build_batch(
            [entry.value for entry in entries],
            self.clock.time_ms(),
            [entry.key for entry in entries],
        )

    @rule(partition=partitions, drawn=records)
    def write(self, partition: int, drawn: list[Any]) -> None:
        entries = self._entries(partition, drawn)
        offset = self.broker.partition("t", partition).append(self._batch(entries))
        assert offset == len(self.logs[partition])
        self.logs[partition] += entries

    @rule(partition=partitions, producer=producers, drawn=records)
    def write_idempotently(self, partition: int, producer: int, drawn: list[Any]) -> None:
        entries = self._entries(partition, drawn)
        sequence = self.sequences.get((producer, partition), 0)
        offset = self._append_in_sequence(partition, producer, sequence, entries)
        assert offset == len(self.logs[partition])
        self.logs[partition] += entries
        self.sequences[producer, partition] = sequence + len(entries)
        self.last_batches[producer, partition] = offset, sequence, entries

    def _append_in_sequence(
        self, partition: int, producer: int, sequence: int, entries: list[Entry]
    ) -> int:
        batch = self._batch(entries)
        batch.producer_id, batch.producer_epoch, batch.base_sequence = 900 + producer, 0, sequence
        return self.broker.partition("t", partition).append(batch)

    @precondition(lambda self: self.last_batches)
    @rule(data=st.data())
    def try_again(self, data: st.DataObject) -> None:
        """CMP-7: the last batch of a producer is known however much of it is left."""
        producer, partition = data.draw(st.sampled_from(sorted(self.last_batches)))
        offset, sequence, entries = self.last_batches[producer, partition]
        if offset < self.starts[partition]:
            return  # deleted, and the producer forgotten with it perhaps
        assert self._append_in_sequence(partition, producer, sequence, entries) == offset
        assert self.broker.partition("t", partition).log_end_offset == len(self.logs[partition])

    @rule(partition=partitions, producer=producers, drawn=records)
    def write_in_transaction(self, partition: int, producer: int, drawn: list[Any]) -> None:
        transaction = self.open_transactions.get(producer)
        if transaction is None:
            transaction = Transaction(partition, len(self.logs[partition]))
        partition = transaction.partition
        entries = self._entries(partition, drawn)
        offset = self.transactions.produce(
            self._producer_id(producer),
            *[entry.value for entry in entries],
            partition=TopicPartition("t", partition),
            timestamp_ms=self.clock.time_ms(),
            keys=[entry.key for entry in entries],
        )
        assert offset == len(self.logs[partition])
        self.open_transactions[producer] = transaction
        self.logs[partition] += [attrs.evolve(entry, transaction=transaction) for entry in entries]

    def _producer_id(self, producer: int) -> int:
        return self.generation * PRODUCERS + producer

    @precondition(lambda self: self.open_transactions)
    @rule(data=st.data(), is_aborted=st.booleans())
    def end_transaction(self, data: st.DataObject, is_aborted: bool) -> None:
        producer = data.draw(st.sampled_from(sorted(self.open_transactions)))
        end = self.transactions.abort if is_aborted else self.transactions.commit
        end(self._producer_id(producer))
        self._ended(producer, is_aborted=is_aborted)

    def _ended(self, producer: int, *, is_aborted: bool) -> None:
        transaction = self.open_transactions.pop(producer)
        transaction.is_aborted = is_aborted
        self.logs[transaction.partition].append(Entry(None, None))

    # ---- what happens to the log

    @rule(ms=st.sampled_from([1, 100, BACKOFF_MS, 3_000, RETENTION_MS - 1, RETENTION_MS + 1]))
    def let_time_pass(self, ms: int) -> None:
        """The cleaner goes on meanwhile. The reader keeps up: it never sleeps for as long as tombstones last."""
        if self.clock.now + ms - self.polled_ms >= RETENTION_MS:
            self.keep_up()
        if ms > RETENTION_MS:
            self.clock.advance(ms // 2)
            self.keep_up()
            ms -= ms // 2
        self.clock.advance(ms)

    @rule(roll=st.booleans())
    def compact(self, roll: bool) -> None:
        for result in self.broker.compact("t", roll=roll):
            assert result.records_after <= result.records_before

    @rule(partition=partitions)
    def roll(self, partition: int) -> None:
        self.broker.partition("t", partition).log.roll()

    @precondition(lambda self: self.policy == "compact,delete")
    @rule(data=st.data(), partition=partitions)
    def delete_records(self, data: st.DataObject, partition: int) -> None:
        self.keep_up()
        reached = min(self.positions[partition], self._stable_offset(partition))
        offset = data.draw(st.integers(self.starts[partition], reached))
        self.broker.partition("t", partition).delete_records(offset)
        self.starts[partition] = offset
        self.broker.run_maintenance()

    @rule(is_killed=st.booleans(), lost=st.sets(st.sampled_from(DERIVED)))
    def restart(self, is_killed: bool, lost: set[str]) -> None:
        """What is left open is aborted by the broker that opens (D5). What is derived may be lost: the log says it all."""
        self.keep_up()
        if is_killed:
            self.broker.scheduler.close()
            self.broker.abandon(ClosedError("killed"))
        else:
            self.broker.close()
        for partition in range(PARTITIONS):
            directory = f"/data/topics/t-{partition}"
            for name in self.disk.list_dir(directory):
                if name[name.rindex(".") :] in lost:
                    self.disk.unlink(f"{directory}/{name}")
        self._open_broker()
        for producer in sorted(self.open_transactions):
            self._ended(producer, is_aborted=True)
        self._open_readers()

    # ---- what is read

    def _stable_offset(self, partition: int) -> int:
        first = [
            one.first_offset
            for one in self.open_transactions.values()
            if one.partition == partition
        ]
        return min([*first, len(self.logs[partition])])

    def _expected(self, starts: list[int]) -> dict[Key, bytes]:
        contents: dict[Key, bytes] = {}
        for partition, log in enumerate(self.logs):
            newest: dict[Key, int] = {}
            for offset, entry in enumerate(log[: self._stable_offset(partition)]):
                if entry.counts and entry.key is not None:
                    newest[entry.key] = offset
            for key, offset in newest.items():
                if offset >= starts[partition]:
                    fold(contents, key, log[offset].value)
        return contents

    @rule()
    def keep_up(self) -> None:
        while polled := self.consumer.poll():
            for record in polled:
                self._check_record(record)
                fold(self.followed, record.key, record.value)
        for partition in range(PARTITIONS):
            place = TopicPartition("t", partition)
            self.positions[partition] = self.consumer.position(place)
            assert self.positions[partition] == self._stable_offset(partition)
        self.polled_ms = self.clock.now
        everything = self._expected([0] * PARTITIONS)
        assert self.followed == everything

    @rule()
    def replay(self) -> None:
        """From the log start, by a consumer, and by a view: what was kept, all of it and nothing else."""
        expected = self._expected(self.starts)
        replayed: dict[Key, bytes] = {}
        offsets = [-1] * PARTITIONS
        with self._consumer() as consumer:
            while polled := consumer.poll():
                for record in polled:
                    self._check_record(record)
                    assert record.offset > offsets[record.partition]
                    offsets[record.partition] = record.offset
                    fold(replayed, record.key, record.value)
        assert replayed == expected
        with TableView(self.broker, "t") as fresh:
            assert dict(fresh) == expected
        kept = dict(self.view)
        assert {key: kept[key] for key in expected} == expected
        # What retention deleted stays in a view, as it does with whoever read it.
        assert kept.items() <= self._expected([0] * PARTITIONS).items()
        self.clock.advance(0)  # which lets the callbacks be called
        assert self.told == dict(self.view)

    def _check_record(self, record: Any) -> None:
        entry = self.logs[record.partition][record.offset]
        assert (record.key, record.value) == (entry.key, entry.value)
        assert entry.counts

    @invariant()
    def log_start_and_end_are_as_they_were(self) -> None:
        if not hasattr(self, "broker") or self.broker.closed:
            return
        for number in range(PARTITIONS):
            partition = self.broker.partition("t", number)
            assert partition.log_start_offset == self.starts[number]
            assert partition.log_end_offset == len(self.logs[number])
            isolation = Isolation.READ_COMMITTED
            assert partition.end_offset(isolation) == self._stable_offset(number)


Compaction.TestCase.settings = settings(stateful_step_count=50)
TestCompaction = Compaction.TestCase
