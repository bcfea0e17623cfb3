"""Malformed frames by the million: ``python -m tests.fuzz.frames [FRAMES] [--seed N]``.

Each goes to a connection without a socket, in front of a whole broker in memory. It is answered, waited on or ends its connection;
whatever else happens is a finding, as is memory that grows with the number of frames.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import struct
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence

from streamlog.broker.broker import Broker
from streamlog.runtime import VirtualClock
from streamlog.wire.dispatch import ROUTES
from streamlog.wire.messages import APIS
from tests.fuzz.mutate import mutated
from tests.support.kafka_batches import GOLDEN, kafka_batch
from tests.support.wire_memory import MemoryListener
from tests.support.wire_messages import random_struct

#: A broker sees so many of them: what the frames that are no nonsense made is gone with it.
FRAMES_PER_BROKER = 20_000
MAX_FRAME_BYTES = 1 << 20
MAX_GROWTH_BYTES = 64 << 20
#: What a length, a count or an offset may be at its extremes, as two, four and eight bytes and as a variable integer.
EXTREMES = [
    *(struct.pack(">h", number) for number in (-(1 << 15), -2, -1, 0, 1, (1 << 15) - 1)),
    *(struct.pack(">i", number) for number in (-(1 << 31), -2, -1, 0, 1, 1 << 24, (1 << 31) - 1)),
    *(struct.pack(">q", number) for number in (-(1 << 63), -1, 0, 1 << 40, (1 << 63) - 1)),
    *(
        b"\0",
        b"\1",
        b"\x7f",
        b"\xff\x7f",
        b"\xff\xff\xff\xff\x07",
        b"\xff\xff\xff\xff\x0f",
        b"\xff" * 10,
    ),
]


def real_frames(rng: random.Random) -> list[bytes]:
    """Return requests of every API in every version that is served, without their sizes."""
    frames = []
    for key, route in sorted(ROUTES.items()):
        message = APIS[key].request
        for version in range(route.first, route.last + 1):
            for _ in range(3):
                made = random_struct(rng, message.make, message.schema.fields, version)
                head = struct.pack(">hhih", key, version, rng.randrange(1 << 31), -1)
                if message.is_flexible(version):
                    head += b"\0"
                frames.append(b"".join(message.encode(made, version, head)))
    for batch in (*GOLDEN, kafka_batch([b"a", None], [b"k", b""])):
        produce = APIS[0].request
        partition = produce.make.TopicData.PartitionData(index=0, records=batch)
        topic = produce.make.TopicData(name="t", partition_data=[partition])
        made = produce.make(acks=1, timeout_ms=1, topic_data=[topic])
        frames.append(b"".join(produce.encode(made, 8, struct.pack(">hhih", 0, 8, 1, -1))))
    return frames


def malformed(real: Sequence[bytes], rng: random.Random) -> bytes:
    """Return one frame with its size: real, cut, changed, with a number at its extreme, or bytes of chance; sizes lie now and then."""
    kind = rng.random()
    if kind < 0.45:
        frame = bytearray(rng.choice(real))
        at = rng.randrange(len(frame) + 1)
        extreme = rng.choice(EXTREMES)
        frame[at : at + len(extreme)] = extreme
        data = bytes(frame)
    elif kind < 0.75:
        data = mutated(real, rng)
    elif kind < 0.85:
        frame = bytearray(rng.choice(real))
        data = bytes(frame[: rng.randrange(len(frame) + 1)])
    elif kind < 0.9:
        data = rng.choice(real)
    else:
        key = rng.choice([rng.randrange(-2, 80), 0, 1, 3, 11])
        head = struct.pack(">hhi", key, rng.randrange(-1, 14), rng.randrange(1 << 31))
        data = head + rng.randbytes(rng.randrange(60))
    if rng.random() < 0.02:
        return rng.choice(EXTREMES) + data
    return struct.pack(">i", len(data)) + data


class Findings(logging.Handler):
    """What the broker says it did not expect."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(logging.Formatter().format(record))


def run(count: int, seed: int) -> Counter[str]:
    """Send *count* frames; return what became of them. Raises AssertionError with the frame that shows something wrong."""
    rng = random.Random(seed)
    real = real_frames(rng)
    outcomes: Counter[str] = Counter()
    log, findings = logging.getLogger("streamlog"), Findings()
    level, propagate = log.level, log.propagate
    log.addHandler(findings)
    log.setLevel(logging.ERROR)
    log.propagate = False
    resident = 0
    try:
        while (done := sum(outcomes.values())) < count:
            _run_one_broker(
                (malformed(real, rng) for _ in range(min(FRAMES_PER_BROKER, count - done))),
                outcomes,
                findings,
            )
            now = _resident_bytes()
            resident = resident or now
            assert now - resident < MAX_GROWTH_BYTES, f"{now - resident} bytes more than at first"
    except AssertionError as error:
        raise AssertionError(f"seed {seed}: {error}") from error
    finally:
        log.removeHandler(findings)
        log.setLevel(level)
        log.propagate = propagate
    return outcomes


def _run_one_broker(frames: Iterator[bytes], outcomes: Counter[str], findings: Findings) -> None:
    with Broker(clock=VirtualClock()) as broker:
        broker.create_topic("t")
        listener = MemoryListener(broker, max_frame_bytes=MAX_FRAME_BYTES)
        client = listener.connect()
        for frame in frames:
            try:
                answer = client.send(frame)
            except Exception as error:
                raise AssertionError(f"frame {frame.hex()}: {error!r}") from error
            assert not findings.found, f"frame {frame.hex()}: {findings.found[0]}"
            if not client.is_open:
                outcomes["closed"] += 1
            elif client.connection.is_waiting:
                outcomes["waiting"] += 1
            elif answer:
                outcomes["answered"] += 1
            else:
                outcomes["no answer"] += 1  # acks=0, or half a frame
            if not client.is_open or not answer:
                client.close()
                client = listener.connect()
        client.close()
        assert not listener.connections


def _resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("frames", nargs="?", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    started = time.monotonic()
    outcomes = run(options.frames, options.seed)
    for name, number in outcomes.most_common():
        print(f"{name:10} {number:>12,}")
    print(f"{sum(outcomes.values()):,} frames in {time.monotonic() - started:.0f} s, nothing found")
    return 0


if __name__ == "__main__":
    sys.exit(main())
