"""Malformed frames by the million: ``python -m tests.fuzz.frames [FRAMES] [--seed N]``.

Up to half of them are real requests, of each API in each version, with each of some extreme numbers at each of their bytes: so every
length and count is once at each extreme when there are enough. The others are changed by chance.

Each goes to a connection without a socket, in front of a whole broker in memory, and one in a hundred over a socket. It is answered, waited
on or ends its connection; whatever else happens is a finding, as is memory that grows with the number of frames.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import struct
import sys
import time
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import accumulate

from streamlog.broker.broker import Broker
from streamlog.runtime import VirtualClock
from streamlog.wire.dispatch import ROUTES
from streamlog.wire.messages import APIS
from tests.fuzz.frame_sockets import SocketSender
from tests.fuzz.mutate import mutated
from tests.reliability.results import print_figures
from tests.support.kafka_batches import GOLDEN, kafka_batch
from tests.support.wire_memory import MemoryListener
from tests.support.wire_messages import random_struct

#: A broker sees so many of them: what the frames that are no nonsense made is gone with it.
FRAMES_PER_BROKER = 20_000
MAX_FRAME_BYTES = 1 << 20
MAX_GROWTH_BYTES = 64 << 20
#: One frame in so many goes over a socket; so many come in pieces.
SOCKET_SHARE, PIECES_SHARE = 100, 50
TELL_EACH = 1_000_000
#: Shares no divisor with the number of places, as good as certainly, so that going on by it comes to each of them.
_STRIDE = 15_485_863
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


class Extremes:
    """Real frames with each extreme number written over each of their places, sizes included, one after the other by their number."""

    def __init__(self, real: Sequence[bytes]) -> None:
        self._frames = [struct.pack(">i", len(data)) + data for data in real]
        self._ends = list(accumulate(len(frame) for frame in self._frames))
        self.count = self._ends[-1] * len(EXTREMES)

    def frame(self, number: int) -> bytes:
        """Return the one of that number, in an order that comes to each API soon."""
        place, extreme = divmod(number * _STRIDE % self.count, len(EXTREMES))
        index = bisect(self._ends, place)
        frame = bytearray(self._frames[index])
        at = place - (self._ends[index] - len(frame))
        frame[at : at + len(EXTREMES[extreme])] = EXTREMES[extreme]
        if at >= 4:
            struct.pack_into(">i", frame, 0, len(frame) - 4)
        return bytes(frame)


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


def run(
    count: int, seed: int, tell: Callable[[str], object] = lambda _: None
) -> tuple[Counter[str], int]:
    """Send *count* frames; return what became of them, and how many bytes memory has grown since the first broker was gone. Calls *tell* now
    and then with how it goes. Raises AssertionError with the frame that shows something wrong.
    """
    rng = random.Random(seed)
    real = real_frames(rng)
    extremes = Extremes(real)
    first = rng.randrange(extremes.count)
    systematic = min(count // 2, extremes.count)

    def frame(number: int) -> bytes:
        # In turn, so that the broker of each is one that others have been at.
        half, is_random = divmod(number, 2)
        if is_random or half >= systematic:
            return malformed(real, rng)
        return extremes.frame(first + half)

    outcomes: Counter[str] = Counter()
    log, findings = logging.getLogger("streamlog"), Findings()
    level, propagate = log.level, log.propagate
    log.addHandler(findings)
    log.setLevel(logging.ERROR)
    log.propagate = False
    resident = now = 0
    try:
        while (done := sum(outcomes.values())) < count:
            numbers = range(done, min(done + FRAMES_PER_BROKER, count))
            _run_one_broker(map(frame, numbers), rng, outcomes, findings)
            now = _resident_bytes()
            resident = resident or now
            assert now - resident < MAX_GROWTH_BYTES, f"{now - resident} bytes more than at first"
            if done // TELL_EACH != (done + len(numbers)) // TELL_EACH:
                tell(f"{done + len(numbers):,} frames, {now >> 20} MiB")
    except AssertionError as error:
        raise AssertionError(f"seed {seed}: {error}") from error
    finally:
        log.removeHandler(findings)
        log.setLevel(level)
        log.propagate = propagate
    return outcomes, now - resident


def _run_one_broker(
    frames: Iterator[bytes], rng: random.Random, outcomes: Counter[str], findings: Findings
) -> None:
    with Broker(clock=VirtualClock()) as broker:
        broker.create_topic("t")
        listener = MemoryListener(broker, max_frame_bytes=MAX_FRAME_BYTES)
        client = listener.connect()
        sockets = SocketSender(broker, MAX_FRAME_BYTES)
        for frame in frames:
            try:
                if not rng.randrange(SOCKET_SHARE):
                    outcomes[sockets.send(frame)] += 1
                    continue
                cut = 0 if rng.randrange(PIECES_SHARE) else rng.randrange(len(frame) + 1)
                answer = client.send(frame[:cut]) if cut else b""
                if client.is_open:
                    answer += client.send(frame[cut:])
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
        sockets.close()
        assert not findings.found, findings.found[0]


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
    outcomes, grown, wrong = Counter[str](), 0, 0
    try:
        outcomes, grown = run(options.frames, options.seed, partial(print, flush=True))
    except AssertionError as error:
        print(error)
        print(f"again: python -m tests.fuzz.frames {options.frames} --seed {options.seed}")
        wrong = 1
    for name, number in outcomes.most_common():
        print(f"{name:22} {number:>12,}")
    seconds = time.monotonic() - started
    print(f"{sum(outcomes.values()):,} frames in {seconds:.0f} s, {wrong} findings")
    print_figures(
        frames=sum(outcomes.values()),
        closed=sum(number for name, number in outcomes.items() if name.startswith("closed")),
        answered=sum(number for name, number in outcomes.items() if name.startswith("answered")),
        over_sockets=sum(number for name, number in outcomes.items() if "socket" in name),
        grown_mib=round(grown / (1 << 20), 1),
        findings=wrong,
        seed=str(options.seed),
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
