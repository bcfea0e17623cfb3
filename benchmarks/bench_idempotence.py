"""What idempotence costs: the same records through two producers that differ in nothing else.

    python -m benchmarks --only idempotence

100-byte values, default ``batch_size``. The log numbers what it stores and remembers the last batches of the producer; on the way of
a single record that is done for each, in batches once for all of their records.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from itertools import repeat

from benchmarks.data import TOPIC, VALUE, open_quiet
from benchmarks.harness import Bench, Contender, at_most
from streamlog import Producer

LINGER_MS = 5
_WITHOUT = "without idempotence"
_ROUNDS = 100

Body = Callable[[Producer], Callable[[int], object]]


def _compare(
    bench: Bench, name: str, count: int, factor: float, body: Body, **config: object
) -> None:
    """*body* makes the loop that a producer is measured by; what it leaves open is flushed unmeasured."""
    with ExitStack() as stack:

        def contender(name: str, enable_idempotence: bool) -> Contender:
            directory = stack.enter_context(bench.scratch())
            broker = stack.enter_context(open_quiet(directory / "data"))
            options = {"enable_idempotence": enable_idempotence, **config}
            producer = stack.enter_context(Producer(broker, config=options))
            return Contender.loop(name, body(producer), count, after=producer.flush)

        subject, other = contender(name, True), contender(_WITHOUT, False)
        bench.compare(subject, [other], [at_most(factor, _WITHOUT)], rounds=_ROUNDS)


def _send(producer: Producer) -> Callable[[int], object]:
    def body(times: int) -> None:
        send = producer.send
        for _ in repeat(None, times):
            send(TOPIC, VALUE)

    return body


def _write(producer: Producer) -> Callable[[int], object]:
    write = producer.writer(TOPIC)

    def body(times: int) -> None:
        for _ in repeat(None, times):
            write(VALUE)

    return body


def bench_send_lingering(bench: Bench) -> None:
    """send() with linger_ms=5."""
    count = bench.pick(10_000, 5_000, 200)
    _compare(bench, "send, linger_ms=5", count, 1.03, _send, linger_ms=LINGER_MS)


def bench_writer(bench: Bench) -> None:
    """write() with linger_ms=5: the least there is beside the batch."""
    count = bench.pick(20_000, 10_000, 200)
    _compare(bench, "writer, linger_ms=5", count, 1.03, _write, linger_ms=LINGER_MS)


def bench_send_many(bench: Bench) -> None:
    """send_many() of a thousand records, a batch."""
    values = [VALUE] * 1_000

    def make(producer: Producer) -> Callable[[int], object]:
        def body(times: int) -> None:
            for _ in repeat(None, times // len(values)):
                producer.send_many(TOPIC, values)

        return body

    _compare(bench, "send_many", bench.pick(50_000, 20_000, 1_000), 1.03, make)


def bench_send_now(bench: Bench) -> None:
    """send() with linger_ms=0, where each record is a batch."""
    _compare(bench, "send, linger_ms=0", bench.pick(5_000, 2_000, 200), 1.2, _send)


CASES = {
    "send_lingering": bench_send_lingering,
    "writer": bench_writer,
    "send_many": bench_send_many,
    "send_now": bench_send_now,
}
