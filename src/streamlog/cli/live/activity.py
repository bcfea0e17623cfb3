"""What happened between two samples: rates, lag, rebalances."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import attrs

from streamlog.cli.live.sample import Sample, TopicSample

_KEPT_REBALANCES = 50


class Rebalance(NamedTuple):
    """A group whose epoch grew."""

    time_ms: int
    group_id: str
    old_epoch: int
    epoch: int


@attrs.frozen
class TopicRow:
    """A topic as it is shown."""

    topic: TopicSample
    #: Records a second since the last sample: appended, and committed by groups. None in the first sample.
    rate_in: float | None
    rate_out: float | None
    lag: int


@attrs.frozen
class GroupRow:
    """A group as it is shown."""

    group_id: str
    state: str | None
    epoch: int
    topics: tuple[str, ...]
    lag: int
    rate_out: float | None


@attrs.frozen
class View:
    """One screen full."""

    time_ms: int
    topics: list[TopicRow]
    groups: list[GroupRow]
    rebalances: list[Rebalance]

    @property
    def rate_in(self) -> float | None:
        """Records appended a second, all topics shown."""
        return _total([row.rate_in for row in self.topics])

    @property
    def rate_out(self) -> float | None:
        """Records committed a second, all topics shown."""
        return _total([row.rate_out for row in self.topics])


class Activity:
    """Takes samples one after the other. Threads: one."""

    def __init__(self) -> None:
        self._last: Sample | None = None
        self._rebalances: deque[Rebalance] = deque(maxlen=_KEPT_REBALANCES)

    def view(self, sample: Sample) -> View:
        """Return what *sample* shows, and what happened since the one before it; topics and groups by name."""
        last, self._last = self._last, sample
        if last is not None:
            self._note_rebalances(last, sample)
        seconds = 0.0 if last is None else (sample.monotonic_ms - last.monotonic_ms) / 1000
        read = _read_between(last, sample)
        topics = []
        for name, topic in sorted(sample.topics.items()):
            known = None if last is None else last.topics.get(name)
            # A topic that was made anew under its name begins at 0 again.
            added = 0 if known is None else max(topic.end_offset - known.end_offset, 0)
            lag = sum(group.lags.get(name, 0) for group in sample.groups.values())
            out = sum(count for (_, of), count in read.items() if of == name)
            topics.append(TopicRow(topic, _rate(added, seconds), _rate(out, seconds), lag))
        groups = []
        for group_id, group in sorted(sample.groups.items()):
            out = sum(count for (by, _), count in read.items() if by == group_id)
            groups.append(
                GroupRow(
                    group_id,
                    group.state,
                    group.epoch,
                    tuple(sorted(group.lags)),
                    group.lag,
                    _rate(out, seconds),
                )
            )
        return View(sample.time_ms, topics, groups, list(self._rebalances)[::-1])

    def _note_rebalances(self, last: Sample, sample: Sample) -> None:
        for group_id, group in sorted(sample.groups.items()):
            known = last.groups.get(group_id)
            before = 0 if known is None else known.epoch
            if group.epoch > before:
                self._rebalances.append(Rebalance(sample.time_ms, group_id, before, group.epoch))


def _read_between(last: Sample | None, sample: Sample) -> dict[tuple[str, str], int]:
    """Return by group and topic how far the committed offsets went on."""
    read: dict[tuple[str, str], int] = {}
    for group_id, group in sample.groups.items() if last is not None else ():
        known = last.groups.get(group_id) if last is not None else None
        for topic_partition, offset in group.committed.items():
            before = None if known is None else known.committed.get(topic_partition)
            if before is not None and offset > before:
                key = group_id, topic_partition.topic
                read[key] = read.get(key, 0) + offset - before
    return read


def _rate(count: int, seconds: float) -> float | None:
    return count / seconds if seconds > 0 else None


def _total(rates: list[float | None]) -> float | None:
    known = [rate for rate in rates if rate is not None]
    return sum(known) if known else None
