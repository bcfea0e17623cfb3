"""Records between the log and the user: whole batches, cut into runs, decoded column by column."""

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


class FetchedBatch:
    """A batch with the columns that were asked for so far.

    A batch is often returned by several polls in parts; every column is decoded once for all of them.
    """

    __slots__ = ("_headers", "_keys", "_timestamps_ms", "_values", "topic_partition", "view")

    def __init__(self, topic_partition: TopicPartition, view: BatchView) -> None:
        self.topic_partition = topic_partition
        self.view = view
        self._values: list[bytes | None] | None = None
        # False: not decoded yet, since None already means that the column is absent.
        self._keys: list[bytes | None] | bool | None = False
        self._headers: list[Headers] | bool | None = False
        self._timestamps_ms: list[int] | None = None

    def values(self) -> list[bytes | None]:
        """Return the values of all records. The caller does not change the list."""
        values = self._values
        if values is None:
            values = self._values = self.view.values()
        return values

    def keys(self) -> list[bytes | None] | None:
        """Return the keys of all records, None when every key is null."""
        if self._keys is False:
            self._keys = self.view.keys()
        return cast("list[bytes | None] | None", self._keys)

    def headers(self) -> list[Headers] | None:
        """Return the headers of all records, None when no record has any."""
        if self._headers is False:
            self._headers = self.view.headers()
        return cast("list[Headers] | None", self._headers)

    def timestamps_ms(self) -> list[int]:
        """Return the timestamps of all records."""
        timestamps_ms = self._timestamps_ms
        if timestamps_ms is None:
            timestamps_ms = self._timestamps_ms = self.view.timestamps_ms()
        return timestamps_ms


class RecordSlice:
    """Consecutive records of one batch, as returned by one poll. Immutable once poll has returned."""

    __slots__ = ("_keys", "_values", "batch", "next_offset", "start", "stop")

    def __init__(self, batch: FetchedBatch, start: int, stop: int, next_offset: int) -> None:
        self.batch = batch
        self.start = start
        self.stop = stop
        """The records at positions start .. stop - 1 of the batch."""
        self.next_offset = next_offset
        """Where to read on after these: past the end of the batch when they are its last (LOG-8)."""
        self._values: list[Any] | None = None
        self._keys: list[Any] | None = None

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def offsets(self) -> Sequence[int]:
        """The offset of each record."""
        return self.batch.view.offsets()[self.start : self.stop]

    def deserialize(
        self, key_deserializer: Deserializer | None, value_deserializer: Deserializer | None
    ) -> RecordDecodeError | None:
        """Decode keys and values now; return what is wrong with the first record that cannot be.

        The slice then ends before that record, and may be empty.
        """
        keys, values = self._raw_keys(), self._raw_values()
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
                key = keys[index] if keys is not None else None
                if key_deserializer is not None:
                    key = key_deserializer(key)
                if value_deserializer is not None:
                    value = value_deserializer(value)
            except RecordDecodeError as error:
                found = self._at(index, error)
                break
            good_keys.append(key)
            good_values.append(value)
        if found is not None:
            self.stop = self.start + len(good_values)
            self.next_offset = cast("int", found.offset)
        if value_deserializer is not None:
            self._values = good_values
        if key_deserializer is not None and keys is not None:
            self._keys = good_keys
        return found

    def _at(self, index: int, error: RecordDecodeError) -> RecordDecodeError:
        topic_partition, offset = self.batch.topic_partition, self.offsets[index]
        located = RecordDecodeError(
            f"{topic_partition} at offset {offset}: {error}; seek past it to go on",
            topic_partition=topic_partition,
            offset=offset,
            origin=error.origin,
        )
        located.__cause__ = error.__cause__ or error
        return located

    def extend_values(self, values: list[Any]) -> None:
        """Append the values of these records to *values*."""
        own = self._values
        if own is None:
            own = self.batch.values()
            if self.stop - self.start != len(own):
                own = own[self.start : self.stop]
        values += own

    def records(self) -> Iterator[ConsumerRecord]:
        """Return an iterator that makes the records as it goes; nothing runs in Python per record."""
        batch, start, stop = self.batch, self.start, self.stop
        view = batch.view
        raw_keys, raw_values = self._raw_keys(), self._raw_values()
        keys = raw_keys if self._keys is None else self._keys
        values = raw_values if self._values is None else self._values
        headers = batch.headers()
        topic, number = batch.topic_partition
        return cast(
            "Iterator[ConsumerRecord]",
            map(
                _make_record,
                zip(
                    repeat(topic),
                    repeat(number),
                    self.offsets,
                    batch.timestamps_ms()[start:stop],
                    repeat(view.timestamp_type),
                    repeat(None) if keys is None else keys,
                    values,
                    repeat(()) if headers is None else headers[start:stop],
                    repeat(view.leader_epoch),
                    repeat(-1) if raw_keys is None else _sizes(raw_keys),
                    _sizes(raw_values),
                ),
            ),
        )

    def _raw_values(self) -> list[bytes | None]:
        values = self.batch.values()
        if self.stop - self.start == len(values):
            return values
        return values[self.start : self.stop]

    def _raw_keys(self) -> list[bytes | None] | None:
        keys = self.batch.keys()
        if keys is None or self.stop - self.start == len(keys):
            return keys
        return keys[self.start : self.stop]


def _sizes(column: list[bytes | None]) -> Iterator[int]:
    """Return the length of each element, -1 for null."""
    if None in column:
        return iter([-1 if part is None else len(part) for part in column])
    return map(len, cast("list[bytes]", column))
