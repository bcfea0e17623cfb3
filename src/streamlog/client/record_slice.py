"""Records between the log and the user: runs of one batch, decoded column by column."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import repeat
from typing import Any, cast

from streamlog.errors import RecordDecodeError
from streamlog.record import BatchView, Headers
from streamlog.record.serialization import Deserializer
from streamlog.structs import ConsumerRecord, TopicPartition

# tuple.__new__ makes the record in C; ConsumerRecord(...) would run a Python function for each.
_make_record = partial(tuple.__new__, ConsumerRecord)

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
    """Consecutive records of one batch, as one poll returns them: all of it, as a rule.

    Made by the fetcher, which also sets ``columns`` when the batch is returned in several parts.
    Immutable once poll has returned.
    """

    __slots__ = (
        "_keys",
        "_values",
        "columns",
        "next_offset",
        "start",
        "stop",
        "topic_partition",
        "view",
    )

    def __init__(
        self,
        topic_partition: TopicPartition,
        view: BatchView,
        start: int,
        stop: int,
        next_offset: int,
        columns: DecodedColumns | None = None,
    ) -> None:
        self.topic_partition = topic_partition
        self.view = view
        self.start = start
        self.stop = stop
        """The records at positions start .. stop - 1 of the batch."""
        self.next_offset = next_offset
        """Where to read on after these: past the end of the batch when they are its last (LOG-8)."""
        self.columns = columns
        self._values: list[Any] | None = None
        self._keys: list[Any] | None = None

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def offsets(self) -> Sequence[int]:
        """The offset of each record."""
        offsets = self.view.offsets()
        if self.start == 0 and self.stop == self.view.record_count:
            return offsets
        return offsets[self.start : self.stop]

    def split(self, count: int) -> tuple[RecordSlice, RecordSlice]:
        """Return the first *count* records, which are fewer than there are, and the others."""
        view, middle = self.view, self.start + count
        columns = self.columns or DecodedColumns(view)
        next_offset = view.offsets()[middle - 1] + 1
        name = self.topic_partition
        return (
            RecordSlice(name, view, self.start, middle, next_offset, columns),
            RecordSlice(name, view, middle, self.stop, self.next_offset, columns),
        )

    # ---- what the user gets

    def values(self) -> list[Any]:
        """Return the values of these records in a list of the caller's own."""
        if self._values is not None:
            return self._values[:]
        if self.columns is not None:
            return self.columns.values()[self.start : self.stop]
        values = self.view.values()
        return values if self.start == 0 and self.stop == len(values) else self._cut(values)

    def records(self) -> Iterator[ConsumerRecord]:
        """Return an iterator that makes the records as it goes; nothing runs in Python per record."""
        view = self.view
        if self.columns is None and view.has_values_only:
            return self._plain_records(view)
        columns = self.columns or view
        cut = self._cut
        raw_values, raw_keys, headers = columns.values(), columns.keys(), columns.headers()
        raw_values = cut(raw_values)
        values = raw_values if self._values is None else self._values
        if raw_keys is not None:
            raw_keys = cut(raw_keys)
        keys = raw_keys if self._keys is None else self._keys
        topic, number = self.topic_partition
        return cast(
            "Iterator[ConsumerRecord]",
            map(
                _make_record,
                zip(
                    repeat(topic),
                    repeat(number),
                    self.offsets,
                    cut(columns.timestamps_ms()),
                    repeat(view.timestamp_type),
                    repeat(None) if keys is None else keys,
                    values,
                    repeat(()) if headers is None else cut(headers),
                    repeat(view.leader_epoch),
                    repeat(-1) if raw_keys is None else _sizes(raw_keys),
                    _sizes(raw_values),
                ),
            ),
        )

    def _plain_records(self, view: BatchView) -> Iterator[ConsumerRecord]:
        """As `records` for a batch without keys, headers and timestamps of their own."""
        values = self._cut(view.values())
        topic, number = self.topic_partition
        return cast(
            "Iterator[ConsumerRecord]",
            map(
                _make_record,
                zip(
                    repeat(topic),
                    repeat(number),
                    self.offsets,
                    repeat(view.common_timestamp_ms),
                    repeat(view.timestamp_type),
                    repeat(None),
                    values,
                    repeat(()),
                    repeat(view.leader_epoch),
                    repeat(-1),
                    _sizes(values),
                ),
            ),
        )

    def _cut(self, column: list[Any]) -> list[Any]:
        """Return the part of *column* that belongs to these records; *column* itself when it is all."""
        if self.start == 0 and self.stop == len(column):
            return column
        return column[self.start : self.stop]

    # ---- deserializers

    def deserialize(
        self, key_deserializer: Deserializer | None, value_deserializer: Deserializer | None
    ) -> RecordDecodeError | None:
        """Decode keys and values now; return what is wrong with the first record that cannot be.

        The slice then ends before that record, and may be empty.
        """
        columns = self.columns
        if columns is None:
            columns = self.columns = DecodedColumns(self.view)
        values, keys = self._cut(columns.values()), columns.keys()
        if keys is not None:
            keys = self._cut(keys)
        try:
            if value_deserializer is not None:
                self._values = list(map(value_deserializer, values))
            if key_deserializer is not None and keys is not None:
                self._keys = list(map(key_deserializer, keys))
        except RecordDecodeError:
            return self._cut_before_bad_record(keys, values, key_deserializer, value_deserializer)
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
                found = self._at(index, error)
                self.stop = self.start + index
                self.next_offset = cast("int", found.offset)
                break
        count = len(self)
        self._values = good_values[:count] if value_deserializer is not None else None
        has_keys = key_deserializer is not None and keys is not None
        self._keys = good_keys[:count] if has_keys else None
        return found

    def _at(self, index: int, error: RecordDecodeError) -> RecordDecodeError:
        offset = self.offsets[index]
        located = RecordDecodeError(
            f"{self.topic_partition} at offset {offset}: {error}; seek past it to go on",
            topic_partition=self.topic_partition,
            offset=offset,
            origin=error.origin,
        )
        located.__cause__ = error.__cause__ or error
        return located


def _sizes(column: list[bytes | None]) -> Iterator[int]:
    """Return the length of each element, -1 for null."""
    if None in column:
        return iter([-1 if part is None else len(part) for part in column])
    return map(len, cast("list[bytes]", column))
