"""Records between the log and the user: runs of one batch, decoded column by column."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import repeat
from typing import Any, cast

from streamlog.errors import RecordDecodeError
from streamlog.record import BatchView, Headers
from streamlog.record.serialization import Deserializer
from streamlog.structs import ConsumerRecord, TopicPartition

# tuple.__new__ makes the record in C; ConsumerRecord(...) would run a Python function for each.
_make_record: Callable[[tuple[Any, ...]], ConsumerRecord] = partial(tuple.__new__, ConsumerRecord)

_NOT_DECODED: list[Any] = []


class DecodedColumns:
    """The columns of one batch that several slices share, so that each is decoded once."""

    __slots__ = ("_headers", "_keys", "_timestamps_ms", "_values", "_view")

    def __init__(self, view: BatchView) -> None:
        self._view = view
        self._values = self._timestamps_ms = _NOT_DECODED
        # None means that the column is absent.
        self._keys: list[bytes | None] | None = _NOT_DECODED
        self._headers: list[Headers] | None = _NOT_DECODED

    def values(self) -> list[bytes | None]:
        """As `BatchView.values`. The caller does not change the list; the same for the others."""
        if self._values is _NOT_DECODED:
            self._values = self._view.values()
        return self._values

    def keys(self) -> list[bytes | None] | None:
        """As `BatchView.keys`."""
        if self._keys is _NOT_DECODED:
            self._keys = self._view.keys()
        return self._keys

    def headers(self) -> list[Headers] | None:
        """As `BatchView.headers`."""
        if self._headers is _NOT_DECODED:
            self._headers = self._view.headers()
        return self._headers

    def timestamps_ms(self) -> list[int]:
        """As `BatchView.timestamps_ms`."""
        if self._timestamps_ms is _NOT_DECODED:
            self._timestamps_ms = self._view.timestamps_ms()
        return self._timestamps_ms


class RecordSlice:
    """Consecutive records of one batch, or all of them once they went through deserializers.

    Has what a `BatchView` has, so that a whole batch needs no slice: ``record_count``,
    ``next_offset``, ``leader_epoch``, `values`; and `records_of` takes either. Immutable once poll
    has returned it.
    """

    __slots__ = (
        "_keys",
        "_values",
        "columns",
        "leader_epoch",
        "next_offset",
        "record_count",
        "start",
        "stop",
        "view",
    )

    def __init__(
        self,
        view: BatchView,
        start: int,
        stop: int,
        next_offset: int,
        columns: DecodedColumns | None = None,
    ) -> None:
        self.view = view
        self.start = start
        self.stop = stop
        """The records at positions start .. stop - 1 of the batch."""
        self.record_count = stop - start
        self.next_offset = next_offset
        """Where to read on after these: past the end of the batch when they are its last (LOG-8)."""
        self.leader_epoch = view.leader_epoch
        self.columns = columns or DecodedColumns(view)
        """Shared with the other slices of the batch."""
        self._values: list[Any] | None = None
        self._keys: list[Any] | None = None

    def split(self, count: int) -> tuple[RecordSlice, RecordSlice]:
        """Return the first *count* records, which are fewer than there are, and the others."""
        view, middle = self.view, self.start + count
        next_offset = view.offsets()[middle - 1] + 1
        return (
            RecordSlice(view, self.start, middle, next_offset, self.columns),
            RecordSlice(view, middle, self.stop, self.next_offset, self.columns),
        )

    @property
    def offsets(self) -> Sequence[int]:
        """The offset of each record."""
        return self.view.offsets()[self.start : self.stop]

    def values(self) -> list[Any]:
        """Return the values of these records in a list of the caller's own."""
        if self._values is not None:
            return self._values[:]
        return self.columns.values()[self.start : self.stop]

    def records(self, topic_partition: TopicPartition) -> Iterator[ConsumerRecord]:
        """Return an iterator that makes the records as it goes; nothing runs in Python per record."""
        columns, cut, view = self.columns, self._cut, self.view
        raw_values, raw_keys, headers = columns.values(), columns.keys(), columns.headers()
        raw_values = cut(raw_values)
        raw_keys = None if raw_keys is None else cut(raw_keys)
        return _records(
            topic_partition,
            view,
            self.offsets,
            cut(columns.timestamps_ms()),
            raw_keys if self._keys is None else self._keys,
            raw_values if self._values is None else self._values,
            None if headers is None else cut(headers),
            repeat(-1) if raw_keys is None else _sizes(raw_keys),
            _sizes(raw_values),
        )

    def _cut(self, column: list[Any]) -> list[Any]:
        """Return the part of *column* that belongs to these records; *column* itself when it is all."""
        if self.record_count == len(column):
            return column
        return column[self.start : self.stop]

    # ---- deserializers

    def deserialize(
        self,
        topic_partition: TopicPartition,
        key_deserializer: Deserializer | None,
        value_deserializer: Deserializer | None,
    ) -> RecordDecodeError | None:
        """Decode keys and values now; return what is wrong with the first record that cannot be.

        The slice then ends before that record, and may be empty. *topic_partition* is for the error.
        """
        columns = self.columns
        values, keys = self._cut(columns.values()), columns.keys()
        if keys is not None:
            keys = self._cut(keys)
        try:
            if value_deserializer is not None:
                self._values = list(map(value_deserializer, values))
            if key_deserializer is not None and keys is not None:
                self._keys = list(map(key_deserializer, keys))
        except RecordDecodeError:
            bad = self._cut_before_bad_record(keys, values, key_deserializer, value_deserializer)
            return None if bad is None else self._locate(topic_partition, bad)
        return None

    def _cut_before_bad_record(
        self,
        keys: list[bytes | None] | None,
        values: list[bytes | None],
        key_deserializer: Deserializer | None,
        value_deserializer: Deserializer | None,
    ) -> RecordDecodeError | None:
        good_keys: list[Any] = []
        good_values: list[Any] = []
        found: RecordDecodeError | None = None
        for index, value in enumerate(values):
            try:
                if key_deserializer is not None and keys is not None:
                    good_keys.append(key_deserializer(keys[index]))
                if value_deserializer is not None:
                    good_values.append(value_deserializer(value))
            except RecordDecodeError as error:
                found = error
                self.next_offset = self.offsets[index]
                self.stop = self.start + index
                self.record_count = index
                break
        count = self.record_count
        self._values = good_values[:count] if value_deserializer is not None else None
        has_keys = key_deserializer is not None and keys is not None
        self._keys = good_keys[:count] if has_keys else None
        return found

    def _locate(
        self, topic_partition: TopicPartition, error: RecordDecodeError
    ) -> RecordDecodeError:
        """Return *error* with the place of the record behind these."""
        offset = self.next_offset
        located = RecordDecodeError(
            f"{topic_partition} at offset {offset}: {error}; seek past it to go on",
            topic_partition=topic_partition,
            offset=offset,
            origin=error.origin,
        )
        located.__cause__ = error.__cause__ or error
        return located


Part = BatchView | RecordSlice
"""What one poll returns of one batch: all of it, as a rule."""


def split_part(part: Part, count: int) -> tuple[RecordSlice, RecordSlice]:
    """Return the first *count* records of *part*, which are fewer than there are, and the others."""
    return as_slice(part).split(count)


def as_slice(part: Part) -> RecordSlice:
    """Return *part* as a slice of its batch."""
    if isinstance(part, RecordSlice):
        return part
    return RecordSlice(part, 0, part.record_count, part.next_offset)


def records_of(topic_partition: TopicPartition, part: Part) -> Iterator[ConsumerRecord]:
    """Return an iterator that makes the records of *part* as it goes."""
    if isinstance(part, RecordSlice):
        return part.records(topic_partition)
    if part.record_count == 1:
        value = part.plain_value
        if value is not None:
            return iter((_plain_record(topic_partition, part, value),))
    values = part.values()
    if part.has_values_only:
        return _records(
            topic_partition,
            part,
            part.offsets(),
            repeat(part.common_timestamp_ms),
            None,
            values,
            None,
            repeat(-1),
            _sizes(values),
        )
    keys = part.keys()
    return _records(
        topic_partition,
        part,
        part.offsets(),
        part.timestamps_ms(),
        keys,
        values,
        part.headers(),
        repeat(-1) if keys is None else _sizes(keys),
        _sizes(values),
    )


def _plain_record(topic_partition: TopicPartition, view: BatchView, value: bytes) -> ConsumerRecord:
    """Make the one record of a batch that has nothing but its value: no columns are worth it."""
    topic, number = topic_partition
    return _make_record(
        (
            topic,
            number,
            view.base_offset,
            view.common_timestamp_ms,
            view.timestamp_type,
            None,
            value,
            (),
            view.leader_epoch,
            -1,
            len(value),
        )
    )


def _records(
    topic_partition: TopicPartition,
    view: BatchView,
    offsets: Iterable[int],
    timestamps_ms: Iterable[int],
    keys: Iterable[Any] | None,
    values: Iterable[Any],
    headers: Iterable[Headers] | None,
    key_sizes: Iterable[int],
    value_sizes: Iterable[int],
) -> Iterator[ConsumerRecord]:
    # The columns that do not end, by repeat(), end with the others. All of it runs in C.
    topic, number = topic_partition
    columns: Iterator[tuple[Any, ...]] = zip(
        repeat(topic),
        repeat(number),
        offsets,
        timestamps_ms,
        repeat(view.timestamp_type),
        repeat(None) if keys is None else keys,
        values,
        repeat(()) if headers is None else headers,
        repeat(view.leader_epoch),
        key_sizes,
        value_sizes,
    )
    return map(_make_record, columns)


def _sizes(column: list[bytes | None]) -> Iterator[int]:
    """Return the length of each element, -1 for null."""
    if None in column:
        return iter([-1 if part is None else len(part) for part in column])
    return map(len, cast("list[bytes]", column))
