"""An application written for Kafka, tested without one: a broker in this process speaks Kafka's protocol to it.

The application knows nothing of streamlog: it uses confluent-kafka, as in production. The test lets two of its processes share a
topic, kills one of them, and looks at the broker's side of it. Needs ``pip install confluent-kafka``.
"""

import subprocess
import sys
from time import monotonic

from confluent_kafka import Consumer, Producer

from streamlog import Admin, Broker

TIMING = {
    "session.timeout.ms": 150,
    "heartbeat.interval.ms": 20,
    "topic.metadata.refresh.interval.ms": 100,
}
"""A member that is silent for so long is taken for dead: Kafka's least is six seconds, which a test would have to wait."""

# ---- the application


class Worker:
    """One of the processes that work on orders, in a group, and commit what is done."""

    def __init__(self, bootstrap_servers: str) -> None:
        self.consumer = Consumer(
            {
                "bootstrap.servers": bootstrap_servers,
                "group.id": "workers",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                **TIMING,
            }
        )
        self.consumer.subscribe(["orders"])

    def work(self) -> None:
        """Do what there is to do now, and commit it."""
        orders = self.consumer.consume(100, timeout=0.005)
        if orders:
            self.consumer.commit(asynchronous=False)


def place_orders(bootstrap_servers: str, count: int) -> None:
    """Send orders of as many customers."""
    producer = Producer({"bootstrap.servers": bootstrap_servers, "linger.ms": 0})
    for number in range(count):
        producer.produce("orders", key=f"customer-{number}", value=b"an order")
    producer.flush()


# ---- its test


def main() -> None:
    started = monotonic()
    with Broker(group_min_session_timeout_ms=100) as broker, Admin(broker) as admin:
        broker.create_topic("orders", partitions=4)
        address = broker.listen().bootstrap_servers

        def done() -> int:
            offsets = admin.list_consumer_group_offsets("workers").values()
            return sum(one.offset for one in offsets if one is not None)

        place_orders(address, 100)
        with subprocess.Popen([sys.executable, __file__, address]) as other:  # noqa: S603
            worker = Worker(address)
            while len(worker.consumer.assignment()) != 2 or done() < 100:
                worker.work()
            print("100 orders are done; each of two processes has two partitions")
            place_orders(address, 100)
            while done() < 200:
                worker.work()
            print("200 orders are done")
            other.kill()
            place_orders(address, 100)
            while done() < 300:
                worker.work()
            print(
                f"300 orders are done; the survivor has {len(worker.consumer.assignment())} partitions"
            )
            worker.consumer.close()
    print(f"it took {monotonic() - started:.2f} s")


def run_worker(address: str) -> None:
    worker = Worker(address)
    while True:
        worker.work()


if __name__ == "__main__":
    run_worker(sys.argv[1]) if sys.argv[1:] else main()
