"""An application written for Kafka, with confluent-kafka: workers that share the orders of a topic. It knows nothing of streamlog.

``10_kafka_clients.py`` tests it. ``python orders.py '{"bootstrap.servers": "..."}'`` runs one worker.
"""

import json
import sys

from confluent_kafka import Consumer, KafkaException, Producer

Config = dict[str, str | int]


class Worker:
    """One of the processes that work on orders, in a group, and commit what is done."""

    def __init__(self, config: Config) -> None:
        self.consumer = Consumer(
            {
                "group.id": "workers",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                **config,
            }
        )
        self.consumer.subscribe(["orders"])

    def work(self) -> None:
        """Do what there is to do now, and commit it."""
        orders = self.consumer.consume(100, timeout=0.005)
        if orders:
            try:
                self.consumer.commit(asynchronous=False)
            except KafkaException:
                pass  # the group took the partitions away meanwhile: whoever has them now does these orders again


def place_orders(config: Config, count: int) -> None:
    """Send orders of as many customers."""
    producer = Producer({"linger.ms": 0, **config})
    for number in range(count):
        producer.produce("orders", key=f"customer-{number}", value=b"an order")
    producer.flush()


if __name__ == "__main__":
    worker = Worker(json.loads(sys.argv[1]))
    while True:
        worker.work()
