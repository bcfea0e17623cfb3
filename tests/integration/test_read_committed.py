"""Reading committed records: what is returned, where the position is, and what ends a wait (TXN-13, TXN-14)."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from streamlog import (
    Admin,
    Broker,
    Consumer,
    OffsetAndMetadata,
    OffsetOutOfRangeError,
    OffsetSpec,
    Producer,
    StreamlogTimeoutError,
    TopicPartition,
    WakeupError,
)
from streamlog.testing import VirtualClock
from tests.support.consuming import NOW_MS, T0, T1, append, drain
from tests.support.transactions import Transactions

if TYPE_CHECKING:
    from collections.abc import Iterator

A, B = 1, 2


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def broker(clock: VirtualClock) -> Iterator[Broker]:
    with Broker(clock=clock, seed=1) as broker:
        broker.create_topic("t", partitions=2)
        yield broker


@pytest.fixture
def transactions(broker: Broker) -> Transactions:
    return Transactions(broker)


def reader(broker: Broker, *partitions: TopicPartition, **options: Any) -> Consumer:
    settings = {
        "auto_offset_reset": "earliest",
        "isolation_level": "read_committed",
        "fetch_max_wait_ms": 500,
        **options,
    }
    consumer = Consumer(broker, **settings)
    consumer.assign(partitions or [T0])
    return consumer


def offsets(consumer: Consumer, **options: Any) -> list[int]:
    """Poll until nothing comes; return the offsets."""
    found: list[int] = []
    while records := consumer.poll(0, **options):
        found += [record.offset for record in records]
    return found


def plain(broker: Broker, count: int = 1, *, size: int = 1) -> None:
    for _ in range(count):
        append(broker, [b"x" * size])


# ---- the golden vector


@pytest.mark.parametrize("limit", [1, 2, 500])
def test_golden_vector_of_the_last_stable_offset(
    broker: Broker, transactions: Transactions, limit: int
) -> None:
    """semantics.md, appendix: 0-4 plain, 5 A, 6 plain, 7 B committed by 8, A aborted by 9."""
    plain(broker, 5)
    assert transactions.produce(A) == 5
    plain(broker)
    assert transactions.produce(B) == 7
    assert transactions.commit(B) == [8]
    committed = reader(broker, max_poll_records=limit)
    partition = broker.partition(*T0)
    assert (partition.high_watermark, partition.last_stable_offset) == (9, 5)
    assert offsets(committed) == [0, 1, 2, 3, 4]
    assert (committed.position(T0), committed.current_lag(T0)) == (5, 0)
    assert transactions.abort(A) == [9]
    assert partition.last_stable_offset == 10
    assert offsets(committed) == [6, 7]
    assert committed.position(T0) == 10
    assert offsets(reader(broker, max_poll_records=limit)) == [0, 1, 2, 3, 4, 6, 7]
    uncommitted = reader(broker, max_poll_records=limit, isolation_level="read_uncommitted")
    assert offsets(uncommitted) == [0, 1, 2, 3, 4, 5, 6, 7]
    assert uncommitted.position(T0) == 10


# ---- what is returned


def test_txn_13_an_open_transaction_holds_back_everything_behind_it(
    broker: Broker, transactions: Transactions
) -> None:
    transactions.produce(A)
    plain(broker, 3)
    consumer = reader(broker)
    assert not consumer.poll()
    assert consumer.position(T0) == 0
    transactions.commit(A)
    assert offsets(consumer) == [0, 1, 2, 3]


def test_txn_14_transactions_in_turn_are_told_apart(
    broker: Broker, transactions: Transactions
) -> None:
    values = {A: [b"A0", b"A1"], B: [b"B0", b"B1"]}
    transactions.produce(A, values[A][0])
    transactions.produce(B, values[B][0])
    transactions.abort(A)
    transactions.produce(A, values[A][1])
    transactions.produce(B, values[B][1])
    transactions.commit(B)
    transactions.commit(A)
    assert drain(reader(broker)) == [b"B0", b"A1", b"B1"]


def test_txn_14_one_producer_aborts_in_one_partition_and_commits_later(
    broker: Broker, transactions: Transactions
) -> None:
    transactions.produce(A, b"a", b"b", b"c")
    transactions.abort(A)
    transactions.produce(A, b"d", b"e")
    transactions.produce(A, b"f", partition=T1)
    transactions.commit(A)
    for limit in (1, 2, 3):
        assert sorted(drain(reader(broker, T0, T1), max_records=limit)) == [b"d", b"e", b"f"]


def test_a_seek_into_an_aborted_transaction_returns_none_of_it(
    broker: Broker, transactions: Transactions
) -> None:
    transactions.produce(A, b"0", b"1", b"2")
    transactions.produce(A, b"3")
    plain(broker)
    transactions.abort(A)
    consumer = reader(broker)
    for start in range(7):
        consumer.seek(T0, start)
        assert offsets(consumer) == ([4] if start <= 4 else [])
        assert consumer.position(T0) == 6


def test_a_poll_that_only_passes_over_aborted_records_moves_the_position(
    broker: Broker, transactions: Transactions
) -> None:
    transactions.produce(A, b"0", b"1")
    transactions.abort(A)
    consumer = reader(broker)
    assert not consumer.poll()
    assert consumer.position(T0) == 3
    assert consumer.current_lag(T0) == 0


def test_aborted_records_do_not_count_as_polled(broker: Broker, transactions: Transactions) -> None:
    for _ in range(10):
        transactions.produce(A, *[b"x"] * 5)
        transactions.abort(A)
        plain(broker)
    consumer = reader(broker, max_poll_records=4)
    assert [len(consumer.poll()) for _ in range(4)] == [4, 4, 2, 0]


def test_more_aborted_bytes_than_a_fetch_may_read_are_passed_over_by_one_poll(
    broker: Broker, clock: VirtualClock, transactions: Transactions
) -> None:
    for _ in range(50):
        transactions.produce(A, b"x" * 1000)
    transactions.abort(A)
    plain(broker)
    consumer = reader(broker, fetch_max_bytes=2000, max_partition_fetch_bytes=2000)
    before_ms = clock.monotonic_ms()
    assert len(consumer.poll(1000)) == 1
    assert clock.monotonic_ms() == before_ms


def test_next_offsets_are_behind_markers_and_aborted_records(
    broker: Broker, transactions: Transactions
) -> None:
    """KIP-1094: a group that commits them has no lag; it used to lag by the markers."""
    plain(broker, 2)
    transactions.produce(A)
    transactions.abort(A)
    consumer = reader(broker, max_poll_records=1)
    assert consumer.poll().next_offsets[T0].offset == 1
    records = consumer.poll(0, 2)
    assert [record.offset for record in records] == [1]
    assert records.next_offsets[T0].offset == consumer.position(T0) == 4


def test_iteration_passes_over_markers_and_aborted_records(
    broker: Broker, transactions: Transactions
) -> None:
    plain(broker)
    transactions.produce(A)
    transactions.abort(A)
    plain(broker)
    consumer = reader(broker)
    assert next(consumer).offset == 0
    assert consumer.position(T0) == 1
    assert next(consumer).offset == 3
    transactions.produce(A)
    transactions.abort(A)
    plain(broker)
    assert next(consumer).offset == 6
    assert consumer.position(T0) == 7


# ---- waiting


def test_a_marker_ends_the_wait_of_a_poll(
    broker: Broker, clock: VirtualClock, transactions: Transactions
) -> None:
    transactions.produce(A, b"a")
    consumer = reader(broker)
    assert not consumer.poll()
    start_ms = clock.monotonic_ms()
    clock.new_scheduler("test").call_later(300, lambda: transactions.commit(A))
    assert consumer.poll(1000).values() == [b"a"]
    assert clock.monotonic_ms() == start_ms + 300


def test_an_abort_ends_the_wait_for_what_it_held_back(
    broker: Broker, clock: VirtualClock, transactions: Transactions
) -> None:
    transactions.produce(A, b"a")
    append(broker, [b"plain"])
    consumer = reader(broker)
    start_ms = clock.monotonic_ms()
    clock.new_scheduler("test").call_later(300, lambda: transactions.abort(A))
    assert consumer.poll(1000).values() == [b"plain"]
    assert clock.monotonic_ms() == start_ms + 300


def test_a_poll_waits_its_time_while_a_transaction_is_open(
    broker: Broker, clock: VirtualClock, transactions: Transactions
) -> None:
    transactions.produce(A, b"a")
    consumer = reader(broker)
    clock.new_scheduler("test").call_later(300, lambda: plain(broker))
    start_ms = clock.monotonic_ms()
    assert not consumer.poll(1000)
    assert clock.monotonic_ms() == start_ms + 1000


@pytest.mark.parametrize("start", [3, 4])
def test_a_position_behind_the_last_stable_offset_waits(
    broker: Broker, clock: VirtualClock, transactions: Transactions, start: int
) -> None:
    # It counted as work that is there to do: the wait never ended, and time did not pass.
    plain(broker, 2)
    transactions.produce(A)
    plain(broker)
    consumer = reader(broker)
    consumer.seek(T0, start)
    start_ms = clock.monotonic_ms()
    assert not consumer.poll(1000)
    assert clock.monotonic_ms() == start_ms + 1000
    clock.new_scheduler("test").call_later(300, lambda: transactions.commit(A))
    assert [record.offset for record in consumer.poll(1000)] == [3][start - 3 :]


def test_a_position_behind_the_high_watermark_is_out_of_range(
    broker: Broker, transactions: Transactions
) -> None:
    """CON-5."""
    transactions.produce(A)
    plain(broker)
    consumer = reader(broker, auto_offset_reset="none")
    consumer.seek(T0, 3)
    with pytest.raises(OffsetOutOfRangeError):
        consumer.poll(1000)


def test_fetch_min_bytes_counts_what_is_stable(
    broker: Broker, clock: VirtualClock, transactions: Transactions
) -> None:
    """LOG-7: only bytes up to the last stable offset."""
    plain(broker)
    transactions.produce(A, b"x" * 1000)
    consumer = reader(broker, fetch_min_bytes=1000)
    start_ms = clock.monotonic_ms()
    assert len(consumer.poll(2000)) == 1
    assert clock.monotonic_ms() == start_ms + 500, "fetch_max_wait_ms"
    clock.new_scheduler("test").call_later(100, lambda: transactions.commit(A))
    assert len(consumer.poll(2000)) == 1
    assert clock.monotonic_ms() == start_ms + 600


# ---- bounds


def test_tim_3_end_offsets_depend_on_the_isolation_level(
    broker: Broker, transactions: Transactions
) -> None:
    plain(broker, 2)
    transactions.produce(A)
    plain(broker)
    committed = reader(broker)
    uncommitted = reader(broker, isolation_level="read_uncommitted")
    assert committed.end_offsets([T0, T1]) == {T0: 2, T1: 0}
    assert uncommitted.end_offsets([T0, T1]) == {T0: 4, T1: 0}
    committed.poll()
    uncommitted.poll()
    assert (committed.current_lag(T0), uncommitted.current_lag(T0)) == (0, 0)
    assert committed.metrics()["records_lag"] == {T0: 0}
    admin = Admin(broker)
    assert admin.list_offsets({T0: OffsetSpec.LATEST})[T0].offset == 4
    found = admin.list_offsets({T0: OffsetSpec.LATEST}, isolation_level="read_committed")
    assert found[T0].offset == 2
    transactions.abort(A)
    assert committed.end_offsets([T0]) == uncommitted.end_offsets([T0]) == {T0: 5}
    assert committed.current_lag(T0) == 3


def test_con_6_seek_to_end_goes_to_the_last_stable_offset(
    broker: Broker, transactions: Transactions
) -> None:
    plain(broker, 2)
    transactions.produce(A)
    for level, expected in [("read_committed", 2), ("read_uncommitted", 3)]:
        consumer = reader(broker, isolation_level=level)
        consumer.seek_to_end(T0)
        assert consumer.position(T0) == expected


def test_con_5_reset_to_the_latest_is_to_the_last_stable_offset(
    broker: Broker, transactions: Transactions
) -> None:
    plain(broker, 2)
    transactions.produce(A)
    for level, expected in [("read_committed", 2), ("read_uncommitted", 3)]:
        consumer = reader(broker, isolation_level=level, auto_offset_reset="latest")
        assert consumer.position(T0) == expected


def test_tim_1_a_lookup_by_time_ends_at_the_last_stable_offset(
    broker: Broker, clock: VirtualClock, transactions: Transactions
) -> None:
    append(broker, [b"x"], timestamps_ms=NOW_MS)
    transactions.produce(A, b"x", timestamp_ms=NOW_MS + 5)
    append(broker, [b"x"], timestamps_ms=NOW_MS + 9)
    committed = reader(broker)
    uncommitted = reader(broker, isolation_level="read_uncommitted")
    for consumer, expected in [(committed, [0, None, None]), (uncommitted, [0, 1, 2])]:
        found = [consumer.offsets_for_times({T0: NOW_MS + after})[T0] for after in (0, 1, 6)]
        assert [None if one is None else one.offset for one in found] == expected
    greatest = {
        level: Admin(broker)
        .list_offsets({T0: OffsetSpec.MAX_TIMESTAMP}, isolation_level=level)[T0]
        .offset
        for level in ("read_committed", "read_uncommitted")
    }
    assert greatest == {"read_committed": 0, "read_uncommitted": 2}
    clock.advance(6)
    for level, expected_position in [("read_committed", 1), ("read_uncommitted", 2)]:
        consumer = reader(broker, auto_offset_reset="by_duration:PT0S", isolation_level=level)
        assert consumer.position(T0) == expected_position


# ---- the log start


def test_ret_9_deleting_records_of_an_open_transaction_moves_the_last_stable_offset(
    broker: Broker, clock: VirtualClock, transactions: Transactions
) -> None:
    """LOG-6: the log start is never above it."""
    plain(broker, 2)
    transactions.produce(A)
    plain(broker, 3)
    consumer = reader(broker)
    assert offsets(consumer) == [0, 1]
    partition = broker.partition(*T0)
    clock.new_scheduler("test").call_later(300, lambda: partition.delete_records(4))
    start_ms = clock.monotonic_ms()
    assert not consumer.poll(1000), "the transaction is still open"
    assert partition.last_stable_offset == partition.log_start_offset == 4
    assert consumer.position(T0) == 4, "noticed when it happened, not with the next record"
    assert clock.monotonic_ms() == start_ms + 1000
    transactions.commit(A)
    assert offsets(consumer) == [4, 5]


def test_the_rest_of_a_batch_whose_beginning_was_deleted_stays_out_of_sight(
    broker: Broker, transactions: Transactions
) -> None:
    """The log start, and with it the last stable offset, was inside of the batch: what was behind was returned."""
    transactions.produce(A, b"0", b"1", b"2")
    broker.partition(*T0).delete_records(1)
    consumer = reader(broker)
    for start in (1, 2):
        consumer.seek(T0, start)
        assert not consumer.poll()
        assert consumer.position(T0) == start
    transactions.commit(A)
    assert offsets(consumer) == [2]


def test_ret_9_the_records_of_an_open_transaction_can_all_be_deleted(
    broker: Broker, transactions: Transactions
) -> None:
    transactions.produce(A)
    plain(broker)
    partition = broker.partition(*T0)
    assert partition.delete_records(-1) == 2
    assert partition.last_stable_offset == 2
    plain(broker)
    assert partition.last_stable_offset == 2
    transactions.abort(A)
    assert offsets(reader(broker)) == [2]


def test_ret_5_retention_goes_by_the_high_watermark_and_takes_open_transactions(
    clock: VirtualClock,
) -> None:
    with Broker(clock=clock, log_retention_check_interval_ms=1000) as broker:
        broker.create_topic(
            "t", configs={"retention_ms": 1000, "message_timestamp_type": "LogAppendTime"}
        )
        transactions = Transactions(broker)
        transactions.produce(A)
        consumer = reader(broker)
        assert not consumer.poll()
        clock.advance(60_000)
        broker.run_maintenance()
        partition = broker.partition(*T0)
        assert partition.log_start_offset == partition.last_stable_offset == 1
        assert not consumer.poll(1)
        assert consumer.position(T0) == 1
        transactions.abort(A)
        plain(broker)
        assert offsets(consumer) == [2]


def test_a_log_without_transactions_is_read_as_it_always_was(broker: Broker) -> None:
    plain(broker, 3)
    partition = broker.partition(*T0)
    assert not partition.has_transactions
    assert partition.aborted_transactions(0, 3) == []
    assert offsets(reader(broker)) == [0, 1, 2]


# ---- committed offsets


class OffsetsInTransaction:
    """A transaction that commits offset 2 of `T0` for group ``g``, in which 1 was committed before."""

    def __init__(self, broker: Broker) -> None:
        self._coordinator = broker.transaction_coordinator
        self._id = self._coordinator.init_producer_id("tx", 60_000)
        plain(broker, 4)
        with Consumer(broker, group_id="g") as consumer:
            consumer.commit({T0: 1})
        broker.group_coordinator.commit_transactional_offsets(
            "g", "", -1, None, *self._id, {T0: OffsetAndMetadata(2)}
        )

    def end(self, *, commit: bool) -> None:
        self._coordinator.end_transaction("tx", *self._id, commit)


@pytest.fixture
def pending(broker: Broker) -> OffsetsInTransaction:
    return OffsetsInTransaction(broker)


@pytest.mark.parametrize(("commit", "expected"), [(True, 2), (False, 1)])
@pytest.mark.parametrize("isolation_level", ["read_committed", "read_uncommitted"])
def test_txn_7_committed_waits_for_the_end_of_a_transaction(
    broker: Broker,
    clock: VirtualClock,
    pending: OffsetsInTransaction,
    isolation_level: str,
    commit: bool,
    expected: int,
) -> None:
    consumer = reader(broker, group_id="g", isolation_level=isolation_level)
    assert consumer.committed(T1) is None, "which is not part of it"
    clock.new_scheduler("test").call_later(250, lambda: pending.end(commit=commit))
    start_ms = clock.monotonic_ms()
    found = consumer.committed(T0)
    assert found is not None
    assert found.offset == expected
    assert clock.monotonic_ms() == start_ms + 300, "it asks again every 100 ms"


def test_txn_7_committed_waits_no_longer_than_it_is_told(
    broker: Broker, clock: VirtualClock, pending: OffsetsInTransaction
) -> None:
    consumer = reader(broker, group_id="g", default_api_timeout_ms=5_000)
    for timeout_ms, expected_ms in [(0, 0), (150, 150), (None, 5_000)]:
        start_ms = clock.monotonic_ms()
        with pytest.raises(StreamlogTimeoutError, match="no stable offsets after"):
            consumer.committed([T0], timeout_ms=timeout_ms)
        assert clock.monotonic_ms() == start_ms + expected_ms


def test_wakeup_ends_the_wait_for_stable_offsets(
    broker: Broker, clock: VirtualClock, pending: OffsetsInTransaction
) -> None:
    consumer = reader(broker, group_id="g")
    for call in (consumer.committed, consumer.position):
        clock.new_scheduler("test").call_later(50, consumer.wakeup)
        start_ms = clock.monotonic_ms()
        with pytest.raises(WakeupError):
            call(T0)
        assert clock.monotonic_ms() == start_ms + 50


@pytest.mark.parametrize(("commit", "expected"), [(True, [2, 3]), (False, [1, 2, 3])])
def test_txn_7_reading_begins_when_the_offsets_are_stable(
    broker: Broker,
    clock: VirtualClock,
    pending: OffsetsInTransaction,
    commit: bool,
    expected: list[int],
) -> None:
    consumer = reader(broker, group_id="g")
    start_ms = clock.monotonic_ms()
    assert not consumer.poll()
    assert not consumer.poll(1000)
    assert clock.monotonic_ms() == start_ms + 1000
    assert consumer.current_lag(T0) is None
    clock.new_scheduler("test").call_later(250, lambda: pending.end(commit=commit))
    assert [record.offset for record in consumer.poll(1000)] == expected
    assert clock.monotonic_ms() == start_ms + 1300
    assert not consumer.poll(1000), "and then it waits for records"


def test_txn_7_position_waits_for_stable_offsets(
    broker: Broker, clock: VirtualClock, pending: OffsetsInTransaction
) -> None:
    consumer = reader(broker, group_id="g")
    with pytest.raises(StreamlogTimeoutError, match="a transaction that commits offsets"):
        consumer.position(T0, timeout_ms=250)
    clock.new_scheduler("test").call_later(250, lambda: pending.end(commit=True))
    assert consumer.position(T0) == 2


def test_a_position_that_was_sought_does_not_wait_for_stable_offsets(
    broker: Broker, pending: OffsetsInTransaction
) -> None:
    append(broker, [b"x"], T1)
    consumer = reader(broker, T0, T1, group_id="g")
    consumer.seek_to_beginning(T1)
    assert [(record.partition, record.offset) for record in consumer.poll()] == [(1, 0)]
    pending.end(commit=True)
    assert offsets(consumer) == [2, 3]


def test_the_admin_sees_what_was_committed_before(
    broker: Broker, pending: OffsetsInTransaction
) -> None:
    found = Admin(broker).list_consumer_group_offsets("g", [T0])[T0]
    assert found is not None
    assert found.offset == 1


# ---- with real producers


@pytest.mark.parametrize("linger_ms", [0, 5])
def test_golden_vector_through_producers(broker: Broker, linger_ms: int) -> None:
    """semantics.md, appendix, LSO: through the public names alone."""
    level: dict[str, Any] = {"linger_ms": linger_ms}
    with (
        Producer(broker, **level) as usual,
        Producer(broker, transactional_id="a", **level) as a,
        Producer(broker, transactional_id="b", **level) as b,
        reader(broker) as committed,
        reader(broker, isolation_level="read_uncommitted") as uncommitted,
    ):

        def send(producer: Producer, value: bytes) -> int:
            future = producer.send("t", value, partition=0)
            producer.flush()
            return future.result().offset

        for producer in (a, b):
            producer.init_transactions()
            producer.begin_transaction()
        assert [send(usual, b"%d" % number) for number in range(5)] == [0, 1, 2, 3, 4]
        assert (send(a, b"5"), send(usual, b"6"), send(b, b"7")) == (5, 6, 7)
        b.commit_transaction()
        assert uncommitted.end_offsets([T0]) == {T0: 9}
        assert committed.end_offsets([T0]) == {T0: 5}
        assert drain(committed) == [b"0", b"1", b"2", b"3", b"4"]
        a.abort_transaction()
        assert committed.end_offsets([T0]) == {T0: 10}
        assert drain(committed) == [b"6", b"7"]
        assert drain(uncommitted) == [b"%d" % number for number in range(8)]
        assert committed.position(T0) == uncommitted.position(T0) == 10


def test_what_was_open_when_the_broker_closed_is_aborted_for_readers(
    data_dir: str, clock: VirtualClock
) -> None:
    with Broker(data_dir, clock=clock) as broker:
        broker.create_topic("t", partitions=2)
        transactions = Transactions(broker)
        transactions.produce(A, b"open")
        plain(broker)
    with Broker(data_dir, clock=clock) as broker:
        assert offsets(reader(broker)) == [1]
        assert reader(broker).end_offsets([T0]) == {T0: 3}


@pytest.fixture
def frequent_switches() -> Iterator[None]:
    """Let threads take turns five thousand times as often as usual."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.stress
def test_a_reader_in_another_thread_sees_whole_committed_transactions_only(
    data_dir: str, frequent_switches: None
) -> None:
    transactions, size = 400, 5
    with (
        Broker(data_dir, log_segment_bytes=16 * 1024) as broker,
        Producer(broker, transactional_id="a") as producer,
    ):
        broker.create_topic("t")
        producer.init_transactions()
        found: list[bytes] = []

        def read() -> None:
            with reader(broker) as consumer:
                while not found or found[-1] != b"end":
                    values = consumer.poll(10_000, 3).values()
                    assert values, "the end was committed and not seen"
                    found.extend(values)

        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(read)
            for number in range(transactions):
                producer.begin_transaction()
                for part in range(size):
                    producer.send("t", b"%d.%d" % (number, part))
                if number % 3:
                    producer.commit_transaction()
                else:
                    producer.abort_transaction()
            producer.begin_transaction()
            producer.send("t", b"end")
            producer.commit_transaction()
            reading.result()
        expected = [
            b"%d.%d" % (number, part)
            for number in range(transactions)
            if number % 3
            for part in range(size)
        ]
        assert found == [*expected, b"end"]
