"""FastStream on aiokafka and on confluent-kafka: python with_faststream.py ADDRESS TOPIC CODEC.

An application of two handlers, one of which answers into a topic that the other reads in batches, is started twice: the second time it
goes on behind what it acknowledged.
"""

import asyncio
import faulthandler
import logging
import sys
from importlib import import_module

from faststream import AckPolicy, FastStream
from pydantic import BaseModel

ADDRESS, TOPIC, CODEC = sys.argv[1:]
RECORDS = 50


class Order(BaseModel):
    number: int
    price: float


async def run(library, first, last):
    """Send the orders from *first* to before *last* to an application that ends when it has made an invoice of each."""
    module = import_module(f"faststream.{library}")
    kafka_message = module.KafkaMessage
    orders, invoices = f"{TOPIC}-{library}", f"{TOPIC}-{library}-invoices"
    broker = module.KafkaBroker(ADDRESS, log_level=logging.DEBUG)
    app = FastStream(broker, logger=None)
    settings = {"auto_offset_reset": "earliest", "ack_policy": AckPolicy.MANUAL}
    found = []

    @broker.subscriber(orders, group_id="shop", **settings)
    @broker.publisher(invoices)
    async def make_invoice(order: Order, message: kafka_message):
        await message.ack()
        return {"number": order.number, "total": order.price * 2}

    @broker.subscriber(invoices, group_id="books", batch=True, **settings)
    async def book(batch: list[dict], message: kafka_message):
        await message.ack()
        found.extend(batch)
        if len(found) >= last - first:
            app.exit()

    @app.after_startup
    async def order():
        assert await broker.ping(20)
        for number in range(first, last):
            order = Order(number=number, price=number / 4)
            await broker.publish(order, orders, key=f"{number}".encode())

    await app.run()
    expected = [{"number": number, "total": number / 2} for number in range(first, last)]
    assert sorted(found, key=lambda invoice: invoice["number"]) == expected, found


async def main():
    for library in ("kafka", "confluent"):
        await run(library, 0, RECORDS)
        await run(library, RECORDS, RECORDS + 7)


faulthandler.dump_traceback_later(100, exit=True)
asyncio.run(main())
print("ok handlers batches restart")
