"""kcat: python with_kcat.py ADDRESS TOPIC CODEC [write NAME]. It makes the topic by using it, with the partitions of the listener."""

import os
import re
import subprocess
import sys
import threading

ADDRESS, TOPIC, CODEC, *MODE = sys.argv[1:]
RECORDS = 50
KCAT = [os.environ.get("KCAT", "kcat"), "-b", ADDRESS, "-q"]


def produce(value):
    # Its own hash is CRC-32; this one is that of Kafka's other clients. A header is one of all records of a call.
    command = [
        *KCAT,
        "-P",
        "-t",
        TOPIC,
        "-z",
        CODEC,
        "-K",
        "\t",
        "-X",
        "partitioner=murmur2_random",
    ]
    for number in range(RECORDS):
        line = f"key {number}\t" + f"{value} {number} " * 20
        subprocess.run([*command, "-H", f"h={number}"], input=line.encode(), check=True)


class Member:
    """A kcat in a group; what it says is looked at as it says it."""

    def __init__(self):
        command = [KCAT[0], "-b", ADDRESS, "-u", "-f", "%p|%k|%h|%s\n", "-o", "beginning"]
        command += ["-X", "auto.offset.reset=earliest", "-X", "heartbeat.interval.ms=100"]
        self.process = subprocess.Popen(
            [*command, "-G", TOPIC, TOPIC], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.assigned = -1
        self.records = {}
        for watch in (self.watch_assignments, self.watch_records):
            threading.Thread(target=watch, daemon=True).start()

    def watch_assignments(self):
        for line in self.process.stderr:
            if b": assigned: " in line:
                tell(
                    lambda line=line: setattr(self, "assigned", len(re.findall(rb"\[\d+\]", line)))
                )

    def watch_records(self):
        for line in self.process.stdout:
            _, key, headers, value = line.decode().rstrip("\n").split("|")
            tell(lambda key=key, told=(value, headers): self.records.update({key: told}))

    def leave(self):
        self.process.terminate()
        self.process.wait()


news = threading.Condition()


def tell(change):
    with news:
        change()
        news.notify_all()


def wait(until):
    with news:
        news.wait_for(until)


def rebalance():
    first = Member()
    wait(lambda: first.assigned == 3)
    second = Member()
    wait(lambda: sorted((first.assigned, second.assigned)) == [1, 2])
    second.leave()
    wait(lambda: first.assigned == 3 and len({**first.records, **second.records}) == RECORDS)
    first.leave()
    found = {**second.records, **first.records}
    for number in range(RECORDS):
        assert found[f"key {number}"] == (f"value {number} " * 20, f"h={number}"), number


if MODE[:1] == ["write"]:
    produce(MODE[1])
else:
    produce("value")
    rebalance()
    listed = subprocess.run([*KCAT, "-L", "-t", TOPIC], stdout=subprocess.PIPE, check=True).stdout
    assert b"with 3 partitions" in listed, listed
print("ok rebalance")
