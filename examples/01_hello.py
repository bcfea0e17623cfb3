"""Send two records, then read them back as a member of a group: the program of the README.

Run it twice: the second run goes on where the first one stopped, as a consumer group does.
"""

from streamlog import Broker, Consumer, Producer

with Broker("demo-data/hello") as broker:  # a directory; Broker() alone lives in memory
    with Producer(broker) as producer:
        for word in (b"hello", b"streamlog"):
            sent = producer.send("greetings", word, key=b"en").result()
            print(f"stored {word!r} in {sent.topic_partition} at offset {sent.offset}")

    with Consumer(
        broker, "greetings", group_id="readers", auto_offset_reset="earliest"
    ) as consumer:
        for record in consumer.poll(timeout_ms=1000):
            print(f"read {record.value!r} at offset {record.offset}")
