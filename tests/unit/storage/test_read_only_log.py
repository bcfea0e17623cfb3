"""What a reader makes of a log that somebody else writes: reads, lookups, transactions."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from streamlog.errors import ClosedError, CorruptLogError
from streamlog.record import build_batch, build_marker
from streamlog.record.control import ControlType
from streamlog.record.producer_stamp import ProducerStamp
from streamlog.storage.aborted_transaction import AbortedTransaction
from streamlog.storage.read_only_log import ReadOnlyLog
from tests.support.following import Follower
from tests.support.storage import Store

PID = 7


@pytest.fixture
def follower(store: Store) -> Iterator[Follower]:
    follower = Follower(store)
    yield follower
    follower.directory.close()


class Transactions:
    """A transactional producer of the store's log."""

    def __init__(self, store: Store, producer_id: int = PID) -> None:
        self.store, self.producer_id, self.epoch = store, producer_id, 0
        self.stamp: ProducerStamp | None = None

    def write(self, value: bytes = b"in a transaction") -> int:
        if self.stamp is None:
            self.stamp = ProducerStamp(self.producer_id, self.epoch, is_transactional=True)
        batch = build_batch([value], self.store.clock.time_ms())
        batch.stamp = self.stamp
        return self.store.log.append(batch)

    def end(self, kind: ControlType) -> int:
        self.epoch += 1
        self.stamp = None
        marker = build_marker(kind, self.producer_id, self.epoch, 0, self.store.clock.time_ms())
        return self.store.log.append(marker)

    def abort(self) -> int:
        return self.end(ControlType.ABORT)

    def commit(self) -> int:
        return self.end(ControlType.COMMIT)


def aborted(log: ReadOnlyLog) -> list[AbortedTransaction]:
    return log.aborted_transactions(log.log_start_offset, log.last_stable_offset)


def check(store: Store, *followers: Follower) -> None:
    """Readers of all ages, and one that opens now, see the transactions as the writer does."""
    for one in (*followers, Follower(store)):
        one.refresh()
        one.check()
        end = store.log.last_stable_offset
        for start in range(0, end, 3):
            expected = store.log.aborted_transactions(start, end)
            assert one.log.aborted_transactions(start, end) == expected
        assert one.log.has_open_transaction(PID, 0) == store.log.has_open_transaction(PID, 0)
        assert one.log.open_transactions() == store.log.open_transactions()


def test_a_log_without_transactions_has_none(store: Store, follower: Follower) -> None:
    store.fill(3)
    follower.refresh()
    assert not follower.log.has_transactions
    assert aborted(follower.log) == []
    assert follower.log.open_transactions() == {}
    assert follower.log.describe_producers() == []
    assert not follower.log.has_open_transaction(PID, 0)


def test_transactions_begin_and_end_before_the_readers_eyes(
    store: Store, follower: Follower
) -> None:
    store.fill(2)
    check(store, follower)
    one, other = Transactions(store), Transactions(store, 8)
    one.write()
    check(store, follower)
    assert follower.log.last_stable_offset == 2
    other.write()
    store.fill(1)
    one.abort()
    check(store, follower)
    assert follower.log.last_stable_offset == 3
    other.commit()
    one.write()
    check(store, follower)
    one.commit()
    check(store, follower)
    assert follower.log.last_stable_offset == follower.log.log_end_offset


def test_transactions_go_on_from_segment_to_segment(store: Store, follower: Follower) -> None:
    one, other = Transactions(store), Transactions(store, 8)
    other.write()
    for number in range(40):
        one.write()
        if number % 5 == 4:
            (one.abort if number % 2 else one.commit)()
            check(store, follower)
    assert len(store.log.segments) > 3
    other.abort()
    check(store, follower)
    assert len(aborted(follower.log)) == 5


def test_transactions_in_segments_that_nobody_synced_are_found(store: Store) -> None:
    """STATE knows nothing of the log yet: what is sealed has to be searched."""
    one = Transactions(store)
    one.write()
    one.abort()
    store.fill(40)
    assert len(store.log.segments) > 2
    check(store)
    late = Follower(store)
    assert late.log.has_transactions
    assert len(aborted(late.log)) == 1


def test_what_a_snapshot_knows_of_the_future_is_not_believed(
    store: Store, follower: Follower
) -> None:
    """The writer is further than this reader: an abort that it has not seen must still reach its index."""
    one = Transactions(store)
    one.write()
    follower.refresh()
    late = Follower(store)
    one.abort()
    store.log._take_snapshot()
    late.directory.look_again()
    late.log._rebuild(was_cut=True)
    late.refresh()
    assert len(aborted(late.log)) == 1
    check(store, follower, late)


def test_producers_are_known_once_somebody_asked(store: Store, follower: Follower) -> None:
    stamp = ProducerStamp(PID, 0)
    for _ in range(2):
        batch = build_batch([b"x"], store.clock.time_ms())
        batch.stamp = stamp
        store.log.append(batch)
        follower.refresh()
        assert follower.log.describe_producers() == store.log.describe_producers()
    assert not follower.log.has_transactions
    Transactions(store, 9).write()
    follower.refresh()
    assert follower.log.describe_producers() == store.log.describe_producers()


def test_producers_behind_damage_are_told_of_as_far_as_can_be_read(
    store: Store,
    follower: Follower,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Transactions(store).write()

    def fail(*_: object) -> None:
        raise OSError("no such page")

    monkeypatch.setattr("streamlog.storage.producer_replay.replay", fail)
    follower.refresh()
    assert follower.log.describe_producers() == []
    assert "not searched for producers, it cannot be read: no such page" in caplog.text


def test_a_bad_snapshot_is_no_news_to_a_reader(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """It may be half written at this moment."""
    Transactions(store).write()
    store.disk.write(f"{store.log_path}/{1:020d}.snap", b"")
    with caplog.at_level(logging.WARNING):
        check(store)
    assert "snap" not in caplog.text


def test_lookups_by_time_find_what_the_writer_finds(store: Store, follower: Follower) -> None:
    for number in range(60):
        store.append(b"x" * 20, timestamp_ms=1000 + number * 7919 % 100)
    for one in (follower, Follower(store)):
        one.refresh()
        for timestamp_ms in range(990, 1110):
            expected = store.log.offset_for_timestamp(timestamp_ms)
            assert one.log.offset_for_timestamp(timestamp_ms) == expected
        assert one.log.offset_of_max_timestamp() == store.log.offset_of_max_timestamp()
        assert one.log.offset_of_max_timestamp(20) == store.log.offset_of_max_timestamp(20)


@pytest.mark.parametrize("read", ["read", "read_batches", "time", "max", "damage"])
def test_a_lookup_in_files_that_went_is_made_again(store: Store, read: str) -> None:
    store.fill(60)
    late = Follower(store)
    store.with_config(retention_bytes=1024, retention_ms=-1)
    store.log.delete_expired(0, store.log.log_end_offset)
    start, log = store.log.log_start_offset, late.log
    assert log.log_start_offset < start
    if read == "time":
        found = log.offset_for_timestamp(0)
        assert found is not None
        assert found.offset == start
    elif read == "max":
        assert log.offset_of_max_timestamp() == store.log.offset_of_max_timestamp()
    elif read == "damage":
        assert log.damage_at(1, "bad").next_good_offset == start
    else:
        with pytest.raises(IndexError, match=f"offset 1: expected {start} to 60"):
            getattr(log, read)(1, 100)
    late.check()


def test_damage_is_raised_once_the_files_say_it_twice(store: Store) -> None:
    store.fill(40)
    base = store.base_offsets()[1]
    store.disk.patch(store.segment_path(base), 20, b"damage")
    late = Follower(store)
    for _ in range(2):
        with pytest.raises(CorruptLogError, match="expected the batch of offset"):
            late.log.read(base, 100)
        with pytest.raises(CorruptLogError, match="expected the batch of offset"):
            late.log.read_batches(base, 100)
    assert late.values(base + 1) == [b"%08d" % number for number in range(base + 1, 40)]


def test_a_closed_log_answers_nothing(follower: Follower) -> None:
    follower.log.close(ClosedError("the topic was deleted"))
    for call in (
        follower.log.describe_producers,
        follower.log.offset_of_max_timestamp,
        lambda: follower.log.offset_for_timestamp(1),
    ):
        with pytest.raises(ClosedError, match="the topic was deleted"):
            call()
    assert "offsets 0..0" in repr(follower.log)


def test_index_files_are_used_and_left_as_they_are(store: Store) -> None:
    """Also where they say more than the reader has seen, or less, or nonsense."""
    store.fill(60)
    store.log.sync()
    store.directory.checkpoint()
    bases = store.base_offsets()
    store.disk.patch(store.segment_path(bases[1], ".idx"), 20, b"nonsense")
    store.disk.filesystem.unlink(store.segment_path(bases[2], ".tix"))
    before = {name: store.disk.read(f"{store.log_path}/{name}") for name in store.names()}
    late = Follower(store)
    late.check()
    for offset in range(60):
        assert late.log.read_batches(offset, 1)[0].base_offset == offset
        assert late.log.offset_for_timestamp(0) is not None
    late.directory.close()
    assert {name: store.disk.read(f"{store.log_path}/{name}") for name in store.names()} == before
