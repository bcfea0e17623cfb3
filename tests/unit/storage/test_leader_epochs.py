"""Which epoch began where. Source of several cases: Kafka ``LeaderEpochFileCacheTest``."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.storage.leader_epochs import EpochEndOffset, LeaderEpochs


def epochs(*entries: tuple[int, int]) -> LeaderEpochs:
    made = LeaderEpochs()
    for epoch, start in entries:
        made.assign(epoch, start)
    return made


def test_rep_4_the_latest_epoch_ends_with_the_log() -> None:
    assert epochs((2, 11)).end_offset_for(2, 13) == EpochEndOffset(2, 13)


def test_rep_4_an_older_epoch_ends_where_the_next_one_begins() -> None:
    cache = epochs((2, 6), (3, 10), (5, 40))
    assert cache.end_offset_for(2, 50) == (2, 10)
    assert cache.end_offset_for(3, 50) == (3, 40)
    assert cache.end_offset_for(4, 50) == (3, 40), "4 has no record here"


def test_rep_4_an_epoch_before_all_known_ends_where_they_begin() -> None:
    assert epochs((5, 11), (6, 12)).end_offset_for(4, 20) == (4, 11)


def test_rep_4_an_epoch_after_all_known_has_no_end_here() -> None:
    assert epochs((2, 11)).end_offset_for(3, 20) is None
    assert LeaderEpochs().end_offset_for(0, 20) is None
    assert LeaderEpochs().latest == -1


def test_rep_4_an_offset_has_the_epoch_that_begins_there_or_before() -> None:
    cache = epochs((2, 6), (3, 10))
    assert [cache.at(offset) for offset in (5, 6, 9, 10, 99)] == [None, 2, 2, 3, 3]
    assert LeaderEpochs().at(0) is None


def test_an_epoch_without_records_gives_way_to_the_next() -> None:
    assert epochs((0, 0), (1, 5), (2, 5), (3, 5)).pack() == (0, 0, 3, 5)


def test_an_epoch_that_is_known_keeps_its_start() -> None:
    assert epochs((1, 5), (1, 9)).pack() == (1, 5)


@pytest.mark.parametrize(
    ("entry", "left"),
    [((2, 4), (1, 0, 2, 4)), ((1, 7), (1, 7)), ((4, 12), (1, 0, 2, 7, 3, 10, 4, 12))],
)
def test_what_a_new_entry_contradicts_goes(entry: tuple[int, int], left: tuple[int, ...]) -> None:
    assert epochs((1, 0), (2, 7), (3, 10), entry).pack() == left


def test_truncation_forgets_what_begins_behind_it() -> None:
    cache = epochs((2, 6), (3, 8), (4, 11))
    cache.truncate_from_end(8)
    assert cache.pack() == (2, 6)
    cache.truncate_from_end(7)
    assert cache.pack() == (2, 6)


def test_a_new_log_start_lets_the_epoch_there_begin_with_it() -> None:
    cache = epochs((2, 6), (3, 8), (4, 11))
    cache.truncate_from_start(5)
    assert cache.pack() == (2, 6, 3, 8, 4, 11)
    cache.truncate_from_start(8)
    assert cache.pack() == (3, 8, 4, 11)
    cache.truncate_from_start(9)
    assert cache.pack() == (3, 9, 4, 11)
    cache.truncate_from_start(30)
    assert cache.pack() == (4, 30)


def test_it_is_packed_and_back() -> None:
    cache = epochs((2, 6), (3, 8))
    assert LeaderEpochs(cache.pack()).pack() == cache.pack()
    assert repr(cache) == "<LeaderEpochs [(2, 6), (3, 8)]>"


@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("append"), st.integers(1, 4)),
            st.tuples(st.just("bump"), st.integers(1, 3)),
            st.tuples(st.just("cut"), st.integers(0, 6)),
        ),
        max_size=30,
    ),
    asked=st.integers(0, 40),
)
def test_it_agrees_with_the_epoch_of_every_record(steps: list[tuple[str, int]], asked: int) -> None:
    """The end of an epoch is the first offset that belongs to a greater one, as long as an epoch only grows."""
    log: list[int] = []
    cache, epoch = epochs((0, 0)), 0
    for what, count in steps:
        if what == "append":
            log += [epoch] * count
            continue
        if what == "cut":
            log = log[: len(log) - count] if count <= len(log) else []
            cache.truncate_from_end(len(log))
            count = 1
        epoch += count
        cache.assign(epoch, len(log))
    found = cache.end_offset_for(asked, len(log))
    if asked > epoch:
        assert found is None
        return
    end = next((n for n, of_record in enumerate(log) if of_record > asked), len(log))
    assert found is not None
    assert found.end_offset == end
    assert found.leader_epoch <= asked
    rebuilt = LeaderEpochs()
    rebuilt.assign_all((of_record, n) for n, of_record in enumerate(log))
    rebuilt.assign(epoch, len(log))
    assert rebuilt.pack() == cache.pack()
