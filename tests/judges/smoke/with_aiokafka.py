"""aiokafka, any version: python with_aiokafka.py ADDRESS TOPIC CODEC [write NAME | read]."""

import asyncio
import faulthandler
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.coordinator.assignors.range import RangePartitionAssignor

ADDRESS, TOPIC, CODEC, *MODE = sys.argv[1:]
RECORDS = 50


def new_producer(**more):
    codec = None if CODEC == "none" else CODEC
    return AIOKafkaProducer(bootstrap_servers=ADDRESS, compression_type=codec, linger_ms=20, **more)


async def produce(producer, value, count=RECORDS, topic=TOPIC):
    sent = []
    for number in range(count):
        text, header = f"{value} {number} " * 20, ("h", f"{number}".encode())
        key = f"key {number}".encode()
        sent.append(await producer.send(topic, key=key, value=text.encode(), headers=[header]))
    await asyncio.gather(*sent)


def new_member(**more):
    settings = {"group_id": TOPIC, "auto_offset_reset": "earliest", "enable_auto_commit": False}
    settings.update(isolation_level="read_committed", heartbeat_interval_ms=100)
    return AIOKafkaConsumer(TOPIC, bootstrap_servers=ADDRESS, **settings, **more)


async def transactions():
    place = TopicPartition(TOPIC, 0)
    async with new_producer(transactional_id=TOPIC) as producer:
        await producer.begin_transaction()
        await produce(producer, "aborted", 7)
        await producer.abort_transaction()
        async with producer.transaction():
            await produce(producer, "value")
            await producer.send_offsets_to_transaction({place: 1}, f"{TOPIC}-sent")
    async with AIOKafkaConsumer(bootstrap_servers=ADDRESS, group_id=f"{TOPIC}-sent") as reader:
        assert await reader.committed(place) == 1


async def rebalance():
    first, second = new_member(), new_member()
    # What the first reads: nobody commits, so it reads again what was taken from it meanwhile.
    found = {}

    async def poll(members, until):
        while not until():
            for member in members:
                for records in (await member.getmany(timeout_ms=50)).values():
                    for record in records:
                        if member is first:
                            found[record.key.decode()] = record.value.decode(), record.headers

    await first.start()
    await poll([first], lambda: len(first.assignment()) == 3)
    await second.start()
    both = [first, second]
    await poll(both, lambda: sorted(len(member.assignment()) for member in both) == [1, 2])
    await second.stop()
    await poll([first], lambda: len(first.assignment()) == 3 and len(found) == RECORDS)
    for place in first.assignment():
        await first.position(place)
    await first.commit()
    await first.stop()
    for number in range(RECORDS):
        expected = f"value {number} " * 20, (("h", f"{number}".encode()),)
        assert found[f"key {number}"] == expected, number


async def administer(admin):
    name = f"{TOPIC}-admin"
    await admin.create_topics([NewTopic(name, 1, 1, topic_configs={"retention.ms": "1000000"})])
    answer = str(await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)]))
    assert "'1000000'" in answer, answer
    change = {"segment.bytes": "54321"}
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, configs=change)])
    answer = str(await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)]))
    assert "'54321'" in answer, answer
    await admin.create_partitions({name: NewPartitions(3)})
    (topic,) = await admin.describe_topics([name])
    assert len(topic["partitions"]) == 3, topic
    assert (TOPIC, "consumer") in await admin.list_consumer_groups()
    answer = str(await admin.describe_consumer_groups([TOPIC]))
    assert "'Empty'" in answer, answer
    assert len(await admin.list_consumer_group_offsets(TOPIC)) == 3
    async with new_producer() as producer:
        await produce(producer, "value", topic=name)
    place = TopicPartition(name, 0)
    answer = await admin.delete_records({place: RecordsToDelete(3)})
    assert answer == {place: 3}, answer
    await admin.delete_topics([name])
    assert name not in await admin.list_topics()


async def read():
    async with new_member(partition_assignment_strategy=[RangePartitionAssignor]) as member:
        assigned = frozenset()
        while True:
            for place, records in (await member.getmany(timeout_ms=100)).items():
                for record in records:
                    print("record", place.partition, record.key.decode(), record.value.decode())
            if member.assignment() != assigned:
                assigned = member.assignment()
                print("assigned", *(place.partition for place in assigned))
            sys.stdout.flush()


async def main():
    if MODE != ["read"]:
        faulthandler.dump_traceback_later(50, exit=True)
    if MODE[:1] == ["write"]:
        async with new_producer() as producer:
            await produce(producer, MODE[1])
    elif MODE == ["read"]:
        await read()
    else:
        admin = AIOKafkaAdminClient(bootstrap_servers=ADDRESS)
        await admin.start()
        await admin.create_topics([NewTopic(TOPIC, 3, 1)])
        await transactions()
        await rebalance()
        await administer(admin)
        await admin.close()
    print("ok rebalance transactions admin")


asyncio.run(main())
