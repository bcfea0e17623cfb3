"""`streamlog bench consume`: how fast records come out. Source: Kafka ``ConsumerPerformance``."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, TextIO

import click

from streamlog.cli.arguments import group_option, topic_option
from streamlog.cli.bench.output import (
    chart_options,
    check_charts,
    memory_option,
    results_after_interrupt,
    show_run,
)
from streamlog.cli.bench.payloads import random_payloads
from streamlog.cli.bench.statistics import MEBIBYTE, Statistics, Window, rounded
from streamlog.cli.client_options import client_config, client_options
from streamlog.cli.command import Command
from streamlog.cli.output import emit, note
from streamlog.cli.session import Session, pass_session
from streamlog.cli.times import utc_text
from streamlog.client.consumer import Consumer
from streamlog.client.producer import Producer
from streamlog.structs import TopicPartition

if TYPE_CHECKING:
    from streamlog.broker.broker import Broker
    from streamlog.runtime import Clock

_POLL_MS = 100


@click.command("consume", cls=Command)
@topic_option("What to read.", default="bench", show_default=True)
@click.option(
    "--num-records",
    "--messages",
    "num_records",
    type=click.IntRange(1),
    help="How many to read. [all there are; in memory 100000]",
)
@click.option(
    "--record-size",
    type=click.IntRange(0),
    default=100,
    show_default=True,
    help="In memory: bytes of a value.",
)
@click.option(
    "--partitions",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="In memory: of the topic.",
)
@group_option("Read as a member of this group.")
@click.option("--from-latest", is_flag=True, help="Start at the end, and wait for new records.")
@click.option(
    "--fetch-size", type=click.IntRange(1), help="Bytes of one fetch from a partition. [1048576]"
)
@click.option(
    "--timeout",
    type=click.FloatRange(0),
    default=10_000,
    show_default=True,
    metavar="MS",
    help="End when no record came for so long.",
)
@click.option(
    "--consumer-props",
    "consumer_props",
    multiple=True,
    metavar="KEY=VALUE",
    help="The same as --command-property.",
)
@memory_option
@client_options("consumer")
@chart_options
@pass_session
def consume(
    session: Session,
    /,
    topic: str,
    num_records: int | None,
    group: str | None,
    consumer_props: tuple[str, ...],
    command_property: tuple[str, ...],
    command_config: TextIO | None,
    print_metrics: bool,
    plot: bool,
    svg: str | None,
    memory: bool,
    **options: Any,
) -> None:
    """Read records and print how fast they came.

    Without a data directory, or with --memory, from a topic in memory that is filled first.

    Examples:
      streamlog bench consume --num-records 1000000
      streamlog --data DIR bench consume --topic bench --consumer-props max.poll.records=5000
    """
    check_charts(plot, svg)
    if memory:
        session.data = None
    config = client_config(
        (*command_property, *consumer_props),
        command_config,
        group_id=group,
        max_partition_fetch_bytes=options["fetch_size"],
    )
    config.setdefault("auto_offset_reset", "latest" if options["from_latest"] else "earliest")
    has_group = config.get("group_id") is not None
    with ExitStack() as stack:
        broker: Broker
        if session.data is None:
            broker = stack.enter_context(session.open_or_in_memory())
            num_records = num_records or 100_000
            _fill(broker, topic, num_records, options["record_size"], options["partitions"])
        else:
            broker = stack.enter_context(session.open_broker(read_only=not has_group))
        clock = broker.runtime.clock
        start_time_ms, start_ms = clock.time_ms(), clock.monotonic_ms()
        consumer = stack.enter_context(Consumer(broker, config=config))
        partitions = [
            TopicPartition(topic, one.partition) for one in broker.describe_topic(topic).partitions
        ]
        reading = _Reading(consumer, clock, num_records, options["timeout"])
        if num_records is None and not options["from_latest"]:
            reading.ends = consumer.end_offsets(partitions)
        if has_group:
            consumer.subscribe(topic, listener=reading)
        else:
            consumer.assign(partitions)
            reading.joined_ms = clock.monotonic_ms()
        statistics = Statistics(0, start_ms, options["reporting_interval"], _report)
        with results_after_interrupt() as ending:
            reading.read(statistics)
        statistics.finish(reading.last_ms)
        _emit(session, statistics.total, start_time_ms, reading.joined_ms, reading.last_ms)
        metrics = dict(consumer.metrics()) if print_metrics else None
        show_run(statistics.points, metrics, plot=plot, svg=svg, has_latencies=False)
        ending.go_on()


class _Reading:
    """Reads until there are enough records or no more; listens for when partitions were assigned."""

    def __init__(
        self, consumer: Consumer, clock: Clock, wanted: int | None, timeout_ms: float
    ) -> None:
        self._consumer = consumer
        self._clock = clock
        self._wanted = wanted
        self._timeout_ms = timeout_ms
        self.ends: dict[TopicPartition, int] | None = None
        """Where to end, None for a number of records or for ever."""
        self.joined_ms = self.last_ms = clock.monotonic_ms()
        """When partitions were assigned; when the last record came."""

    def on_partitions_assigned(self, partitions: object) -> None:
        """Note the time: what a consumer reads, it reads from here on."""
        self.joined_ms = self._clock.monotonic_ms()

    def read(self, statistics: Statistics) -> None:
        """Read and count."""
        total, now = statistics.total, self._clock.monotonic_ms
        while self._wanted is None or total.records < self._wanted:
            records = self._consumer.poll(_POLL_MS)
            if records:
                size = 0
                for record in records:
                    size += max(record.serialized_key_size, 0)
                    size += max(record.serialized_value_size, 0)
                self.last_ms = now()
                statistics.consumed(len(records), size, self.last_ms)
            if self.ends is not None:
                if self._is_at_end(self.ends):
                    return
            elif not records and now() - self.last_ms >= self._timeout_ms:
                if self._wanted is not None:
                    note(
                        f"ended: no record came for {self._timeout_ms:g} ms,"
                        f" {total.records} of {self._wanted} read"
                    )
                return

    def _is_at_end(self, ends: dict[TopicPartition, int]) -> bool:
        assigned = self._consumer.assignment()
        return bool(assigned) and all(
            self._consumer.position(one) >= ends.get(one, 0) for one in sorted(assigned)
        )


def _fill(broker: Broker, topic: str, count: int, size_bytes: int, partitions: int) -> None:
    broker.create_topic(topic, partitions=partitions)
    values = random_payloads(size_bytes, broker.runtime.random.stream("bench"))
    with Producer(broker) as producer:
        for start in range(0, count, len(values)):
            number = start // len(values) % partitions
            run = values[: count - start]
            producer.send_many(topic, run, partition=number).result()


def _report(window: Window, now_ms: float) -> None:
    rate, mebibytes = window.rates(now_ms)
    note(f"{window.records} records read, {rate:.1f} records/sec ({mebibytes:.2f} MB/sec).")


def _emit(
    session: Session, total: Window, start_time_ms: int, joined_ms: float, end_ms: float
) -> None:
    fetch_ms = end_ms - joined_ms
    mebibytes = total.size_bytes / MEBIBYTE
    rate, mebibytes_rate = total.rates(end_ms)
    fetch_s = max(fetch_ms, 0.001) / 1000
    emit(
        session,
        [
            rounded(
                {
                    "start_time": utc_text(start_time_ms),
                    "end_time": utc_text(start_time_ms + round(end_ms - total.start_ms)),
                    "mebibytes": mebibytes,
                    "mebibytes_per_second": mebibytes_rate,
                    "records": total.records,
                    "records_per_second": rate,
                    "rebalance_ms": joined_ms - total.start_ms,
                    "fetch_ms": fetch_ms,
                    "fetch_mebibytes_per_second": mebibytes / fetch_s,
                    "fetch_records_per_second": total.records / fetch_s,
                }
            )
        ],
    )
