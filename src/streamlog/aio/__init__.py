"""The clients for asyncio: the same calls and the same rules, and a wait is an ``await``.

>>> import asyncio
>>> from streamlog import Broker
>>> from streamlog.aio import AsyncConsumer, AsyncProducer
>>> async def main(broker):
...     async with AsyncProducer(broker) as producer:
...         await producer.send("greetings", b"hello")
...     async with AsyncConsumer(
...         broker, "greetings", group_id="g", auto_offset_reset="earliest"
...     ) as consumer:
...         async for record in consumer:
...             return record.value
>>> with Broker() as broker:
...     asyncio.run(main(broker))
b'hello'
"""

from streamlog.aio.admin import AsyncAdmin
from streamlog.aio.consumer import AsyncConsumer
from streamlog.aio.listener import AsyncListener, listen
from streamlog.aio.producer import AsyncProducer

__all__ = ["AsyncAdmin", "AsyncConsumer", "AsyncListener", "AsyncProducer", "listen"]
