"""Exactly once: read, transform, write and commit in one transaction, however often the program fails.

    python examples/08_exactly_once.py [--data DIRECTORY] [--records COUNT]

A relay turns orders into invoices, a few dozen in each transaction; the offsets that it has read are part of it. Where it
fails, neither its invoices count nor its offsets, and the next relay takes the same orders again. With a directory it goes on
where it was killed: by Ctrl-C, by ``kill -9``, by anything.
"""

import argparse
from collections import Counter
from collections.abc import Iterator

from streamlog import Broker, Consumer, Producer, TopicPartition

PARTITIONS = 3


class Outage(Exception):
    """What goes wrong in the middle of a transaction."""


def fill(broker: Broker, count: int) -> None:
    """Write the orders, all of them or none, unless they are there from an earlier run."""
    with Producer(broker, transactional_id="shop", value_serializer="int") as producer:
        producer.init_transactions()
        if next(committed(broker, "orders"), None) is None:
            with producer.transaction():
                for number in range(count):
                    producer.send("orders", number, key=b"customer-%d" % (number % 7))


def relay(broker: Broker, fails_in: int | None = None) -> None:
    """Turn what is left of the orders into invoices; fail in the middle of transaction *fails_in*."""
    with (
        Producer(broker, transactional_id="relay", value_serializer="str", linger_ms=5) as producer,
        Consumer(
            broker,
            "orders",
            group_id="relay",
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            enable_auto_commit=False,
            max_poll_records=50,
            value_deserializer="int",
        ) as consumer,
    ):
        producer.init_transactions()  # whoever was the relay before is none any more
        transactions = 0
        while records := consumer.poll(timeout_ms=50):
            with producer.transaction():
                for record in records:
                    producer.send("invoices", f"invoice for order {record.value}", key=record.key)
                producer.send_offsets_to_transaction(
                    records.next_offsets, consumer.group_metadata()
                )
                transactions += 1
                if transactions == fails_in:
                    raise Outage(f"in transaction {transactions}")


def committed(broker: Broker, topic: str) -> Iterator[str]:
    """Yield the values that a reader with ``read_committed`` sees."""
    with Consumer(
        broker,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        value_deserializer="int" if topic == "orders" else "str",
    ) as consumer:
        consumer.assign(TopicPartition(topic, number) for number in range(PARTITIONS))
        while records := consumer.poll(timeout_ms=50):
            yield from records.values()


def main() -> None:
    parser = argparse.ArgumentParser(description="Invoices for orders, exactly once.")
    parser.add_argument("--data", help="a directory to go on in; memory by default")
    parser.add_argument("--records", type=int, default=1000, help="how many orders (default: 1000)")
    arguments = parser.parse_args()
    with Broker(arguments.data) as broker:
        for topic in ("orders", "invoices"):
            if topic not in broker.topics():
                broker.create_topic(topic, partitions=PARTITIONS)
        fill(broker, arguments.records)
        for fails_in in (2, 3, None):
            try:
                relay(broker, fails_in)
            except Outage as outage:
                count = sum(1 for _ in committed(broker, "invoices"))
                print(f"failed {outage}: {count} invoices count")
        found = Counter(committed(broker, "invoices"))
        expected = Counter(f"invoice for order {number}" for number in range(arguments.records))
        if found != expected:
            raise SystemExit(f"missing: {expected - found}, too many: {found - expected}")
        print(f"{arguments.records} orders, {found.total()} invoices, each of them once")


if __name__ == "__main__":
    main()
