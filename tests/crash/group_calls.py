"""What a program does with groups: commits from outside, members that come and go under either protocol, offsets that expire."""

from __future__ import annotations

import random
from typing import Protocol

from streamlog import Broker, Consumer, OffsetAndMetadata, TopicPartition
from streamlog.errors import CommitFailedError, DiskFullError, RebalanceInProgressError
from streamlog.runtime import VirtualClock
from tests.crash.observation import COMMITTERS, GROUP, INTERNAL, MEMBERS, RETENTION_MS
from tests.crash.oracle import CommitModel, Model

_MOST_MEMBERS = 3
_ROUNDS = 6


class Program(Protocol):
    """What a session gives its groups to work with."""

    broker: Broker
    chance: random.Random
    clock: VirtualClock
    model: Model


class GroupCalls:
    """The groups of one session: `GROUP`, which nobody ever joins, and `MEMBERS`, which has members.

    Both commit for partition 0 of a topic, a number that was never committed before.
    """

    def __init__(self, program: Program) -> None:
        self._program = program
        self._members: list[Consumer] = []
        self._number = 0
        self._commit_times_ms: dict[int, int] = {}

    # ---- commits

    def commit(self, topic: str) -> None:
        """Commit as somebody who is no member of anything."""
        program = self._program
        commits, offset = self._begin(topic, GROUP)
        try:
            program.broker.group_coordinator.commit_offsets(
                GROUP, "", -1, {TopicPartition(topic, 0): OffsetAndMetadata(offset)}
            )
        except DiskFullError:
            commits.committing = None
        else:
            self._end(commits)

    def commit_as_member(self, topic: str) -> None:
        """Let one of the members commit, which may not know yet that it has to join again."""
        if not self._members:
            return
        member = self._program.chance.choice(self._members)
        commits, offset = self._begin(topic, MEMBERS)
        try:
            member.commit({TopicPartition(topic, 0): offset})
        except (CommitFailedError, RebalanceInProgressError):
            commits.committing = None
        else:
            self._end(commits)

    def _begin(self, topic: str, group: str) -> tuple[CommitModel, int]:
        self._number += 1
        self._commit_times_ms[self._number] = self._program.clock.time_ms()
        commits = self._program.model.topics[topic].model.commits[group]
        commits.committing = self._number
        return commits, self._number

    def _end(self, commits: CommitModel) -> None:
        commits.committed.append(commits.committing)
        commits.committing = None

    # ---- members

    def join(self, protocol: str) -> None:
        """Let another member join; one of the other protocol converts the group while it is at work."""
        if len(self._members) < _MOST_MEMBERS:
            consumer = Consumer(
                self._program.broker,
                group_id=MEMBERS,
                group_protocol=protocol,
                enable_auto_commit=False,
                allow_auto_create_topics=False,
            )
            consumer.subscribe(pattern=".*")
            self._members.append(consumer)
        self.settle()

    def leave(self) -> None:
        """Let the member that is there longest leave; the last one of its protocol converts the group back."""
        if self._members:
            self._members.pop(0).close()
        self.settle()

    def settle(self) -> None:
        """Let everybody poll until nothing moves, and take down which generation it is."""
        for _ in range(_ROUNDS):
            for member in self._members:
                member.poll()
                generation = member.group_metadata().generation_id
                self._program.model.generation = max(self._program.model.generation, generation)

    def killed(self) -> None:
        """All members died with their process."""
        self._members.clear()

    # ---- expiry

    def begin_expiry(self) -> None:
        """From now on whatever is old enough may go at any moment."""
        self._program.model.may_expire = True

    def end_expiry(self, *, is_due: bool = False) -> None:
        """Take over what has gone; with *is_due* all that nobody is there for has to have."""
        model, broker = self._program.model, self._program.broker
        model.may_expire = False
        if INTERNAL not in broker.topics(include_internal=True):
            return
        coordinator = broker.group_coordinator
        for name, state in model.topics.items():
            place = TopicPartition(name, 0)
            for group in COMMITTERS:
                commits = state.model.commits[group]
                last = commits.committed[-1]
                if last is None:
                    continue
                age_ms = self._program.clock.time_ms() - self._commit_times_ms[last]
                if coordinator.fetch_offsets(group, [place])[place] is None:
                    assert age_ms >= RETENTION_MS, f"{group}: {place}@{last} is {age_ms} ms old"
                    commits.committed.append(None)
                else:
                    assert not (is_due and group == GROUP and age_ms >= RETENTION_MS), (
                        f"{group}: {place}@{last} is {age_ms} ms old, and still there"
                    )
        known = coordinator._store.find(MEMBERS)
        if not known.exists:
            model.generation = model.generation_on_disk = 0
