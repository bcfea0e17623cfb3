"""Rules of the model: what a read-only broker beside the one that writes makes of the same directory."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import rule

from streamlog import Admin, Broker, TopicPartition
from streamlog.record import split_batches
from streamlog.runtime import VirtualClock
from tests.support.frozen_files import FrozenFileSystem
from tests.support.model import contents
from tests.support.model_rules.base import GROUPS, Base


class ReadingRules(Base):
    """A reader that stays, or one that has just come; either may change nothing."""

    reader: Broker | None = None
    reader_of: Broker | None = None

    @rule(is_new=st.booleans(), age_ms=st.integers(-600, 600))
    def look_from_outside(self, is_new: bool, age_ms: int) -> None:
        self.take_in()
        reader = self.open_reader() if is_new else self.present_reader()
        reader.refresh()
        assert reader.topics() == self.broker.topics() == sorted(self.model.topics)
        for name in self.model.topics:
            assert reader.topic(name).topic_id == self.broker.topic(name).topic_id
            assert reader.topic(name).config == self.broker.topic(name).config
        for tp in self.model.partitions():
            self.compare(reader, tp, self.now_ms() + age_ms)
        admin = Admin(reader)
        for group in GROUPS:
            found = admin.list_consumer_group_offsets(group)
            assert found == self.admin.list_consumer_group_offsets(group)
        if is_new:
            reader.close()

    def compare(self, reader: Broker, tp: TopicPartition, timestamp_ms: int) -> None:
        written, found = self.broker.partition(*tp), reader.partition(*tp)
        start, end = written.log_start_offset, written.log_end_offset
        assert (found.log_start_offset, found.log_end_offset) == (start, end)
        offset = start
        while offset < end:
            theirs, ours = written.read(offset, 1_000), found.read(offset, 1_000)
            views, same = split_batches(theirs), split_batches(ours)
            for view, other in zip(views, same, strict=False):
                assert contents(view) == contents(other)
                assert view.header == other.header
            offset = min(views[-1].next_offset, same[-1].next_offset)
        for epoch in range(written.leader_epoch + 1):
            assert found.end_offset_for_epoch(epoch) == written.end_offset_for_epoch(epoch)
        if timestamp_ms >= 0:
            expected = written.offset_for_timestamp(timestamp_ms)
            assert found.offset_for_timestamp(timestamp_ms) == expected
        assert found.offset_of_max_timestamp() == written.offset_of_max_timestamp()

    def present_reader(self) -> Broker:
        if self.reader is None or self.reader_of is not self.broker:
            if self.reader is not None:
                self.reader.close()
            self.reader, self.reader_of = self.open_reader(), self.broker
        return self.reader

    def open_reader(self) -> Broker:
        # A process has a clock of its own; and files are opened again and again.
        return Broker(
            self.broker.path,
            read_only=True,
            clock=VirtualClock(),
            filesystem=FrozenFileSystem(self.lab.filesystem),
            max_open_segments=2,
        )

    def teardown(self) -> None:
        if self.reader is not None:
            self.reader.close()
        super().teardown()
