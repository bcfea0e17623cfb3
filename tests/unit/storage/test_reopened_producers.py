"""Producers and transactions of a log that was closed, killed, cut, rolled or damaged (IDM-7)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from streamlog.errors import DiskFullError, OutOfOrderSequenceError
from streamlog.record import ControlType, PendingBatch, ProducerStamp, build_batch, build_marker
from streamlog.record.layout import TRANSACTIONAL_BIT
from streamlog.storage import log_producers, producer_replay
from streamlog.storage.producer_snapshots import ProducerSnapshots
from streamlog.storage.segment import Segment
from tests.support.storage import Store, check_log
from tests.unit.storage.conftest import memory_disk_of

if TYPE_CHECKING:
    from collections.abc import Callable

T0 = 1_700_000_000_000


def batch_of(
    sequence: int, count: int = 1, *, producer_id: int = 7, epoch: int = 0, txn: bool = False
) -> PendingBatch:
    batch = build_batch([b"%08d" % n for n in range(count)], T0 + sequence)
    batch.producer_id, batch.producer_epoch, batch.base_sequence = producer_id, epoch, sequence
    batch.attributes = TRANSACTIONAL_BIT if txn else 0
    return batch


def send(store: Store, count: int, **options: int) -> list[int]:
    """Append *count* batches of two records each, and return their offsets."""
    known = store.log._known_producers().entries.get(options.get("producer_id", 7))
    first = known.next_sequence if known else 0
    return [store.log.append(batch_of(first + 2 * n, 2, **options)) for n in range(count)]


def known(store: Store) -> list[list[int]]:
    return sorted(store.log._known_producers().pack())


def snapshots(store: Store) -> list[int]:
    return [int(name[:20]) for name in store.names() if name.endswith(".snap")]


@pytest.fixture(params=["reopen", "kill_and_open", "power"])
def again(
    request: pytest.FixtureRequest, store: Store, reboot: Callable[[], None]
) -> Callable[[], None]:
    """Open the log again: after closing it, after a kill, after a restart of the machine."""

    def open_again() -> None:
        if request.param == "power":
            store.log.sync()
            store.kill()
            reboot()
            store.open()
        else:
            getattr(store, request.param)()
        check_log(store.log)

    return open_again


def test_idm_7_duplicates_are_caught_after_opening_again(
    store: Store, again: Callable[[], None]
) -> None:
    offsets = send(store, 30)
    before = known(store)
    again()
    for n in range(25, 30):
        assert store.log.append(batch_of(2 * n, 2)) == offsets[n]
    with pytest.raises(OutOfOrderSequenceError):
        store.log.append(batch_of(2 * 24, 2))
    assert known(store) == before
    assert store.log.append(batch_of(60)) == 60
    check_log(store.log)


def test_transactions_are_open_after_opening_again(store: Store, again: Callable[[], None]) -> None:
    """TXN-13."""
    store.append(b"plain")
    store.log.append(batch_of(0, producer_id=1, txn=True))
    store.log.append(batch_of(0, producer_id=2, epoch=5, txn=True))
    store.log.append(build_marker(ControlType.COMMIT, 1, 1, 3, T0))
    send(store, 20, producer_id=3)
    again()
    assert store.log.has_transactions
    assert store.log.last_stable_offset == 2
    assert store.log.open_transactions() == {2: (5, 2)}
    assert store.log.has_open_transaction(2, 5)
    again()
    end = store.log.append(build_marker(ControlType.ABORT, 2, 6, 3, T0))
    again()
    assert store.log.open_transactions() == {}
    assert store.log.last_stable_offset == end + 1
    assert store.log.has_transactions


def test_log_without_producers_has_no_snapshot_and_reads_nothing(
    store: Store, again: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.fill(50)
    again()
    store.fill(50)
    assert snapshots(store) == []
    monkeypatch.setattr(producer_replay, "replay", None)  # calling it would fail
    assert store.log.describe_producers() == []
    assert not store.log.has_transactions
    assert store.log.append(batch_of(5)) == 100


def test_clean_opening_reads_neither_snapshots_nor_headers_until_somebody_asks(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D7: opening takes no longer for the producers that a log has."""
    send(store, 20)
    store.close()
    with monkeypatch.context() as patch:
        patch.setattr(ProducerSnapshots, "load", None)
        patch.setattr(producer_replay, "replay", None)
        store.open()
        assert store.log.append_value(b"plain", T0) == 40
        assert store.log.expire_producers(2**60, 1) == 0
        assert not store.log.has_open_transaction(7, 0)
    store.log._producers = None
    assert [info.last_sequence for info in store.log.describe_producers()] == [39]


def test_snapshots_are_written_at_each_roll_and_at_the_end(store: Store) -> None:
    send(store, 20)
    bases = store.base_offsets()
    assert len(bases) > 2
    assert snapshots(store) == bases[1:]
    store.close()
    store.open()
    assert snapshots(store) == [*bases[1:], 40]
    store.close()
    store.open()
    assert snapshots(store) == [*bases[1:], 40]
    check_log(store.log)


def test_snapshot_is_written_when_much_was_appended_since_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_producers, "_SNAPSHOT_BYTES", 1000)
    store = Store(memory_disk_of())
    send(store, 5)
    store.directory.checkpoint()
    assert snapshots(store) == []
    send(store, 10)
    store.directory.checkpoint()
    assert snapshots(store) == [30]
    send(store, 5)
    store.directory.checkpoint()
    assert snapshots(store) == [30]
    send(store, 10)
    store.directory.checkpoint()
    assert snapshots(store) == [30, 60]
    store.kill_and_open()
    assert [info.last_sequence for info in store.log.describe_producers()] == [59]
    store.close()


@pytest.mark.parametrize("how", ["delete", "damage", "empty"])
def test_lost_snapshots_cost_a_walk_and_nothing_else(
    store: Store, how: str, again: Callable[[], None]
) -> None:
    store.log.append(batch_of(0, producer_id=9, txn=True))
    send(store, 30)
    before = known(store)
    store.close()
    for offset in snapshots(store):
        path = store.segment_path(offset, ".snap")
        if how == "delete":
            store.disk.filesystem.unlink(path)
        elif how == "damage":
            store.disk.flip(path, 30)
        else:
            store.disk.cut(path, 0)
    store.open()
    assert known(store) == before
    assert store.log.open_transactions() == {9: (0, 0)}
    again()
    assert known(store) == before


def test_directory_in_the_place_of_a_snapshot_does_no_harm(store: Store) -> None:
    send(store, 3)
    store.disk.filesystem.make_dir(store.segment_path(6, ".snap"))
    store.disk.filesystem.make_dir(store.segment_path(99, ".snap"))
    store.reopen()
    assert [info.last_sequence for info in store.log.describe_producers()] == [5]
    assert store.log.append(batch_of(6)) == 6
    for name in (6, 99):
        store.disk.filesystem.remove_dir(store.segment_path(name, ".snap"))


def test_snapshots_behind_a_cut_do_not_come_back(store: Store, reboot: Callable[[], None]) -> None:
    """What a power loss took is told by no snapshot, although its file is whole."""
    send(store, 3)
    store.log.sync()
    store.directory.checkpoint()
    send(store, 2)
    store.log._take_snapshot()
    assert snapshots(store) == [10]
    store.kill()
    store.disk.cut(store.segment_path(), 3 * 120)
    reboot()
    store.open()
    assert store.log.log_end_offset == 6
    assert snapshots(store) == []
    assert store.log.append(batch_of(6)) == 6
    check_log(store.log)


def test_truncation_forgets_what_was_cut(store: Store) -> None:
    stamp = ProducerStamp(8, 0)
    send(store, 20)
    store.log.append_value(b"x", T0, stamp)
    store.log._take_snapshot()
    store.log.truncate_to(11)
    assert stamp.remember is None
    assert [(i.producer_id, i.last_sequence) for i in store.log.describe_producers()] == [(7, 9)]
    assert max(snapshots(store), default=0) <= 10
    assert store.log.append(batch_of(10, 2)) == 10
    check_log(store.log)
    store.kill_and_open()
    assert [(i.producer_id, i.last_sequence) for i in store.log.describe_producers()] == [(7, 11)]


def test_truncation_reopens_the_transaction_whose_marker_it_cut(store: Store) -> None:
    store.log.append(batch_of(0, 2, txn=True))
    end = store.log.append(build_marker(ControlType.COMMIT, 7, 1, 0, T0))
    assert store.log.last_stable_offset == 3
    store.log.truncate_to(end)
    assert store.log.last_stable_offset == 0
    assert store.log.open_transactions() == {7: (0, 0)}
    check_log(store.log)


def test_truncation_of_a_log_that_nobody_asked_about_yet(store: Store) -> None:
    send(store, 5)
    store.kill_and_open()
    store.log.truncate_to(6)
    assert [info.last_sequence for info in store.log.describe_producers()] == [5]


def test_retention_takes_the_snapshots_with_their_segments(store: Store) -> None:
    """The producers are known all the same: where the first segment begins there is a snapshot."""
    send(store, 3, producer_id=8)
    send(store, 30)
    before = known(store)
    store.log.advance_log_start(40)
    store.with_config(retention_bytes=0)
    assert store.log.delete_expired(T0, 66) > 2
    bases = store.base_offsets()
    assert snapshots(store) == bases
    store.kill_and_open()
    assert known(store) == before
    check_log(store.log)


def test_roll_in_a_log_that_nobody_asked_about_yet_keeps_its_producers(store: Store) -> None:
    send(store, 3)
    store.kill_and_open()
    store.fill(40)
    assert snapshots(store) == store.base_offsets()[1:]
    store.kill_and_open()
    store.log.advance_log_start(45)
    store.with_config(retention_bytes=0)
    store.log.delete_expired(T0, 46)
    store.kill_and_open()
    assert [info.last_sequence for info in store.log.describe_producers()] == [5]


def test_full_disk_costs_the_snapshot_and_no_record(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*arguments: object) -> None:
        raise DiskFullError("full")

    monkeypatch.setattr(ProducerSnapshots, "write", fail)
    send(store, 20)
    assert snapshots(store) == []
    store.close()
    assert "no snapshot of its producers was written" in caplog.text
    store.open()
    assert [info.last_sequence for info in store.log.describe_producers()] == [39]


def test_old_snapshot_that_cannot_be_deleted_stays(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*arguments: object) -> None:
        raise OSError("no")

    send(store, 20)
    store.log.advance_log_start(30)
    store.with_config(retention_bytes=0)
    with monkeypatch.context() as patch:
        patch.setattr(ProducerSnapshots, "delete_below", fail)
        store.log.delete_expired(T0, 40)
    assert "an old snapshot of its producers stays" in caplog.text
    assert snapshots(store)[0] < store.base_offsets()[0]
    store.kill_and_open()
    assert snapshots(store)[0] == store.base_offsets()[0]


def test_segment_that_cannot_be_read_is_not_searched(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Appends go on: whoever reads there gets the error."""
    send(store, 20)
    store.kill_and_open()
    for offset in list(store.log._snapshots.offsets):
        store.disk.filesystem.unlink(store.segment_path(offset, ".snap"))
    bad = store.base_offsets()[1]
    map_of = Segment.mapping_for_read

    def fail(self: Segment) -> object:
        if self.base_offset == bad:
            raise FileNotFoundError(self.path)
        return map_of(self)

    with monkeypatch.context() as patch:
        patch.setattr(Segment, "mapping_for_read", fail)
        assert store.log.append(batch_of(40)) == 40
    assert "not searched for producers" in caplog.text
    assert caplog.records[-1].levelno == logging.WARNING


def test_state_that_was_lost_costs_a_scan_and_nothing_else(store: Store) -> None:
    store.log.append(batch_of(0, producer_id=9, txn=True))
    send(store, 20)
    before = known(store)
    store.close()
    store.disk.flip(store.disk.path("data/STATE"), 30)
    store.open()
    assert store.log.has_transactions
    assert known(store) == before
    assert store.log.greatest_producer_id == 9


def test_state_that_was_lost_leaves_producers_whose_records_are_gone(store: Store) -> None:
    """Their ids must not be given to others: a snapshot tells of them."""
    send(store, 3, producer_id=12)
    send(store, 30)
    store.log.advance_log_start(60)
    store.with_config(retention_bytes=0)
    store.log.delete_expired(T0, 66)
    before = known(store)
    store.close()
    store.disk.flip(store.disk.path("data/STATE"), 30)
    store.open()
    assert store.log.greatest_producer_id == 12
    assert known(store) == before
