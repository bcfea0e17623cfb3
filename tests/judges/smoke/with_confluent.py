"""confluent-kafka, any version: python with_confluent.py ADDRESS TOPIC CODEC [write NAME | read]."""

import faulthandler
import sys

import confluent_kafka
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic

ADDRESS, TOPIC, CODEC, *MODE = sys.argv[1:]
RECORDS = 50
IS_OLD = confluent_kafka.version()[0].startswith("1.")


def new_producer(**more):
    # Its own hash is CRC-32; this one is that of Kafka's other clients.
    settings = {"partitioner": "murmur2_random", "compression.type": CODEC, "linger.ms": 20}
    return Producer({"bootstrap.servers": ADDRESS, **settings, **more})


def produce(producer, value, count=RECORDS, topic=TOPIC):
    for number in range(count):
        text = f"{value} {number} " * 20
        headers = [("h", f"{number}".encode())]
        producer.produce(topic, key=f"key {number}", value=text, headers=headers)
    assert not producer.flush(20)


def new_member(**more):
    settings = {"group.id": TOPIC, "auto.offset.reset": "earliest", "enable.auto.commit": False}
    isolation = {"isolation.level": "read_committed"}
    return Consumer({"bootstrap.servers": ADDRESS, **settings, **isolation, **more})


def transactions():
    producer = new_producer(**{"transactional.id": TOPIC})
    producer.init_transactions(20)
    producer.begin_transaction()
    produce(producer, "aborted", 7)
    producer.abort_transaction(20)
    producer.begin_transaction()
    produce(producer, "value")
    offsets = [TopicPartition(TOPIC, 0, 1)]
    reader = new_member(**{"group.id": f"{TOPIC}-sent"})
    producer.send_offsets_to_transaction(offsets, reader.consumer_group_metadata(), 20)
    producer.commit_transaction(20)
    assert reader.committed([TopicPartition(TOPIC, 0)], 20)[0].offset == 1
    reader.close()


def rebalance(**more):
    first, second = new_member(**more), new_member(**more)
    # What the first reads: nobody commits, so it reads again what was taken from it meanwhile.
    found = {}

    def poll(members, until):
        while not until():
            for member in members:
                for message in member.consume(100, 0.05):
                    assert message.error() is None, message.error()
                    if member is first:
                        found[message.key().decode()] = message.value().decode(), message.headers()

    first.subscribe([TOPIC])
    poll([first], lambda: len(first.assignment()) == 3)
    second.subscribe([TOPIC])
    both = [first, second]
    poll(both, lambda: sorted(len(member.assignment()) for member in both) == [1, 2])
    second.close()

    def has_all():
        places = first.position(first.assignment())
        return len(places) == 3 and sum(max(0, place.offset) for place in places) >= RECORDS

    poll([first], lambda: has_all() and len(found) == RECORDS)
    first.commit(asynchronous=False)
    first.close()
    for number in range(RECORDS):
        expected = f"value {number} " * 20, [("h", f"{number}".encode())]
        assert found[f"key {number}"] == expected, number


def administer():
    admin = AdminClient({"bootstrap.servers": ADDRESS})
    name = f"{TOPIC}-admin"
    topic = NewTopic(name, 1, 1, config={"retention.ms": "1000000"})
    admin.create_topics([topic])[name].result(20)
    resource = ConfigResource(ConfigResource.Type.TOPIC, name)

    def value(key):
        return admin.describe_configs([resource])[resource].result(20)[key].value

    assert value("retention.ms") == "1000000"
    change = ConfigResource(ConfigResource.Type.TOPIC, name, set_config={"segment.bytes": "54321"})
    admin.alter_configs([change])[change].result(20)
    assert value("segment.bytes") == "54321"
    admin.create_partitions([NewPartitions(name, 3)])[name].result(20)
    assert len(admin.list_topics(name, 20).topics[name].partitions) == 3
    assert TOPIC in [group.id for group in admin.list_groups(timeout=20)]
    if not IS_OLD:
        administer_more(admin, name)
    admin.delete_topics([name])[name].result(20)
    assert name not in admin.list_topics(timeout=20).topics


def administer_more(admin, name):
    from confluent_kafka import ConsumerGroupTopicPartitions
    from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, OffsetSpec

    entry = ConfigEntry("cleanup.policy", "compact", incremental_operation=AlterConfigOpType.APPEND)
    change = ConfigResource(ConfigResource.Type.TOPIC, name, incremental_configs=[entry])
    admin.incremental_alter_configs([change])[change].result(20)
    found = admin.describe_configs([change])[change].result(20)
    assert sorted(found["cleanup.policy"].value.split(",")) == ["compact", "delete"]
    change = ConfigResource(
        ConfigResource.Type.TOPIC,
        name,
        incremental_configs=[
            ConfigEntry("cleanup.policy", None, incremental_operation=AlterConfigOpType.DELETE)
        ],
    )
    admin.incremental_alter_configs([change])[change].result(20)
    produce(new_producer(), "value", topic=name)
    end = TopicPartition(name, 0)
    offset = admin.list_offsets({end: OffsetSpec.latest()})[end].result(20).offset
    assert offset > 0
    cut = TopicPartition(name, 0, offset)
    assert admin.delete_records([cut])[cut].result(20).low_watermark == offset
    description = admin.describe_consumer_groups([TOPIC])[TOPIC].result(20)
    assert description.state.name == "EMPTY", description.state
    asked = ConsumerGroupTopicPartitions(TOPIC)
    committed = admin.list_consumer_group_offsets([asked])[TOPIC].result(20).topic_partitions
    assert sum(one.offset for one in committed) >= RECORDS
    admin.delete_consumer_groups([TOPIC])[TOPIC].result(20)


def read():
    member = new_member(**{"partition.assignment.strategy": "range"})
    member.subscribe(
        [TOPIC], on_assign=lambda _, parts: print("assigned", *(p.partition for p in parts))
    )
    while True:
        message = member.poll(0.1)
        if message is not None and message.error() is None:
            print("record", message.partition(), message.key().decode(), message.value().decode())
        sys.stdout.flush()


def main():
    if MODE != ["read"]:
        faulthandler.dump_traceback_later(50, exit=True)
    if MODE[:1] == ["write"]:
        produce(new_producer(), MODE[1])
    elif MODE == ["read"]:
        read()
    else:
        admin = AdminClient({"bootstrap.servers": ADDRESS})
        admin.create_topics([NewTopic(TOPIC, 3, 1)])[TOPIC].result(20)
        transactions()
        # A member learns of a rebalance by its next heartbeat.
        rebalance(**{"heartbeat.interval.ms": 100})
        if not IS_OLD:
            rebalance(**{"group.id": f"{TOPIC}-848", "group.protocol": "consumer"})
        administer()
    print("ok rebalance transactions admin")


main()
