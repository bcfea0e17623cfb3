"""What power cuts at awkward moments did to a log, as the crash explorer found it; on a disk that can lose its power."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from streamlog.record import ControlType, ProducerStamp, build_batch, build_marker, read_marker
from streamlog.runtime import RandomSource, Runtime
from streamlog.storage import PartitionLog
from streamlog.storage.aborted_transaction import AbortedTransaction
from streamlog.testing import CrashFileSystem
from streamlog.testing.crash_images import CrashImage, kill_image, power_images
from tests.support.storage import Disk, Store, read_batches


@pytest.fixture
def store() -> Iterator[Store]:
    """A log with segments of 1 KiB on a disk that can lose its power."""
    disk = CrashFileSystem()
    disk.make_dir("/root")
    disk.sync_dir("/")
    store = Store(Disk(disk, "/root"), segment_bytes=1024, index_interval_bytes=0)
    yield store
    store.directory.close()


def disk_of(store: Store) -> CrashFileSystem:
    disk = store.disk.filesystem
    assert isinstance(disk, CrashFileSystem)
    return disk


def images_of(disk: CrashFileSystem) -> list[CrashImage]:
    return list(power_images(disk, RandomSource(1).stream("images"), subsets=16))


def go_on_with(store: Store, disk: CrashFileSystem) -> None:
    """Let *store* be killed and go on with *disk*, not opened yet."""
    store.kill()
    store.disk = Disk(disk, store.disk.root)
    store.runtime = Runtime(clock=store.runtime.clock, filesystem=disk, random=RandomSource(1))


def crash_after(store: Store, call: str, act: Callable[[], object]) -> CrashFileSystem:
    """Return what a kill leaves right after the first change of the disk whose description starts with *call*."""
    disk, left = disk_of(store), []

    def look(what: str) -> None:
        if what.startswith(call) and not left:
            left.append(kill_image(disk).filesystem())

    disk.on_step = look
    act()
    disk.on_step = None
    return left[0]


def test_segments_behind_a_truncation_do_not_come_back_to_follow_later_appends(
    store: Store,
) -> None:
    """Their names were removed, but nothing said so to the disk before the truncation counted as done."""
    old = store.fill(20)
    store.log.sync()
    cut = store.base_offsets()[1]
    store.log.truncate_to(cut - 1)
    store.append(b"new")
    store.log.sync()
    for image in images_of(disk_of(store)):
        go_on_with(store, image.filesystem())
        store.open()
        assert store.values() == [*old[: cut - 1], b"new"], image.description


@pytest.mark.parametrize("power", [False, True])
def test_a_cut_that_was_interrupted_is_on_the_disk_before_it_counts_as_done(
    store: Store, power: bool
) -> None:
    """A recovery cut the log and was killed before the sync; the next one found nothing to cut, and synced nothing."""
    values = store.fill(5)
    store.log.sync()
    if power:
        store.append(b"torn")
        file = disk_of(store).open(store.segment_path())
        file.write_at(store.log.segments[0].position - 90, b"lost")
        file.sync()
        go_on_with(store, images_of(disk_of(store))[0].filesystem())
    else:
        left = crash_after(store, "store", lambda: store.log.truncate_to(2))
        go_on_with(store, left)
        values = values[:2]
    go_on_with(store, crash_after(store, f"resize {store.segment_path()}", store.open))
    store.open()
    assert store.values() == values
    size = disk_of(store).file_size(store.segment_path())
    left_sizes = {
        image.filesystem().file_size(store.segment_path()) for image in images_of(disk_of(store))
    }
    assert left_sizes == {size}


def test_a_file_below_the_log_start_that_comes_back_alone_is_no_data_loss(store: Store) -> None:
    """Opening finished a deletion; the power went, and of the names that it had removed one came back, not the last."""
    store.fill(15)
    store.log.sync()
    store.log.roll()
    end = store.log.log_end_offset
    store.log.advance_log_start(end)
    store.close()
    go_on_with(store, images_of(disk_of(store))[0].filesystem())
    store.open()
    # Left by a power cut now: of the files that opening deleted the first, and not the one that the recovery point is in.
    go_on_with(store, images_of(disk_of(store))[0].filesystem())
    bases = [int(name[:20]) for name in store.names() if name.endswith(".log")]
    assert bases[0] == 0
    assert len(bases) > 1
    for base in bases[1:]:
        store.disk.filesystem.unlink(store.segment_path(base))
    store.open()
    assert store.values() == []
    assert (store.log.log_start_offset, store.append(b"next")) == (end, end)


# ---- the index of aborted transactions


def end_of_transaction(
    log: PartitionLog, producer_id: int, epoch: int, control_type: ControlType
) -> None:
    log.append(build_marker(control_type, producer_id, epoch + 1, 0, 0))


def batch_in_transaction(log: PartitionLog, producer_id: int, epoch: int) -> None:
    batch = build_batch([b"in a transaction" * 5], 0)
    batch.stamp = ProducerStamp(producer_id, epoch, is_transactional=True)
    log.append(batch)


def aborted_by_reading(log: PartitionLog) -> list[AbortedTransaction]:
    """What the index has to say, found by reading every batch."""
    opened: dict[int, int] = {}
    aborted: list[AbortedTransaction] = []
    for batch in read_batches(log):
        if batch.is_transactional and not batch.is_control:
            opened.setdefault(batch.producer_id, batch.base_offset)
        elif batch.is_control:
            first = opened.pop(batch.producer_id, None)
            if first is not None and read_marker(batch)[0] is ControlType.ABORT:
                stable = min(opened.values(), default=batch.next_offset)
                found = AbortedTransaction(batch.producer_id, first, batch.base_offset, stable)
                aborted.append(found)
    return aborted


@pytest.mark.parametrize("power", [False, True])
def test_txn_15_whatever_is_left_the_index_says_what_the_log_does(
    store: Store, power: bool, reboot: Callable[[], None]
) -> None:
    """Whenever the process dies: now, and when the log has grown past what the index file once told of."""
    disk, left = disk_of(store), []

    def look(what: str) -> None:
        if ".txn" in what or what.startswith("sync"):
            images = images_of(disk)[:4] if power else [kill_image(disk)]
            left.extend((what, image.filesystem()) for image in images)

    disk.on_step = look
    for number in range(12):
        batch_in_transaction(store.log, number, 0)
        store.append(b"plain")
        if number % 3:
            previous = number - number % 3 + 1 if number % 2 else number
            kind = ControlType.COMMIT if number % 5 == 0 else ControlType.ABORT
            end_of_transaction(store.log, previous, 0, kind)
        if number % 4 == 3:
            store.log.sync()
            store.directory.checkpoint()
            batch_in_transaction(store.log, 100 + number, 0)
            end_of_transaction(store.log, 100 + number, 0, ControlType.ABORT)
            store.log.checkpoint()
    disk.on_step = None
    assert len(left) > 10
    for what, filesystem in left[:: 4 if power else 1]:
        go_on_with(store, filesystem)
        if power:
            reboot()
        log = store.open()
        assert log.aborted_transactions(0, log.log_end_offset) == aborted_by_reading(log), what
        for producer_id in range(200, 206):
            store.append(b"plain")
            batch_in_transaction(log, producer_id, 0)
            end_of_transaction(log, producer_id, 0, ControlType.ABORT)
            store.log.checkpoint()
        log = store.kill_and_open()
        assert log.aborted_transactions(0, log.log_end_offset) == aborted_by_reading(log), what
