"""Quix Streams on confluent-kafka: python with_quixstreams.py ADDRESS TOPIC CODEC.

An application counts the records of each key, exactly once. It is stopped half-way and started again where its state is not, which it
restores from the changelog topic.
"""

import faulthandler
import json
import sys
import tempfile

from confluent_kafka import Consumer, Producer
from quixstreams import Application

ADDRESS, TOPIC, CODEC = sys.argv[1:]
RECORDS, KEYS = 100, 7
COUNTS = f"{TOPIC}-counts"


def count(_, state):
    number = state.get("count", 0) + 1
    state.set("count", number)
    return number


def run(records):
    """Start the application without any state of its own, and let it read so many records."""
    with tempfile.TemporaryDirectory() as folder:
        app = Application(
            broker_address=ADDRESS,
            consumer_group=TOPIC,
            auto_offset_reset="earliest",
            processing_guarantee="exactly-once",
            state_dir=folder,
            loglevel="WARNING",
        )
        words = app.topic(TOPIC, value_deserializer="str")
        counts = app.topic(COUNTS, value_serializer="json")
        app.dataframe(words).apply(count, stateful=True).to_topic(counts)
        app.run(count=records, timeout=40)


def main():
    producer = Producer({"bootstrap.servers": ADDRESS})
    for number in range(RECORDS):
        producer.produce(TOPIC, key=f"key {number % KEYS}", value=f"word {number}")
    assert producer.flush(20) == 0
    run(RECORDS // 2)
    run(RECORDS - RECORDS // 2)
    settings = {"isolation.level": "read_committed", "auto.offset.reset": "earliest"}
    reader = Consumer({"bootstrap.servers": ADDRESS, "group.id": f"{TOPIC}-reader", **settings})
    reader.subscribe([COUNTS])
    found = {}
    for _ in range(RECORDS):
        message = reader.poll(20)
        assert message is not None, found
        assert not message.error(), message.error()
        found.setdefault(message.key().decode(), []).append(json.loads(message.value()))
    reader.close()
    for number in range(KEYS):
        # Each word was counted once, by whichever of the two.
        count = len(range(number, RECORDS, KEYS))
        assert found[f"key {number}"] == [*range(1, count + 1)], found


faulthandler.dump_traceback_later(100, exit=True)
main()
print("ok exactly-once changelog restart")
