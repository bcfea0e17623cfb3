"""What a fetch that waits for many bytes counts, and how often it reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.broker.partition import Partition
from streamlog.client.producer import Producer
from streamlog.structs import Isolation
from streamlog.wire.encoded_batches import Allowance, EncodedBatches, TakesLongError
from streamlog.wire.handlers.fetch_progress import FetchProgress
from tests.support.eventually import eventually
from tests.support.wire import RawClient

A_MINUTE_MS = 60_000
#: A batch with one value of 20 bytes, and one of 500.
SMALL, LARGE = 88, 570


@pytest.fixture
def partition(broker: Broker) -> Partition:
    return broker.partition("t", 0)


@pytest.fixture
def other(broker: Broker) -> Partition:
    return broker.partition("t", 1)


@pytest.fixture
def progress() -> FetchProgress:
    return FetchProgress(Isolation.READ_UNCOMMITTED, EncodedBatches())


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many batches each read of a partition returned."""
    counts: list[int] = []
    read_batches = Partition.read_batches

    def counted(self: Partition, *arguments: Any) -> Any:
        found = read_batches(self, *arguments)
        counts.append(len(found))
        return found

    monkeypatch.setattr(Partition, "read_batches", counted)
    return counts


def append(partition: Partition, *sizes: int) -> None:
    for size in sizes:
        partition.append_value(b"x" * {SMALL: 20, LARGE: 500}[size], 0)


def test_each_batch_is_read_once(
    partition: Partition, other: Partition, progress: FetchProgress, reads: list[int]
) -> None:
    progress.begin(partition, 0, 1 << 20)
    progress.begin(other, 0, 1 << 20)
    for number in range(1, 21):
        append(partition, SMALL)
        assert progress.reaches(20 * SMALL, None) == (number == 20)
        assert progress.size_bytes == number * SMALL
    assert reads == [1] * 20


def test_what_the_caller_has_counted_is_not_read_again(
    partition: Partition, progress: FetchProgress, reads: list[int]
) -> None:
    append(partition, SMALL, SMALL)
    progress.begin(partition, 0, 1 << 20).add(SMALL, 1)
    assert progress.reaches(2 * SMALL, None)
    assert reads == [1]


@pytest.mark.parametrize("limit_bytes", [LARGE + 1, LARGE + SMALL - 1, LARGE + SMALL])
def test_batch_that_does_not_fit_counts_with_the_part_that_would(
    partition: Partition, progress: FetchProgress, limit_bytes: int
) -> None:
    """Kafka's `DelayedFetch` counts so: a partition that is full is as good as it gets."""
    progress.begin(partition, 0, limit_bytes)
    append(partition, LARGE, SMALL)
    assert progress.reaches(limit_bytes, None)
    assert not progress.reaches(limit_bytes + 1, None)
    assert progress.size_bytes == limit_bytes


def test_partition_that_is_full_is_read_no_more(
    partition: Partition, other: Partition, progress: FetchProgress, reads: list[int]
) -> None:
    progress.begin(partition, 0, SMALL + 1)
    progress.begin(other, 0, 1 << 20)
    append(partition, SMALL, SMALL)
    assert not progress.reaches(1000, None)
    reads.clear()
    for _ in range(20):
        append(partition, LARGE)
        assert not progress.reaches(1000, None)
    assert not reads
    append(other, LARGE, LARGE)
    assert progress.reaches(1000, None)
    assert progress.size_bytes == SMALL + 1 + 2 * LARGE


@pytest.mark.parametrize("limit_bytes", [-1, 0, 10])
def test_first_batch_of_all_counts_whatever_its_size(
    partition: Partition, other: Partition, progress: FetchProgress, limit_bytes: int
) -> None:
    """So it is in the answer; the first in the order of the request, which is not the one that came first."""
    progress.begin(partition, 0, limit_bytes)
    progress.begin(other, 0, limit_bytes)
    append(other, LARGE)
    assert progress.reaches(LARGE, None)
    append(partition, SMALL)
    assert not progress.reaches(LARGE, None)
    assert progress.size_bytes == SMALL + max(limit_bytes, 0)


def test_partition_that_was_asked_for_twice_counts_twice(
    partition: Partition, progress: FetchProgress
) -> None:
    progress.begin(partition, 0, 1 << 20)
    progress.begin(partition, 1, 1 << 20)
    append(partition, SMALL, LARGE)
    assert progress.reaches(SMALL + 2 * LARGE, None)


def test_records_of_a_transaction_count_when_it_ends(broker: Broker, partition: Partition) -> None:
    """TXN-13: a reader of committed records sees up to the last stable offset."""
    progress = FetchProgress(Isolation.READ_COMMITTED, EncodedBatches())
    progress.begin(partition, 0, 1 << 20)
    with Producer(broker, transactional_id="x", linger_ms=0) as producer:
        producer.init_transactions()
        producer.begin_transaction()
        producer.send("t", b"x" * 20, partition=0).result(20)
        assert not progress.reaches(1, None)
        producer.commit_transaction()
    assert progress.reaches(SMALL + 1, None)  # the marker counts as well


@pytest.mark.parametrize("is_full", [False, True])
def test_what_is_wrong_is_told(broker: Broker, partition: Partition, progress: FetchProgress, is_full: bool) -> None:  # fmt: skip
    progress.begin(partition, 1, SMALL if is_full else 1 << 20)
    append(partition, SMALL, SMALL)
    assert not progress.reaches(1000, None)
    partition.delete_records(1)
    assert not progress.reaches(1000, None)
    partition.delete_records(2)
    assert progress.reaches(1000, None)


def test_partition_that_is_gone_is_told_also_when_it_was_full(
    broker: Broker, partition: Partition, progress: FetchProgress
) -> None:
    progress.begin(partition, 0, 1)
    append(partition, SMALL)
    assert not progress.reaches(1000, None)
    broker.delete_topic("t")
    assert progress.reaches(1000, None)


def test_what_was_counted_within_the_allowance_stays_counted(
    partition: Partition, progress: FetchProgress, reads: list[int]
) -> None:
    progress.begin(partition, 0, 1 << 20)
    append(partition, *[SMALL] * 100)
    with pytest.raises(TakesLongError):
        progress.reaches(100 * SMALL, Allowance(2000))
    counted = progress.size_bytes // SMALL
    assert 0 < counted < 100
    assert progress.reaches(100 * SMALL, None)
    assert progress.size_bytes == 100 * SMALL
    assert reads == [100, 100 - counted]


def ask(*partitions: tuple[int, int], min_bytes: int) -> dict[str, Any]:
    """Return a fetch of partitions and as many bytes of them as are given."""
    wanted = [
        {"partition": number, "fetch_offset": 0, "partition_max_bytes": limit}
        for number, limit in partitions
    ]
    return {
        "max_wait_ms": A_MINUTE_MS, "min_bytes": min_bytes, "max_bytes": 1 << 20,
        "topics": [{"topic": "t", "partitions": wanted}],
    }  # fmt: skip


def sizes(response: Any) -> list[int]:
    return [len(one.records) for one in response.responses[0].partitions]


def test_fetch_whose_partition_is_full_is_not_read_again_at_each_append(
    partition: Partition, other: Partition, client: RawClient, connect: Callable[[], RawClient], reads: list[int]
) -> None:  # fmt: skip
    """What does not fit was counted by those who waited, but not by those who looked: at each append all was read again."""
    append(partition, *[SMALL] * 10)
    client.send("Fetch", 12, **ask((0, 10 * SMALL), (1, 1 << 20), min_bytes=10 * SMALL + LARGE))
    eventually(lambda: other._waiters)
    second = connect()
    second.request("ApiVersions", 3)
    reads.clear()
    for _ in range(20):
        append(partition, SMALL)
        second.request("ApiVersions", 3)  # the loop has looked since
    assert not reads
    append(other, LARGE)
    assert sizes(client.receive()) == [10 * SMALL, LARGE]


def test_fetch_is_answered_when_nothing_more_would_fit(
    partition: Partition, client: RawClient
) -> None:
    """It waited until it was late: of the batch that did not fit, the look counted nothing."""
    append(partition, LARGE)
    client.send("Fetch", 12, **ask((0, LARGE + 10), min_bytes=LARGE + 10))
    eventually(lambda: partition._waiters)
    append(partition, SMALL)
    assert sizes(client.receive()) == [LARGE]
    append(partition, SMALL)
    assert sizes(client.request("Fetch", 12, **ask((0, LARGE + 10), min_bytes=LARGE + 10))) == [LARGE]  # fmt: skip


def test_fetch_that_waits_is_answered_with_a_first_batch_larger_than_its_limit(
    partition: Partition, client: RawClient
) -> None:
    client.send("Fetch", 12, **ask((0, 10), min_bytes=LARGE))
    eventually(lambda: partition._waiters)
    append(partition, LARGE)
    assert sizes(client.receive()) == [LARGE]


def test_fetch_of_many_bytes_is_told_of_damage_behind_the_few_that_are_good(
    partition: Partition, client: RawClient
) -> None:
    """It waited for bytes that no append could bring."""
    append(partition, SMALL, LARGE)
    segment = partition.log.segments[-1]
    segment.mapping_for_read()[segment.position - 10 : segment.position - 9] = b"?"
    assert sizes(client.request("Fetch", 12, **ask((0, 1 << 20), min_bytes=10_000))) == [SMALL]


def test_fetch_of_committed_records_reads_nothing_while_a_transaction_is_open(
    broker: Broker, partition: Partition, client: RawClient, connect: Callable[[], RawClient], reads: list[int]
) -> None:  # fmt: skip
    """Each batch of the transaction had all partitions of all such fetches looked at."""
    with Producer(broker, transactional_id="x", linger_ms=0) as producer:
        producer.init_transactions()
        producer.begin_transaction()
        client.send("Fetch", 12, **ask((0, 1 << 20), (1, 1 << 20), min_bytes=1), isolation_level=1)
        eventually(lambda: partition._waiters)
        second = connect()
        second.request("ApiVersions", 3)
        reads.clear()
        for _ in range(20):
            producer.send("t", b"x" * 20, partition=0).result(20)
            second.request("ApiVersions", 3)  # the loop has looked since
        assert not reads
        producer.commit_transaction()
    assert sizes(client.receive())[0] > 20 * SMALL
