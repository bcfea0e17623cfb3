"""The part of ``kafka-topics.sh`` that librdkafka's tests call: create, delete, alter."""

from __future__ import annotations

import argparse
import sys
import time

from tests.support.wire import RawClient


def main() -> None:
    """Do what the command line says; exit with 1 if the broker refuses."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--zookeeper", "--bootstrap-server", dest="address", required=True)
    action = parser.add_mutually_exclusive_group(required=True)
    for name in ("create", "delete", "alter"):
        action.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--topic", required=True)
    parser.add_argument("--partitions", type=int, default=1)
    parser.add_argument("--replication-factor", type=int, default=1)
    parser.add_argument("--config", action="append", default=[])
    options = parser.parse_args()
    client = RawClient(options.address)
    if options.create:
        configs = [
            dict(zip(("name", "value"), one.split("=", 1), strict=True)) for one in options.config
        ]
        topic = {
            "name": options.topic,
            "num_partitions": options.partitions,
            "replication_factor": options.replication_factor,
            "configs": configs,
        }
        (answer,) = client.request("CreateTopics", 4, topics=[topic], timeout_ms=10_000).topics
    elif options.delete:
        names = [options.topic]
        (answer,) = client.request(
            "DeleteTopics", 3, topic_names=names, timeout_ms=10_000
        ).responses
    else:
        topic = {"name": options.topic, "count": options.partitions}
        response = client.request("CreatePartitions", 0, topics=[topic], timeout_ms=10_000)
        (answer,) = response.results
    # Kafka's takes as long to start; a test counts on that.
    time.sleep(1)
    if answer.error_code:
        sys.exit(f"error {answer.error_code}: {getattr(answer, 'error_message', None)}")


if __name__ == "__main__":
    main()
