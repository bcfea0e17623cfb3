"""Smoke test of kafka-python, any version: python with_kafka_python.py ADDRESS TOPIC CODEC."""

import sys

import kafka
from kafka import KafkaConsumer, KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic

ADDRESS, TOPIC, CODEC = sys.argv[1:4]
RECORDS = 50

admin = KafkaAdminClient(bootstrap_servers=ADDRESS)
admin.create_topics([NewTopic(TOPIC, 3, 1)])
codec = None if CODEC == "none" else CODEC
producer = KafkaProducer(bootstrap_servers=ADDRESS, compression_type=codec, linger_ms=20)
for number in range(RECORDS):
    text = f"value {number} " * 20
    header = ("h", f"{number}".encode())
    producer.send(TOPIC, key=f"key {number}".encode(), value=text.encode(), headers=[header])
producer.flush(20)
members = [
    KafkaConsumer(
        TOPIC,
        bootstrap_servers=ADDRESS,
        group_id=TOPIC,
        auto_offset_reset="earliest",
        heartbeat_interval_ms=50,
        enable_auto_commit=False,
    )
    # In 2.0 a poll waits for the whole rebalance, and so for the member that this thread would poll next.
    for _ in range(1 if kafka.__version__.startswith("2.0") else 2)
]
found = {}
while len(found) < RECORDS:
    for member in members:
        for records in member.poll(200).values():
            for record in records:
                found[record.key.decode()] = record.value.decode(), dict(record.headers)
members[0].commit()
for member in members:
    member.close()
producer.close()
admin.close()
for number in range(RECORDS):
    expected = f"value {number} " * 20, {"h": f"{number}".encode()}
    assert found[f"key {number}"] == expected, number
print("ok")
