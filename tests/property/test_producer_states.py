"""Whatever happens to a log, its producers are what its batches say: found again from snapshots and headers, or kept (IDM-7)."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streamlog.record import ControlType, PendingBatch, build_batch, build_marker
from streamlog.record.layout import TRANSACTIONAL_BIT
from streamlog.storage.producer_state import ProducerStates
from streamlog.structs import TopicPartition
from tests.support.storage import Store, check_log
from tests.unit.storage.conftest import memory_disk_of

T0 = 1_700_000_000_000
TP = TopicPartition("t", 0)

producer_ids = st.integers(1, 4)
steps = st.one_of(
    st.tuples(st.just("send"), producer_ids, st.integers(1, 6), st.booleans()),
    st.tuples(st.just("send"), producer_ids, st.integers(1, 6), st.booleans()),
    st.tuples(st.just("send"), producer_ids, st.integers(1, 6), st.booleans()),
    st.tuples(st.just("end"), producer_ids, st.sampled_from(ControlType)),
    st.tuples(st.just("plain"), st.integers(1, 20)),
    st.tuples(st.just("roll")),
    st.tuples(st.just("retain"), st.integers(0, 100)),
    st.tuples(st.just("truncate"), st.integers(0, 100)),
    st.tuples(st.just("snapshot")),
    st.tuples(st.just("lose"), st.integers(0, 100)),
    st.tuples(st.just("forget")),
    st.tuples(st.just("reopen")),
    st.tuples(st.just("kill")),
)


class Programme:
    """A log, and all that was ever stored in it and not cut off."""

    def __init__(self) -> None:
        self.store = Store(memory_disk_of(), segment_bytes=2048, retention_bytes=0)
        self.lost = False
        self.stored: list[tuple[int, PendingBatch | ControlType, tuple[int, ...]]] = []

    def expected(self) -> ProducerStates:
        """What the stored batches say, one after the other."""
        states = ProducerStates(TP)
        for offset, batch, marker in self.stored:
            if isinstance(batch, PendingBatch):
                states.appended(
                    batch.producer_id,
                    batch.producer_epoch,
                    batch.base_sequence,
                    batch.record_count,
                    batch.attributes,
                    offset,
                    batch.max_timestamp_ms,
                )
            else:
                producer_id, epoch = marker
                states.completed(producer_id, epoch, batch, 0, offset, T0 + offset)
        return states

    def run(self, step: tuple[Any, ...]) -> None:
        getattr(self, step[0])(*step[1:])
        log, expected = self.store.log, self.expected()
        check_log(log)
        assert log.open_transactions() == expected.open_transactions()
        unstable = expected.first_unstable_offset
        stable = log.log_end_offset if unstable is None else unstable
        assert log.last_stable_offset == max(stable, log.log_start_offset)
        if step[0] in ("reopen", "kill", "truncate", "forget"):
            assert sorted(log._known_producers().pack()) == sorted(expected.pack())

    def send(self, producer_id: int, count: int, txn: bool) -> None:
        entry = self.expected().entries.get(producer_id)
        open_now = entry is not None and entry.first_open_offset >= 0
        offset = self.store.log.log_end_offset
        batch = build_batch([b"%08d" % n for n in range(count)], T0 + offset)
        batch.producer_id = producer_id
        batch.producer_epoch = entry.producer_epoch if entry else 0
        batch.base_sequence = entry.next_sequence if entry else 0
        batch.attributes = TRANSACTIONAL_BIT if txn or open_now else 0
        assert self.store.log.append(batch) == offset
        self.stored.append((offset, batch, ()))

    def end(self, producer_id: int, kind: ControlType) -> None:
        entry = self.expected().entries.get(producer_id)
        epoch = entry.producer_epoch + 1 if entry else 0
        offset = self.store.log.log_end_offset
        marker = build_marker(kind, producer_id, epoch, 0, T0 + offset)
        assert self.store.log.append(marker) == offset
        self.stored.append((offset, kind, (producer_id, epoch)))

    def plain(self, count: int) -> None:
        for _ in range(count):
            self.store.log.append_value(b"plain", T0)

    def roll(self) -> None:
        self.store.log.roll()

    def retain(self, percent: int) -> None:
        if self.lost:
            return  # the segments about to go may be all that is left to tell of their producers
        log = self.store.log
        log.advance_log_start(log.log_end_offset * percent // 100)
        log.delete_expired(T0, log.log_end_offset)

    def truncate(self, percent: int) -> None:
        log = self.store.log
        log.truncate_to(
            log.log_start_offset + (log.log_end_offset - log.log_start_offset) * percent // 100
        )
        self.stored = [entry for entry in self.stored if entry[0] < log.log_end_offset]

    def snapshot(self) -> None:
        self.store.log._take_snapshot()

    def lose(self, percent: int) -> None:
        """Lose or damage a snapshot; not the one that alone tells of the segments that have gone."""
        store = self.store
        first = store.base_offsets()[0]
        offsets = [offset for offset in store.log._snapshots.offsets if offset > first]
        self.lost |= bool(offsets)
        if offsets:
            path = store.segment_path(offsets[(len(offsets) - 1) * percent // 100], ".snap")
            if store.disk.filesystem.exists(path):
                if percent % 2:
                    store.disk.filesystem.unlink(path)
                else:
                    store.disk.flip(path, store.disk.filesystem.file_size(path) * percent // 101)

    def forget(self) -> None:
        """Find the producers again in the open log."""
        log = self.store.log
        log._producers = log._find_producers()

    def reopen(self) -> None:
        self.store.reopen()

    def kill(self) -> None:
        self.store.kill_and_open()


@given(st.lists(steps, max_size=40))
def test_producers_found_again_are_those_that_were_known(programme: list[tuple[Any, ...]]) -> None:
    run = Programme()
    try:
        for step in programme:
            run.run(step)
        run.run(("kill",))
    finally:
        run.store.kill()
