"""Real clients against a listener in the event loop of the program: of that loop, and of a thread beside it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from streamlog import Broker
from streamlog.aio import AsyncConsumer, AsyncProducer, listen
from tests.support.sockets import open_sockets

aiokafka: Any = pytest.importorskip("aiokafka")
kafka: Any = pytest.importorskip("kafka")

RECORDS = 60


@pytest.fixture
def broker() -> Iterator[Broker]:
    sockets = open_sockets()
    with Broker() as broker:
        broker.create_topic("t", partitions=2)
        yield broker
    assert open_sockets() <= sockets
    assert not [one for one in threading.enumerate() if "streamlog-listener" in one.name]


async def take(consumer: Any, found: set[bytes], count: int) -> None:
    """Add values to *found*, which others add to as well, until there are *count*."""
    while len(found) < count:
        for records in (await consumer.getmany(timeout_ms=50)).values():
            found.update(record.value for record in records)


def test_clients_of_the_same_loop_write_and_read(broker: Broker) -> None:
    """aiokafka's, with a rebalance, and the library's own, on one topic."""

    async def main() -> None:
        async with await listen(broker) as listener:
            options: dict[str, Any] = {"bootstrap_servers": listener.bootstrap_servers}
            async with aiokafka.AIOKafkaProducer(**options) as producer:
                for number in range(RECORDS):
                    await producer.send_and_wait("t", b"%d" % number, partition=number % 2)
            async with AsyncProducer(broker) as own:
                await own.send("t", b"own")
            options |= {"group_id": "g", "auto_offset_reset": "earliest"}
            options["heartbeat_interval_ms"] = 50  # after which the first one learns of the second
            found: set[bytes] = set()
            async with aiokafka.AIOKafkaConsumer("t", **options) as first:
                await take(first, found, RECORDS + 1)
                assert len(first.assignment()) == 2
                async with aiokafka.AIOKafkaConsumer("t", **options) as second:
                    both = asyncio.gather(
                        take(first, found, RECORDS + 21), take(second, found, RECORDS + 21)
                    )
                    async with AsyncProducer(broker) as own:
                        for number in range(20):
                            await own.send("t", b"later %d" % number, partition=number % 2)
                    await both
            assert {b"own", b"0", b"later 19"} < found
            async with AsyncConsumer(
                broker, "t", group_id="own", auto_offset_reset="earliest"
            ) as consumer:
                seen: set[bytes] = set()
                async for record in consumer:
                    seen.add(record.value)
                    if seen == found:
                        break

    asyncio.run(main())


def test_transaction_of_a_client_of_the_same_loop_is_read_when_it_is_committed(
    broker: Broker,
) -> None:
    async def main() -> None:
        async with await listen(broker) as listener:
            options = {"bootstrap_servers": listener.bootstrap_servers}
            async with (
                aiokafka.AIOKafkaProducer(transactional_id="x", **options) as producer,
                AsyncConsumer(
                    broker,
                    "t",
                    group_id="own",
                    auto_offset_reset="earliest",
                    isolation_level="read_committed",
                ) as consumer,
            ):
                async with producer.transaction():
                    await producer.send_and_wait("t", b"in it")
                    assert not await consumer.poll(0)
                assert (await consumer.poll(20_000)).values() == [b"in it"]

    asyncio.run(main())


def test_client_of_another_thread_is_served_by_the_loop(broker: Broker) -> None:
    def work(address: str) -> list[bytes]:
        producer = kafka.KafkaProducer(bootstrap_servers=address)
        for number in range(RECORDS):
            producer.send("t", b"%d" % number)
        producer.close()
        consumer = kafka.KafkaConsumer(
            "t", bootstrap_servers=address, group_id="g", auto_offset_reset="earliest"
        )
        found: list[bytes] = []
        while len(found) < RECORDS:
            for records in consumer.poll(1000).values():
                found += [record.value for record in records]
        consumer.close()
        return found

    async def main() -> None:
        async with await listen(broker) as listener:
            found = await asyncio.to_thread(work, listener.bootstrap_servers)
            assert sorted(found, key=int) == [b"%d" % number for number in range(RECORDS)]

    asyncio.run(main())


def test_broker_that_closes_under_clients_of_the_same_loop_ends_their_waits(broker: Broker) -> None:
    """They find nobody to connect to any more, and that is all that happens to them."""

    async def main() -> None:
        listener = await listen(broker)
        options: dict[str, Any] = {"bootstrap_servers": listener.bootstrap_servers}
        consumer = aiokafka.AIOKafkaConsumer("t", group_id="g", **options)
        await consumer.start()
        waiting = asyncio.create_task(consumer.getmany(timeout_ms=600_000))
        await asyncio.sleep(0)
        broker.close()
        await listener.close()
        waiting.cancel()
        await asyncio.wait([waiting])
        await consumer.stop()

    asyncio.run(main())
