"""What must be true of a broker that was opened after a crash: the shared oracle of the crash tests.

`Model` is told by a workload what it is about to do and what was acknowledged; `violations` compares what a broker shows
(`observation.Observation`) with that. The invariants are those of the test plan: I1 nothing acknowledged is lost, I2 a log is a prefix
of what was appended, I3 nothing appears that was not sent, I5 in order, I6 offsets dense, I7 no offset means two records in one epoch,
I15 it opens, I18 a clean close leaves nothing to scan. (I17 needs two recoveries and is the explorer's.)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import attrs

from streamlog import Broker
from tests.crash.observation import COMMITTERS, LogSeen, Observation, Record

BAD_OUTCOMES = ("damaged", "data_loss")


@attrs.define(eq=False)
class LogModel:
    """One partition, as the program knows it."""

    #: Record n has offset n; the leader epoch of each is part of it.
    records: list[Record] = attrs.Factory(list)
    #: Where batches end: the log may end there and nowhere else.
    batch_ends: set[int] = attrs.field(factory=lambda: {0})
    #: Acknowledged: kept by a process that dies, and by a power cut.
    process_end: int = 0
    disk_end: int = 0
    #: The log start that was acknowledged, and the highest that may be there because somebody asked for it.
    start_min: int = 0
    start_max: int = 0
    #: A truncation that was asked for: from here on nothing needs to be there. None: no such thing.
    truncating_to: int | None = None
    #: Every offset below was readable under this epoch or an earlier one.
    read_end: int = 0

    def sent(self, records: list[Record], *, one_batch: bool) -> None:
        """Note records that are about to be appended, as one batch or as any number."""
        if not one_batch:
            self.batch_ends.update(range(len(self.records), len(self.records) + len(records)))
        self.records += records
        self.batch_ends.add(len(self.records))

    def not_sent(self, end: int) -> None:
        """Forget what lies behind *end*: it was refused, and cannot be anywhere."""
        del self.records[end:]
        self.batch_ends = {e for e in self.batch_ends if e <= end}

    def acknowledged(self, end: int, *, on_disk: bool) -> None:
        """Note that everything below *end* was acknowledged."""
        self.process_end = self.read_end = max(self.process_end, end)
        if on_disk:
            self.disk_end = max(self.disk_end, end)

    def truncated(self, end: int) -> None:
        """Note that the log ends at *end* for good."""
        self.not_sent(end)
        self.batch_ends.add(end)
        self.process_end = self.disk_end = self.read_end = end
        self.start_min, self.start_max = min(self.start_min, end), min(self.start_max, end)
        self.truncating_to = None

    def recovered(self, seen: LogSeen) -> None:
        """Go on from what a crash left, which was found to be right: all of it is read, nothing more is owed."""
        self.not_sent(seen.end)
        self.batch_ends.add(seen.end)
        self.process_end = self.read_end = seen.end
        self.disk_end = min(self.disk_end, seen.end)
        self.start_min = self.start_max = seen.start
        self.truncating_to = None

    def fingerprint(self) -> object:
        """Return what decides which logs are right."""
        return (
            len(self.records),
            self.process_end,
            self.disk_end,
            self.read_end,
            self.start_min,
            self.start_max,
            self.truncating_to,
        )


@attrs.define(eq=False)
class CommitModel:
    """What one group committed for partition 0 of a topic."""

    #: Offsets that may be there after a power cut, None for one that expired, and the one that must be after a kill (last of all).
    committed: list[int | None] = attrs.field(factory=lambda: [None])
    committing: int | None = None
    #: From here on in `committed` a power cut may fall back to.
    on_disk: int = 0

    def synced(self) -> None:
        """Note that nothing of it can be lost any more."""
        self.on_disk = len(self.committed) - 1

    def recovered(self, found: int | None) -> None:
        """Go on from what a power cut left, which may be lost by the next one as well."""
        self.committed = [*self.committed[: self.on_disk + 1], found]


@attrs.define(eq=False)
class TopicModel:
    """One topic: two of the same name after each other are two."""

    name: str
    logs: list[LogModel] = attrs.Factory(list)
    #: By group.
    commits: dict[str, CommitModel] = attrs.field(
        factory=lambda: {group: CommitModel() for group in COMMITTERS}
    )


class TopicState(NamedTuple):
    """A topic as the list of topics has it."""

    model: TopicModel
    partitions: int
    overrides: dict[str, Any]


Topics = dict[str, TopicState]


@attrs.define
class Model:
    """Everything the program knows."""

    topics: Topics = attrs.Factory(dict)
    #: The list of topics that is being stored; None when none is.
    next_topics: Topics | None = None
    #: Closed, and nothing touched since.
    is_closed: bool = False
    #: The disk has an end: to say that there is no room is an answer.
    may_be_full: bool = False
    #: Commits that are old enough may go right now, and groups that have nothing else.
    may_expire: bool = False
    #: The highest that a member was ever in, and the one that a power cut cannot take back.
    generation: int = 0
    generation_on_disk: int = 0

    def possible_topics(self) -> list[Topics]:
        """Return what the list of topics may be."""
        return [self.topics] if self.next_topics is None else [self.topics, self.next_topics]

    def violations(self, seen: Observation, *, power_failed: bool) -> Iterator[str]:
        """Yield what `violations` does."""
        return violations(seen, self, power_failed=power_failed)

    def violations_living_on(self, broker: Broker) -> Iterator[str]:
        """Yield what goes wrong when *broker*, opened after a crash, is used: that it can be appended to is known."""
        yield from ()

    def fingerprint(self) -> object:
        """Return what decides which disks are right: an equal one need not be asked about twice."""
        return (
            self.is_closed,
            self.may_expire,
            self.generation,
            self.generation_on_disk,
            tuple(
                (
                    name,
                    state.partitions,
                    tuple(sorted(state.overrides.items())),
                    tuple(
                        (tuple(commits.committed), commits.committing, commits.on_disk)
                        for commits in state.model.commits.values()
                    ),
                    tuple(log.fingerprint() for log in state.model.logs),
                )
                for topics in self.possible_topics()
                for name, state in topics.items()
            ),
        )


def violations(seen: Observation, model: Model, *, power_failed: bool) -> Iterator[str]:
    """Yield, in words, everything in *seen* that must not be; nothing when all is well."""
    if seen.no_room and model.may_be_full:
        return
    if seen.error:
        yield f"I15: does not open, or cannot be read: {seen.error}"
        return
    if model.is_closed and not (seen.clean and seen.scanned_bytes == 0):
        yield f"I18: closed, and still not clean or {seen.scanned_bytes} bytes scanned"
    shown = {name: (len(t.logs), t.overrides) for name, t in seen.topics.items()}
    for topics in model.possible_topics():
        if shown == {name: (t.partitions, t.overrides) for name, t in topics.items()}:
            break
    else:
        yield f"I1: topics: expected one of {_shape(model)}, found {shown}"
        return
    for name, state in topics.items():
        for number, found in enumerate(seen.topics[name].logs):
            log = state.model.logs[number]
            for violation in _log_violations(found, log, power_failed=power_failed):
                yield f"{name}-{number}: {violation}"
        for group, commits in state.model.commits.items():
            found_offset = seen.topics[name].committed[group]
            allowed = _allowed_commits(commits, power_failed=power_failed)
            if found_offset not in allowed and not (found_offset is None and model.may_expire):
                yield (
                    f"{name}: I1: committed offset of group {group}: expected one of {allowed}, "
                    f"found {found_offset}"
                )
    least = model.generation_on_disk if power_failed else model.generation
    if seen.generation < least and not (seen.generation == 0 and model.may_expire):
        yield f"GRP-4: generation: expected {least} or later, found {seen.generation}"


def _log_violations(found: LogSeen, log: LogModel, *, power_failed: bool) -> Iterator[str]:
    if found.outcome in BAD_OUTCOMES:
        yield f"I14: a crash taken for damage: {found.outcome}: {found.message}"
    owed = log.disk_end if power_failed else log.process_end
    if log.truncating_to is not None:
        owed = min(owed, log.truncating_to)
    start_max = log.start_max
    if not log.start_min <= found.start <= max(start_max, log.start_min):
        yield f"I1: log start: expected {log.start_min} to {start_max}, found {found.start}"
    if found.end < owed:
        level = "disk" if power_failed else "process"
        yield f"I1: acknowledged at {level} up to offset {owed}, found up to {found.end}"
    if found.end not in log.batch_ends and found.end != found.start:
        yield f"I2: ends at {found.end}, within a batch or behind what was sent (ends {sorted(log.batch_ends)})"
    expected = log.records[found.start : found.end]
    offsets = [offset for offset, *_ in found.records]
    if offsets != list(range(found.start, found.end)):
        yield f"I6: offsets from {found.start} to {found.end}: found {offsets}"
    for (offset, *record), wanted in zip(found.records, expected, strict=False):
        if tuple(record) != wanted:
            yield f"I2, I3: offset {offset}: expected {wanted}, found {tuple(record)}"
            break
    if power_failed and found.end < log.read_end:
        lost_epoch = max(record[0] for record in log.records[found.end : log.read_end])
        if found.epoch <= lost_epoch:
            yield f"I7: records of epoch {lost_epoch} were lost, and epoch {found.epoch} gives their offsets again"


def _allowed_commits(commits: CommitModel, *, power_failed: bool) -> list[int | None]:
    allowed = commits.committed[commits.on_disk if power_failed else -1 :]
    return allowed if commits.committing is None else [*allowed, commits.committing]


def _shape(model: Model) -> list[dict[str, Any]]:
    return [
        {name: (state.partitions, state.overrides) for name, state in topics.items()}
        for topics in model.possible_topics()
    ]
