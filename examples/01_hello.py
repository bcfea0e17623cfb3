"""Send two records, then read them back as a member of a group: the program of the README.

Run it twice: the second run goes on where the first one stopped, as a consumer group does.
"""

from streamlog import Broker, Consumer, Producer

with Broker("demo-data/hello") as broker:  # a directory; Broker() alone lives in memory
    with Producer(broker, value_serializer="str") as producer:
        for word in ("hello", "streamlog"):
            sent = producer.send("greetings", word, key=b"en").result()
            print(f"stored {word!r} in {sent.topic}-{sent.partition} at offset {sent.offset}")

    options = {"group_id": "readers", "auto_offset_reset": "earliest", "value_deserializer": "str"}
    with Consumer(broker, "greetings", **options) as consumer:
        for record in consumer.poll(timeout_ms=1000):
            print(f"read {record.value!r} at offset {record.offset}")
