"""From `send` to `poll`: between two threads, and within one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from time import perf_counter, sleep

from benchmarks.data import QUIET, TOPIC, VALUE
from benchmarks.floors import empty_call, within_seconds
from benchmarks.harness import Bench, Contender, at_most
from streamlog import Broker, Consumer, Producer, TopicPartition

CONDITION = "Condition hand-over"
_IDLE_S = 0.0002


class HandOver:
    """One thread gives, another one waits to take: seconds from before the giving until the taker runs again.

    The giver first makes sure that the taker waits: it was told that the last item was taken, and sleeps so long that the taker
    is back in its call. *give(item)* must make *take()* return. Median of many, so that the interpreter's switch interval, which
    now and then is lost on top, does not count.
    """

    def __init__(self, give: Callable[[], object], take: Callable[[], object], count: int) -> None:
        self._give = give
        self._take = take
        self._count = count

    def __call__(self) -> float:
        taken = threading.Semaphore(0)
        arrivals: list[float] = []
        failures: list[BaseException] = []

        def receive() -> None:
            try:
                for _ in range(self._count):
                    self._take()
                    arrivals.append(perf_counter())
                    taken.release()
            except BaseException as error:
                failures.append(error)
                taken.release()

        taker = threading.Thread(target=receive, name="taker")
        taker.start()
        departures = []
        for _ in range(self._count):
            sleep(_IDLE_S)
            departures.append(perf_counter())
            self._give()
            taken.acquire()
            if failures:
                raise failures[0]
        taker.join()
        delays = sorted(b - a for a, b in zip(departures, arrivals, strict=True))
        return delays[len(delays) // 2]


class _Slot:
    """The least that hands something over properly: a Condition around a flag."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._full = False

    def put(self) -> None:
        with self._condition:
            self._full = True
            self._condition.notify()

    def take(self) -> None:
        with self._condition:
            while not self._full:
                self._condition.wait()
            self._full = False


def bench_two_threads(bench: Bench) -> None:
    """One thread sends, another one waits in poll, compared with a bare Condition."""
    count = bench.pick(200, 100, 3)
    slot = _Slot()
    floor = Contender(CONDITION, HandOver(slot.put, slot.take, count))
    with bench.scratch() as directory:
        for place, path in (("on disk", directory / "data"), ("in memory", None)):
            with Broker(path) as broker, Producer(broker) as producer:
                broker.create_topic(TOPIC, configs=QUIET)
                for what, group in (("assign", None), ("group", "bench")):
                    consumer = _consumer(broker, group)
                    with closing(consumer):
                        bench.compare(
                            Contender(
                                f"send, poll in another thread, {place}, {what}",
                                HandOver(
                                    lambda producer=producer: producer.send(TOPIC, VALUE),
                                    lambda consumer=consumer: _take_one(consumer),
                                    count,
                                ),
                            ),
                            [floor],
                            [at_most(3, CONDITION)],
                        )


def _consumer(broker: Broker, group: str | None) -> Consumer:
    consumer = Consumer(broker, group_id=group, auto_offset_reset="latest")
    if group is None:
        consumer.assign([TopicPartition(TOPIC, 0)])
    else:
        consumer.subscribe([TOPIC])
    consumer.poll()
    consumer.position(TopicPartition(TOPIC, 0))
    return consumer


def _take_one(consumer: Consumer) -> None:
    for record in consumer.poll(timeout_ms=10_000):
        assert record.value == VALUE
        return
    raise TimeoutError("nothing arrived")


def bench_same_thread(bench: Bench) -> None:
    """Send, then receive it, in one thread: the round of a test or of a work queue."""
    count = bench.pick(2_000, 500, 5)
    with bench.scratch() as directory:
        for place, path in (("on disk", directory / "data"), ("in memory", None)):
            with Broker(path) as broker, Producer(broker) as producer:
                broker.create_topic(TOPIC, configs=QUIET)
                for what, group in (("assign", None), ("group", "bench")):
                    with closing(_consumer(broker, group)) as consumer:
                        bench.compare(
                            Contender.loop(
                                f"send and poll in one thread, {place}, {what}",
                                _send_and_poll(producer, consumer),
                                count,
                            ),
                            [empty_call(10 * count)],
                            [within_seconds(10e-6)],
                        )


def _send_and_poll(producer: Producer, consumer: Consumer) -> Callable[[int], None]:
    def body(times: int) -> None:
        send, poll = producer.send, consumer.poll
        for _ in range(times):
            send(TOPIC, VALUE)
            for record in poll():
                assert record.value is VALUE or record.value == VALUE

    return body


CASES = {"two_threads": bench_two_threads, "same_thread": bench_same_thread}
