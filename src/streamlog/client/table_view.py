"""A topic as a mapping: the newest value of each key, always up to date."""

from __future__ import annotations

import copy
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from streamlog.client.argument_checks import check_broker, check_callback, check_timeout
from streamlog.client.table_changes import ChangeCallback, ChangeFeed, ChangeListener
from streamlog.client.table_contents import TableContents
from streamlog.config import ConsumerConfig
from streamlog.errors import (
    ClosedError,
    CorruptLogError,
    ForkedError,
    IllegalStateError,
    OffsetOutOfRangeError,
    RecordDecodeError,
    StreamlogError,
    StreamlogTimeoutError,
    UnknownTopicOrPartitionError,
)
from streamlog.record.serialization import resolve_deserializer
from streamlog.runtime import RLock, Signal, on_fork_in_child
from streamlog.structs import Isolation, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from streamlog.broker.broker import Broker
    from streamlog.broker.partition import Partition
    from streamlog.broker.topic import Topic
    from streamlog.client.table_contents import PartitionPosition, RecordChange, Value
    from streamlog.config.options import HasDeserialize, SerdeName

_Default = TypeVar("_Default")


class TableView(Mapping[Any, Any]):
    """The newest value of each key of a topic, as a read-only mapping that follows the topic.

    >>> from streamlog import Broker, Producer, TableView
    >>> with Broker() as broker, Producer(broker) as producer:
    ...     _ = broker.create_topic("prices")
    ...     view = TableView(broker, "prices", key_deserializer="str", value_deserializer="int")
    ...     _ = producer.send("prices", (5).to_bytes(8, "big"), key=b"apple").result()
    ...     dict(view)
    {'apple': 5}

    * look up: ``view[key]``, `get`, ``key in view``, ``len(view)``
    * all of it at one moment: `snapshot`, `items`, `keys`, `values`, iteration
    * notice: `on_change`; `wait_until_caught_up`
    * `skip` what cannot be read; `close`

    Each call first applies what is new in the topic, so it sees every record whose send has returned,
    in whatever thread; nothing runs behind the scenes unless `on_change` asks for it. When nothing is
    new that costs one look at a flag. The first call reads the topic from its start: in a compacted
    topic, time in proportion to its keys.

    A record with a null value removes its key. One without a key is left out, and counted in
    `skipped_records`: a compacted topic refuses it (REC-7). Keys are what *key_deserializer* makes of
    their bytes, and must be hashable; it should make different keys of different bytes. Values are kept
    as bytes and deserialized at each look-up, so whoever gets one may change it. Deserializers as for
    `Consumer`. A key belongs to one partition, as every producer's default partitioner has it; where
    it is in several, the record applied last counts, and between partitions there is no order.

    *isolation_level* is ``"read_committed"`` unless told otherwise: what a transaction wrote counts once
    it is committed, and never when it is aborted. That is also what compaction keeps (CMP-4): under
    ``"read_uncommitted"`` an aborted value would count until compaction has removed it.

    What a topic no longer has, the view keeps until the topic has it no more from the start: values
    stay when retention deletes their records, and are gone from a view opened later. A view that was
    left behind by the log start reads the topic anew, as does one that nobody looked at for
    ``delete_retention_ms`` if there are new records and compaction has been (CMP-9). So does one whose topic was deleted and created
    again; in between, calls raise `UnknownTopicOrPartitionError`, as does opening a view of no topic.
    Partitions that are added are followed.

    Raises `CorruptLogError` for damage and `RecordDecodeError` for a key that cannot be deserialized,
    at each call, for without that record nobody knows what is right; `skip` goes on without it.
    Threads: any. After `close`, or that of the broker, every call raises `ClosedError`; in the child of
    a fork `ForkedError`. Source: Kafka Streams ``GlobalKTable``, ``ReadOnlyKeyValueStore``.
    """

    def __init__(
        self,
        broker: Broker,
        topic: str,
        *,
        key_deserializer: SerdeName | Callable[[bytes], Any] | HasDeserialize | None = None,
        value_deserializer: SerdeName | Callable[[bytes], Any] | HasDeserialize | None = None,
        isolation_level: Isolation
        | Literal["read_uncommitted", "read_committed"] = "read_committed",
    ) -> None:
        check_broker("TableView", broker)
        if not isinstance(topic, str):
            raise TypeError(f"TableView: topic: expected a str, found {topic!r:.80}")
        config = ConsumerConfig.from_options(
            None,
            key_deserializer=key_deserializer,
            value_deserializer=value_deserializer,
            isolation_level=isolation_level,
        )
        self.topic: str = topic
        """The topic's name."""
        self.isolation_level: Isolation = config.isolation_level
        """Whether records of open and aborted transactions count."""
        self._broker = broker
        self._decode_key = resolve_deserializer(config.key_deserializer, topic, "key")
        self._decode_value = resolve_deserializer(config.value_deserializer, topic, "value")
        self._refusal: StreamlogError | None = None
        self._lock = RLock()
        self._feed = ChangeFeed(broker.scheduler, self._catch_up, self._decode_value)
        self._news = _News(self._feed)
        self._has_news = self._news.is_set
        # Down while records are being applied, too: who looks up meanwhile has to wait for them.
        self._is_current = False
        self._topic_epoch = broker.topic_epoch
        self._topic: Topic | None = broker.topic(topic)
        self._contents = self._empty_contents(self._topic.partitions)
        broker.add_topic_listener(self._news)
        broker.register_client(self)
        on_fork_in_child(self)

    def __repr__(self) -> str:
        state = "" if self._refusal is None else ", closed"
        return f"<TableView of {self.topic!r}, {len(self._contents.table)} keys{state}>"

    # ---- look up

    def __getitem__(self, key: Any) -> Any:
        """Return the value of *key*. Raises KeyError, and `RecordDecodeError` for a value that cannot be
        deserialized.
        """
        if self._has_news() or not self._is_current:
            self._catch_up()
        value = self._contents.table.get(key)
        if value is None:
            self._check_open()  # closed by another thread after the look above
            raise KeyError(key)
        return value if self._decode_value is None else self._decoded(key, value)

    @overload
    def get(self, key: Any, /) -> Any | None: ...
    @overload
    def get(self, key: Any, /, default: _Default) -> Any | _Default: ...
    def get(self, key: Any, default: Any = None) -> Any:
        """Return the value of *key*, *default* when there is none. Raises as look-up does."""
        if self._has_news() or not self._is_current:
            self._catch_up()
        value = self._contents.table.get(key)
        if value is None:
            self._check_open()  # closed by another thread after the look above
            return default
        return value if self._decode_value is None else self._decoded(key, value)

    def __contains__(self, key: object) -> bool:
        """Return whether *key* has a value."""
        if self._has_news() or not self._is_current:
            self._catch_up()
        if self._contents.table.get(key) is not None:
            return True
        self._check_open()  # closed by another thread after the look above
        return False

    def __len__(self) -> int:
        """Return how many keys there are."""
        with self._lock:
            self._catch_up()
            return len(self._contents.table)

    def snapshot(self) -> dict[Any, Any]:
        """Return all keys and values as they are now, in a dict of the caller's own."""
        table = self._copy()
        if self._decode_value is None:
            return table
        return {key: self._decoded(key, value) for key, value in table.items()}

    def __iter__(self) -> Iterator[Any]:
        """Return an iterator over the keys there are now; what comes meanwhile does not disturb it."""
        return iter(self._copy())

    def keys(self) -> KeysView[Any]:
        """Return the keys as they are now. Unlike that of a dict, the view does not change."""
        return self._copy().keys()

    def values(self) -> ValuesView[Any]:
        """Return the values as they are now."""
        return self.snapshot().values()

    def items(self) -> ItemsView[Any, Any]:
        """Return the keys and values as they are now."""
        return self.snapshot().items()

    @property
    def skipped_records(self) -> int:
        """Records without a key that were left out since the topic was last read from its start."""
        return self._contents.skipped_records

    # ---- notice

    def on_change(self, callback: ChangeCallback) -> ChangeListener:
        """Call ``callback(key, old, new)`` after each change from now on, until the handle is closed.

        None stands for no value. Called by the timers of the broker, in its maintenance thread (under a
        `VirtualClock`, when time moves), as soon as records come in, whether or not anybody looks
        anything up; one call at a time, in the order of each partition's records. A record that sets
        the value there is already, or removes what is not there, changes nothing. After the topic was
        read anew, the differences are told. What a callback raises is logged (logger ``streamlog``) and
        stops nothing. It may use the view, which by then may be further on; a slow one delays the
        broker's retention and background sync, and changes wait in memory meanwhile.

        Raises TypeError for what cannot be called, and as a look-up does.
        """
        if callback is None:
            raise TypeError("on_change: callback: expected a callable, found None")
        check_callback("on_change", "callback", callback)
        with self._lock:
            self._catch_up()
            return self._feed.add(callback)

    def wait_until_caught_up(self, timeout_ms: float | None = None) -> None:
        """Return once everything that was in the topic at the call is applied, and told to the callbacks.

        Any call applies what is visible; this one waits besides for the transactions that are open now
        to end, and, unless a callback calls it, for the callbacks. None waits without a limit. Raises `StreamlogTimeoutError` after *timeout_ms*, and as a
        look-up does.
        """
        if timeout_ms is not None:
            check_timeout("wait_until_caught_up", timeout_ms)
        self._catch_up()
        signal = Signal()
        partitions = [position.partition for position in self._contents.positions]
        targets = {partition: partition.high_watermark for partition in partitions}

        count = -1

        def is_done() -> bool:
            nonlocal count
            self._catch_up()
            if count < 0:
                for position in self._contents.positions:
                    if position.offset < targets.get(position.partition, 0):
                        return False
                count = self._feed.count
            return self._feed.has_told(count)

        with self._lock:
            self._feed.waiting = (*self._feed.waiting, signal)
        for partition in partitions:
            partition.add_waiter(signal)
        try:
            if not self._broker.runtime.clock.wait_until(is_done, signal, timeout_ms):
                raise StreamlogTimeoutError(
                    f"topic {self.topic!r}: not caught up after {timeout_ms:.0f} ms: "
                    + ("a transaction has not ended" if count < 0 else "a callback is still busy")
                )
        finally:
            for partition in partitions:
                partition.remove_waiter(signal)
            with self._lock:
                self._feed.waiting = tuple(one for one in self._feed.waiting if one is not signal)

    def skip(self, error: StreamlogError) -> None:
        """Go on behind what *error*, raised by an earlier call, could not read: keys keep the value they
        had before, until it is set again.

        A `RecordDecodeError` skips the record, or the batch if that is what cannot be read; a
        `CorruptLogError` the damaged range. Raises `IllegalStateError` for an error that is not this
        view's, or behind which nothing can be read (yet).
        """
        with self._lock:
            self._check_open()
            place = getattr(error, "topic_partition", None)
            position = _position_at(place, self._contents.positions)
            if position is not None:
                position.offset = max(position.offset, _next_offset(error, position.partition))
                # However long ago that was: reading the topic anew would only come here again.
                self._contents.applied_ms = None
                return
        raise IllegalStateError(
            f"skip: expected an error about a partition of topic {self.topic!r}, found {error!r:.200}"
        )

    # ---- end

    @property
    def closed(self) -> bool:
        """Whether the view can no longer be used here."""
        return self._refusal is not None

    def close(self) -> None:
        """Forget the contents and call no callback any more. Closing again changes nothing."""
        with self._lock:
            if self._refusal is not None:
                return
            self._refusal = ClosedError(f"TableView of {self.topic!r} is closed")
            self._is_current = False
            self._detach()
            self._contents = self._empty_contents(())
        self._feed.close()
        for signal in self._feed.waiting:
            signal.set()
        self._broker.remove_topic_listener(self._news)
        self._broker.unregister_client(self)

    def __enter__(self) -> TableView:
        self._check_open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # ---- how it is done

    def _copy(self) -> dict[Any, Value]:
        with self._lock:
            self._catch_up()
            return self._contents.table.copy()

    def _decoded(self, key: Any, value: Value) -> Any:
        assert self._decode_value is not None
        try:
            return self._decode_value(value)
        except RecordDecodeError as error:
            raise RecordDecodeError(f"key {key!r:.100}: {error}", origin="value") from error

    def _catch_up(self) -> None:
        """Apply what is new. Whoever comes meanwhile waits until it is done."""
        with self._lock:
            self._check_open()
            if self._is_current and not self._has_news():
                return
            self._is_current = False  # stays so when anything below raises
            # Before looking: an append from here on raises it again.
            self._news.clear()
            if self._topic is None or self._broker.topic_epoch != self._topic_epoch:
                self._follow_topic()
            try:
                self._contents.apply(self._change_recorder())
            except OffsetOutOfRangeError:
                self._read_anew()
            self._is_current = True

    def _follow_topic(self) -> None:
        """Find out what became of the topic: deleted, made anew, grown. Raises
        `UnknownTopicOrPartitionError` while there is none.
        """
        epoch = (
            self._broker.topic_epoch
        )  # before the look, so that a change meanwhile is seen as one
        try:
            topic = self._broker.topic(self.topic)
        except UnknownTopicOrPartitionError:
            self._replace_contents(self._empty_contents(()))
            self._topic = None
            raise
        if topic is not self._topic:
            self._replace_contents(self._empty_contents(topic.partitions))
            self._topic = topic
        for partition in topic.partitions[len(self._contents.positions) :]:
            partition.add_waiter(self._news)
            self._contents.add(partition)
        self._topic_epoch = epoch

    def _read_anew(self) -> None:
        """Read the topic from its start: records were deleted that were not applied yet, or tombstones
        compacted away, and nobody knows which keys they set or removed.
        """
        assert self._topic is not None
        fresh = self._empty_contents(self._topic.partitions)
        while True:
            try:
                fresh.apply(None)
                break
            except OffsetOutOfRangeError:  # once more
                fresh = self._empty_contents(self._topic.partitions)
            except (CorruptLogError, RecordDecodeError):
                self._replace_contents(fresh)  # so that it can be skipped
                raise
        self._replace_contents(fresh)

    def _empty_contents(self, partitions: list[Partition] | tuple[Partition, ...]) -> TableContents:
        for partition in partitions:
            partition.remove_waiter(self._news)
            partition.add_waiter(self._news)
        return TableContents(
            partitions, self.isolation_level, self._decode_key, self._broker.runtime.clock
        )

    def _replace_contents(self, fresh: TableContents) -> None:
        record_change = self._change_recorder()
        if record_change is not None:  # first: after Ctrl-C in between it is told once more
            before, after = self._contents.table, fresh.table
            for key, value in before.items():
                if after.get(key) != value:
                    record_change(key, value, after.get(key))
            for key, value in after.items():
                if key not in before:
                    record_change(key, None, value)
        self._contents = fresh

    def _change_recorder(self) -> RecordChange | None:
        return self._feed.put if self._feed.is_wanted else None

    def _detach(self) -> None:
        for position in self._contents.positions:
            position.partition.remove_waiter(self._news)

    def _check_open(self) -> None:
        if self._refusal is not None:
            raise copy.copy(self._refusal)

    def _forked(self) -> None:
        self._lock = RLock()
        self._is_current = False
        self._refusal = ForkedError(
            f"TableView of {self.topic!r} was made before a fork and belongs to the parent process: make one "
            "in the process that uses it"
        )


class _News(Signal):
    """Raised by partitions with new records, and by the broker when topics change."""

    __slots__ = ("_feed",)

    def __init__(self, feed: ChangeFeed) -> None:
        super().__init__()
        self._feed = feed

    def set(self) -> None:
        """Raise the flag, and have those who wait for changes told of them."""
        super().set()
        self._feed.arm()


def _next_offset(error: StreamlogError, partition: Partition) -> int:
    """Return where reading goes on behind *error*."""
    offset: int | None = getattr(error, "next_good_offset", None)
    if offset is None and isinstance(error, RecordDecodeError) and error.offset is not None:
        offset = error.offset + 1
        if error.origin is None:  # the batch, not one record's key
            offset = partition.read_batches(error.offset, 1, partition.high_watermark)[
                0
            ].next_offset
    if offset is None:
        raise IllegalStateError(f"skip: nothing can be read behind it: {error}")
    return offset


def _position_at(
    place: TopicPartition | None, positions: Iterable[PartitionPosition]
) -> PartitionPosition | None:
    for position in positions:
        if place is not None and position.partition.topic_partition == place:
            return position
    return None
