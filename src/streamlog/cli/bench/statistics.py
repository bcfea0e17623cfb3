"""What a run counts: records, bytes and latencies, in all and since the last report."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

MEBIBYTE = 1024 * 1024
MAX_SAMPLES = 500_000
"""So many latencies are kept for the percentiles, evenly over the run (Kafka ``ProducerPerformance``)."""
POINT_MS = 100
"""How long a point of the chart is, at least."""


class Point(NamedTuple):
    """One stretch of a run, as it is drawn."""

    seconds: float
    """Its end, counted from the start of the run."""
    records_per_second: float
    average_ms: float
    max_ms: float


@attrs.define
class Window:
    """What came in since it began. Latencies stay 0 for a consumer."""

    start_ms: float
    records: int = 0
    size_bytes: int = 0
    latency_ms: float = 0.0
    max_ms: float = 0.0

    def rates(self, now_ms: float) -> tuple[float, float]:
        """Return records and MiB per second."""
        seconds = max(now_ms - self.start_ms, 0.001) / 1000
        return self.records / seconds, self.size_bytes / MEBIBYTE / seconds

    @property
    def average_ms(self) -> float:
        """The mean latency; 0.0 without records."""
        return self.latency_ms / self.records if self.records else 0.0


class Statistics:
    """Counts a run of about *expected* records from *now_ms* on.

    `delivered` may be called by any thread, all else by one. *report* gets a finished window and the
    time every *interval_ms*.
    """

    def __init__(
        self,
        expected: int,
        now_ms: float,
        interval_ms: float,
        report: Callable[[Window, float], object],
    ) -> None:
        self._every = max(1, math.ceil(expected / MAX_SAMPLES))
        self._interval_ms = interval_ms
        self._report = report
        self._arrived: deque[tuple[float, int]] = deque()
        self._samples: list[float] = []
        self._point = Window(now_ms)
        self._window = Window(now_ms)
        self.total = Window(now_ms)
        self.points: list[Point] = []

    def delivered(self, latency_ms: float, size_bytes: int) -> None:
        """Note one record; it is counted by the next `count`. Threads: any."""
        self._arrived.append((latency_ms, size_bytes))

    def count(self, now_ms: float) -> None:
        """Count what was delivered until now, and report when it is time to."""
        arrived, every, total = self._arrived, self._every, self.total
        windows = (total, self._window, self._point)
        while arrived:
            latency_ms, size_bytes = arrived.popleft()
            if total.records % every == 0:
                self._samples.append(latency_ms)
            for window in windows:
                window.records += 1
                window.size_bytes += size_bytes
                window.latency_ms += latency_ms
                window.max_ms = max(window.max_ms, latency_ms)
        self._close_windows(now_ms)

    def consumed(self, records: int, size_bytes: int, now_ms: float) -> None:
        """Count *records* that were read together."""
        for window in (self.total, self._window, self._point):
            window.records += records
            window.size_bytes += size_bytes
        self._close_windows(now_ms)

    def finish(self, now_ms: float) -> None:
        """End the run: what the last point has becomes one."""
        if self._point.records:
            self._end_point(now_ms)

    def percentiles(self, *wanted: float) -> list[float]:
        """Return the latency in ms below which each share of the records stayed; 0.0 without records."""
        if not self._samples:
            return [0.0] * len(wanted)
        ordered = sorted(self._samples)
        last = len(ordered) - 1
        return [ordered[min(last, int(share * len(ordered)))] for share in wanted]

    def _close_windows(self, now_ms: float) -> None:
        if now_ms - self._point.start_ms >= POINT_MS:
            self._end_point(now_ms)
        if now_ms - self._window.start_ms >= self._interval_ms:
            self._report(self._window, now_ms)
            self._window = Window(now_ms)

    def _end_point(self, now_ms: float) -> None:
        point = self._point
        rate, _ = point.rates(now_ms)
        seconds = (now_ms - self.total.start_ms) / 1000
        self.points.append(Point(seconds, rate, point.average_ms, point.max_ms))
        self._point = Window(now_ms)


def rounded(values: dict[str, Any]) -> dict[str, Any]:
    """Return *values* with three digits after the point at most: more is noise."""
    return {
        name: round(value, 3) if isinstance(value, float) else value
        for name, value in values.items()
    }
