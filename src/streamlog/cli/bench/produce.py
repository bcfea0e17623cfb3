"""`streamlog bench produce`: how fast records go in, and how long each takes. Source: Kafka ``ProducerPerformance``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TextIO

import click

from streamlog.cli.arguments import topic_option
from streamlog.cli.bench.output import (
    chart_options,
    check_charts,
    memory_option,
    results_after_interrupt,
    show_run,
)
from streamlog.cli.bench.payloads import payloads_of, random_payloads
from streamlog.cli.bench.statistics import Statistics, Window, rounded
from streamlog.cli.client_options import client_config, client_options, refuse_transactions
from streamlog.cli.command import Command
from streamlog.cli.output import emit_object, note
from streamlog.cli.properties import unescape
from streamlog.cli.session import Session, pass_session
from streamlog.client.producer import Producer
from streamlog.runtime import Signal

if TYPE_CHECKING:
    from streamlog.broker.broker import Broker
    from streamlog.runtime import Clock
    from streamlog.structs import RecordMetadata

_COUNT_EVERY = 256


@click.command("produce", cls=Command)
@topic_option("Where to send.", default="bench", show_default=True)
@click.option(
    "--partitions",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Of the topic, if it is new.",
)
@click.option(
    "--num-records",
    type=click.IntRange(1),
    default=100_000,
    show_default=True,
    help="How many to send.",
)
@click.option("--record-size", type=click.IntRange(0), help="Bytes of a value. [100]")
@click.option(
    "--payload-file",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE",
    help="Send values from this file, any of them.",
)
@click.option(
    "--payload-delimiter",
    default="\\n",
    metavar="TEXT",
    help="What ends a value in the file. [\\n]",
)
@click.option(
    "--throughput",
    type=float,
    default=-1,
    help="At most so many records per second; -1 as many as go.",
)
@click.option(
    "--warmup-records", type=click.IntRange(0), default=0, help="Send these first, uncounted."
)
@click.option(
    "--producer-props",
    "producer_props",
    multiple=True,
    metavar="KEY=VALUE",
    help="The same as --command-property.",
)
@memory_option
@client_options("producer")
@chart_options
@pass_session
def produce(
    session: Session,
    /,
    topic: str,
    partitions: int,
    num_records: int,
    producer_props: tuple[str, ...],
    command_property: tuple[str, ...],
    command_config: TextIO | None,
    print_metrics: bool,
    plot: bool,
    svg: str | None,
    memory: bool,
    **options: Any,
) -> None:
    """Send records and print how fast they went, with the latency of each.

    Without a data directory, or with --memory, in memory. A latency is the time from the call of send to the moment the record is
    appended; with linger.ms=0, the default, that is within the call.

    Examples:
      streamlog bench produce --num-records 1000000 --record-size 100
      streamlog --data DIR bench produce --throughput 5000 --producer-props linger.ms=5 --svg run.svg
    """
    check_charts(plot, svg)
    if memory:
        session.data = None
    config = client_config((*command_property, *producer_props), command_config)
    refuse_transactions(config)
    with session.open_or_in_memory() as broker, Producer(broker, config=config) as producer:
        if topic not in broker.topics():
            broker.create_topic(topic, partitions=partitions)
        clock = broker.runtime.clock
        values = _values(broker, options)
        run = _Run(producer, topic, values, clock, options["throughput"])
        run.send(options["warmup_records"], None)
        producer.flush()
        statistics = Statistics(
            num_records, clock.monotonic_ms(), options["reporting_interval"], _report
        )
        with results_after_interrupt() as ending:
            run.send(num_records, statistics)
        producer.flush()
        now_ms = clock.monotonic_ms()
        statistics.count(now_ms)
        statistics.finish(now_ms)
        run.check()
        _emit(session, statistics, now_ms)
        metrics = producer.metrics() if print_metrics else None
        show_run(statistics.points, metrics, plot=plot, svg=svg, has_latencies=True)
        ending.go_on()


class _Run:
    """Sends values at no more than a given rate, and measures each."""

    def __init__(
        self, producer: Producer, topic: str, values: list[bytes], clock: Clock, throughput: float
    ) -> None:
        self._producer = producer
        self._topic = topic
        self._values = values
        self._clock = clock
        self._gap_ms = 1000 / throughput if throughput > 0 else 0.0
        self._nothing = Signal()
        self._failed: list[BaseException] = []

    def send(self, count: int, statistics: Statistics | None) -> None:
        """Send *count* records; count them if there are *statistics*."""
        send, topic, values = self._producer.send, self._topic, self._values
        now = self._clock.monotonic_ms
        start_ms = now()
        for number in range(count):
            value = values[number % len(values)]
            sent_ms = now()
            if self._gap_ms:
                sent_ms = self._wait_until(start_ms + number * self._gap_ms, sent_ms)
            send(
                topic, value, on_delivery=partial(self._delivered, statistics, sent_ms, len(value))
            )
            if statistics is not None and number % _COUNT_EVERY == 0:
                statistics.count(now())
                self.check()

    def check(self) -> None:
        """Raise the first error of a record."""
        if self._failed:
            raise self._failed[0]

    def _wait_until(self, due_ms: float, now_ms: float) -> float:
        while now_ms < due_ms:
            self._clock.wait_until(lambda: False, self._nothing, due_ms - now_ms)
            now_ms = self._clock.monotonic_ms()
        return now_ms

    def _delivered(
        self,
        statistics: Statistics | None,
        sent_ms: float,
        size_bytes: int,
        _: RecordMetadata,
        error: BaseException | None,
    ) -> None:
        if error is not None:
            self._failed.append(error)
        elif statistics is not None:
            statistics.delivered(self._clock.monotonic_ms() - sent_ms, size_bytes)


def _values(broker: Broker, options: dict[str, Any]) -> list[bytes]:
    chance = broker.runtime.random.stream("bench")
    name = options["payload_file"]
    if name is None:
        size = options["record_size"]
        return random_payloads(100 if size is None else size, chance)
    if options["record_size"] is not None:
        raise click.UsageError("--record-size and --payload-file exclude each other")
    with click.open_file(name, "rb") as file:
        delimiter = unescape(options["payload_delimiter"]).encode()
        values = payloads_of(name, file.read(), delimiter)
    chance.shuffle(values)
    return values


def _report(window: Window, now_ms: float) -> None:
    rate, mebibytes = window.rates(now_ms)
    note(
        f"{window.records} records sent, {rate:.1f} records/sec ({mebibytes:.2f} MB/sec),"
        f" {window.average_ms:.3f} ms avg latency, {window.max_ms:.3f} ms max latency."
    )


def _emit(session: Session, statistics: Statistics, now_ms: float) -> None:
    total = statistics.total
    rate, mebibytes = total.rates(now_ms)
    shares = (0.5, 0.95, 0.99, 0.999)
    names = ("p50_ms", "p95_ms", "p99_ms", "p99_9_ms")
    result = {
        "records": total.records,
        "seconds": (now_ms - total.start_ms) / 1000,
        "records_per_second": rate,
        "mebibytes_per_second": mebibytes,
        "average_ms": total.average_ms,
        "max_ms": total.max_ms,
        **dict(zip(names, statistics.percentiles(*shares), strict=True)),
    }
    if session.json:
        emit_object(session, rounded(result))
        return
    text = ", ".join(
        f"{result[name]:.3f} ms {said}"
        for name, said in zip(names, ("50th", "95th", "99th", "99.9th"), strict=True)
    )
    click.echo(
        f"{total.records} records sent, {rate:.1f} records/sec ({mebibytes:.2f} MB/sec),"
        f" {total.average_ms:.3f} ms avg latency, {total.max_ms:.3f} ms max latency, {text}."
    )
