"""Faust on aiokafka: python with_faust.py ADDRESS TOPIC CODEC.

An agent adds up orders in a table, exactly once; the application is started a second time, and restores the table from its changelog topic.
"""

import asyncio
import faulthandler
import sys
import tempfile

import faust

ADDRESS, TOPIC, CODEC = sys.argv[1:]
RECORDS, KEYS = 60, 5


async def run(folder):
    """Send the orders to an application that is there until it has added them up; return the table."""
    app = faust.App(
        TOPIC,
        broker=f"kafka://{ADDRESS}",
        datadir=folder,
        store="memory://",
        topic_partitions=3,
        processing_guarantee="exactly_once",
        # Else it waits for the last record, whose offset it commits only when there is another one.
        stream_wait_empty=False,
        web_enabled=False,
    )
    orders = app.topic(f"{TOPIC}-orders", key_type=str, value_type=int, partitions=3)
    totals = app.Table("totals", default=int, partitions=3)
    is_done = asyncio.Event()
    seen = []

    @app.agent(orders)
    async def add(stream):
        async for key, number in stream.items():
            totals[key] += number
            seen.append(number)
            if len(seen) == RECORDS:
                is_done.set()

    await app.start()
    for number in range(RECORDS):
        await orders.send(key=f"key {number % KEYS}", value=number)
    await is_done.wait()
    assert sorted(seen) == [*range(RECORDS)], seen
    found = dict(totals.items())
    await app.stop()
    return found


async def main():
    for times in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            found = await run(folder)
        expected = {f"key {key}": times * sum(range(key, RECORDS, KEYS)) for key in range(KEYS)}
        assert found == expected, found


faulthandler.dump_traceback_later(100, exit=True)
asyncio.run(main())
print("ok exactly-once tables restart")
