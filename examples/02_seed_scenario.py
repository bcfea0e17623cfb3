"""The first steps everybody takes with Kafka, without Kafka: three lines in, three records out.

    kafka-topics.sh --create --topic test --partitions 3
    kafka-console-producer.sh --topic test          hello, test, sanghyun
    SimpleConsumer with group.id=test-group         logger.info("{}", record)

The records are printed as Kafka's Java client prints them.
"""

from streamlog import Broker, Consumer, ConsumerRecord, Producer, TimestampType


def java_text(record: ConsumerRecord) -> str:
    """Return *record* as `ConsumerRecord.toString()` gives it in Kafka's Java client."""
    time = "CreateTime" if record.timestamp_type is TimestampType.CREATE_TIME else "LogAppendTime"
    headers = ", ".join(
        f"RecordHeader(key = {name}, value = {value!r})" for name, value in record.headers
    )
    return (
        f"ConsumerRecord(topic = {record.topic}, partition = {record.partition}, "
        f"leaderEpoch = {record.leader_epoch}, offset = {record.offset}, {time} = {record.timestamp_ms}, "
        f"serialized key size = {record.serialized_key_size}, "
        f"serialized value size = {record.serialized_value_size}, "
        f"headers = RecordHeaders(headers = [{headers}], isReadOnly = false), "
        f"key = {'null' if record.key is None else record.key}, value = {record.value})"
    )


def main() -> None:
    with Broker() as broker:  # in memory: nothing is left behind
        broker.create_topic("test", partitions=3)

        with Producer(broker, key_serializer="str", value_serializer="str") as producer:
            for line in ("hello", "test", "sanghyun"):
                producer.send("test", line)

        with Consumer(
            broker,
            "test",
            group_id="test-group",
            auto_offset_reset="earliest",
            key_deserializer="str",
            value_deserializer="str",
        ) as consumer:
            left = 3
            while left:
                for record in consumer.poll(timeout_ms=1000):
                    print(java_text(record))
                    left -= 1


if __name__ == "__main__":
    main()
