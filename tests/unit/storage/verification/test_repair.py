"""Making derived files again: afterwards verification finds nothing, and not a byte of a log has changed."""

from __future__ import annotations

import pytest

from streamlog.record import build_batch
from streamlog.storage import index_file
from streamlog.storage.partition_checkpoint import (
    HAS_PRODUCERS,
    HAS_TRANSACTIONS,
    PartitionCheckpoint,
)
from streamlog.storage.verification import Severity
from streamlog.storage.verification.repair import LogRepair
from streamlog.structs import NO_TIMESTAMP
from tests.support.storage import Store
from tests.unit.storage.conftest import memory_disk_of
from tests.unit.storage.verification.conftest import StoredLog


def repair(stored: StoredLog) -> list[str]:
    """Make again what verification names, show that nothing is left and no log has changed, and return what was made."""
    derived = {f.path for f in stored.findings() if f.severity is Severity.DERIVED}
    assert derived
    before = stored.content()
    made = LogRepair(stored.filesystem, stored.store.log_path).run(derived)
    assert stored.content() == before
    assert stored.findings() == []
    assert derived <= set(made)
    return made


def entries(stored: StoredLog, path: str) -> bytes:
    content = index_file.read_entries(stored.filesystem, path, 1 << 20)
    assert content.is_whole
    return content.entries


@pytest.mark.parametrize("number", [0, 1, -1])
@pytest.mark.parametrize("suffix", [".idx", ".tix"])
def test_both_indexes_of_a_segment_are_made_again(
    stored: StoredLog, number: int, suffix: str
) -> None:
    other = entries(stored, stored.path(2, ".idx"))
    stored.store.disk.flip(stored.path(number, suffix), 20)
    assert repair(stored) == [stored.path(number, ".idx"), stored.path(number, ".tix")]
    assert entries(stored, stored.path(number, ".tix"))
    assert entries(stored, stored.path(2, ".idx")) == other


def test_the_aborted_transactions_of_a_sealed_segment_are_made_again(stored: StoredLog) -> None:
    paths = [stored.path(number, ".txn") for number in range(len(stored.base_offsets) - 1)]
    before = [entries(stored, path) for path in paths]
    assert any(before)
    for path in paths[1:]:
        stored.store.disk.flip(path, 20)
    assert repair(stored) == paths[1:]
    assert [entries(stored, path) for path in paths] == before


def test_those_of_the_active_segment_are_left_to_whoever_asks(stored: StoredLog) -> None:
    path = stored.path(-1, ".txn")
    stored.store.disk.write(path, b"torn")
    assert repair(stored) == [path]
    assert not stored.filesystem.exists(path)


def test_a_bad_snapshot_is_removed(stored: StoredLog) -> None:
    path = stored.store.segment_path(stored.end_offset, ".snap")
    stored.store.disk.flip(path, 30)
    assert repair(stored) == [path]
    assert not stored.filesystem.exists(path)


def test_everything_at_once_and_the_log_still_reads_the_same(stored: StoredLog) -> None:
    for name in stored.store.names():
        if not name.endswith(".log"):
            stored.store.disk.write(f"{stored.store.log_path}/{name}", b"?")
    repair(stored)
    log = stored.store.open()
    assert log.log_end_offset == stored.end_offset
    assert len(log.aborted_transactions(0, stored.end_offset)) == 6
    stored.store.close()


def test_the_indexes_of_a_segment_without_batches_are_removed() -> None:
    store = Store(memory_disk_of(), index_interval_bytes=0)
    store.close()
    path = store.segment_path(0, ".idx")
    store.disk.write(store.segment_path(0), b"")
    store.disk.write(path, b"?")
    both = [path, store.segment_path(0, ".tix")]
    assert LogRepair(store.disk.filesystem, store.log_path).run([path]) == both
    assert not store.disk.filesystem.exists(path)


def test_files_that_are_gone_and_files_of_no_segment_are_no_error(stored: StoredLog) -> None:
    snapshot, other = stored.store.segment_path(3, ".snap"), stored.store.segment_path(3, ".idx")
    repair = LogRepair(stored.filesystem, stored.store.log_path)
    assert repair.run([snapshot, other]) == [snapshot]
    assert repair.run([]) == []


def test_indexes_are_made_up_to_the_last_good_batch_of_a_damaged_log(stored: StoredLog) -> None:
    path = stored.path(-1)
    stored.store.disk.write(path, stored.store.disk.read(path) + b"no batch")
    before = stored.content()
    stored.store.disk.flip(stored.path(-1, ".idx"), 20)
    LogRepair(stored.filesystem, stored.store.log_path).run([stored.path(-1, ".idx")])
    assert stored.content() == before
    assert [f.severity for f in stored.findings()] == [Severity.DAMAGE]


# ---- a STATE that says nothing


def test_a_checkpoint_of_nothing_begins_at_zero() -> None:
    store = Store(memory_disk_of())
    store.close()
    for name in store.names():
        store.disk.filesystem.unlink(f"{store.log_path}/{name}")
    repair = LogRepair(store.disk.filesystem, store.log_path)
    assert repair.conservative_checkpoint() == PartitionCheckpoint(
        0, 0, 0, 0, 0, NO_TIMESTAMP, NO_TIMESTAMP, 0
    )


def test_a_conservative_checkpoint_trusts_nothing_behind_the_first_file(stored: StoredLog) -> None:
    stored.filesystem.unlink(stored.path(0))
    second = stored.base_offsets[1]
    found = LogRepair(stored.filesystem, stored.store.log_path).conservative_checkpoint()
    assert (found.log_start_offset, found.recovery_offset) == (second, second)
    assert (found.segment_base_offset, found.segment_position) == (second, 0)
    assert found.flags == HAS_PRODUCERS | HAS_TRANSACTIONS
    assert found.epochs == (0, second)


def test_leader_epochs_and_producers_are_found_in_the_log_across_damage() -> None:
    store = Store(memory_disk_of(), segment_bytes=1024)
    store.fill(2)
    store.log.leader_epoch = 4
    store.fill(2)
    batch = build_batch([b"idempotent"], 1_000)
    batch.producer_id, batch.producer_epoch, batch.base_sequence = 7, 0, 0
    store.log.append(batch)
    store.log.leader_epoch = 6
    store.fill(20)
    store.close()
    store.disk.flip(store.segment_path(0), 12)  # the first batch
    found = LogRepair(store.disk.filesystem, store.log_path).conservative_checkpoint()
    assert found.epochs == (0, 1, 4, 2, 6, 5)
    assert found.leader_epoch == 6
    assert found.flags == HAS_PRODUCERS


def test_indexes_of_a_log_that_lacks_zeros_behind_its_last_batch_are_left_to_its_opening() -> None:
    """Seen as ValueError from the map: the batch is whole, and ends 8-aligned where no byte is any more."""
    store = Store(memory_disk_of(), index_interval_bytes=0)
    store.log.append(build_batch([b"xy"], 0))  # 97 bytes, and zeros to the next multiple of 8
    store.close()
    path, index_path = store.segment_path(0), store.segment_path(0, ".idx")
    whole = store.disk.read(path)
    store.disk.write(path, whole[:-1])
    repair = LogRepair(store.disk.filesystem, store.log_path)
    assert index_path in repair.run([index_path])
    assert store.disk.read(path) == whole[:-1]
    assert not store.disk.filesystem.exists(index_path)
