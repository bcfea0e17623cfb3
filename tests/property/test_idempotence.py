"""Each record once and in order (I4, I5), whatever fails on the way: full disks, lost answers, Ctrl-C, topics that take less.

A record of a call that Ctrl-C came out of may be there or not, but not twice and not out of turn. All others are there.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streamlog import Broker, DiskFullError, Producer, RecordFuture
from streamlog.testing import FaultPlan, FaultyFileSystem, MemoryFileSystem, VirtualClock
from tests.support.producing import Failures, check_sequences, failing_partitions, stamps, stored

PARTITIONS = 2

steps = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(1, 30)),
        st.tuples(st.just("send to 1"), st.integers(1, 5)),
        st.tuples(st.just("keyed"), st.integers(1, 10)),
        st.tuples(st.just("told"), st.integers(1, 3)),
        st.tuples(st.just("write"), st.integers(1, 30)),
        st.tuples(st.just("run"), st.integers(1, 40)),
        st.tuples(st.just("wait"), st.sampled_from([0.3, 1, 30, 700])),
        st.tuples(st.just("flush"), st.just(0)),
        st.tuples(st.just("disk full"), st.integers(1, 4)),
        st.tuples(st.just("refuse"), st.integers(1, 4)),
        st.tuples(st.just("lose answers"), st.integers(1, 4)),
        st.tuples(st.just("ctrl-c before"), st.integers(0, 3)),
        st.tuples(st.just("ctrl-c after"), st.integers(0, 3)),
        st.tuples(st.just("take less"), st.sampled_from([250, 600, 1_048_588])),
    ),
    max_size=40,
)
settings_ = st.fixed_dictionaries(
    {
        "linger_ms": st.sampled_from([0, 0, 1, 5]),
        "batch_size": st.sampled_from([1, 300, 2000]),
    }
)


class Program:
    """Sends numbers, and knows of each whether it has to be there."""

    def __init__(
        self, broker: Broker, clock: VirtualClock, plan: FaultPlan, failures: Failures, config: Any
    ) -> None:
        self.broker, self.clock, self.plan, self.failures = broker, clock, plan, failures
        self.producer = Producer(broker, **config)
        self.lingers = config["linger_ms"] > 0
        self.write = self.producer.writer("t")
        self.count = 0
        self.unsure: set[int] = set()
        self.futures: list[tuple[RecordFuture, int]] = []

    def value(self) -> bytes:
        self.count += 1
        return b"%d|" % self.count + b"x" * 40

    def send(self, **options: Any) -> None:
        value = self.value()
        number = self.count
        self.futures.append((self.producer.send("t", value, **options), number))

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        before = self.count
        try:
            yield
        except KeyboardInterrupt:
            self.unsure.update(range(before + 1, self.count + 1))

    def run(self, step: str, n: int) -> None:
        if step in ("send", "keyed", "send to 1", "told"):
            options: dict[str, Any] = {
                "send": {},
                "keyed": {"key": b"key"},
                "send to 1": {"partition": 1},
                "told": {"on_delivery": lambda *_: None},
            }[step]
            for _ in range(n):
                with self.interruptible():
                    self.send(**options)
        elif step == "write":
            for _ in range(n):
                with self.interruptible():
                    self.write(self.value())
        elif step == "run":
            with self.interruptible():
                run = self.producer.send_many("t", [self.value() for _ in range(n)])
                self.futures.append((run, self.count))
        elif step == "wait":
            with self.interruptible():
                self.clock.advance(n)
        elif step == "flush":
            with self.interruptible():
                self.producer.flush()
        elif step == "disk full":
            self.plan.fail("allocate", errno.ENOSPC, times=n)
        elif step == "refuse":
            self.failures.next += [DiskFullError("full")] * n
        elif step == "lose answers" and self.lingers:
            # A record that is appended by itself has no answer to lose: it is a call.
            self.failures.after += [DiskFullError("the answer was lost")] * n
        elif step == "ctrl-c before":
            self.failures.next += [*[None] * n, KeyboardInterrupt()]
        elif step == "ctrl-c after":
            self.failures.after += [*[None] * n, KeyboardInterrupt()]
        elif step == "take less":
            self.broker.alter_topic_configs("t", {"max_message_bytes": n})


@given(settings_, steps)
def test_each_record_is_there_once_and_in_order(
    config: dict[str, Any], program: list[tuple[str, Any]]
) -> None:
    """IDM-1, IDM-2, IDM-6, PRD-8, REC-6."""
    clock, plan = VirtualClock(1_700_000_000_000), FaultPlan()
    filesystem = FaultyFileSystem(MemoryFileSystem(), plan)
    with (
        failing_partitions() as failures,
        Broker("data", clock=clock, filesystem=filesystem, seed=1) as broker,
    ):
        broker.create_topic("t", partitions=PARTITIONS, configs={"segment_bytes": 3_000})
        run = Program(broker, clock, plan, failures, config)
        for step, n in program:
            run.run(step, n)
        failures.next, failures.after = [], []
        run.producer.close()

        parts = [stored(broker, "t", number) for number in range(PARTITIONS)]
        numbers = [[int((r.value or b"").split(b"|")[0]) for r in part] for part in parts]
        found = Counter(number for part in numbers for number in part)
        assert set(found.values()) <= {1}, f"twice: {found.most_common(3)}"
        assert set(range(1, run.count + 1)) - set(found) <= run.unsure, "lost"
        for number, part in enumerate(numbers):
            assert part == sorted(part)
            check_sequences(stamps(broker, "t", number))
        for future, number in run.futures:
            metadata = future.result(timeout=0)
            if metadata.offset >= 0:
                place = numbers[metadata.partition].index(number)
                assert parts[metadata.partition][place].offset == metadata.offset
        metrics = run.producer.metrics()
        assert metrics["buffer_available_bytes"] == metrics["buffer_total_bytes"]
