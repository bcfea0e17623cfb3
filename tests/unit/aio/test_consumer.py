from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

import pytest

from streamlog.aio import AsyncConsumer, AsyncProducer
from streamlog.broker.broker import Broker
from streamlog.client.consumer import Consumer
from streamlog.errors import (
    ClosedError,
    ConcurrentModificationError,
    StreamlogTimeoutError,
    WakeupError,
)
from streamlog.runtime import Thread, VirtualClock
from streamlog.structs import OffsetAndMetadata, TopicPartition
from tests.support.consuming import T0, append, fill
from tests.support.transactions import Transactions


def run(main: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(main, 30))


def consumer_of(broker: Broker, **options: Any) -> AsyncConsumer:
    return AsyncConsumer(broker, "t", group_id="g", auto_offset_reset="earliest", **options)


@pytest.fixture
def real() -> Any:
    """A broker in real time."""
    with Broker(offsets_topic_num_partitions=1) as broker:
        broker.create_topic("t", partitions=2)
        yield broker


def test_waiting_task_is_woken_by_an_append_of_another_thread_and_no_thread_waits(
    real: Broker,
) -> None:
    async def main() -> None:
        async with consumer_of(real) as consumer:
            await consumer.poll()
            waiting = asyncio.create_task(consumer.poll(timeout_ms=20_000))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            threads = set(threading.enumerate())
            thread = Thread(target=append, args=(real, [b"v"]))
            thread.start()
            thread.join()
            assert (await waiting).values() == [b"v"]
            assert not set(threading.enumerate()) - threads

    run(main())


def test_append_of_another_task_wakes_as_well(real: Broker) -> None:
    async def main() -> list[bytes]:
        async with consumer_of(real) as consumer, AsyncProducer(real) as producer:
            waiting = asyncio.create_task(consumer.poll(timeout_ms=20_000))
            await asyncio.sleep(0)
            await producer.send("t", b"v")
            return (await waiting).values()

    assert run(main()) == [b"v"]


@pytest.mark.parametrize("is_aborted", [False, True])
def test_txn_13_a_marker_wakes_a_task_that_reads_committed_records(
    real: Broker, is_aborted: bool
) -> None:
    async def main() -> list[bytes]:
        transactions = Transactions(real)
        transactions.produce(1, b"in a transaction")
        append(real, [b"plain"])
        async with consumer_of(real, isolation_level="read_committed") as consumer:
            assert not await consumer.poll(timeout_ms=20)
            waiting = asyncio.create_task(consumer.poll(timeout_ms=20_000))
            for _ in range(5):
                await asyncio.sleep(0)
            assert not waiting.done()
            (transactions.abort if is_aborted else transactions.commit)(1)
            return (await waiting).values()

    assert run(main()) == ([b"plain"] if is_aborted else [b"in a transaction", b"plain"])


def test_txn_7_committed_does_not_keep_the_loop_waiting_for_a_transaction(real: Broker) -> None:
    coordinator = real.transaction_coordinator
    producer = coordinator.init_producer_id("tx", 60_000)
    real.group_coordinator.commit_transactional_offsets(
        "g", "", -1, None, *producer, {T0: OffsetAndMetadata(2)}
    )

    async def main() -> OffsetAndMetadata | None:
        async with AsyncConsumer(real, group_id="g") as consumer:
            with pytest.raises(StreamlogTimeoutError):
                consumer.committed(T0)
            coordinator.end_transaction("tx", *producer, True)
            return consumer.committed(T0)

    assert run(main()) == OffsetAndMetadata(2)


def test_poll_without_records_ends_in_time(real: Broker) -> None:
    async def main() -> None:
        async with consumer_of(real) as consumer:
            assert not await consumer.poll(timeout_ms=20)

    run(main())


def test_iteration_returns_records_one_by_one_and_moves_the_position_with_them(
    real: Broker,
) -> None:
    sent = fill(real, 5)

    async def main() -> None:
        async with consumer_of(real, enable_auto_commit=False) as consumer:
            seen = []
            async for record in consumer:
                seen.append(record.value)
                if len(seen) == 3:
                    break
            assert seen == sent[:3]
            await consumer.commit()
            assert await consumer.position(T0) == 3
            position = consumer.committed(T0)
            assert position is not None
            assert position.offset == 3

    run(main())


def test_iteration_lets_other_tasks_run_while_there_are_records(real: Broker) -> None:
    fill(real, 2_000, per_batch=500)

    async def main() -> int:
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        async with consumer_of(real) as consumer:
            count = 0
            async for _ in consumer:
                count += 1
                if count == 2_000:
                    break
        task.cancel()
        return turns

    assert run(main()) >= 4


def test_cancelled_wait_loses_nothing(real: Broker) -> None:
    async def main() -> None:
        async with consumer_of(real) as consumer:
            for n in range(3):
                waiting = asyncio.create_task(consumer.poll(timeout_ms=20_000))
                await asyncio.sleep(0)
                waiting.cancel()
                append(real, [b"%d" % n])
                with pytest.raises(asyncio.CancelledError):
                    await waiting
            assert (await consumer.poll(timeout_ms=1000)).values() == [b"0", b"1", b"2"]

    run(main())


def test_con_2_second_task_is_refused_and_the_first_goes_on(real: Broker) -> None:
    async def main() -> None:
        async with consumer_of(real) as consumer:
            first = asyncio.create_task(consumer.poll(timeout_ms=20_000))
            await asyncio.sleep(0)
            with pytest.raises(ConcurrentModificationError, match="in use by another task"):
                await consumer.poll()
            append(real, [b"v"])
            assert (await first).values() == [b"v"]

    run(main())


def test_con_2_wakeup_of_another_thread_ends_the_wait_once(real: Broker) -> None:
    async def main() -> None:
        async with consumer_of(real) as consumer:
            waiting = asyncio.create_task(consumer.poll(timeout_ms=20_000))
            await asyncio.sleep(0)
            thread = Thread(target=consumer.wakeup)
            thread.start()
            with pytest.raises(WakeupError):
                await waiting
            thread.join()
            assert not await consumer.poll()

    run(main())


def test_closing_the_broker_sends_a_waiting_task_away(real: Broker) -> None:
    async def main() -> None:
        consumer = consumer_of(real)
        waiting = asyncio.create_task(consumer.poll(timeout_ms=20_000))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        real.close()
        with pytest.raises(ClosedError):
            await waiting
        await consumer.close()

    run(main())


def test_two_consumers_in_one_loop_share_the_partitions(real: Broker) -> None:
    async def main() -> None:
        async with consumer_of(real) as a, consumer_of(real) as b:
            while len(a.assignment()) != 1 or len(b.assignment()) != 1:
                await asyncio.gather(a.poll(timeout_ms=5), b.poll(timeout_ms=5))
            assert a.assignment() | b.assignment() == {T0, TopicPartition("t", 1)}

    run(main())


def test_position_of_a_partition_that_nobody_creates_times_out(real: Broker) -> None:
    async def main() -> None:
        async with AsyncConsumer(real, allow_auto_create_topics=False) as consumer:
            consumer.assign([TopicPartition("u", 0)])
            with pytest.raises(StreamlogTimeoutError, match="u-0 has no position"):
                await consumer.position(TopicPartition("u", 0), timeout_ms=5)

    run(main())


def test_closing_commits_what_was_returned(real: Broker) -> None:
    fill(real, 3)

    async def main() -> None:
        async with consumer_of(real) as consumer:
            await consumer.poll()

    run(main())
    with Consumer(real, group_id="g") as consumer:
        position = consumer.committed(T0)
        assert position is not None
        assert position.offset == 3


# ---- virtual time


def test_virtual_time_jumps_only_when_no_other_task_has_anything_to_do(
    broker: Broker, clock: VirtualClock
) -> None:
    broker.create_topic("t")
    started_ms = clock.monotonic_ms()

    async def main() -> None:
        async with consumer_of(broker) as consumer, AsyncProducer(broker) as producer:

            async def produce() -> None:
                for _ in range(5):
                    await asyncio.sleep(0)
                await producer.send("t", b"v")

            task = asyncio.create_task(produce())
            assert (await consumer.poll(timeout_ms=60_000)).values() == [b"v"]
            assert clock.monotonic_ms() == started_ms
            await task
            assert not await consumer.poll(timeout_ms=60_000)
            assert clock.monotonic_ms() == started_ms + 60_000

    run(main())


def test_temporary_failure_of_a_commit_is_tried_again_until_the_time_is_up(
    broker: Broker, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.create_topic("t")
    tries: list[float] = []

    def fail(*_: object, **__: object) -> None:
        tries.append(clock.monotonic_ms())
        raise StreamlogTimeoutError("no room")

    async def main() -> None:
        async with consumer_of(broker) as consumer:
            with monkeypatch.context() as patch:
                patch.setattr(consumer._client, "commit", fail)
                with pytest.raises(StreamlogTimeoutError, match="no room"):
                    await consumer.commit(timeout_ms=250)
            assert [ms - tries[0] for ms in tries] == [0, 100, 200, 250]

    run(main())
