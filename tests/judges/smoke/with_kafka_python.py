"""kafka-python, any version: python with_kafka_python.py ADDRESS TOPIC CODEC [write NAME | read]."""

import faulthandler
import sys
import threading

import kafka
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, NewTopic
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.structs import OffsetAndMetadata

ADDRESS, TOPIC, CODEC, *MODE = sys.argv[1:]
RECORDS = 50
MAJOR, MINOR = (int(part) for part in kafka.__version__.split(".")[:2])
# When its poll is over while 3.0 joins a group, it forgets to take up what it is assigned.
POLL_MS = 1000 if MAJOR >= 3 else 100
HAS_TRANSACTIONS = (MAJOR, MINOR) >= (2, 1)


def new_producer(**more):
    codec = None if CODEC == "none" else CODEC
    return KafkaProducer(bootstrap_servers=ADDRESS, compression_type=codec, linger_ms=20, **more)


def produce(producer, value, count=RECORDS, topic=TOPIC):
    for number in range(count):
        text, header = f"{value} {number} " * 20, ("h", f"{number}".encode())
        producer.send(topic, key=f"key {number}".encode(), value=text.encode(), headers=[header])
    producer.flush(20)


def new_member(**more):
    settings = {"group_id": TOPIC, "auto_offset_reset": "earliest", "heartbeat_interval_ms": 50}
    if HAS_TRANSACTIONS:
        settings["isolation_level"] = "read_committed"
    settings.update(more)
    return KafkaConsumer(TOPIC, bootstrap_servers=ADDRESS, enable_auto_commit=False, **settings)


def offset_and_metadata(offset):
    return OffsetAndMetadata(*(offset, "", -1)[: len(OffsetAndMetadata._fields)])


def transactions():
    producer = new_producer(transactional_id=TOPIC)
    producer.init_transactions()
    producer.begin_transaction()
    produce(producer, "aborted", 7)
    producer.abort_transaction()
    producer.begin_transaction()
    produce(producer, "value")
    place = TopicPartition(TOPIC, 0)
    producer.send_offsets_to_transaction({place: offset_and_metadata(1)}, f"{TOPIC}-sent")
    producer.commit_transaction()
    producer.close()
    reader = KafkaConsumer(bootstrap_servers=ADDRESS, group_id=f"{TOPIC}-sent")
    assert reader.committed(place) == 1
    reader.close()


def rebalance():
    first = new_member()
    counts = {True: 0, False: 0}  # partitions of the first member, and of the other
    # What the first reads: nobody commits, so it reads again what was taken from it meanwhile.
    found = {}

    def poll(member, until):
        while not until():
            for records in member.poll(POLL_MS).values():
                for record in records:
                    if member is first:
                        found[record.key.decode()] = record.value.decode(), record.headers
            counts[member is first] = len(member.assignment())

    # In a thread of its own: in 2.0 a poll waits for the whole rebalance, and so for the other member.
    is_over = threading.Event()

    def second_member():
        second = new_member()
        poll(second, is_over.is_set)
        second.close()

    poll(first, lambda: len(first.assignment()) == 3)
    thread = threading.Thread(target=second_member, daemon=True)
    thread.start()
    poll(first, lambda: sorted(counts.values()) == [1, 2])
    is_over.set()
    poll(first, lambda: len(first.assignment()) == 3 and len(found) == RECORDS)
    thread.join()
    first.commit()
    first.close()
    for number in range(RECORDS):
        expected = f"value {number} " * 20, [("h", f"{number}".encode())]
        key = f"key {number}"
        assert (found[key][0], list(found[key][1])) == expected, number


def administer(admin):
    name = f"{TOPIC}-admin"
    admin.create_topics([NewTopic(name, 1, 1, topic_configs={"retention.ms": "1000000"})])
    answer = str(admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)]))
    assert "'1000000'" in answer, answer
    change = {"segment.bytes": "54321"}
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, configs=change)])
    answer = str(admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)]))
    assert "'54321'" in answer, answer
    if MAJOR >= 3:
        admin.create_partitions({name: 3})
        groups = str(admin.list_groups())
        assert "'Empty'" in str(admin.describe_groups([TOPIC])), admin.describe_groups([TOPIC])
    else:
        from kafka.admin import NewPartitions

        admin.create_partitions({name: NewPartitions(3)})
        groups = str(admin.list_consumer_groups())
        # Without asking for them it takes what Kafka says for an operation.
        asks = {"include_authorized_operations": True} if HAS_TRANSACTIONS else {}
        assert "'Empty'" in str(admin.describe_consumer_groups([TOPIC], **asks))
    assert f"'{TOPIC}'" in groups, groups
    (topic,) = admin.describe_topics([name])
    assert len(topic["partitions"]) == 3, topic
    if HAS_TRANSACTIONS:
        produce(new_producer(), "value", topic=name)
        answer = admin.delete_records({TopicPartition(name, 0): -1})
        (place,) = answer
        assert answer[place]["low_watermark"] > 0, answer
    admin.delete_topics([name])
    assert name not in admin.list_topics()


def read():
    member = new_member(partition_assignment_strategy=[RangePartitionAssignor])
    assigned = set()
    while True:
        for place, records in member.poll(100).items():
            for record in records:
                print("record", place.partition, record.key.decode(), record.value.decode())
        if member.assignment() != assigned:
            assigned = member.assignment()
            print("assigned", *(place.partition for place in assigned))
        sys.stdout.flush()


def main():
    if MODE != ["read"]:
        faulthandler.dump_traceback_later(50, exit=True)
    if MODE[:1] == ["write"]:
        produce(new_producer(), MODE[1])
    elif MODE == ["read"]:
        read()
    else:
        admin = KafkaAdminClient(bootstrap_servers=ADDRESS)
        admin.create_topics([NewTopic(TOPIC, 3, 1)])
        if HAS_TRANSACTIONS:
            transactions()
        else:
            produce(new_producer(), "value")
        rebalance()
        administer(admin)
        admin.close()
    print("ok rebalance", *["transactions"] * HAS_TRANSACTIONS, "admin")


main()
