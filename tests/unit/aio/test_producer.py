from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from streamlog.aio import AsyncProducer
from streamlog.broker.broker import Broker
from streamlog.errors import (
    ClosedError,
    IllegalStateError,
    RecordTooLargeError,
    SerializationError,
    StorageError,
    UnknownTopicOrPartitionError,
)
from streamlog.runtime import VirtualClock
from streamlog.structs import Durability, ProducerRecord, TopicPartition
from tests.support.consuming import T0


def run(main: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(main, 30))


@pytest.fixture
def real() -> Iterator[Broker]:
    with Broker() as broker:
        broker.create_topic("t")
        yield broker


def values(broker: Broker) -> list[bytes | None]:
    partition = broker.partition(*T0)
    found: list[bytes | None] = []
    while len(found) < partition.high_watermark:
        for view in partition.read_batches(len(found), 1 << 20, partition.high_watermark):
            found += view.values()
    return found


@pytest.mark.parametrize("linger_ms", [0, 2])
def test_send_returns_where_the_record_went(real: Broker, linger_ms: int) -> None:
    async def main() -> None:
        async with AsyncProducer(real, linger_ms=linger_ms) as producer:
            first = await producer.send("t", b"a", key=b"k", headers=[("h", None)])
            second = await producer.send(ProducerRecord("t", value=b"b"))
            assert (first.offset, second.offset) == (0, 1)
            assert first.serialized_key_size == 1

    run(main())
    assert values(real) == [b"a", b"b"]


def test_many_on_the_way_at_a_time_keep_their_order(real: Broker) -> None:
    async def main() -> None:
        async with AsyncProducer(real, linger_ms=1) as producer:
            sends = [producer.send("t", b"%d" % n) for n in range(500)]
            found = await asyncio.gather(*sends)
            assert [metadata.offset for metadata in found] == list(range(500))

    run(main())
    assert values(real) == [b"%d" % n for n in range(500)]


def test_topic_that_waits_for_the_disk_is_appended_to_beside_the_loop(tmp_path: Path) -> None:
    appended_in: list[int] = []
    with Broker(str(tmp_path)) as broker:
        broker.create_topic("t", configs={"flush_messages": 1})

        async def main() -> None:
            async with AsyncProducer(broker, interceptors=[Watching(appended_in)]) as producer:
                metadata = await producer.send("t", b"v")
                assert metadata.durability is Durability.DISK
                assert appended_in != [threading.get_ident()]

        run(main())


class Watching:
    def __init__(self, seen: list[int]) -> None:
        self.seen = seen

    def on_acknowledgement(self, metadata: object, error: object) -> None:
        self.seen.append(threading.get_ident())


def test_send_that_waits_for_room_does_not_stop_the_loop(real: Broker) -> None:
    async def main() -> None:
        async with AsyncProducer(real, linger_ms=1, buffer_memory=2_000_000) as producer:
            pool = producer._client.buffer_pool
            taken = pool.available_bytes
            assert pool.try_take(taken, [0])
            waiting = asyncio.create_task(producer.send("t", b"v"))
            while not pool.waiting:  # noqa: ASYNC110 - a worker thread makes it true
                await asyncio.sleep(0)
            assert not waiting.done()
            pool.give_back(taken)
            assert (await waiting).offset == 0

    run(main())


def test_errors_of_the_future_are_raised_and_those_of_the_call_too(real: Broker) -> None:
    async def main() -> None:
        async with AsyncProducer(real, max_request_size=1_000) as producer:
            with pytest.raises(RecordTooLargeError):
                await producer.send("t", b"x" * 2_000)
            with pytest.raises(SerializationError):
                await producer.send("t", 5)
            with pytest.raises(UnknownTopicOrPartitionError):
                await producer.send("t", b"v", partition=7)
        with pytest.raises(ClosedError):
            await producer.send("t", b"v")

    run(main())


def test_cancelled_send_may_go_all_the_same_and_the_others_do(real: Broker) -> None:
    async def main() -> None:
        async with AsyncProducer(real, linger_ms=20) as producer:
            task = asyncio.create_task(producer.send("t", b"cancelled"))
            other = asyncio.create_task(producer.send("t", b"other"))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await other

    run(main())
    assert values(real) == [b"cancelled", b"other"]


def test_send_many_flush_and_metrics(real: Broker) -> None:
    async def main() -> None:
        async with AsyncProducer(real, linger_ms=60_000) as producer:
            metadata = await producer.send_many("t", [b"%d" % n for n in range(100)])
            assert metadata is not None
            assert metadata.offset == 99
            waiting = asyncio.create_task(producer.send("t", b"last"))
            await asyncio.sleep(0)
            await producer.flush()
            assert (await waiting).offset == 100
            assert len(await producer.partitions_for("t")) == 1
            assert producer.metrics()["record_send_total"] == 101

    run(main())


def test_virtual_time_jumps_to_the_end_of_the_linger(broker: Broker, clock: VirtualClock) -> None:
    started_ms = clock.monotonic_ms()

    async def main() -> None:
        async with AsyncProducer(broker, linger_ms=5_000) as producer:
            sends = [producer.send("t", b"%d" % n) for n in range(3)]
            found = await asyncio.gather(*sends)
            assert [metadata.offset for metadata in found] == [0, 1, 2]
            assert clock.monotonic_ms() == started_ms + 5_000

    run(main())
    assert broker.partition(*TopicPartition("t", 0)).high_watermark == 3


# ---- transactions


def test_a_transaction_commits_at_the_end_of_its_block(real: Broker) -> None:
    """TXN-6."""

    async def main() -> None:
        async with AsyncProducer(real, transactional_id="tx", linger_ms=1) as producer:
            with pytest.raises(IllegalStateError):
                await producer.begin_transaction()
            await producer.init_transactions()
            async with producer.transaction() as inside:
                assert inside is producer
                await asyncio.gather(*(producer.send("t", b"%d" % n) for n in range(3)))
                assert real.partition(*T0).last_stable_offset == 0
                await producer.send_offsets_to_transaction({T0: 3}, "g")
            assert real.partition(*T0).last_stable_offset == 4
            await producer.begin_transaction()
            await producer.send("t", b"3")
            await producer.commit_transaction()

    run(main())
    found = real.group_coordinator.fetch_offsets("g", [T0])[T0]
    assert found is not None
    assert found.offset == 3
    assert real.partition(*T0).last_stable_offset == 6
    assert real.partition(*T0).log.aborted_transactions(0, 100) == []


def test_a_transaction_aborts_when_its_block_raises_or_its_task_is_cancelled(real: Broker) -> None:
    async def main() -> None:
        async with AsyncProducer(real, transactional_id="tx") as producer:
            await producer.init_transactions()
            with pytest.raises(ValueError, match="mine"):
                async with producer.transaction():
                    await producer.send("t", b"a")
                    raise ValueError("mine")
            is_sent = asyncio.Event()

            async def hang() -> None:
                async with producer.transaction():
                    await producer.send("t", b"b")
                    is_sent.set()
                    await asyncio.Event().wait()

            task = asyncio.create_task(hang())
            await is_sent.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await producer.begin_transaction()
            await producer.send("t", b"c")
            await producer.abort_transaction()

    run(main())
    partition = real.partition(*T0)
    assert partition.last_stable_offset == partition.high_watermark == 6
    assert len(partition.log.aborted_transactions(0, 100)) == 3


@pytest.mark.parametrize("fails", [False, True])
def test_a_task_cancelled_while_its_block_commits_leaves_no_transaction_under_way(
    real: Broker, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """The commit went on in its thread, and the next transaction was a ConcurrentModificationError."""
    goes_on = threading.Event()
    real_end = real.transaction_coordinator.end_transaction

    async def main() -> None:
        is_ending, loop = asyncio.Event(), asyncio.get_running_loop()

        def slow_end(*arguments: Any) -> Any:
            loop.call_soon_threadsafe(is_ending.set)
            assert goes_on.wait(10)
            if fails and arguments[-1]:
                raise StorageError("mine")
            return real_end(*arguments)

        async with AsyncProducer(real, transactional_id="tx") as producer:
            await producer.init_transactions()

            async def work(value: bytes) -> None:
                async with producer.transaction():
                    await producer.send("t", value)

            monkeypatch.setattr(real.transaction_coordinator, "end_transaction", slow_end)
            task = asyncio.create_task(work(b"a"))
            await is_ending.wait()
            for _ in range(2):
                task.cancel()
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                assert not task.done()
            goes_on.set()
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
            cancelled: BaseException | None = caught.value
            if sys.version_info < (
                3,
                11,
            ):  # where awaiting a task raises another one, and that of the task is its context
                cancelled = caught.value.__context__
            assert cancelled is not None
            assert (cancelled.__cause__ is not None) is fails
            if not fails:
                await work(b"b")

    run(main())
    partition = real.partition(*T0)
    assert values(real)[0] == b"a"
    if not fails:
        assert partition.last_stable_offset == partition.high_watermark == 4
        assert partition.log.aborted_transactions(0, 100) == []


@pytest.mark.parametrize("commit", [True, False])
def test_a_task_cancelled_in_a_commit_or_an_abort_waits_for_its_end(
    real: Broker, monkeypatch: pytest.MonkeyPatch, commit: bool
) -> None:
    """The call went on in its thread, and the next one was a ConcurrentModificationError."""
    goes_on = threading.Event()
    real_end = real.transaction_coordinator.end_transaction

    async def main() -> None:
        is_ending, loop = asyncio.Event(), asyncio.get_running_loop()

        def slow_end(*arguments: Any) -> Any:
            loop.call_soon_threadsafe(is_ending.set)
            assert goes_on.wait(10)
            return real_end(*arguments)

        async with AsyncProducer(real, transactional_id="tx") as producer:
            await producer.init_transactions()
            await producer.begin_transaction()
            await producer.send("t", b"a")
            monkeypatch.setattr(real.transaction_coordinator, "end_transaction", slow_end)
            end = producer.commit_transaction if commit else producer.abort_transaction
            task = asyncio.ensure_future(end())
            await is_ending.wait()
            task.cancel()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert not task.done()
            goes_on.set()
            with pytest.raises(asyncio.CancelledError):
                await task
            async with producer.transaction():
                await producer.send("t", b"b")

    run(main())
    assert len(real.partition(*T0).log.aborted_transactions(0, 100)) == (not commit)
