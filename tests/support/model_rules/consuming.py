"""Rules of the model: records out, positions, commits, and groups."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from streamlog import (
    ClosedError,
    CommitFailedError,
    Consumer,
    FencedInstanceIdError,
    NoOffsetForPartitionError,
    OffsetAndMetadata,
    OffsetOutOfRangeError,
    RebalanceInProgressError,
    RebalanceListener,
    TopicPartition,
    UnreleasedInstanceIdError,
    WakeupError,
)
from streamlog.broker.classic.state import ClassicState
from streamlog.broker.group import Group
from tests.support.model import (
    ModelConsumer,
    ModelPartition,
)
from tests.support.model_rules.base import (
    GROUPS,
    MAX_POLL_INTERVAL_MS,
    TOPICS,
    Base,
    picks,
)

PROTOCOLS: dict[str, dict[str, Any]] = {
    "consumer": {},
    "eager": {"group_protocol": "classic", "partition_assignment_strategy": ["range"]},
    "cooperative": {
        "group_protocol": "classic",
        "partition_assignment_strategy": ["cooperative-sticky", "range"],
    },
}
"""How a member may be configured; all of these can be in one group."""


class ConsumerRules(Base):
    """Up to four consumers, alone or in groups, each where a list index would be."""

    @rule(
        group=st.sampled_from([None, *GROUPS]),
        policy=st.sampled_from(["earliest", "earliest", "latest", "none", "by_duration:PT1S"]),
        auto=st.booleans(),
        limit=st.sampled_from([1, 3, 500]),
        fetch_bytes=st.sampled_from([0, 300, 1 << 20]),
        how=st.sampled_from(["assign", "topics", "pattern"]),
        protocol=st.sampled_from(list(PROTOCOLS)),
        instance_id=st.sampled_from([None, None, None, "first", "second"]),
    )
    def new_consumer(
        self,
        group: str | None,
        policy: str,
        auto: bool,
        limit: int,
        fetch_bytes: int,
        how: str,
        protocol: str,
        instance_id: str | None,
    ) -> None:
        if len(self.consumers) == 4:
            self.close_consumer(0)
        one = ModelConsumer(
            Consumer(
                self.broker,
                group_id=group,
                auto_offset_reset=policy,
                enable_auto_commit=auto and group is not None,
                auto_commit_interval_ms=300,
                max_poll_records=limit,
                max_partition_fetch_bytes=fetch_bytes,
                max_poll_interval_ms=MAX_POLL_INTERVAL_MS,
                allow_auto_create_topics=False,
                group_instance_id=instance_id if group is not None else None,
                **PROTOCOLS[protocol],
            ),
            group,
            policy,
        )
        if instance_id is not None:
            names = [
                (other.group, other.consumer.config.group_instance_id) for other in self.consumers
            ]
            self.shared_names.update({(group, instance_id)}.intersection(names))
        self.consumers.append(one)
        if group is None or how == "assign":
            self.assign(len(self.consumers) - 1, 1, 5)
        elif how == "topics":
            one.consumer.subscribe(list(TOPICS[:2]), listener=Follower(self, one))
        else:
            one.consumer.subscribe(pattern="b.*", listener=Follower(self, one))

    def pick_consumer(self, pick: int) -> ModelConsumer:
        return self.consumers[pick % len(self.consumers)]

    @contextmanager
    def acts(self, one: ModelConsumer, *, explicitly: bool = False) -> Iterator[Consumer]:
        self.acting, one.is_explicit = one, explicitly
        try:
            yield one.consumer
        finally:
            self.acting, one.is_explicit = None, False

    @precondition(lambda self: self.consumers)
    @rule(pick=picks, first=picks, count=st.integers(1, 6))
    def assign(self, pick: int, first: int, count: int) -> None:
        one = self.pick_consumer(pick)
        if one.is_subscribed:
            return
        places = [TopicPartition(name, number) for name in TOPICS for number in range(2)]
        chosen = [places[(first + n) % len(places)] for n in range(count)]
        with self.acts(one) as consumer:
            consumer.assign(chosen)
        for tp in set(one.positions) - set(chosen):
            one.forget(tp)
        for tp in chosen:
            one.positions.setdefault(tp, None)
        assert one.consumer.assignment() == set(chosen)

    @precondition(lambda self: self.consumers)
    @rule(pick=picks)
    def unsubscribe_and_subscribe(self, pick: int) -> None:
        one = self.pick_consumer(pick)
        if one.group is None:
            return
        with self.acts(one) as consumer:
            consumer.unsubscribe()
            assert consumer.assignment() == set()
            for tp in list(one.positions):
                one.forget(tp)
            consumer.subscribe(TOPICS, listener=Follower(self, one))

    @precondition(lambda self: self.consumers)
    @rule(
        pick=picks,
        timeout_ms=st.sampled_from([0, 0, 0, 7, 600]),
        max_records=st.sampled_from([None, None, 1, 4]),
    )
    def poll(self, pick: int, timeout_ms: int, max_records: int | None) -> None:
        one = self.pick_consumer(pick)
        if not one.positions and not one.is_subscribed:
            return
        self.take_in()
        with self.acts(one) as consumer:
            if one.woken:
                one.woken = False
                with pytest.raises(WakeupError):
                    consumer.poll(timeout_ms, max_records)
                return
            self.resolve_all(one)
            try:
                found = consumer.poll(timeout_ms, max_records)
            except (NoOffsetForPartitionError, OffsetOutOfRangeError):
                assert one.policy == "none"
                found = None
            except (FencedInstanceIdError, UnreleasedInstanceIdError):
                assert self.shares_its_name(one), "GRP-11, NGP-4"
                found = None
        self.take_in()
        if found is not None:
            assert len(found) <= (max_records or consumer.config.max_poll_records)
            for tp in found.partitions:
                self.check_records(one, tp, found.records(tp))
        self.check_positions(one, returned=set(found.partitions) if found is not None else set())

    def resolve_all(self, one: ModelConsumer) -> None:
        """Find where each partition begins that has no position yet, as the next look at the topics will."""
        for tp in list(one.positions):
            topic = self.model.topics.get(tp.topic)
            if topic is None or self.model.find(tp) is None:
                continue
            if one.topic_ids.get(tp, topic.topic_id) != topic.topic_id:
                one.go_to(tp, None)  # another topic under that name
            one.topic_ids[tp] = topic.topic_id
            if one.positions[tp] is None:
                one.go_to(tp, self.model.resolve(one, tp, self.now_ms()))

    def check_records(self, one: ModelConsumer, tp: TopicPartition, records: list[Any]) -> None:
        log = self.model.find(tp)
        assert log is not None
        assert tp not in one.paused
        position = records[0].offset
        assert position in self.may_be_at(one, tp, log), "I13: polls go on where they were"
        for record in records:
            assert record.offset == position, "I13: nothing is passed over"
            stored = log.records[position]
            assert (record.value, record.key, record.headers) == stored.content, "I7"
            assert record.timestamp_ms == stored.timestamp_ms
            assert record.leader_epoch == stored.epoch
            position += 1
        one.positions[tp] = position

    def may_be_at(
        self, one: ModelConsumer, tp: TopicPartition, log: ModelPartition
    ) -> set[int | None]:
        """Return where *one* may go on: where it was, or where the policy leads from outside the log."""
        position = one.positions[tp]
        places = {position}
        if position is not None and not log.start <= position <= log.end:
            places.add(self.model.reset(one, log, self.now_ms()))
        return places

    def check_positions(self, one: ModelConsumer, returned: set[TopicPartition]) -> None:
        for tp, assigned in one.consumer._subscription.assigned.items():
            log = self.model.find(tp)
            if log is None or assigned.partition is None:
                continue
            if tp not in returned:
                assert assigned.position in self.may_be_at(one, tp, log)
            else:
                assert assigned.position == one.positions[tp]
            one.positions[tp] = assigned.position

    def assigned(self, pick: int, place: int) -> tuple[ModelConsumer, TopicPartition | None]:
        """Return a consumer and an assigned partition of it that exists and that it knows."""
        one = self.pick_consumer(pick)
        present = [
            tp
            for tp in sorted(one.positions)
            if self.model.find(tp) is not None
            and one.topic_ids.get(tp) == self.model.topics[tp.topic].topic_id
        ]
        return one, present[place % len(present)] if present else None

    @precondition(lambda self: self.consumers)
    @rule(pick=picks, place=picks, offset=st.integers(0, 30))
    def seek(self, pick: int, place: int, offset: int) -> None:
        one, tp = self.assigned(pick, place)
        if tp is None:
            return
        one.consumer.seek(tp, offset)
        one.go_to(tp, offset)
        assert one.consumer.position(tp, timeout_ms=0) == offset

    @precondition(lambda self: self.consumers)
    @rule(
        pick=picks, place=picks, where=st.sampled_from(["earliest", "latest"]), all_=st.booleans()
    )
    def seek_to(self, pick: int, place: int, where: str, all_: bool) -> None:
        one, tp = self.assigned(pick, place)
        if tp is None:
            return
        chosen = list(one.positions) if all_ else [tp]
        call = one.consumer.seek_to_beginning if where == "earliest" else one.consumer.seek_to_end
        call(*([] if all_ else [tp]))
        for tp in chosen:
            one.positions[tp] = None
            one.resets[tp] = where

    @precondition(lambda self: self.consumers)
    @rule(pick=picks, place=picks)
    def look_at_position(self, pick: int, place: int) -> None:
        one, tp = self.assigned(pick, place)
        if tp is None or one.woken:
            return
        if one.positions[tp] is None:
            one.go_to(tp, self.model.resolve(one, tp, self.now_ms()))
        position, log = one.positions[tp], self.model.find(tp)
        assert log is not None
        if position is None:
            with pytest.raises((NoOffsetForPartitionError, OffsetOutOfRangeError)):
                one.consumer.position(tp, timeout_ms=0)
        else:
            assert one.consumer.position(tp, timeout_ms=0) == position
            assert one.consumer.current_lag(tp) == log.end - position

    @precondition(lambda self: self.consumers)
    @rule(pick=picks, place=picks, resume=st.booleans())
    def pause_or_resume(self, pick: int, place: int, resume: bool) -> None:
        one, tp = self.assigned(pick, place)
        if tp is None:
            return
        if resume:
            one.consumer.resume(tp)
            one.paused.discard(tp)
        else:
            one.consumer.pause(tp)
            one.paused.add(tp)
        assert one.consumer.paused() == one.paused

    @precondition(lambda self: self.consumers)
    @rule(pick=picks)
    def wake_up(self, pick: int) -> None:
        one = self.pick_consumer(pick)
        one.consumer.wakeup()
        one.woken = True

    @precondition(lambda self: self.consumers)
    @rule(
        pick=picks,
        later=st.booleans(),
        place=picks,
        offset=st.none() | st.integers(0, 20),
        epoch=st.sampled_from([None, None, 0, 1, 99]),
    )
    def commit(
        self, pick: int, later: bool, place: int, offset: int | None, epoch: int | None
    ) -> None:
        one = self.pick_consumer(pick)
        if one.group is None:
            return
        offsets = None
        places = sorted(self.model.partitions())
        if offset is not None and places:
            offsets = {places[place % len(places)]: OffsetAndMetadata(offset, "by hand", epoch)}
        expected = offsets or {
            tp: position
            for tp, position in one.positions.items()
            if position is not None
            and self.model.find(tp) is not None
            and one.topic_ids.get(tp) == self.model.topics[tp.topic].topic_id
        }
        errors: list[Exception | None] = []
        with self.acts(one, explicitly=True) as consumer:
            try:
                if later:
                    consumer.commit_async(offsets, lambda _, error: errors.append(error))
                    consumer.commit({})  # runs the callbacks
                else:
                    consumer.commit(offsets)
                    errors.append(None)
            except (
                CommitFailedError,
                FencedInstanceIdError,
                RebalanceInProgressError,
            ) as error:
                errors.append(error)
        assert len(errors) == 1
        if isinstance(errors[0], FencedInstanceIdError):
            assert self.shares_its_name(one), "GRP-11"
            return
        if isinstance(errors[0], RebalanceInProgressError):
            group = self.known_group(one)
            assert group is not None
            assert group.classic is not None, "GRP-8"
            assert group.classic.state is ClassicState.COMPLETING_REBALANCE, "GRP-8"
            return
        if errors[0] is not None:
            assert isinstance(errors[0], CommitFailedError)
            assert not self.is_member(one), "CON-11, CON-12"
            return
        for tp, wanted in expected.items():
            found = self.model.committed_at(one.group, tp)
            assert found == wanted if offsets else found is not None and found.offset == wanted

    def is_member(self, one: ModelConsumer) -> bool:
        """Whether the group takes commits from *one*: a member in its epoch, or anybody while there is none."""
        group = self.known_group(one)
        membership = one.consumer._membership
        if group is None or membership is None:
            return True
        member = group.members.get(membership.member_id)
        if member is not None:
            return member.current.epoch == membership.epoch
        if group.classic is not None and membership.member_id in group.classic.members:
            return group.epoch == membership.epoch
        return not (group.member_count or membership.member_id)

    def known_group(self, one: ModelConsumer) -> Group | None:
        """Return the coordinator's view of the group of *one*."""
        return self.broker.group_coordinator._store.groups.get(one.group or "")

    def shares_its_name(self, one: ModelConsumer) -> bool:
        """Whether another consumer has, or had, the instance id of *one*: only that may shut it out."""
        instance_id = one.consumer.config.group_instance_id
        return instance_id is not None and (one.group, instance_id) in self.shared_names

    @precondition(lambda self: self.consumers)
    @rule(pick=picks)
    def close_consumer(self, pick: int) -> None:
        one = self.pick_consumer(pick)
        self.consumers.remove(one)
        with self.acts(one) as consumer:
            consumer.close()
            with pytest.raises(ClosedError):
                consumer.poll()


class Follower(RebalanceListener):
    """Moves the model's assignment with the group's."""

    def __init__(self, machine: ConsumerRules, one: ModelConsumer) -> None:
        self.machine = machine
        self.one = one

    def on_partitions_assigned(self, partitions: Any) -> None:
        for tp in partitions:
            assert tp not in self.one.positions
            self.one.positions[tp] = None
        self.machine.resolve_all(self.one)

    def on_partitions_revoked(self, partitions: Any) -> None:
        for tp in partitions:
            self.one.forget(tp)
