"""Measuring by comparison: a subject and its floor or peer take turns, in many short rounds of one run.

Absolute times mean little on a machine that others use as well: the same loop takes two or three times as long from one
second to the next. What such a machine does slow down is both sides of a comparison, as long as they run close enough together.
So everything here is a *ratio*: in each round every contender runs once, for a few milliseconds, in an order that moves
on from round to round; each round gives one ratio, and the median of those is what a target is compared with. The ratio of the
two smallest times is printed as well: it says what a quiet machine would show.

A topic is a file ``bench_<topic>.py`` with ``CASES``, a dict from case name to a function that takes a `Bench`::

    def bench_pack(bench: Bench) -> None:
        count = bench.pick(20_000, 5_000, 50)
        bench.compare(
            Contender.calls("packb", lambda: msgpack.packb(values), count),
            [Contender.calls("empty call", empty, count)],
            [at_most(12, "empty call")],
        )

    CASES = {"pack": bench_pack}
"""

from __future__ import annotations

import gc
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from itertools import repeat
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import TypeVar

T = TypeVar("T")


class Size(Enum):
    """How much work a run does."""

    #: The sizes that the targets speak of.
    FULL = "full"
    #: A tenth of it: good enough to see where one stands.
    QUICK = "quick"
    #: Next to nothing: shows that the benchmark still works, its figures mean nothing.
    TINY = "tiny"


@dataclass(frozen=True)
class Contender:
    """One side of a comparison. `run` does one short round and returns the seconds that one operation took."""

    name: str
    run: Callable[[], float]

    @classmethod
    def loop(
        cls,
        name: str,
        body: Callable[[int], object],
        count: int,
        *,
        after: Callable[[], object] | None = None,
    ) -> Contender:
        """*body(count)* does *count* operations; *after* tidies up behind a round and is not timed."""

        def run() -> float:
            start = perf_counter()
            body(count)
            elapsed = perf_counter() - start
            if after is not None:
                after()
            return elapsed / count

        return cls(name, run)

    @classmethod
    def calls(cls, name: str, call: Callable[[], object], count: int) -> Contender:
        """*call()* is one operation, done *count* times a round."""

        def body(times: int) -> None:
            for _ in repeat(None, times):
                call()

        return cls.loop(name, body, count)


@dataclass(frozen=True)
class Target:
    """What the ratio of the subject to `against` has to be; made by `at_most` and `at_least`."""

    against: str
    factor: float
    #: False: time of the subject / time of the other, at most `factor`. True: speed over speed, at least `factor`.
    of_speed: bool
    #: What `against` takes on a quiet machine, for targets in seconds: ratios are then told in seconds as well.
    yardstick: float | None = None

    def __str__(self) -> str:
        if self.yardstick is not None:
            return f"<= {format_value(self.factor * self.yardstick, 's')}"
        return f"{'>=' if self.of_speed else '<='} {self.factor:g}x"

    def ratio(self, subject: float, other: float) -> float:
        return other / subject if self.of_speed else subject / other

    def is_met_by(self, ratio: float) -> bool:
        return ratio >= self.factor if self.of_speed else ratio <= self.factor


def at_most(factor: float, against: str) -> Target:
    """The subject takes at most *factor* times as long as *against*."""
    return Target(against, factor, of_speed=False)


def at_least(factor: float, against: str) -> Target:
    """The subject is at least *factor* times as fast as *against*; 1 = ahead of it."""
    return Target(against, factor, of_speed=True)


def within(seconds: float, yardstick: str, yardstick_seconds: float) -> Target:
    """The subject takes at most *seconds* on a machine on which the contender *yardstick* takes *yardstick_seconds*."""
    return Target(yardstick, seconds / yardstick_seconds, False, yardstick_seconds)


@dataclass(frozen=True)
class Spread:
    """Smallest, median, and the middle half of some samples."""

    minimum: float
    median: float
    low: float
    high: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Spread:
        middle = median(samples)
        if len(samples) < 2:
            return cls(middle, middle, middle, middle)
        low, _, high = quantiles(samples, n=4, method="inclusive")
        return cls(min(samples), middle, low, high)


@dataclass(frozen=True)
class Row:
    """One line of the report. Without `against` the figure stands alone (bytes, file descriptors, a limit in ms)."""

    topic: str
    what: str
    unit: str
    subject: Spread | None = None
    against: str | None = None
    other: Spread | None = None
    #: Of the pairs of one round each; oriented as the target is (time over time, or speed over speed).
    ratio: Spread | None = None
    ratio_of_minima: float | None = None
    #: Seconds that a ratio of 1 stands for, where the target is one in seconds.
    yardstick: float | None = None
    target: str | None = None
    met: bool | None = None
    #: Whether the two smallest times meet the target: noise only ever adds.
    met_by_minima: bool | None = None
    note: str = ""


@dataclass
class Bench:
    """What a case gets: how much to do, where to put files, and where to leave the figures."""

    size: Size = Size.FULL
    directory: Path = field(default_factory=lambda: Path(tempfile.gettempdir()))
    #: Whether to measure other people's libraries too.
    with_peers: bool = True
    #: Overrides the number of rounds that a case asks for.
    rounds: int | None = None
    #: Name of the case that is running, for the rows.
    topic: str = ""
    rows: list[Row] = field(default_factory=list)
    #: Seconds of a loop that never changes, once a round: how much the machine itself varied meanwhile.
    noise: list[float] = field(default_factory=list)
    on_row: Callable[[Row], object] = lambda _: None

    def pick(self, full: T, quick: T, tiny: T) -> T:
        """Return the amount of work that belongs to the size of this run."""
        return {Size.FULL: full, Size.QUICK: quick, Size.TINY: tiny}[self.size]

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A fresh directory on the disk that is measured, gone afterwards."""
        path = Path(tempfile.mkdtemp(prefix="streamlog-bench-", dir=self.directory))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def compare(
        self,
        subject: Contender,
        others: Sequence[Contender],
        targets: Sequence[Target] = (),
        *,
        what: str | None = None,
        rounds: int = 30,
        limit: float | None = None,
        note: str = "",
    ) -> dict[str, Spread]:
        """Run everybody in turns and report the subject against each of *others*; returns the times by name.

        *targets* name one of *others* each; those without a target are printed for context. *limit* is a target of its own: the
        subject's median, in seconds. The first round warms everybody up and does not count.
        """
        contenders = [subject, *others]
        samples = self._take_turns(contenders, self._rounds(rounds))
        spreads = {c.name: Spread.of(samples[c.name]) for c in contenders}
        what = what or subject.name
        if limit is not None or not others:
            self.limit(what, spreads[subject.name], limit, note=note)
        by_name = {target.against: target for target in targets}
        for other in others:
            target = by_name.pop(other.name, None)
            self.pair(what, subject.name, other.name, samples, target, note)
        if by_name:
            raise ValueError(f"{what}: no contender named {', '.join(map(repr, by_name))}")
        return spreads

    def _rounds(self, asked: int) -> int:
        if self.rounds is not None:
            return self.rounds
        return self.pick(asked, max(asked // 3, 5), 2)

    def _take_turns(self, contenders: Sequence[Contender], rounds: int) -> dict[str, list[float]]:
        samples: dict[str, list[float]] = {c.name: [] for c in contenders}
        if len(samples) < len(contenders):
            raise ValueError(f"two contenders have one name: {[c.name for c in contenders]}")
        for number in range(rounds + 1):
            # The garbage collector stays on, as it does for a user, but nobody pays for what another one left.
            gc.collect()
            self.noise.append(_unchanging_loop())
            shift = number % len(contenders)
            for contender in [*contenders[shift:], *contenders[:shift]]:
                seconds = contender.run()
                if number:
                    samples[contender.name].append(seconds)
        return samples

    def pair(
        self,
        what: str,
        subject: str,
        other: str,
        samples: Mapping[str, Sequence[float]],
        target: Target | None = None,
        note: str = "",
    ) -> None:
        """Report what was measured of two in the same rounds: *samples* are seconds, by the names of both."""
        ours, theirs = samples[subject], samples[other]
        # Without a target: how many times as long the subject takes.
        oriented = target or at_most(1, other)
        ratio = Spread.of([oriented.ratio(a, b) for a, b in zip(ours, theirs, strict=True)])
        of_minima = oriented.ratio(min(ours), min(theirs))
        self._add(
            Row(
                self.topic,
                what,
                "s",
                Spread.of(ours),
                other,
                Spread.of(theirs),
                ratio,
                of_minima,
                oriented.yardstick,
                str(target) if target else None,
                target.is_met_by(ratio.median) if target else None,
                target.is_met_by(of_minima) if target else None,
                note,
            )
        )

    def limit(
        self,
        what: str,
        value: Spread | float,
        at_most: float | None = None,
        *,
        unit: str = "s",
        note: str = "",
    ) -> None:
        """Report a figure that stands alone, and whether it (its median) is at most *at_most*."""
        spread = value if isinstance(value, Spread) else Spread(value, value, value, value)
        self._add(
            Row(
                self.topic,
                what,
                unit,
                spread,
                target=None if at_most is None else f"<= {format_value(at_most, unit)}",
                met=None if at_most is None else spread.median <= at_most,
                met_by_minima=None if at_most is None else spread.minimum <= at_most,
                note=note,
            )
        )

    def skip(self, what: str, reason: str) -> None:
        """Say that *what* was not measured, and why."""
        self._add(Row(self.topic, what, "", note=f"skipped: {reason}"))

    def _add(self, row: Row) -> None:
        self.rows.append(row)
        self.on_row(row)


def _unchanging_loop() -> float:
    start = perf_counter()
    for _ in repeat(None, 20_000):
        pass
    return perf_counter() - start


def format_value(value: float, unit: str) -> str:
    """Return *value* with its unit, three digits: seconds as ns, us, ms or s, bytes as B, KiB, MiB."""
    if unit == "s":
        for limit, factor, name in ((1e-6, 1e9, "ns"), (1e-3, 1e6, "us"), (1.0, 1e3, "ms")):
            if value < limit:
                return f"{_three_digits(value * factor)} {name}"
        return f"{_three_digits(value)} s"
    if unit == "bytes":
        for power, name in ((2, "MiB"), (1, "KiB")):
            if value >= 10 * 1024**power:
                return f"{_three_digits(value / 1024**power)} {name}"
        return f"{value:g} B" if float(value).is_integer() else f"{value:.1f} B"
    return f"{value:g} {unit}".rstrip()


def _three_digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
