"""Kill a producing process with SIGKILL, again and again in one directory, and check what is left each time.

``python tests/crash/kill_loop.py [KILLS] [--seed SEED] [--mode MODE]``

After each kill the directory is opened in this process and read whole. Every record that was acknowledged in any run so far must
be there: same bytes, same offset, once. (Records that were sent and not acknowledged may be there; they must be whole, and in
their place.) Then the next run continues in the same directory, for some generations; now and then the verifying open is
itself done by a child that is killed.
"""

from __future__ import annotations

import argparse
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:  # run as a script
    sys.path.insert(0, str(ROOT))

from streamlog import Broker, Consumer, TopicPartition  # noqa: E402
from tests.crash.child import MODES, TOPICS, value_for  # noqa: E402

#: Kills in one directory before the next one starts from nothing.
GENERATIONS = 50

#: The longest that a child lives once it is open; most live much shorter.
LONGEST_MS = 150

#: A child that does not come to life within this time is a hang.
START_TIMEOUT_S = 60.0

Acknowledged = dict[tuple[str, int], dict[int, tuple[int, int]]]


class Lost(AssertionError):
    """What was promised is not there."""


def run_child(path: str, run: int, seed: int, mode: str, rng: random.Random) -> list[str]:
    """Let a child produce and kill it; return the lines that it reported."""
    read_end, write_end = os.pipe()
    command = [
        sys.executable,
        "-m",
        "tests.crash.child",
        path,
        str(write_end),
        str(run),
        str(seed),
        mode,
    ]
    process = subprocess.Popen(command, cwd=ROOT, pass_fds=(write_end,), stderr=subprocess.PIPE)
    os.close(write_end)
    # Some children die while they open (recovery), which takes about as long as the interpreter takes to start.
    dies_early = rng.random() < 0.15
    deadline = time.monotonic() + (rng.uniform(0.05, 0.4) if dies_early else START_TIMEOUT_S)
    data, kill_at = b"", deadline
    while (left_s := kill_at - time.monotonic()) > 0:
        if not select.select([read_end], [], [], left_s)[0]:
            break
        chunk = os.read(read_end, 1 << 16)
        if not chunk:
            break  # it ended by itself
        if not data and not dies_early:
            # Exponential: many die within the first appends, some after many rolls.
            kill_at = time.monotonic() + min(rng.expovariate(1000 / 40), LONGEST_MS / 1000)
        data += chunk
    opened = bool(data)
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    _, errors = process.communicate()
    while chunk := os.read(read_end, 1 << 16):  # what the pipe still held
        data += chunk
    os.close(read_end)
    if process.returncode != -signal.SIGKILL:
        raise Lost(f"the child ended by itself ({process.returncode}):\n{errors.decode()[-4000:]}")
    if not opened and not dies_early:
        raise Lost(f"the child did not open its broker within {START_TIMEOUT_S} s")
    return data.decode().split("\n")[:-1]  # an unfinished line was not acknowledged


def note(lines: list[str], acknowledged: Acknowledged, counts: Counter[str]) -> None:
    """Add the reported lines to what was acknowledged so far."""
    for line in lines:
        if line == "open":
            counts["opens by a child"] += 1
            continue
        topic, partition, offset, crc, length = line.split()
        of_partition = acknowledged.setdefault((topic, int(partition)), {})
        if int(offset) in of_partition:
            raise Lost(f"{topic}-{partition}: offset {offset} was acknowledged twice")
        of_partition[int(offset)] = int(crc), int(length)
        counts["records acknowledged"] += 1


def verify(
    path: str, acknowledged: Acknowledged, counts: Counter[str], *, had_retention: bool
) -> None:
    """Open the directory and compare every record with what was acknowledged. Raises Lost."""
    with Broker(path) as broker:
        report = broker.recovery_report
        counts["bytes cut off"] += sum(partition.cut_bytes for partition in report.partitions)
        if report.damaged_partitions:
            raise Lost(f"recovery reports damage: {report}")
        for topic in [topic for topic in TOPICS if topic in broker.topics()]:
            for partition in range(TOPICS[topic]):
                expected = acknowledged.get((topic, partition), {})
                start = _verify_partition(
                    broker, TopicPartition(topic, partition), expected, counts
                )
                if start and not had_retention:
                    raise Lost(
                        f"{topic}-{partition}: expected the log to start at 0, found {start}"
                    )


def _verify_partition(
    broker: Broker,
    topic_partition: TopicPartition,
    expected: dict[int, tuple[int, int]],
    counts: Counter[str],
) -> int:
    """Compare one partition and return where its log starts."""
    found: dict[int, bytes] = {}
    with Consumer(broker, auto_offset_reset="earliest") as consumer:
        consumer.assign([topic_partition])
        start = consumer.beginning_offsets([topic_partition])[topic_partition]
        end = consumer.end_offsets([topic_partition])[topic_partition]
        while records := consumer.poll(0, max_records=100_000):
            found.update((record.offset, record.value) for record in records)
    if sorted(found) != list(range(start, end)):
        raise Lost(
            f"{topic_partition}: expected offsets {start} to {end - 1}, found {len(found)} of them"
        )
    names = Counter(found.values())
    for value, times in names.items():
        run, thread, number = map(int, value.split(b"|")[0].split(b"-"))
        if value != value_for(run, thread, number):
            raise Lost(f"{topic_partition}: found a value that nobody sent: {value[:80]!r}")
        if times > 1:
            raise Lost(f"{topic_partition}: found {value[:80]!r} {times} times")
    for offset, (crc, length) in expected.items():
        if offset < start:
            continue  # retention took it
        value = found.get(offset)
        if value is None:
            raise Lost(
                f"{topic_partition}: acknowledged offset {offset} is lost (log ends at {end})"
            )
        if (zlib.crc32(value), len(value)) != (crc, length):
            raise Lost(
                f"{topic_partition}: offset {offset} holds other bytes than were acknowledged"
            )
    counts["records verified"] += len(found)
    counts["records not acknowledged but there"] += len(found) - sum(o >= start for o in expected)
    return start


def kill_loop(kills: int, seed: int, modes: tuple[str, ...] = MODES) -> Counter[str]:
    """Kill *kills* children and return what was counted. Raises Lost, naming seed and mode, on the first broken promise."""
    counts: Counter[str] = Counter()
    directory = ""
    acknowledged: Acknowledged = {}
    had_retention = False
    try:
        for run in range(kills):
            rng = random.Random(f"{seed}/{run}")
            mode = modes[run % len(modes)]
            if run % GENERATIONS == 0:
                if directory:
                    shutil.rmtree(directory)
                directory = tempfile.mkdtemp(prefix="streamlog-kills-")
                acknowledged, had_retention = {}, False
            had_retention |= mode == "retention"
            path = f"{directory}/data"
            try:
                note(run_child(path, run, seed, mode, rng), acknowledged, counts)
                verify(path, acknowledged, counts, had_retention=had_retention)
            except Lost as error:
                kept, directory = directory, ""  # not removed: somebody will want to look at it
                raise Lost(
                    f"seed {seed}, kill {run}, mode {mode}, directory {kept}: {error}"
                ) from error
            counts["kills"] += 1
            counts[f"kills in mode {mode}"] += 1
    finally:
        if directory:
            shutil.rmtree(directory)
    return counts


def main() -> int:
    """Run the loop from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("kills", nargs="?", type=int, default=50)
    parser.add_argument("--seed", type=int, default=None, help="default: chosen and printed")
    parser.add_argument("--mode", choices=MODES, default=None, help="default: all in turn")
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else random.randrange(1 << 31)
    print(f"seed {seed}", flush=True)
    started = time.monotonic()
    counts = kill_loop(arguments.kills, seed, (arguments.mode,) if arguments.mode else MODES)
    for name, count in sorted(counts.items()):
        print(f"{count:>12,}  {name}")
    print(
        f"0 acknowledged records lost, 0 doubled, 0 directories that do not open; {time.monotonic() - started:.0f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
