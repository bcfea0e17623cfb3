"""Smoke test of confluent-kafka, any version: python with_confluent.py ADDRESS TOPIC CODEC [transaction]."""

import sys

from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

ADDRESS, TOPIC, CODEC = sys.argv[1:4]
RECORDS = 50

admin = AdminClient({"bootstrap.servers": ADDRESS})
admin.create_topics([NewTopic(TOPIC, 3, 1)])[TOPIC].result(20)
settings = {
    "bootstrap.servers": ADDRESS,
    "compression.type": CODEC,
    "partitioner": "murmur2_random",
    "linger.ms": 20,
}
is_transactional = sys.argv[4:] == ["transaction"]
if is_transactional:
    settings["transactional.id"] = TOPIC
producer = Producer(settings)


def produce(count, value):
    for number in range(count):
        key, text = f"key {number}", f"{value} {number} " * 20
        producer.produce(TOPIC, key=key, value=text, headers=[("h", f"{number}".encode())])
    assert not producer.flush(20)


if is_transactional:
    producer.init_transactions(20)
    producer.begin_transaction()
    produce(7, "aborted")
    producer.abort_transaction(20)
    producer.begin_transaction()
    produce(RECORDS, "value")
    producer.commit_transaction(20)
else:
    produce(RECORDS, "value")

settings = {"bootstrap.servers": ADDRESS, "group.id": TOPIC, "auto.offset.reset": "earliest"}
settings.update({"isolation.level": "read_committed", "enable.auto.commit": False})
members = [Consumer(settings) for _ in range(2)]
for member in members:
    member.subscribe([TOPIC])
found = {}
while len(found) < RECORDS or not all(member.assignment() for member in members):
    for member in members:
        for message in member.consume(100, 0.05):
            assert message.error() is None, message.error()
            found[message.key().decode()] = message.value().decode(), dict(message.headers())
for member in members:
    try:
        member.commit(asynchronous=False)
    except Exception as error:
        if "NO_OFFSET" not in str(error):  # a member that read nothing
            raise
    member.close()
for number in range(RECORDS):
    expected = f"value {number} " * 20, {"h": f"{number}".encode()}
    assert found[f"key {number}"] == expected, number
print("ok")
