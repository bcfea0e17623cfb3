"""Logs to measure on, and processes to measure in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from streamlog import Broker
from streamlog.broker.partition import Partition
from streamlog.record import build_batch

TOPIC = "bench"
VALUE = b"x" * 100
#: Timestamps do not matter here, except that retention must leave them alone.
NOW_MS = 1_700_000_000_000
#: Records of 100 bytes in a batch of the producer's default ``batch_size`` of 16 KiB.
RECORDS_PER_BATCH = 156

#: No retention, and no sync but the one that is measured.
QUIET = {"retention_ms": -1, "flush_ms": -1}


def open_quiet(path: Path, *, partitions: int = 1, **configs: object) -> Broker:
    """Open the broker in *path*; its topic is made if need be, with `QUIET` and *configs*."""
    broker = Broker(path)
    if TOPIC not in broker.topics():
        broker.create_topic(TOPIC, partitions=partitions, configs={**QUIET, **configs})
    return broker


def fill(partition: Partition, records: int, per_batch: int = RECORDS_PER_BATCH) -> None:
    """Append *records* records of 100 bytes in batches of *per_batch*; the last one may be smaller."""
    batch = build_batch([VALUE] * per_batch, NOW_MS)
    for _ in range(records // per_batch):
        partition.append(batch)
    rest = records % per_batch
    if rest:
        partition.append(build_batch([VALUE] * rest, NOW_MS))


def bytes_on_disk(path: Path) -> int:
    """Return the size of all files below *path*, as their names say it."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def child(target: Callable[..., None], *arguments: object) -> subprocess.Popen[str]:
    """Run *target*, a function at the top of a module of this package, in a process of its own; its stdout is a pipe."""
    code = f"import json, sys; from {target.__module__} import {target.__name__} as target; target(*json.loads(sys.argv[1]))"
    words = [
        argument if isinstance(argument, (int, str)) else str(argument) for argument in arguments
    ]
    root = Path(__file__).parents[1]
    return subprocess.Popen(
        [sys.executable, "-c", code, json.dumps(words)], cwd=root, stdout=subprocess.PIPE, text=True
    )


def answer_of(process: subprocess.Popen[str]) -> Any:
    """Return the next line that *process* printed, decoded; raise RuntimeError when it ended without one."""
    stdout: IO[str] | None = process.stdout
    assert stdout is not None
    line = stdout.readline()
    if not line:
        raise RuntimeError(f"the child process ended with status {process.wait()}")
    return json.loads(line)


def answer(value: object) -> None:
    """In a child process: hand *value* to `answer_of`."""
    print(json.dumps(value), flush=True)


def memory_of_this_process() -> dict[str, int]:
    """Return resident bytes: in all, and those that are not pages of files."""
    with open("/proc/self/status") as status:
        fields = dict(line.split(":", 1) for line in status)
    return {
        "all": int(fields["VmRSS"].split()[0]) * 1024,
        "anonymous": int(fields["RssAnon"].split()[0]) * 1024,
    }


def open_descriptors() -> int:
    """Return how many file descriptors this process holds."""
    return len(os.listdir("/proc/self/fd")) - 1
