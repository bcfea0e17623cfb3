"""Rules of the model: time, retention, syncs, and what administrators do."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from streamlog import (
    GroupIdNotFoundError,
    GroupNotEmptyError,
    OffsetOutOfRangeError,
    OffsetSpec,
    PolicyViolationError,
    TopicPartition,
)
from tests.support.model_rules.base import (
    GROUPS,
    MAX_POLL_INTERVAL_MS,
    Base,
    picks,
)


class CareRules(Base):
    """What happens to records and groups from outside."""

    @rule(group=st.sampled_from(GROUPS), pick=picks, delete=st.booleans())
    def clear_group(self, group: str, pick: int, delete: bool) -> None:
        known = self.broker.group_coordinator._store.groups.get(group)
        has_members = known is not None and bool(known.member_count)
        partitions = {key[1] for key in self.model.committed if key[0] == group}
        if delete:
            expected: list[tuple[bool, type[Exception]]] = [
                (has_members, GroupNotEmptyError),
                (not self.group_exists(group), GroupIdNotFoundError),
            ]
            if self.refused(expected, lambda: self.admin.delete_consumer_groups([group])):
                assert has_members or not partitions
                return
        elif has_members or not partitions:
            return
        else:
            partitions = {sorted(partitions)[pick % len(partitions)]}
            self.admin.delete_consumer_group_offsets(group, partitions)
        self.model.forget_commits(group, partitions, self.end_of_offsets())

    def group_exists(self, group: str) -> bool:
        return group in [listing.group_id for listing in self.admin.list_consumer_groups()]

    @precondition(lambda self: self.model.topics)
    @rule(pick=picks, number=st.integers(0, 3), offset=st.integers(-2, 30))
    def delete_records(self, pick: int, number: int, offset: int) -> None:
        name, topic = self.pick_topic(pick)
        tp = TopicPartition(name, number % len(topic.partitions))
        log = topic.partitions[tp.partition]
        self.take_in()
        expected = [
            (topic.configs["cleanup_policy"] not in ((), ("delete",)), PolicyViolationError),
            (not -1 <= offset <= log.end, OffsetOutOfRangeError),
        ]
        if not self.refused(expected, lambda: self.admin.delete_records({tp: offset})):
            log.start = max(log.start, log.end if offset == -1 else offset)

    @rule()
    def maintain(self) -> None:
        self.broker.run_maintenance()

    @rule()
    def sync(self) -> None:
        self.broker.sync()
        self.take_in()
        for tp, log in self.model.partitions().items():
            assert self.broker.partition(*tp).log.durable_end_offset == log.end

    @precondition(lambda self: self.model.topics)
    @rule(pick=picks)
    def roll(self, pick: int) -> None:
        for partition in self.broker.topic(self.pick_topic(pick)[0]).partitions:
            partition.log.roll()

    @rule(ms=st.sampled_from([1, 6, 30, 150, 1_001, MAX_POLL_INTERVAL_MS + 1]))
    def time_passes(self, ms: int) -> None:
        self.clock.advance(ms)

    @rule(ms=st.sampled_from([-300, -2, 2, 300]))
    def clock_is_set(self, ms: int) -> None:
        self.flush_all()  # what waits was judged by the time as it was
        self.clock.set_wall_ms(self.clock.time_ms() + ms)

    @precondition(lambda self: self.model.topics)
    @rule(age_ms=st.integers(-600, 600))
    def look_up(self, age_ms: int) -> None:
        """TIM-1, TIM-2, TIM-3."""
        self.take_in()
        timestamp_ms = self.now_ms() + age_ms
        for tp, log in self.model.partitions().items():
            listed = [
                self.admin.list_offsets({tp: spec})[tp]
                for spec in (OffsetSpec.EARLIEST, OffsetSpec.LATEST, timestamp_ms)
            ]
            found = [None if one is None else one.offset for one in listed]
            assert found == [log.start, log.end, log.first_at(timestamp_ms)]
            greatest = self.admin.list_offsets({tp: OffsetSpec.MAX_TIMESTAMP})[tp]
            assert (greatest and greatest.offset) == log.greatest()
