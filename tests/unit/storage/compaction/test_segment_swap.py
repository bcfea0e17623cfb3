"""Finishing a swap that a crash interrupted, and doing without STATE."""

from __future__ import annotations

import pytest

from streamlog.storage import RecoveryOutcome
from streamlog.storage.compaction.segment_swap import finish_swap, swapped
from tests.support.compaction import as_map, clean, put, rows
from tests.support.storage import Store, check_log


def test_the_segments_of_a_swap_count_as_one() -> None:
    assert swapped([0, 10, 20, 30], 0, 30) == [0, 30]
    assert swapped([0, 10, 20, 30], 10, 20) == [0, 10, 20, 30]
    assert swapped([0, 10, 20, 30], 10, 30) == [0, 10, 30]
    assert swapped([20, 30], 0, 30) == [0, 30], "retention took the first of them meanwhile"
    assert swapped([30], 0, 30) == [0, 30]


def test_finishing_puts_the_cleaned_file_in_place_and_removes_the_others(store: Store) -> None:
    store.fill(40)
    store.close()
    assert [name for name in store.names() if name.endswith(".log")] == [
        f"{base:020d}.log" for base in (0, 9, 18, 27, 36)
    ]
    filesystem = store.disk.filesystem
    cleaned = store.segment_path(9, ".log.cleaned")
    store.disk.write(cleaned, b"new")
    for path in (store.segment_path(9, ".txn"), store.segment_path(18, ".txn")):
        filesystem.make_dir(path)
    finish_swap(filesystem, store.log_path, 9, 27)
    assert store.disk.read(store.segment_path(9)) == b"new"
    left = [name for name in store.names() if not name.endswith(".snap")]
    assert left == sorted(
        [f"{base:020d}.{kind}" for base in (0, 27, 36) for kind in ("idx", "log", "tix")]
        + [f"{9:020d}.log", f"{9:020d}.txn", f"{18:020d}.txn"]  # nobody's directories
    )
    finish_swap(filesystem, store.log_path, 9, 27)
    assert store.disk.read(store.segment_path(9)) == b"new"


@pytest.mark.parametrize("names_left", [0, 1, 2])
def test_without_state_what_a_swap_left_over_is_no_damage(store: Store, names_left: int) -> None:
    for number in range(40):
        put(store.log, (f"key-{number % 7}", f"{number}"))
    expected = as_map(rows(store.log))
    bases = store.base_offsets()
    clean(store)
    store.log.sync()
    old = {base: store.disk.read(store.segment_path(base)) for base in store.base_offsets()}
    clean(store)  # merges them
    store.close()
    merged = [base for base in bases if not store.disk.filesystem.exists(store.segment_path(base))]
    assert len(merged) > 2
    for base in merged[len(merged) - names_left :]:
        store.disk.write(store.segment_path(base), old[base])
    store.disk.filesystem.unlink(f"{store.path}/STATE")
    store.open()
    assert store.recovery.outcome is RecoveryOutcome.SCANNED
    assert as_map(rows(store.log)) == expected
    assert not set(merged) & set(store.base_offsets())
    check_log(store.log)
