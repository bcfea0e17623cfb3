"""`streamlog produce`: lines become records."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

import attrs
import click

from streamlog.cli.arguments import topic_option
from streamlog.cli.client_options import client_config, client_options, refuse_transactions
from streamlog.cli.command import Command
from streamlog.cli.failures import Failure, explain
from streamlog.cli.input_lines import lines_of
from streamlog.cli.json_records import from_json_line
from streamlog.cli.line_records import LineFormat, ReadRecord
from streamlog.cli.output import emit_object, note, progress
from streamlog.cli.properties import parse_properties
from streamlog.cli.session import Session, pass_session
from streamlog.cli.termination import termination_as_ctrl_c
from streamlog.client.producer import Producer
from streamlog.config import ProducerConfig

if TYPE_CHECKING:
    from rich.progress import Progress

    from streamlog.structs import RecordMetadata

_LINGER_MS = 5
"""Lines of a file come fast, and a batch of its own for each would make the log far larger."""
_RECORDS_A_REPORT = 1000


@attrs.define
class Input:
    """Where lines come from."""

    name: str
    stream: BinaryIO
    is_terminal: bool


class LineProducer:
    """Sends the records of lines to *topic*, and remembers the first that was not stored.

    Threads: `send` and `check` by one; records are reported by whichever thread appended them.
    """

    def __init__(self, producer: Producer, topic: str, *, is_synchronous: bool) -> None:
        self._producer = producer
        self.topic = topic
        self._is_synchronous = is_synchronous
        self._failed: list[tuple[str, BaseException]] = []  # appending needs no lock
        self.sent = 0
        self.sent_bytes = 0

    @property
    def stored(self) -> int:
        """How many of the records sent have not failed."""
        return self.sent - len(self._failed)

    def send(self, place: str, record: ReadRecord) -> None:
        """Send *record*, which stood at *place*. Raises `Failure` when it cannot be sent."""
        try:
            future = self._producer.send(
                self.topic,
                record.value,
                key=record.key,
                headers=record.headers,
                partition=record.partition,
                timestamp_ms=record.timestamp_ms,
                on_delivery=partial(self._delivered, place),
            )
        except ValueError as error:
            raise _failure(place, error) from error
        self.sent += 1
        self.sent_bytes += len(record.value or b"") + len(record.key or b"")
        if self._is_synchronous:
            future.exception()
        self.check()

    def check(self) -> None:
        """Raise `Failure` naming the first line that could not be stored, if there is one.

        A partition takes a batch or refuses it whole: then its lines are named from first to last.
        """
        if not self._failed:
            return
        self._producer.flush()  # the others of the batch are being told too
        first, error = self._failed[0]
        last = [place for place, same in self._failed if same is error][-1]
        place = first if first == last else f"{first} to {last}, in one batch"
        raise _failure(place, error) from error

    def _delivered(self, place: str, _: RecordMetadata, error: BaseException | None) -> None:
        if error is not None:
            self._failed.append((place, error))


@click.command(cls=Command)
@click.argument("files", nargs=-1, metavar="[FILE]...", type=click.Path(dir_okay=False))
@topic_option("Where to send; created if it does not exist.", required=True)
@click.option("--parse-key", is_flag=True, help="Lines begin with a key.")
@click.option(
    "--key-separator", metavar="TEXT", help="Between key and value; implies --parse-key. [\\t]"
)
@click.option(
    "--parse-headers", is_flag=True, help="Lines begin with headers: name:value,name:value."
)
@click.option("--headers-delimiter", metavar="TEXT", help="Ends the headers. [\\t]")
@click.option("--headers-separator", metavar="TEXT", help="Between two headers. [,]")
@click.option(
    "--headers-key-separator", metavar="TEXT", help="Between name and value of a header. [:]"
)
@click.option("--null-marker", metavar="TEXT", help="A key or value that reads so is null.")
@click.option("--ignore-error", is_flag=True, help="A line without separator is a value as it is.")
@click.option(
    "--reader-property",
    "--property",
    "reader_property",
    multiple=True,
    metavar="KEY=VALUE",
    help="The same as Kafka says it: parse.key=true, key.separator=:, null.marker=NULL ...",
)
@click.option(
    "--json-lines",
    is_flag=True,
    help="Each line is an object with key, value, headers, partition, timestamp.",
)
@click.option("--sync", is_flag=True, help="Wait for each record before the next line is sent.")
@click.option(
    "--compression-codec",
    type=click.Choice(["none", "gzip", "snappy", "lz4", "zstd"]),
    help="How batches are compressed. [none]",
)
@click.option("--batch-size", type=int, help="Bytes of a batch that waits no longer. [16384]")
@click.option(
    "--linger-ms",
    "--timeout",
    "linger_ms",
    type=float,
    help=f"How long a batch waits for company. [{_LINGER_MS}]",
)
@click.option("--max-block-ms", type=int, help="How long to wait for room in the buffer. [60000]")
@click.option("--max-memory-bytes", type=int, help="The producer's buffer. [33554432]")
@click.option("--request-required-acks", metavar="0|1|all", help="Who must have a record. [all]")
@click.option("--request-timeout-ms", type=int, help="How long one attempt may take. [30000]")
@click.option("--message-send-max-retries", type=int, help="How often a batch is tried again.")
@click.option("--retry-backoff-ms", type=int, help="The pause before the first retry. [100]")
@client_options("producer")
@pass_session
def produce(
    session: Session,
    /,
    files: tuple[str, ...],
    topic: str,
    reader_property: tuple[str, ...],
    json_lines: bool,
    sync: bool,
    command_property: tuple[str, ...],
    command_config: TextIO | None,
    **options: Any,
) -> None:
    r"""Send each line of the FILEs, or of standard input, as a record.

    A line ends with LF or CRLF; bytes are stored as they are. What was sent is stored in order, and
    the first line that cannot be sent ends the command with its file and number. Ctrl-C sends what was
    read and ends with 130, SIGTERM and SIGHUP likewise with 143 and 129. Separators may be written \t, \0 or \x1f.

    Examples:
      printf 'hello\nworld\n' | streamlog --data DIR produce --topic greetings
      streamlog produce --topic users --key-separator : users.txt
      streamlog consume --topic a --from-beginning --format json | streamlog produce --topic b --json-lines
    """
    parse = _parser(reader_property, json_lines, options)
    config = client_config(
        command_property,
        command_config,
        compression_type=options["compression_codec"],
        batch_size=options["batch_size"],
        linger_ms=options["linger_ms"],
        max_block_ms=options["max_block_ms"],
        buffer_memory=options["max_memory_bytes"],
        acks=options["request_required_acks"],
        request_timeout_ms=options["request_timeout_ms"],
        retries=options["message_send_max_retries"],
        retry_backoff_ms=options["retry_backoff_ms"],
    )
    refuse_transactions(config)
    config.setdefault("linger_ms", _LINGER_MS)
    limit_bytes = ProducerConfig.from_options(config).max_request_size
    with termination_as_ctrl_c(), ExitStack() as stack:
        inputs = [_open(stack, name) for name in files or ("-",)]
        broker = stack.enter_context(session.open_broker(create=True))
        is_new = topic not in broker.topics(include_internal=True)
        started_ms = broker.runtime.clock.monotonic_ms()
        producer = stack.enter_context(Producer(broker, config=config))
        lines = LineProducer(producer, topic, is_synchronous=sync)
        try:
            try:
                _send_all(lines, inputs, parse, limit_bytes)
            finally:
                if any(source.is_terminal for source in inputs):
                    note("")  # what is said next is not to stand behind the prompt
                producer.flush()
            lines.check()
        finally:
            seconds = (broker.runtime.clock.monotonic_ms() - started_ms) / 1000
            if is_new and topic in broker.topics(include_internal=True):
                count = len(broker.describe_topic(topic).partitions)
                note(f"created topic {topic!r} with {count} partition{'s' if count > 1 else ''}")
            _summarize(session, topic, lines, seconds)


def _parser(
    pairs: tuple[str, ...], json_lines: bool, options: dict[str, Any]
) -> Callable[[bytes], ReadRecord]:
    properties = parse_properties("--reader-property", pairs)
    for name in ("parse_key", "parse_headers", "ignore_error"):
        if options[name]:
            properties[name.replace("_", ".")] = "true"
    if options["key_separator"] is not None:
        properties["parse.key"] = "true"
    for name in (
        "key_separator",
        "headers_delimiter",
        "headers_separator",
        "headers_key_separator",
        "null_marker",
    ):
        if options[name] is not None:
            properties[name.replace("_", ".")] = options[name]
    if json_lines:
        if properties:
            raise click.UsageError(
                f"--json-lines: the lines say it all; {min(properties)} has no meaning"
            )
        return from_json_line
    try:
        return LineFormat.of("--reader-property", properties).parse
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _open(stack: ExitStack, name: str) -> Input:
    stream: Any = click.open_file(name, "rb")
    if name != "-":
        stack.enter_context(stream)
    is_terminal = name == "-" and sys.stdin.isatty()
    return Input("standard input" if name == "-" else name, stream, is_terminal)


def _send_all(
    lines: LineProducer,
    inputs: Iterable[Input],
    parse: Callable[[bytes], ReadRecord],
    limit_bytes: int,
) -> None:
    inputs = list(inputs)
    if any(source.is_terminal for source in inputs):
        _send_each(lines, inputs, parse, limit_bytes, None)
        return
    with progress(f"sending to {lines.topic}") as bar:
        _send_each(lines, inputs, parse, limit_bytes, bar)


def _send_each(
    lines: LineProducer,
    inputs: Iterable[Input],
    parse: Callable[[bytes], ReadRecord],
    limit_bytes: int,
    bar: Progress | None,
) -> None:
    for source in inputs:
        for number, line in _numbered(source, limit_bytes):
            place = f"{source.name}:{number}"
            try:
                record = parse(line)
            except ValueError as error:
                raise _failure(place, error) from None
            lines.send(place, record)
            if bar is not None and lines.sent % _RECORDS_A_REPORT == 0:
                bar.update(bar.task_ids[0], completed=lines.sent)
        if bar is not None:
            bar.update(bar.task_ids[0], completed=lines.sent)


def _numbered(source: Input, limit_bytes: int) -> Iterator[tuple[int, bytes]]:
    number = 0
    try:
        for line in lines_of(source.stream, limit_bytes, partial(_prompt, source)):  # type: ignore[arg-type]
            number += 1
            yield number, line
    except ValueError as error:
        raise _failure(f"{source.name}:{number + 1}", error) from None


def _prompt(source: Input) -> None:
    if source.is_terminal:
        click.echo(">", nl=False, err=True)


def _failure(place: str, error: BaseException) -> Failure:
    """Return the failure of the line at *place*, with the exit code and the hint of its *error*."""
    said = explain(error) if isinstance(error, Exception) else None
    if said is None:
        return Failure(f"{place}: {error}")
    reason, hint, code = said
    return Failure(f"{place}: {reason}", hint=hint, exit_code=code)


def _summarize(session: Session, topic: str, lines: LineProducer, seconds: float) -> None:
    if session.json:
        emit_object(
            session,
            {
                "topic": topic,
                "records": lines.stored,
                "bytes": lines.sent_bytes,
                "seconds": round(seconds, 3),
            },
        )
        return
    note(
        f"{lines.stored:,} record{'' if lines.stored == 1 else 's'} stored in topic {topic!r},"
        f" {lines.sent_bytes:,} bytes sent in {seconds:.2f} s"
    )
