"""Requests to the coordinators, again while they are busy."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from streamlog.client.transaction_requests import TransactionRequests
from streamlog.config import ProducerConfig
from streamlog.errors import (
    ConcurrentTransactionsError,
    ProducerFencedError,
    StreamlogTimeoutError,
    UnknownTopicOrPartitionError,
)
from streamlog.runtime import VirtualClock
from streamlog.structs import (
    ConsumerGroupMetadata,
    OffsetAndMetadata,
    ProducerIdAndEpoch,
    TopicPartition,
)

IDENTITY = ProducerIdAndEpoch(7, 1)


class Busy:
    """A coordinator that raises what it was given, every time."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.times_ms: list[float] = []
        self.clock = VirtualClock()

    def init_producer_id(
        self,
        transactional_id: str,
        transaction_timeout_ms: int,
        expected: ProducerIdAndEpoch | None = None,
    ) -> ProducerIdAndEpoch:
        raise self._failure()

    def end_transaction(
        self, transactional_id: str, producer_id: int, producer_epoch: int, commit: bool
    ) -> ProducerIdAndEpoch:
        raise self._failure()

    def commit_transactional_offsets(
        self,
        group_id: str,
        member_id: str,
        member_epoch: int,
        instance_id: str | None,
        producer_id: int,
        producer_epoch: int,
        offsets: Mapping[TopicPartition, OffsetAndMetadata],
    ) -> None:
        raise self._failure()

    def _failure(self) -> Exception:
        self.times_ms.append(self.clock.monotonic_ms())
        return self.error

    def requests(self) -> TransactionRequests:
        config = ProducerConfig(retry_backoff_ms=100, retry_backoff_max_ms=300)
        return TransactionRequests("t", 60_000, config, self.clock, lambda: self, lambda: self)


def test_a_busy_coordinator_is_asked_with_growing_pauses_until_the_deadline() -> None:
    """TXN-3: CONCURRENT_TRANSACTIONS is retriable; PRD-1: the pauses are those of retries."""
    busy = Busy(ConcurrentTransactionsError("preparing"))
    start_ms = busy.clock.monotonic_ms()
    with pytest.raises(StreamlogTimeoutError, match="commit_transaction of 't'") as caught:
        busy.requests().end("commit_transaction", IDENTITY, True, start_ms + 1000)
    assert caught.value.__cause__ is busy.error
    assert [time_ms - start_ms for time_ms in busy.times_ms] == [0, 100, 300, 600, 900, 1000]


def test_a_deadline_that_has_passed_still_allows_one_attempt() -> None:
    busy = Busy(ConcurrentTransactionsError("preparing"))
    with pytest.raises(StreamlogTimeoutError):
        busy.requests().init("init_transactions", None, busy.clock.monotonic_ms() - 1)
    assert len(busy.times_ms) == 1


@pytest.mark.parametrize(
    "error",
    [ProducerFencedError("newer"), UnknownTopicOrPartitionError("deleted"), OSError("disk")],
)
def test_an_error_that_time_does_not_mend_comes_out_at_once(error: Exception) -> None:
    busy = Busy(error)
    offsets = {TopicPartition("input", 0): OffsetAndMetadata(1)}
    with pytest.raises(type(error)) as caught:
        busy.requests().commit_offsets(
            "send_offsets_to_transaction",
            IDENTITY,
            ConsumerGroupMetadata("readers"),
            offsets,
            busy.clock.monotonic_ms() + 1000,
        )
    assert caught.value is error
    assert len(busy.times_ms) == 1
