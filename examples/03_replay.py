"""A log is not a queue: what was read stays, can be read again from any moment on, and goes when it is old.

A meter reports each hour for ten days, of which the topic keeps about seven: a segment holds a day, and retention deletes whole
segments. The clock is a virtual one, so all of this takes a moment.
"""

from streamlog import Admin, Broker, Consumer, Producer, TopicPartition
from streamlog.testing import VirtualClock

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
METER = TopicPartition("meter", 0)


def read_rest(consumer: Consumer) -> list[int]:
    """Read from where *consumer* stands to the end."""
    found: list[int] = []
    while records := consumer.poll():
        found += records.values()
    return found


def main() -> None:
    clock = VirtualClock()
    with Broker(clock=clock) as broker:
        broker.create_topic("meter", configs={"segment_ms": DAY_MS, "retention_ms": 7 * DAY_MS})
        with Producer(broker, value_serializer="int") as producer:
            for hour in range(10 * 24):
                producer.send("meter", 1 if hour % 24 < 12 else 3)
                clock.advance(HOUR_MS)

        with (
            Consumer(broker, auto_offset_reset="earliest", value_deserializer="int") as consumer,
            Admin(broker) as admin,
        ):
            consumer.assign([METER])

            # From a moment on: the first record that is not older. None when all are.
            found = consumer.offsets_for_times({METER: clock.time_ms() - 2 * DAY_MS})[METER]
            assert found is not None
            consumer.seek(METER, found.offset)
            print(f"the last two days, from offset {found.offset}: {sum(read_rest(consumer))} kWh")
            consumer.seek(METER, found.offset)
            print(f"the same again: {sum(read_rest(consumer))} kWh")

            # What retention took is gone, and offsets never change: whoever was away for too long goes on at the oldest record.
            start = consumer.beginning_offsets([METER])[METER]
            consumer.seek(METER, 0)
            print(f"offsets start at {start}: {len(read_rest(consumer))} of 240 records are left")

            # And what must not be kept any longer can be deleted at once, up to an offset.
            admin.delete_records({METER: found.offset})
            consumer.seek_to_beginning(METER)
            print(f"after deleting what came before: {len(read_rest(consumer))} records")


if __name__ == "__main__":
    main()
