"""``python -m tests.judges.smoke [CLIENT ...]``: each client of Kafka that the registries have writes and reads with each codec.

Keys and headers, a group of two, transactions where the client has them, and an admin client that makes the topic. What a client wrote
is then read in the broker's own process, and each key has to be in the partition that Kafka's hash gives it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from streamlog import Broker, Consumer, TopicPartition
from streamlog.client.murmur2 import murmur2

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
RECORDS = 50
PARTITIONS = 3
TIMEOUT_S = 120
JAVA = "shigawire-apache-flink-libraries"


class UnavailableError(Exception):
    """The client is not to be had on this machine."""


class Client(NamedTuple):
    """What to run, and which codecs it has."""

    prepare: Callable[[Path], list[str]]
    """Fetch it; return the command, which an address, a topic and a codec complete."""
    codecs: tuple[str, ...] = CODECS
    more: tuple[str, ...] = ()


def _python(script: str, *requirements: str) -> Callable[[Path], list[str]]:
    def prepare(folder: Path) -> list[str]:
        python = folder / "venv" / "bin" / "python"
        if not (folder / "ready").exists():
            subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
            pip = [python, "-m", "pip", "--disable-pip-version-check", "--quiet"]
            done = subprocess.run(
                [*pip, "install", "--only-binary", "confluent-kafka", *requirements],
                stderr=subprocess.PIPE,
                check=False,
            )
            if done.returncode:
                raise UnavailableError(done.stderr.decode().strip().splitlines()[-1])
            (folder / "ready").touch()
        return [str(python), str(HERE / script)]

    return prepare


def _kafkajs(folder: Path) -> list[str]:
    if not shutil.which("npm"):
        raise UnavailableError("needs npm")
    if not (folder / "node_modules").exists():
        command = ["npm", "install", "--silent", "--prefix", str(folder), "kafkajs@2.2.4"]
        subprocess.run(command, check=True)
    shutil.copy(HERE / "with_kafkajs.js", folder)
    return ["node", str(folder / "with_kafkajs.js")]


def _kcat(folder: Path) -> list[str]:
    if not shutil.which("kcat"):
        raise UnavailableError("needs kcat")
    return ["sh", str(HERE / "with_kcat.sh")]


def _java(folder: Path) -> list[str]:
    if not shutil.which("java"):
        raise UnavailableError("needs a JDK")
    jars = folder / "jars"
    if not jars.exists():
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
        target = folder / "package"
        subprocess.run([*pip, "install", "--no-deps", "--target", target, JAVA], check=True)
        found = [
            jar
            for jar in target.rglob("*.jar")
            if jar.name.startswith(("kafka-clients", "lz4", "snappy", "zstd", "slf4j-api"))
        ]
        if not any(jar.name.startswith("kafka-clients") for jar in found):
            raise UnavailableError(
                f"no kafka-clients among {len(list(target.rglob('*.jar')))} jars"
            )
        jars.mkdir()
        for jar in found:
            shutil.copy(jar, jars)
    return ["java", "-cp", f"{jars}/*", str(HERE / "WithJava.java")]


CLIENTS: dict[str, Client] = {
    "confluent-kafka 2.16": Client(_python("with_confluent.py", "confluent-kafka==2.16.1")),
    "confluent-kafka 2.16, transactions": Client(
        _python("with_confluent.py", "confluent-kafka==2.16.1"), ("none", "zstd"), ("transaction",)
    ),
    "confluent-kafka 1.9.2": Client(_python("with_confluent.py", "confluent-kafka==1.9.2")),
    "kafka-python 3.0": Client(
        _python(
            "with_kafka_python.py",
            *("kafka-python==3.0.12", "python-snappy", "lz4", "zstandard", "crc32c"),
        )
    ),
    "kafka-python 2.3": Client(
        _python(
            "with_kafka_python.py",
            *("kafka-python==2.3.0", "python-snappy", "lz4", "zstandard", "crc32c"),
        )
    ),
    "kafka-python 2.0.2": Client(
        _python("with_kafka_python.py", "kafka-python==2.0.2", "python-snappy", "lz4", "zstandard")
    ),
    "aiokafka": Client(
        _python("with_aiokafka.py", "aiokafka==0.14.0", "cramjam", "lz4", "python-snappy")
    ),
    "kafkajs": Client(_kafkajs, ("none", "gzip")),
    "kcat": Client(_kcat),
    "java": Client(_java),
}


def _smoke(name: str, client: Client, command: list[str], broker: Broker) -> Iterator[str]:
    for codec in client.codecs:
        topic = "".join(c if c.isalnum() else "-" for c in name) + "-" + codec
        full = [*command, broker.bootstrap_servers, topic, codec, *client.more]
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        try:
            done = subprocess.run(
                full,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=TIMEOUT_S,
                env=environment,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            yield f"{codec}: not done in {TIMEOUT_S} s: {(error.stdout or b'')[-800:].decode()}"
            continue
        if done.returncode or b"ok" not in done.stdout.splitlines():
            yield f"{codec}: exit code {done.returncode}: {done.stdout[-800:].decode()}"
            continue
        yield from _check(broker, topic, codec)


def _check(broker: Broker, topic: str, codec: str) -> Iterator[str]:
    """Yield what differs from what the client was to write."""
    found = {}
    with Consumer(
        broker, isolation_level="read_committed", auto_offset_reset="earliest"
    ) as consumer:
        consumer.assign([TopicPartition(topic, number) for number in range(PARTITIONS)])
        while records := consumer.poll(100):
            for record in records:
                assert record.key is not None
                found[record.key] = record
    if len(found) != RECORDS:
        yield f"{codec}: expected {RECORDS} records, found {len(found)}"
    for number in range(RECORDS):
        key = b"key %d" % number
        record = found.get(key)
        if record is None or record.value != b"value %d " % number * 20:
            yield f"{codec}: {key!r} is not what was sent"
        elif record.partition != (murmur2(key) & 0x7FFFFFFF) % PARTITIONS:
            yield f"{codec}: {key!r} is in partition {record.partition}"
        elif tuple(record.headers) != (("h", b"%d" % number),):
            yield f"{codec}: {key!r} has the headers {record.headers}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clients", nargs="*", metavar="CLIENT", help="the beginning of its name")
    parser.add_argument("--cache", type=Path, default=ROOT / ".judges")
    options = parser.parse_args()
    wrong = 0
    for name, client in CLIENTS.items():
        if options.clients and not name.startswith(tuple(options.clients)):
            continue
        folder = options.cache.resolve() / ("smoke-" + name.partition(",")[0].replace(" ", "-"))
        folder.mkdir(parents=True, exist_ok=True)
        try:
            command = client.prepare(folder)
        except UnavailableError as error:
            print(f"{name:36} left out: {error}", flush=True)
            continue
        with Broker(group_min_session_timeout_ms=100) as broker:
            broker.listen(default_partitions=PARTITIONS)
            findings = list(_smoke(name, client, command, broker))
        wrong += bool(findings)
        print(f"{name:36} {', '.join(client.codecs)}: {'FAILED' if findings else 'ok'}", flush=True)
        for finding in findings:
            print(f"    {finding}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
