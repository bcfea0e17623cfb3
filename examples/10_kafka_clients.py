"""Testing an application for Kafka without Kafka: a broker in this process speaks its protocol to the application, as it is.

The test lets two processes of ``orders.py`` share a topic, kills one of them, and looks at the broker's side of it. Needs
``pip install confluent-kafka``.
"""

import json
import subprocess
import sys
from time import monotonic

import orders
from orders import Config, Worker, place_orders

from streamlog import Admin, Broker

TIMING: Config = {
    # A member that is silent for so long is taken for dead: Kafka's least is six seconds, which a test would have to wait.
    "session.timeout.ms": 150,
    "heartbeat.interval.ms": 20,
    # librdkafka sends heartbeats when it wakes up, which this has it do.
    "topic.metadata.refresh.interval.ms": 20,
    # librdkafka asks for records of new partitions when its last question was answered: half a second if there was nothing.
    "fetch.wait.max.ms": 20,
}


def main() -> None:
    started = monotonic()
    with Broker(group_min_session_timeout_ms=100) as broker, Admin(broker) as admin:
        broker.create_topic("orders", partitions=4)
        server: Config = {"bootstrap.servers": broker.listen().bootstrap_servers}
        config = server | TIMING

        def done() -> int:
            offsets = admin.list_consumer_group_offsets("workers").values()
            return sum(one.offset for one in offsets if one is not None)

        command = [sys.executable, orders.__file__, json.dumps(config)]
        with subprocess.Popen(command) as other:  # noqa: S603
            place_orders(server, 100)
            worker = Worker(config)
            while len(worker.consumer.assignment()) != 2 or done() < 100:
                worker.work()
            print("100 orders are done; each of two processes has two partitions")
            place_orders(server, 100)
            while done() < 200:
                worker.work()
            print("200 orders are done")
            other.kill()
            place_orders(server, 100)
            while done() < 300:
                worker.work()
            print(
                f"300 orders are done; the survivor has {len(worker.consumer.assignment())} partitions"
            )
            worker.consumer.close()
    print(f"it took {monotonic() - started:.2f} s")


if __name__ == "__main__":
    main()
