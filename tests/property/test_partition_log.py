"""The log of one partition against a plain list, with segments so small that rare paths are common (I1 to I7, I13, I17 to I19)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from streamlog.config import TopicConfig
from streamlog.errors import OffsetOutOfRangeError
from streamlog.record import build_batch, split_batches
from streamlog.runtime import MemoryFileSystem, RandomSource, Runtime, VirtualClock
from streamlog.storage import DataDirectory, PartitionLog, RecoveryOutcome

PATH = "/data"
START_MS = 1_700_000_000_000

values = st.one_of(st.none(), st.binary(max_size=12), st.binary(min_size=250, max_size=270))
keys = st.one_of(st.none(), st.binary(max_size=4))
headers = st.lists(
    st.tuples(st.text(max_size=3), st.one_of(st.none(), st.binary(max_size=3))), max_size=2
).map(tuple)
# Around the start, so that timestamps collide, go back and jump.
timestamps = st.integers(START_MS - 50, START_MS + 50)
records = st.tuples(values, keys, timestamps, headers)


class LogMachine(RuleBasedStateMachine):
    """``self.model`` is the log: what was appended, by offset. ``self.start`` is the log start."""

    offsets = Bundle("offsets")

    @initialize(
        segment_bytes=st.integers(1800, 4000),
        index_interval_bytes=st.sampled_from([0, 1, 100, 300]),
        segment_index_bytes=st.sampled_from([64, 10_000]),
        segment_ms=st.sampled_from([20, 10**9]),
        max_open_segments=st.sampled_from([1, 3, 100]),
    )
    def open_new(self, max_open_segments: int, **configs: int) -> None:
        self.runtime = Runtime(VirtualClock(START_MS), MemoryFileSystem(), RandomSource(1))
        self.config = TopicConfig.from_options(**configs)
        self.max_open_segments = max_open_segments
        self.model: list[tuple[bytes | None, bytes | None, int, Any]] = []
        self.start = 0
        self.open(new=True)

    def open(self, new: bool = False) -> None:
        self.directory = DataDirectory.open(
            PATH, self.runtime, max_open_segments=self.max_open_segments, min_free_bytes=0
        )
        if new:
            self.directory.create_log_directory("t", 0)
        self.log: PartitionLog = self.directory.open_log("t", 0, "id", self.config)

    def teardown(self) -> None:
        if hasattr(self, "directory"):
            self.directory.close()

    # ---- write

    @rule(target=offsets, batch=st.lists(records, min_size=1, max_size=5))
    def append(self, batch: list[Any]) -> Any:
        base_offset = self.log.append(
            build_batch(
                [record[0] for record in batch],
                [record[2] for record in batch],
                [record[1] for record in batch],
                [record[3] for record in batch],
            )
        )
        assert base_offset == len(self.model)
        self.model += batch
        return multiple(*range(base_offset, len(self.model)))

    @rule(target=offsets, value=st.binary(max_size=300), timestamp_ms=timestamps)
    def append_value(self, value: bytes, timestamp_ms: int) -> int:
        offset = self.log.append_value(value, timestamp_ms)
        assert offset == len(self.model)
        self.model.append((value, None, timestamp_ms, ()))
        return offset

    @rule()
    def roll(self) -> None:
        self.log.roll()

    @rule()
    def sync(self) -> None:
        self.log.sync()
        assert self.log.durable_end_offset == len(self.model)

    @rule()
    def checkpoint(self) -> None:
        self.directory.checkpoint()

    # ---- forget

    @rule(offset=offsets)
    def advance_log_start(self, offset: int) -> None:
        if offset > len(self.model):
            with pytest.raises(OffsetOutOfRangeError):
                self.log.advance_log_start(offset)
            return
        self.log.advance_log_start(offset)
        self.start = max(self.start, offset)

    @rule(retention_ms=st.integers(0, 60), retention_bytes=st.integers(-1, 3000))
    def retain(self, retention_ms: int, retention_bytes: int) -> None:
        size_before, start_before = self.log.size_bytes, self.log.log_start_offset
        self.log.config = self.config.with_overrides(
            {"retention_ms": retention_ms, "retention_bytes": retention_bytes}
        )
        self.log.delete_expired(START_MS + 30, high_watermark=len(self.model))
        self.start = self.log.log_start_offset
        assert self.start >= start_before
        assert self.log.size_bytes <= size_before
        self.log.config = self.config

    @rule(offset=offsets)
    def truncate(self, offset: int) -> None:
        if offset < self.start:
            with pytest.raises(OffsetOutOfRangeError):
                self.log.truncate_to(offset)
            return
        self.log.truncate_to(offset)
        end = self.log.log_end_offset
        # Whole batches go: the end is at the start of the one that held the offset, even if the log started inside it.
        assert end <= offset
        self.start = min(self.start, end)
        del self.model[end:]

    # ---- end and begin

    @rule()
    def reopen(self) -> None:
        self.directory.close()
        self.open()
        report = self.directory.recovery_report
        assert report.clean
        assert report.scanned_bytes == 0

    @rule()
    def die_and_reopen(self) -> None:
        """What a killed process leaves: everything stored, nothing closed, the lock gone."""
        self.directory.abandon(RuntimeError("killed"))
        self.open()
        report = self.directory.recovery_report
        assert not report.clean
        assert report.partitions[0].outcome in (RecoveryOutcome.CLEAN, RecoveryOutcome.SCANNED)

    # ---- read

    @rule(offset=offsets, max_bytes=st.sampled_from([1, 200, 1000, 10**6]), back=st.integers(0, 9))
    def read_from(self, offset: int, max_bytes: int, back: int) -> None:
        if not self.start <= offset <= len(self.model):
            with pytest.raises(OffsetOutOfRangeError):
                self.log.read(offset, max_bytes)
            return
        bound = max(len(self.model) - back, offset)
        batches = split_batches(self.log.read(offset, max_bytes, bound))
        assert bool(batches) == (offset < bound)
        if batches:
            assert batches[0].base_offset <= offset < batches[0].next_offset
            assert batches[-1].base_offset < bound
            assert len(batches) == 1 or sum(b.size_bytes for b in batches) <= max_bytes
        self.check_batches(batches)

    def check_batches(self, batches: list[Any]) -> None:
        for batch in batches:
            batch.check()
            stored_keys = batch.keys() or [None] * batch.record_count
            stored_headers = batch.headers() or [()] * batch.record_count
            columns = zip(
                batch.values(), stored_keys, batch.timestamps_ms(), stored_headers, strict=True
            )
            assert list(columns) == self.model[batch.base_offset : batch.next_offset]

    @rule(timestamp_ms=timestamps)
    def look_up_timestamp(self, timestamp_ms: int) -> None:
        found = self.log.offset_for_timestamp(timestamp_ms)
        expected = next(
            (o for o in range(self.start, len(self.model)) if self.model[o][2] >= timestamp_ms),
            None,
        )
        assert (found and found.offset) == expected or (found is None and expected is None)
        if found is not None:
            assert found.offset == expected
            assert found.timestamp_ms == self.model[found.offset][2]

    @rule()
    def look_up_max_timestamp(self) -> None:
        found = self.log.offset_of_max_timestamp()
        live = range(self.start, len(self.model))
        assert (None if found is None else found.offset) == max(
            live, key=lambda offset: (self.model[offset][2], -offset), default=None
        )

    # ---- what holds at all times

    @precondition(lambda self: hasattr(self, "log"))
    @invariant()
    def whole(self) -> None:
        log = self.log
        log._check()
        # LOG-6
        assert log.log_start_offset == self.start <= log.log_end_offset == len(self.model)
        assert log.durable_end_offset <= log.log_end_offset
        segments = log.segments
        assert [s.next_offset for s in segments[:-1]] == [s.base_offset for s in segments[1:]]
        assert segments[0].base_offset <= self.start
        assert segments[-1].next_offset == len(self.model)
        for segment in segments:
            assert segment.position <= self.config.segment_bytes + 7
        offset = self.start
        while batches := split_batches(log.read(offset, 700)):
            self.check_batches(batches)
            offset = batches[-1].next_offset
        assert offset == len(self.model)


TestLog = LogMachine.TestCase
TestLog.settings = settings(stateful_step_count=30)
