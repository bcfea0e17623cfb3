"""A transactional producer in another process, with the methods of `Producer` that `World` calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from streamlog import Broker, Durability, OffsetAndMetadata, TopicPartition
from streamlog.errors import ConcurrentTransactionsError, StreamlogError
from streamlog.structs import ConsumerGroupMetadata
from tests.support.announcing_writer import AnnouncingWriter

_ATTEMPTS = 3


class Stored(NamedTuple):
    """Where records went: a future and its result in one."""

    offset: int
    durability: Durability

    def result(self, timeout: float | None = None) -> Stored:
        """Return itself: it is there."""
        return self


class AnnouncingProducer:
    """Waits for nothing: what it asks for is done when a method returns."""

    def __init__(self, broker: Broker, transactional_id: str, transaction_timeout_ms: int) -> None:
        self._broker = broker
        self._transactional_id = transactional_id
        self._timeout_ms = transaction_timeout_ms
        self._writer: AnnouncingWriter

    def init_transactions(self) -> None:
        """Take the id; the first answer is to come again where a transaction was open (TXN-3)."""
        coordinator = self._broker.transaction_coordinator
        for attempt in range(_ATTEMPTS):
            try:
                producer = coordinator.init_producer_id(
                    self._transactional_id, self._timeout_ms, announces=True
                )
                break
            except ConcurrentTransactionsError:
                if attempt == _ATTEMPTS - 1:
                    raise
        self._writer = AnnouncingWriter(self._broker, self._transactional_id, producer)

    def begin_transaction(self) -> None:
        """Nobody is told before something is sent."""
        self._writer.is_open = False

    def send(self, topic: str, value: bytes, partition: int) -> Stored:
        """Append one record."""
        return self.send_many(topic, [value], partition)

    def send_many(self, topic: str, values: list[bytes], partition: int) -> Stored:
        """Append records as one batch."""
        place = TopicPartition(topic, partition)
        self._writer.is_open = True  # whatever comes of it
        self._writer.announce(place)
        offset = self._writer.append(place, *values)
        durability = self._broker.partition(*place).ack_durability()
        return Stored(offset + len(values) - 1, durability)

    def send_offsets_to_transaction(
        self, offsets: Mapping[TopicPartition, OffsetAndMetadata], group: ConsumerGroupMetadata
    ) -> None:
        """Make offsets of the group part of the transaction."""
        self._writer.is_open = True
        self._writer.send_offsets(group.group_id, offsets)

    def commit_transaction(self) -> None:
        """End the transaction, if anybody knows of it."""
        self._end(commit=True)

    def abort_transaction(self) -> None:
        """As `commit_transaction`, but nothing of it counts."""
        self._end(commit=False)

    def _end(self, *, commit: bool) -> None:
        if self._writer.is_open:
            self._writer.end(commit=commit)

    def close(self, *_: Any) -> None:
        """Abort what is open."""
        try:
            self.abort_transaction()
        except StreamlogError:
            pass  # fenced: somebody else has done that
