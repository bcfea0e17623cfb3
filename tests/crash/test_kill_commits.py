"""A commit that returned survives the death of the process at any instant, and so does the generation."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from streamlog import Broker, Consumer, TopicPartition
from tests.support.consuming import append

ROOT = Path(__file__).resolve().parents[2]
KILLS = 8
PARTITIONS = 3

# Reports "generation N" once it joined, then "partition offset" after each commit that returned.
CHILD = """
import os, sys
from streamlog import Broker, Consumer, TopicPartition
path, report = sys.argv[1], int(sys.argv[2])
broker = Broker(path, offsets_topic_num_partitions=1)
with Consumer(broker, "t", group_id="g", auto_offset_reset="earliest", max_poll_records=1,
              enable_auto_commit=False) as consumer:
    consumer.poll()
    consumer.seek_to_beginning()
    for number in range(3):
        committed = consumer.committed(TopicPartition("t", number))
        if committed is not None:
            consumer.seek(TopicPartition("t", number), committed.offset)
    os.write(report, b"generation %d\\n" % consumer.group_metadata().generation_id)
    for record in consumer:
        consumer.commit()
        os.write(report, b"%d %d\\n" % (record.partition, record.offset + 1))
"""


def run_and_kill(path: str, live_s: float) -> list[str]:
    read_end, write_end = os.pipe()
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, path, str(write_end)], pass_fds=[write_end], cwd=ROOT
    )
    os.close(write_end)
    with os.fdopen(read_end, "rb") as report:
        first = report.readline()
        time.sleep(live_s)
        child.send_signal(signal.SIGKILL)
        child.wait()
        return (first + report.read()).decode().splitlines()


@pytest.mark.crash
@pytest.mark.slow
def test_con_9_commit_that_returned_survives_kill_9_and_generations_never_repeat(
    data_dir: str,
) -> None:
    rng = random.Random(5)
    with Broker(data_dir, offsets_topic_num_partitions=1) as broker:
        broker.create_topic("t", partitions=PARTITIONS)
        for number in range(PARTITIONS):
            for _ in range(300):
                append(broker, [b"x"] * 100, TopicPartition("t", number))
    reported = [0] * PARTITIONS
    generation = 0
    for _ in range(KILLS):
        lines = run_and_kill(data_dir, rng.uniform(0, 0.05))
        assert lines
        word, number = lines[0].split()
        assert word == "generation"
        assert int(number) > generation, "a generation of a dead process is never given again"
        generation = int(number)
        for line in lines[1:]:
            partition, offset = map(int, line.split())
            assert offset > reported[partition], "nothing is read twice: each commit was kept"
            reported[partition] = offset
        with Broker(data_dir) as broker, Consumer(broker, group_id="g") as consumer:
            for partition in range(PARTITIONS):
                committed = consumer.committed(TopicPartition("t", partition))
                found = 0 if committed is None else committed.offset
                # The last one may have been stored without the report having been written.
                assert reported[partition] <= found <= reported[partition] + 1
                reported[partition] = found
    assert sum(reported) > KILLS
