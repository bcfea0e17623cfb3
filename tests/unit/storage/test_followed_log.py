"""Segments and the end of a log that somebody else writes."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator

import pytest

from streamlog.errors import (
    ClosedError,
    CorruptLogError,
    DataLossError,
    OffsetOutOfRangeError,
    StorageError,
)
from streamlog.record.layout import HEADER_SIZE
from tests.support.following import Follower
from tests.support.storage import Store


@pytest.fixture
def follower(store: Store) -> Iterator[Follower]:
    store.fill(3)
    follower = Follower(store)
    yield follower
    follower.directory.close()


def test_growth_is_seen_at_the_next_look(store: Store, follower: Follower) -> None:
    assert follower.values() == [b"00000000", b"00000001", b"00000002"]
    store.fill(2)
    assert follower.log.log_end_offset == 3
    assert follower.refresh()
    follower.check()
    assert not follower.refresh()


def test_segments_that_were_begun_are_found_one_after_the_other(
    store: Store, follower: Follower
) -> None:
    store.fill(40)
    assert len(store.log.segments) > 3
    assert follower.refresh()
    follower.check()
    assert [s.base_offset for s in follower.log.segments] == store.base_offsets()
    late = Follower(store)
    late.check()


def test_an_empty_log_has_no_file_and_grows_from_nothing(store: Store) -> None:
    follower = Follower(store)
    assert follower.log.log_end_offset == 0
    assert not follower.refresh()
    assert follower.values() == []
    store.fill(1)
    follower.refresh()
    follower.check()


def test_more_than_is_checked_at_once_is_seen_as_a_whole(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamlog.storage.followed_log._STEP_BYTES", 300)
    store.with_config(segment_bytes=100_000)
    store.fill(100)
    Follower(store).check()


@pytest.mark.parametrize("cut", [1, 4, 79, HEADER_SIZE, HEADER_SIZE + 3])
def test_a_batch_that_is_not_whole_is_not_there_yet(
    store: Store, follower: Follower, cut: int
) -> None:
    """As a writer leaves it while it stores, or when it is killed: never damage, and seen once it is whole."""
    path, position = store.segment_path(), store.log.segments[-1].position
    store.fill(1)
    whole = store.disk.read(path)
    store.disk.patch(path, position + cut, bytes(len(whole) - position - cut))
    assert not follower.refresh()
    assert follower.log.log_end_offset == 3
    store.disk.patch(path, position, whole[position:])
    assert follower.refresh()
    follower.check()


def test_a_batch_of_another_offset_is_not_the_next_one(store: Store, follower: Follower) -> None:
    path, position = store.segment_path(), store.log.segments[-1].position
    store.fill(1)
    store.disk.patch(path, position, store.disk.read(path)[:position])
    assert not follower.refresh()


def test_retention_takes_segments_at_both(store: Store, follower: Follower) -> None:
    store.fill(40)
    follower.refresh()
    store.with_config(retention_bytes=1024, retention_ms=-1)
    assert store.log.delete_expired(0, store.log.log_end_offset) > 1
    assert follower.values(store.log.log_start_offset)
    follower.refresh()
    follower.check()
    with pytest.raises(OffsetOutOfRangeError, match="expected"):
        follower.log.read(0, 100)


def test_deleted_records_are_gone_before_their_files(store: Store, follower: Follower) -> None:
    store.fill(20)
    store.log.advance_log_start(15)
    follower.refresh()
    follower.check()


def test_a_file_that_went_since_it_was_found_is_looked_for_again(
    store: Store, follower: Follower
) -> None:
    """Its name was taken from a listing, and it is opened when somebody reads there."""
    store.fill(40)
    late = Follower(store)
    store.with_config(retention_bytes=1024, retention_ms=-1)
    store.log.delete_expired(0, store.log.log_end_offset)
    with pytest.raises(OffsetOutOfRangeError):
        late.log.read(4, 100)
    late.check()
    follower.refresh()
    follower.check()


def test_the_last_file_may_be_renamed_between_two_looks(store: Store, follower: Follower) -> None:
    """Retention expires the active segment as well; its successor starts empty (RET-6)."""
    store.fill(40)
    late = Follower(store)
    for segment in late.log.segments:
        segment._drop_files()  # as when others needed the descriptors
    store.with_config(retention_ms=1)
    store.clock.advance(10)
    assert store.log.delete_expired(store.clock.time_ms(), store.log.log_end_offset)
    assert late.log.refresh()
    assert late.log.log_start_offset == store.log.log_end_offset
    late.check()
    follower.refresh()
    follower.check()


def test_a_truncation_is_seen_under_way_and_when_it_is_done(
    store: Store, follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.fill(30)
    follower.refresh()
    seen: list[tuple[int, list[bytes | None]]] = []
    cut = store.log._cut

    def look_and_cut(*arguments: object) -> bool:
        follower.refresh()
        seen.append((follower.log.log_end_offset, follower.values()))
        return cut(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(store.log, "_cut", look_and_cut)
    store.log.truncate_to(11)
    assert seen == [(11, [b"%08d" % n for n in range(11)])]
    follower.refresh()
    follower.check()
    store.fill(3)
    follower.refresh()
    follower.check()


def test_a_truncation_that_nobody_saw_is_told_by_the_last_batch(
    store: Store, follower: Follower
) -> None:
    """STATE says the same before and after; but what stands in the last batch's place is another."""
    store.log.truncate_to(2)
    store.append(b"other")
    assert follower.log.refresh()
    assert follower.values(2) == [b"other"]


def test_a_writer_that_comes_after_a_kill_is_followed(store: Store, follower: Follower) -> None:
    store.fill(20)
    store.kill_and_open()
    store.fill(20)
    follower.refresh()
    follower.check()


def test_what_a_killed_writer_left_is_read_up_to_its_last_whole_batch(store: Store) -> None:
    store.fill(20)
    position = store.log.segments[-1].position
    path = store.segment_path(store.log.segments[-1].base_offset)
    store.fill(1)
    store.kill()
    store.disk.patch(path, position, bytes(4))
    assert Follower(store).values() == [b"%08d" % number for number in range(20)]


def test_after_a_power_failure_the_log_ends_before_the_first_gap(
    store: Store, reboot: Callable[[], None]
) -> None:
    """A writer would cut there when it opens; what is behind was never acknowledged as durable."""
    store.fill(5)
    store.log.sync()
    store.directory.checkpoint()
    store.fill(40)
    bases = store.base_offsets()
    store.kill()
    store.disk.patch(store.segment_path(bases[1]), 10, b"lost")
    assert Follower(store).log.log_end_offset > bases[1]  # damage: the machine was not restarted
    reboot()
    follower = Follower(store)
    assert (follower.log.log_end_offset, follower.values()[-1]) == (
        bases[1],
        b"%08d" % (bases[1] - 1),
    )
    store.open()
    follower.refresh()
    follower.check()


def test_after_a_power_failure_whole_segments_are_kept(
    store: Store, reboot: Callable[[], None]
) -> None:
    store.fill(5)
    store.log.sync()
    store.directory.checkpoint()
    store.fill(40)
    store.kill()
    reboot()
    follower = Follower(store)
    assert follower.values() == [b"%08d" % number for number in range(45)]
    assert follower.directory.recovery_report.power_may_have_failed


def test_damage_in_a_sealed_segment_is_reported_as_for_a_writer(
    store: Store, follower: Follower
) -> None:
    store.fill(40)
    base = store.base_offsets()[1]
    store.kill()
    store.disk.patch(store.segment_path(base), 20, b"damage")
    store.open()
    follower.refresh()
    with pytest.raises(CorruptLogError) as ours:
        follower.log.read(base, 100)
    with pytest.raises(CorruptLogError) as theirs:
        store.log.read(base, 100)
    assert str(ours.value) == str(theirs.value)
    assert ours.value.next_good_offset == base + 1
    assert follower.values(base + 1) == store.values(base + 1)


def test_damage_in_what_is_durable_is_passed_over(
    store: Store, follower: Follower, caplog: pytest.LogCaptureFixture
) -> None:
    """STATE tells of batches behind it, so they are not on their way: reading them raises, and the log goes on."""
    position = store.log.segments[-1].position
    store.with_config(segment_bytes=100_000)
    store.fill(2)
    store.disk.patch(store.segment_path(), position + 20, b"damage")
    assert not follower.refresh()
    store.log.sync()
    store.directory.checkpoint()
    store.fill(2)
    assert follower.refresh()
    assert "expected the batch of offset 3, found none; the log goes on at offset 5" in caplog.text
    assert follower.values(5) == [b"00000005", b"00000006"]
    with pytest.raises(CorruptLogError):
        follower.log.read(3, 100)


def test_damage_before_the_end_of_a_segment_does_not_hide_the_next(
    store: Store, follower: Follower
) -> None:
    position = store.log.segments[-1].position
    store.fill(40)
    store.disk.patch(store.segment_path(), position + 20, b"damage")
    assert not follower.refresh()
    store.log.sync()
    store.directory.checkpoint()
    assert follower.refresh()
    assert follower.log.log_end_offset == store.log.log_end_offset
    assert follower.values(store.base_offsets()[1]) == store.values(store.base_offsets()[1])


@pytest.mark.parametrize("number", [0, 1, -1])
def test_a_missing_file_is_data_loss_as_for_a_writer(store: Store, number: int) -> None:
    store.fill(40)
    store.close()
    bases = sorted(int(name[:20]) for name in store.names() if name.endswith(".log"))
    store.disk.filesystem.unlink(store.segment_path(bases[number]))
    with pytest.raises(DataLossError) as ours:
        Follower(store)
    with pytest.raises(DataLossError) as theirs:
        store.open()
    assert str(ours.value) == str(theirs.value)


def test_a_file_that_lost_its_end_is_data_loss_as_for_a_writer(store: Store) -> None:
    store.fill(4)
    store.close()
    store.disk.cut(store.segment_path(), 100)
    with pytest.raises(DataLossError) as ours:
        Follower(store)
    with pytest.raises(DataLossError) as theirs:
        store.open()
    assert str(ours.value) == str(theirs.value)


def test_a_log_whose_only_file_went_is_data_loss(store: Store) -> None:
    store.fill(4)
    store.close()
    store.disk.filesystem.unlink(store.segment_path())
    with pytest.raises(DataLossError, match="no segment file; records below offset 4 were durable"):
        Follower(store)


def test_a_directory_that_went_is_said_so(store: Store, follower: Follower) -> None:
    store.kill()
    for name in store.names():
        store.disk.filesystem.unlink(f"{store.log_path}/{name}")
    store.disk.filesystem.remove_dir(store.log_path)
    for segment in follower.log.segments:
        segment._drop_files()
    with pytest.raises(StorageError, match="t-0: .*expected the files of a log, found") as error:
        follower.log.refresh()
    assert error.value.errno == errno.ENOENT


def test_without_state_everything_is_read_from_the_first_file_on(store: Store) -> None:
    store.fill(40)
    store.close()
    store.disk.filesystem.unlink(f"{store.path}/STATE")
    follower = Follower(store)
    assert follower.values() == [b"%08d" % number for number in range(40)]
    assert follower.directory.generation == 0


def test_a_closed_log_says_so(follower: Follower) -> None:
    follower.log.close()
    with pytest.raises(ClosedError, match="t-0: the log is closed"):
        follower.log.refresh()
    with pytest.raises(ClosedError, match="t-0: the log is closed"):
        follower.log.read(0, 100)


def test_descriptors_are_given_back_and_taken_again(store: Store) -> None:
    """`Follower` has at most four files open."""
    store.fill(200)
    follower = Follower(store)
    assert len(follower.log.segments) > 8
    for _ in range(3):
        follower.check()
    assert sum(segment._file is not None for segment in follower.log.segments) <= 5


def test_who_comes_second_need_not_look_again(store: Store, follower: Follower) -> None:
    version = follower.log._version
    store.fill(40)
    assert follower.refresh()
    assert follower.log._changed_since(version)
    follower.log._changed_since(
        follower.log._version
    )  # files that have ended are taken as they are now
    assert not follower.log._changed_since(follower.log._version)


def test_everything_may_be_deleted_but_the_last_segment(store: Store, follower: Follower) -> None:
    store.fill(37)
    follower.refresh()
    store.log.advance_log_start(40)
    follower.refresh()
    assert len(follower.log.segments) == 1
    follower.check()


def test_after_a_power_failure_what_was_synced_is_not_read(
    store: Store, reboot: Callable[[], None]
) -> None:
    store.fill(30)
    store.log.sync()
    store.directory.checkpoint()
    store.fill(30)
    damaged = store.base_offsets()[1]
    store.kill()
    reboot()
    store.disk.patch(store.segment_path(damaged), 20, b"damage")
    follower = Follower(store)
    assert follower.log.log_end_offset == 60
    with pytest.raises(CorruptLogError):
        follower.log.read(damaged, 100)


def test_the_last_file_may_go_before_anything_was_read_of_it(store: Store) -> None:
    store.fill(4)
    store.log.sync()
    store.directory.checkpoint()
    late = Follower(store)
    late.log.segments[-1]._drop_files()
    store.with_config(retention_ms=1)
    store.clock.advance(10)
    assert store.log.delete_expired(store.clock.time_ms(), store.log.log_end_offset)
    assert late.log.refresh()
    late.check()
