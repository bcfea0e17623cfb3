"""Smoke test of aiokafka, any version: python with_aiokafka.py ADDRESS TOPIC CODEC."""

import asyncio
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

ADDRESS, TOPIC, CODEC = sys.argv[1:4]
RECORDS = 50


async def main():
    admin = AIOKafkaAdminClient(bootstrap_servers=ADDRESS)
    await admin.start()
    await admin.create_topics([NewTopic(TOPIC, 3, 1)])
    await admin.close()
    codec = None if CODEC == "none" else CODEC
    producer = AIOKafkaProducer(
        bootstrap_servers=ADDRESS, compression_type=codec, transactional_id=TOPIC
    )
    await producer.start()
    async with producer.transaction():
        for number in range(RECORDS):
            text = f"value {number} " * 20
            header = ("h", f"{number}".encode())
            await producer.send(
                TOPIC, key=f"key {number}".encode(), value=text.encode(), headers=[header]
            )
    await producer.stop()
    consumer = AIOKafkaConsumer(
        TOPIC,
        bootstrap_servers=ADDRESS,
        group_id=TOPIC,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        enable_auto_commit=False,
    )
    await consumer.start()
    found = {}
    while len(found) < RECORDS:
        for records in (await consumer.getmany(timeout_ms=200)).values():
            for record in records:
                found[record.key.decode()] = record.value.decode(), dict(record.headers)
    await consumer.commit()
    await consumer.stop()
    for number in range(RECORDS):
        expected = f"value {number} " * 20, {"h": f"{number}".encode()}
        assert found[f"key {number}"] == expected, number
    print("ok")


asyncio.run(main())
