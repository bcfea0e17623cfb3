"""Passes that end in the middle: the process is killed, the power goes, the disk fails; at every step."""

from __future__ import annotations

import copy
import errno
from typing import TYPE_CHECKING

import pytest

from streamlog.record import ProducerStamp
from streamlog.runtime import RandomSource, Runtime
from streamlog.storage import RecoveryOutcome
from streamlog.storage.compaction import cleaning
from streamlog.testing import CrashFileSystem, FaultPlan, FaultyFileSystem
from streamlog.testing.crash_images import kill_image, power_images
from tests.support.compaction import (
    GIB,
    Row,
    as_map,
    begin,
    clean,
    end,
    finish,
    put,
    put_for,
    rows,
)
from tests.support.hooked_files import DieAt, HookedFileSystem, Killed, hook_of
from tests.support.storage import Disk, Store, check_log
from tests.unit.storage.conftest import memory_disk_of

if TYPE_CHECKING:
    from streamlog.testing.crash_images import CrashImage

NOW_MS = 2000
CALM = (RecoveryOutcome.CLEAN, RecoveryOutcome.SCANNED)


def fill(store: Store, *, transactions: bool) -> dict[bytes, bytes]:
    """Write what a pass has work with: keys that come again, tombstones, transactions; return what a reader has in the end."""
    store.with_config(delete_retention_ms=100)
    log = store.log
    producer = ProducerStamp(5, 0)
    for turn in range(6):
        for number in range(6):
            put(log, (f"key-{number}", f"{turn}-{number}"))
        put(log, ("gone", None))
        put_for(log, producer, ("produced", f"{turn}"))
        if transactions:
            for commit in (True, False):
                stamp = begin(7, 2 * turn + (0 if commit else 1))
                put_for(log, stamp, ("in a transaction", f"{turn} {commit}"))
                end(log, stamp, commit=commit)
    log.roll()
    return as_map(rows(log))


def two_passes(store: Store) -> None:
    """The first one replaces segments one by one, the second merges them and removes what has a horizon."""
    finish(store.log.clean(NOW_MS, GIB))
    finish(store.log.clean(NOW_MS + 200, GIB))


def check_opened(store: Store, expected: dict[bytes, bytes]) -> list[Row]:
    assert store.recovery.outcome in CALM, store.recovery
    assert not any(name.endswith((".cleaned", ".tmp", ".deleted")) for name in store.names())
    found = rows(store.log)
    assert as_map(found) == expected
    check_log(store.log)
    return found


@pytest.mark.parametrize("transactions", [False, True])
def test_dying_anywhere_in_a_pass_loses_nothing(transactions: bool) -> None:
    for number in range(0, 1000, 7 if transactions else 1):
        inner = memory_disk_of()
        disk = Disk(HookedFileSystem(inner.filesystem), inner.root)
        store = Store(disk, segment_bytes=1024, index_interval_bytes=0)
        expected = fill(store, transactions=transactions)
        before = rows(store.log)
        hook = DieAt(number)
        hook_of(disk.filesystem).hook = hook
        died = False
        try:
            two_passes(store)
        except Killed:
            died = True
        hook_of(disk.filesystem).hook = lambda call, path: None
        store.kill_and_open()
        found = check_opened(store, expected)
        assert set(found) <= set(before), hook.died_at
        two_passes(store)
        assert as_map(rows(store.log)) == expected, hook.died_at
        store.reopen()
        check_opened(store, expected)
        store.close()
        if not died:
            assert number > 50
            return
    pytest.fail("never got to the end")


def opened(store: Store, image: CrashImage, *, lose_state: bool) -> Store:
    """Return another store, open on what a crash left."""
    other = copy.copy(store)
    other.disk = Disk(image.filesystem(), store.disk.root)
    other.runtime = Runtime(
        clock=store.clock, filesystem=other.disk.filesystem, random=RandomSource(1)
    )
    if lose_state and other.disk.filesystem.exists(f"{other.path}/STATE"):
        other.disk.filesystem.unlink(f"{other.path}/STATE")
    other.open()
    return other


@pytest.mark.parametrize("lose_state", [False, True])
def test_no_crash_in_a_pass_loses_anything(lose_state: bool) -> None:
    """At each change of the disk: what a kill leaves, and at some of them one of the disks that a power cut can leave."""
    disk = CrashFileSystem()
    disk.make_dir("/root")
    disk.sync_dir("/")
    store = Store(Disk(disk, "/root"), segment_bytes=1024, index_interval_bytes=0)
    expected = fill(store, transactions=True)
    store.log.sync()
    store.directory.checkpoint()
    before = set(rows(store.log))
    steps = 0
    failures: list[str] = []

    def crash(what: str) -> None:
        nonlocal steps
        steps += 1
        if failures or (lose_state and steps % 5):
            return
        chance = RandomSource(steps).stream("power cuts")
        # Without STATE and after a power cut nobody knows what was on the disk.
        images = [kill_image(disk)]
        if not lose_state and steps % 20 == 0:
            images.append(chance.choice(list(power_images(disk, chance))))
        for image in images:
            try:
                other = opened(store, image, lose_state=lose_state)
                assert set(check_opened(other, expected)) <= before
                if steps % 7 == 0:
                    two_passes(other)
                    assert as_map(rows(other.log)) == expected
                other.kill()
            except Exception as error:
                failures.append(f"step {steps} ({what}), {image.description}: {error!r}")

    disk.on_step = crash
    two_passes(store)
    disk.on_step = None
    assert not failures
    assert steps > 50


def test_no_crash_while_what_stays_is_copied_loses_anything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A file whose front is still to be filled in is nothing to go by."""
    monkeypatch.setattr(cleaning, "_COPIED_BYTES", 7000)
    disk = CrashFileSystem()
    disk.make_dir("/root")
    disk.sync_dir("/")
    store = Store(Disk(disk, "/root"), segment_bytes=50_000, index_interval_bytes=0)
    for number in range(5):
        put(store.log, (f"key-{number}", "x" * 9000))
    store.log.roll()
    put(store.log, ("key-3", "new"))
    put(store.log, ("key-5", "x" * 9000))
    store.log.roll()
    store.log.sync()
    store.directory.checkpoint()
    before, expected = set(rows(store.log)), as_map(rows(store.log))
    failures: list[str] = []
    calls: list[str] = []

    def crash(what: str) -> None:
        calls.append(what)
        chance = RandomSource(len(calls)).stream("power cuts")
        images = [kill_image(disk)]
        if len(calls) % 3 == 0:
            images.append(chance.choice(list(power_images(disk, chance))))
        for image in images:
            try:
                other = opened(store, image, lose_state=False)
                assert set(check_opened(other, expected)) <= before
                two_passes(other)
                assert as_map(rows(other.log)) == expected
                other.kill()
            except Exception as error:
                failures.append(f"step {len(calls)} ({what}), {image.description}: {error!r}")

    disk.on_step = crash
    finish(store.log.clean(NOW_MS, GIB))
    disk.on_step = None
    assert not failures
    assert sum(".cleaned" in what and "write" in what for what in calls) > 4
    assert len(rows(store.log)) == 6


# ---- the process goes on


def names(store: Store) -> list[str]:
    return [name for name in store.names() if not name.endswith((".snap", ".txn", ".tix", ".idx"))]


@pytest.mark.parametrize("then", ["clean", "reopen", "kill_and_open", "truncate", "retention"])
@pytest.mark.parametrize(
    ("call", "path"),
    [
        ("write_at", "*/STATE*"),
        ("rename", "*.cleaned"),
        ("rename", "*/STATE.tmp"),
        ("unlink", "*.idx"),
        ("rename", "*.log"),
    ],
)
@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_swap_that_failed_is_finished_later(call: str, path: str, at: int, then: str) -> None:
    plan = FaultPlan()
    disk = memory_disk_of()
    store = Store(
        Disk(FaultyFileSystem(disk.filesystem, plan), disk.root),
        segment_bytes=1024,
        index_interval_bytes=0,
    )
    expected = fill(store, transactions=True)
    finish(store.log.clean(NOW_MS, GIB))
    before = rows(store.log)
    put(store.log, ("key-1", "last"))
    store.log.roll()
    store.log.sync_below(store.log.log_end_offset)
    expected[b"key-1"] = b"last"
    plan.fail(call, errno.EIO, path=path, at=at)
    failed = False
    try:
        finish(store.log.clean(NOW_MS + 200, GIB))
    except OSError:
        failed = True
    plan.clear()
    assert as_map(rows(store.log)) == expected
    if then == "clean":
        finish(store.log.clean(NOW_MS + 200, GIB))
        assert not any(name.endswith(".cleaned") for name in store.names())
        check_log(store.log)
    elif then == "truncate":
        end_offset = store.log.log_end_offset
        store.log.truncate_to(end_offset - 1)
        expected[b"key-1"] = next(row.value for row in before[::-1] if row.key == b"key-1") or b""
        if not failed:
            return  # the older value is gone
    elif then == "retention":
        store.with_config(cleanup_policy="compact,delete", retention_bytes=700)
        store.log.delete_expired(NOW_MS, store.log.log_end_offset)
        expected = as_map(rows(store.log))
        store.kill_and_open()
    else:
        getattr(store, then)()
    if then != "truncate":
        assert as_map(rows(store.log)) == expected
    check_log(store.log)
    store.kill_and_open()
    check_log(store.log)
    if then != "truncate":
        assert as_map(rows(store.log)) == expected
    clean(store, now_ms=NOW_MS + 200)
    check_log(store.log)
    assert not any(name.endswith(".cleaned") for name in names(store))
    store.close()
