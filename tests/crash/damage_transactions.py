"""Transactions for the damage tests: two topics' worth of them, committed, aborted, left open and half decided, and the truth about them.

What becomes of a record is written in it: it begins with ``kept`` or with ``gone``. Markers take offsets, and recovery adds some, so
these partitions are judged by what readers are shown (``damage_committed.py``) and not by where their logs end.
"""

from __future__ import annotations

import random

import attrs

from streamlog import Broker, TopicPartition
from streamlog.broker.offsets_topic import OFFSETS_TOPIC
from streamlog.broker.topic_name import TRANSACTION_STATE_TOPIC
from streamlog.record import build_batch, split_batches
from streamlog.record.producer_stamp import ProducerStamp
from streamlog.structs import OffsetAndMetadata
from tests.support.transaction_writer import Writer, new_writer

TOPIC = "ledger"
LEDGERS = (TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1))

#: Its home is not that of the damage tests' other group, whose log holds no transactions.
GROUP = "shipping"
OFFSETS_HOME = TopicPartition(OFFSETS_TOPIC, 0)
STATE_HOME = TopicPartition(TRANSACTION_STATE_TOPIC, 0)
PARTITIONS = (*LEDGERS, OFFSETS_HOME, STATE_HOME)
TRANSACTIONAL_IDS = ("alpha", "beta", "gamma")

KEPT, GONE = b"kept", b"gone"

#: What a transaction that was aborted would have committed, and more.
GONE_OFFSET = 9000


@attrs.frozen
class Sent:
    """The last batch of an idempotent producer."""

    topic_partition: TopicPartition
    producer_id: int
    base_sequence: int
    value: bytes
    offset: int


@attrs.define
class Transactions:
    """Everything that producers with an id wrote, and what of it counts."""

    #: Values by partition and offset, without markers.
    values: dict[TopicPartition, dict[int, bytes]] = attrs.Factory(dict)
    sent: dict[TopicPartition, Sent] = attrs.Factory(dict)
    #: What the group committed, in order.
    offsets: list[int] = attrs.Factory(list)
    #: Offsets in the second partition whose transaction is committed by its decision alone: the marker is missing.
    decided: set[int] = attrs.Factory(set)

    def kept(self, tp: TopicPartition) -> list[int]:
        """The offsets that readers of committed records must be shown, in order."""
        return [offset for offset, value in self.values[tp].items() if value.startswith(KEPT)]


class TransactionalWork:
    """Writes transactions to a broker and keeps the books."""

    def __init__(self, broker: Broker, rng: random.Random) -> None:
        self._broker = broker
        self._rng = rng
        self.truth = Transactions(values={tp: {} for tp in LEDGERS})
        self._stamps = {
            tp: ProducerStamp(broker.new_producer_id(), 0, is_transactional=False) for tp in LEDGERS
        }
        self._alpha, self._beta, self._gamma = (new_writer(broker, i) for i in TRANSACTIONAL_IDS)
        self._round = 0

    def rounds(self, count: int) -> None:
        """Two transactions at a time, interleaved with each other and with records of none."""
        for _ in range(count):
            number = self._round = self._round + 1
            first, second = number % 3 != 2, number % 2 == 0
            self._write(self._beta, second, 0)
            for ledger in (0, 0, 1):
                self._write(self._alpha, first, ledger)
            self._write(self._beta, second, 1)
            self._send(number)
            self.commit_offset(self._alpha, number if first else GONE_OFFSET + number)
            if first:
                self.truth.offsets.append(number)
            self._alpha.end(commit=first)
            self._write(self._beta, second, number % 2)
            self._beta.end(commit=second)
            self._broker.runtime.clock.advance(10)

    def leave_open(self) -> None:
        """Leave one transaction open, and write the last marker of another one behind everything else."""
        for ledger in (0, 1):
            self._write(self._gamma, False, ledger)
        self.commit_offset(self._gamma, GONE_OFFSET)
        for ledger in (0, 1):
            offset = self._write(self._beta, True, ledger)
        self.truth.decided.add(offset)
        self._beta.end(commit=True)

    def commit_offset(self, writer: Writer, offset: int) -> None:
        self._broker.group_coordinator.commit_transactional_offsets(
            GROUP, "", -1, None, *writer.producer, {LEDGERS[0]: OffsetAndMetadata(offset)}
        )

    def _write(self, writer: Writer, kept: bool, ledger: int) -> int:
        value = self._value(kept)
        offset = writer.write(TOPIC, ledger, value)
        self.truth.values[LEDGERS[ledger]][offset] = value
        return offset

    def _send(self, number: int) -> None:
        """Append what belongs to no transaction: with a sequence, and without."""
        for tp, stamp in self._stamps.items():
            value, sequence = self._value(True), stamp.next_sequence
            batch = build_batch([value], self._broker.runtime.clock.time_ms())
            batch.stamp = stamp
            offset = self._broker.partition(*tp).append(batch)
            self.truth.values[tp][offset] = value
            self.truth.sent[tp] = Sent(tp, stamp.producer_id, sequence, value, offset)
        plain = LEDGERS[number % 2]
        value = self._value(True)
        offset = self._broker.partition(*plain).append_value(
            value, self._broker.runtime.clock.time_ms()
        )
        self.truth.values[plain][offset] = value

    def _value(self, kept: bool) -> bytes:
        return (KEPT if kept else GONE) + self._rng.randbytes(self._rng.randint(1, 60))


def without_last_batch(log: bytes) -> bytes:
    """Return *log*, with room behind its end, as it was before its last batch was written: only a marker may be lost this way."""
    end = len(log.rstrip(b"\0"))
    batches = split_batches(log[: end + -end % 8])
    last = batches[-1]
    assert last.is_control
    position = sum(batch.header.aligned_size for batch in batches[:-1])
    return log[:position] + bytes(len(log) - position)
