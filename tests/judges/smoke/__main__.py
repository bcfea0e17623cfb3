"""``python -m tests.judges.smoke [CLIENT ...]``: each client of Kafka that the registries have does its work, with each codec.

Keys and headers, a group in which a second member comes and goes, transactions and administration where the client has them (the scripts
say what they do). What a client wrote is then read in the broker's own process, and each key has to be in the partition that Kafka's hash
gives it. At the end they all write into one topic, and read it in one group.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from streamlog import Broker, Consumer, TopicPartition
from streamlog.client.murmur2 import murmur2
from tests.judges.broker_process import ROOT, may_leave_out
from tests.judges.smoke.across import exchange
from tests.judges.smoke.clients import CLIENTS, Client, Command, UnavailableError

RECORDS = 50
PARTITIONS = 3
TIMEOUT_S = 120
#: What fails beside others is tried again: some count on times.
TRIES = 3
#: They wait for each other's heartbeats most of the time.
AT_ONCE = 5


class Report(NamedTuple):
    """What came of one client."""

    name: str
    command: Command | None
    """Nothing if it is not to be had."""
    text: str
    is_good: bool


def _run(name: str, client: Client, folder: Path) -> Report:
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    try:
        command = client.prepare(folder)
    except UnavailableError as error:
        return Report(name, None, f"left out: {error}", may_leave_out())
    prepared = time.monotonic()
    notes = []
    is_good = True
    for codec in command.codecs:
        for tries in range(1, TRIES + 1):
            with Broker(group_min_session_timeout_ms=100) as broker:
                broker.listen(default_partitions=PARTITIONS)
                findings = list(_smoke(name, client, command, codec, broker))
            if not findings:
                break
            notes += [f"{codec}, try {tries}: {finding}" for finding in findings]
        is_good = is_good and not findings
    spent = f"{prepared - started:.0f} + {time.monotonic() - prepared:.0f} s"
    text = f"{'ok' if is_good else 'FAILED'}: {', '.join(command.codecs)}; {client.shows}; {spent}"
    return Report(name, command, "\n    ".join([text, *notes]), is_good)


def _smoke(
    name: str, client: Client, command: Command, codec: str, broker: Broker
) -> Iterator[str]:
    topic = f"{name.replace(' ', '-')}-{codec}"
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    try:
        done = subprocess.run(
            [*command.arguments, broker.bootstrap_servers, topic, codec],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT_S,
            env={**environment, **command.environment},
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        yield f"not done in {TIMEOUT_S} s: {(error.stdout or b'')[-2000:].decode()}"
        return
    if done.returncode or f"ok {client.shows}".encode() not in done.stdout.splitlines():
        yield f"exit code {done.returncode}: {done.stdout[-3000:].decode()}"
        return
    if not client.is_framework:
        yield from _check(broker, topic)


def _check(broker: Broker, topic: str) -> Iterator[str]:
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
        yield f"expected {RECORDS} records, found {len(found)}"
    for number in range(RECORDS):
        key = b"key %d" % number
        record = found.get(key)
        if record is None or record.value != b"value %d " % number * 20:
            yield f"{key!r} is not what was sent"
        elif record.partition != (murmur2(key) & 0x7FFFFFFF) % PARTITIONS:
            yield f"{key!r} is in partition {record.partition}"
        elif tuple(record.headers) != (("h", b"%d" % number),):
            yield f"{key!r} has the headers {record.headers}"


def main() -> int:
    """Run those that are named, side by side; all without any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clients", nargs="*", metavar="CLIENT", help="the beginning of its name")
    parser.add_argument("--cache", type=Path, default=ROOT / ".judges")
    options = parser.parse_args()
    started = time.monotonic()
    chosen = {
        name: client
        for name, client in CLIENTS.items()
        if not options.clients or name.startswith(tuple(options.clients))
    }
    if not chosen:
        parser.error(f"expected the beginning of one of {', '.join(CLIENTS)}")

    def run(name: str) -> Report:
        folder = options.cache.resolve() / f"smoke-{name.replace(' ', '-')}"
        report = _run(name, chosen[name], folder)
        print(f"{name:22} {report.text}", flush=True)
        return report

    with ThreadPoolExecutor(AT_ONCE) as pool:
        reports = list(pool.map(run, chosen))
    commands = {
        one.name: one.command
        for one in reports
        if one.command and not chosen[one.name].is_framework
    }
    for tries in range(1, TRIES + 1):
        findings = exchange(commands)
        for finding in findings:
            print(f"    all in one topic, try {tries}: {finding}")
        if not findings:
            break
    print(f"{'all in one topic':22} {'FAILED' if findings else 'ok'}: {', '.join(commands)}")
    good = sum(report.is_good for report in reports) + (not findings)
    print(f"{good} passed, {len(reports) + 1 - good} failed")
    print(f"in {time.monotonic() - started:.0f} s")
    return 0 if good == len(reports) + 1 else 1


if __name__ == "__main__":
    sys.exit(main())
