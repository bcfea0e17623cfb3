"""The newest record of each key, in bounded memory."""

from __future__ import annotations

import tracemalloc

from streamlog.storage.compaction.key_map import ENTRY_BYTES, KeyMap

GIB = 1 << 30


def flags(keys: KeyMap) -> list[int]:
    return list(keys.is_newest)


def test_cmp_3_the_last_record_of_a_key_is_its_newest() -> None:
    keys = KeyMap(GIB)
    assert keys.add([b"a", b"b"], 2)
    assert keys.add([b"c", b"a"], 2)
    assert flags(keys) == [0, 1, 1, 1]
    assert keys.newest == {b"a": 3, b"b": 1, b"c": 2}


def test_cmp_3_a_key_that_is_twice_in_a_batch_counts_once() -> None:
    keys = KeyMap(GIB)
    assert keys.add([b"a", b"b", b"a"], 3)
    assert flags(keys) == [0, 1, 1]


def test_cmp_3_a_null_key_is_never_the_newest() -> None:
    keys = KeyMap(GIB)
    assert keys.add([None, b"", None], 3)
    assert keys.add(None, 2)
    assert flags(keys) == [0, 1, 0, 0, 0]
    assert keys.newest == {b"": 1}


def test_a_batch_that_does_not_fit_is_not_noted_at_all() -> None:
    keys = KeyMap(3 * ENTRY_BYTES)
    assert keys.add([b"a", b"b"], 2)
    assert not keys.add([b"b", b"c", b"d"], 3)
    assert flags(keys) == [1, 1]
    assert set(keys.newest) == {b"a", b"b"}


def test_keys_that_are_known_take_no_room() -> None:
    keys = KeyMap(3 * ENTRY_BYTES)
    assert keys.add([b"a", b"b"], 2)
    for _ in range(10):
        assert keys.add([b"b", b"a", None], 3)
    assert keys.used_bytes < 3 * ENTRY_BYTES
    assert keys.add([b"a", b"a"], 2)


def test_a_new_key_that_comes_several_times_in_a_batch_takes_room_once() -> None:
    keys = KeyMap(3 * ENTRY_BYTES)
    assert keys.add([b"a"], 1)
    assert keys.add([b"b", b"b", b"b", b"b"], 4)
    assert flags(keys) == [1, 0, 0, 0, 1]


def test_the_first_batch_fits_however_large_it_is() -> None:
    keys = KeyMap(1)
    assert keys.add([b"a", b"b", b"c"], 3)
    assert not keys.add([b"d"], 1)


def test_the_estimate_is_not_below_what_the_keys_take() -> None:
    keys = KeyMap(GIB)
    tracemalloc.start()
    try:
        for first in range(0, 50_000, 100):
            keys.add([b"key-%010d" % number for number in range(first, first + 100)], 100)
        current, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert current <= keys.used_bytes <= 3 * current
