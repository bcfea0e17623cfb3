"""Producer and consumers as tasks of one event loop; no thread waits behind any of them."""

import asyncio

from streamlog import Broker
from streamlog.aio import AsyncConsumer, AsyncProducer

LAST = b"42"


async def produce(broker: Broker) -> None:
    """Send 43 records, many of them on the way at a time."""
    async with AsyncProducer(broker, linger_ms=2) as producer:
        sends = [producer.send("numbers", b"%d" % n, key=b"%d" % (n % 7)) for n in range(42)]
        await asyncio.gather(*sends)
        metadata = await producer.send("numbers", LAST)
        print(f"the last one is in partition {metadata.partition}")


async def consume(broker: Broker, seen: list[int], is_complete: asyncio.Event) -> None:
    """Take what comes to this consumer, until somebody cancels it."""
    async with AsyncConsumer(
        broker, "numbers", group_id="adders", auto_offset_reset="earliest"
    ) as consumer:
        async for record in consumer:
            seen.append(int(record.value))
            if len(seen) == 43:
                is_complete.set()


async def main() -> None:
    seen: list[int] = []
    with Broker() as broker:
        broker.create_topic("numbers", partitions=3)
        is_complete = asyncio.Event()
        consumers = [asyncio.create_task(consume(broker, seen, is_complete)) for _ in range(2)]
        await produce(broker)
        await is_complete.wait()
        for task in consumers:
            task.cancel()
        await asyncio.gather(*consumers, return_exceptions=True)
    print(f"{len(seen)} records, sum {sum(seen)}")


if __name__ == "__main__":
    asyncio.run(main())
