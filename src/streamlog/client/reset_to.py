"""Where a group's offsets are put back to, or forward."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import attrs

from streamlog.config.iso_duration import parse_duration_ms
from streamlog.errors import InvalidRequestError

if TYPE_CHECKING:
    from streamlog.broker.partition import Partition

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

Rule = Callable[["Partition", "int | None", int], int]
"""From a partition, what is committed there and the wall clock in ms, to an offset that may be outside the log."""


@attrs.frozen
class ResetTo:
    """The aim of ``Admin.reset_consumer_group_offsets``; made by one of its class methods.

    An offset outside the log stands for its nearer end. Source: Kafka ``kafka-consumer-groups
    --reset-offsets``; CLI-3.
    """

    text: str
    """In words, as the tool's option says it: ``"to-earliest"``, ``"shift-by -10"``."""
    rule: Rule = attrs.field(repr=False, eq=False)

    @classmethod
    def earliest(cls) -> ResetTo:
        """The log start: read everything again."""
        return cls("to-earliest", lambda partition, committed, now_ms: partition.log_start_offset)

    @classmethod
    def latest(cls) -> ResetTo:
        """The log end: pass over everything there is."""
        return cls("to-latest", lambda partition, committed, now_ms: partition.high_watermark)

    @classmethod
    def current(cls) -> ResetTo:
        """The committed offset, the log end where there is none."""
        return cls(
            "to-current",
            lambda partition, committed, now_ms: (
                partition.high_watermark if committed is None else committed
            ),
        )

    @classmethod
    def offset(cls, offset: int) -> ResetTo:
        """The same number in every partition. Raises ValueError for a negative one."""
        _check_int("offset", offset)
        if offset < 0:
            raise ValueError(f"offset: expected 0 or more, found {offset}")
        return cls(f"to-offset {offset}", lambda partition, committed, now_ms: offset)

    @classmethod
    def shift(cls, records: int) -> ResetTo:
        """So many records forward, or back when negative, from what is committed.

        `InvalidRequestError` where nothing is.
        """
        _check_int("records", records)

        def rule(partition: Partition, committed: int | None, now_ms: int) -> int:
            if committed is None:
                raise InvalidRequestError(
                    f"{partition.topic_partition}: expected a committed offset to shift by {records}, "
                    "found none"
                )
            return committed + records

        return cls(f"shift-by {records}", rule)

    @classmethod
    def time(cls, when: datetime | int) -> ResetTo:
        """The first record that is not older, the log end where all are.

        *when* is a moment with its time zone, or milliseconds since 1970 UTC. Raises ValueError for
        a time without a zone or before 1970.
        """
        if isinstance(when, datetime):
            if when.tzinfo is None:
                raise ValueError(f"when: expected a time with its time zone, found {when}")
            timestamp_ms = (when - _EPOCH) // timedelta(milliseconds=1)
        else:
            _check_int("when", when)
            timestamp_ms = when
        if timestamp_ms < 0:
            raise ValueError(f"when: expected a time since 1970, found {when}")
        return cls(
            f"to-datetime {when}",
            lambda partition, committed, now_ms: _first_since(partition, timestamp_ms),
        )

    @classmethod
    def duration(cls, before_now: timedelta | str) -> ResetTo:
        """As `time`, so long before now: a timedelta, or text such as ``"PT1H30M"``.

        Raises ValueError for a negative or malformed one.
        """
        if isinstance(before_now, timedelta):
            duration_ms = before_now // timedelta(milliseconds=1)
            if duration_ms < 0:
                raise ValueError(f"before_now: expected no negative duration, found {before_now}")
        else:
            duration_ms = parse_duration_ms(before_now)
        return cls(
            f"by-duration {before_now}",
            lambda partition, committed, now_ms: _first_since(
                partition, max(now_ms - duration_ms, 0)
            ),
        )

    def offset_in(self, partition: Partition, committed: int | None, now_ms: int) -> int:
        """Return the offset meant in *partition*, within the log as it is now."""
        wanted = self.rule(partition, committed, now_ms)
        return min(max(wanted, partition.log_start_offset), partition.high_watermark)


def _first_since(partition: Partition, timestamp_ms: int) -> int:
    found = partition.offset_for_timestamp(timestamp_ms)
    return partition.high_watermark if found is None else found.offset


def _check_int(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name}: expected an int, found {value!r}")
