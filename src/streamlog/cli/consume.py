"""`streamlog consume`: records become lines."""

from __future__ import annotations

import re
import sys
from collections import deque
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

import click

from streamlog.cli.arguments import group_option
from streamlog.cli.client_options import client_config, client_options
from streamlog.cli.command import Command
from streamlog.cli.completion import complete_topics
from streamlog.cli.output import note
from streamlog.cli.properties import parse_properties
from streamlog.cli.reading import EARLIEST, LATEST, Reading, Wanted
from streamlog.cli.record_format import (
    ENCODERS,
    LineFormatter,
    RecordFormat,
    json_format,
    template_format,
)
from streamlog.cli.session import Session, pass_session
from streamlog.cli.times import parse_time
from streamlog.client.consumer import Consumer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_COMMIT_INTERVAL_MS = 5000


@click.command(cls=Command)
@click.option(
    "--topic",
    "topics",
    multiple=True,
    metavar="TOPIC",
    shell_complete=complete_topics,
    help="What to read; may be given more than once.",
)
@click.option("--include", metavar="REGEX", help="Read the topics whose whole name matches.")
@click.option("--from-beginning", is_flag=True, help="Start with the first record there is.")
@click.option(
    "--partition",
    "partitions",
    type=click.IntRange(0),
    multiple=True,
    help="Read only this partition; may be given more than once.",
)
@click.option(
    "--offset",
    metavar="N|earliest|latest",
    help="Where to start; a number needs --partition. [latest]",
)
@click.option(
    "--from-time",
    type=parse_time,
    metavar="TIME",
    help="Start with the first record at or after it: ISO 8601, or ms since 1970.",
)
@group_option("Go on where this group was, and commit what was printed.")
@click.option("--max-messages", type=click.IntRange(0), help="Print no more than these.")
@click.option("--timeout-ms", type=click.FloatRange(0), help="End when no record came for so long.")
@click.option(
    "--follow/--no-follow",
    default=None,
    help="Wait for more at the end. [only when started at the end]",
)
@click.option(
    "--isolation-level",
    type=click.Choice(["read_uncommitted", "read_committed"]),
    help="read_committed leaves out open and aborted transactions.",
)
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["value", "key-value", "json"]),
    default="value",
    show_default=True,
    help="What to print of a record.",
)
@click.option(
    "--template",
    metavar="TEXT",
    help="Print this instead, such as '{timestamp} {partition}:{offset} {key} {value} {headers}'.",
)
@click.option(
    "--formatter-property",
    "--property",
    "formatter_property",
    multiple=True,
    metavar="KEY=VALUE",
    help="As Kafka says it: print.key=true, key.separator=:, null.literal=NULL ...",
)
@click.option(
    "--encoding",
    type=click.Choice(list(ENCODERS)),
    help="How bytes are printed. [escape on a terminal, else raw]",
)
@click.option("--skip-message-on-error", is_flag=True, help="Go on after damaged records.")
@client_options("consumer")
@pass_session
def consume(
    session: Session,
    /,
    topics: tuple[str, ...],
    formatter_property: tuple[str, ...],
    command_property: tuple[str, ...],
    command_config: TextIO | None,
    group: str | None,
    isolation_level: str | None,
    **options: Any,
) -> None:
    """Print records, each as a line on standard output.

    Without a place to start it begins at the end and waits for new records, as Kafka's tool does.
    With one it ends where the topic ended when it began: a directory that no program writes to never
    grows, and a --group has the directory for itself. --follow waits on. The same command works while
    another process writes, except with --group. Ctrl-C ends it with 130, after what was printed was
    committed.

    A template may have {topic} {partition} {offset} {timestamp} {timestamp_ms} {timestamp_type}
    {epoch} {key} {value} {headers} {key_size} {value_size}.

    Examples:
      streamlog --data DIR consume --topic greetings --from-beginning
      streamlog consume --topic users --group report --from-beginning --property print.key=true
      streamlog consume --topic users --partition 0 --offset 42 --max-messages 1 --format json
    """
    settings = parse_properties("--formatter-property", formatter_property)
    to_bytes = _format(session, options, settings)
    config = client_config(
        command_property, command_config, group_id=group, isolation_level=isolation_level
    )
    has_group = config.get("group_id") is not None
    wanted = _wanted(topics, has_group, options)
    # What was printed is committed, by us: a poll returns more than fits through a pipe that breaks.
    commits = has_group and _is_on(config.pop("enable_auto_commit", True))
    interval_ms = float(str(config.pop("auto_commit_interval_ms", _COMMIT_INTERVAL_MS)))
    config["enable_auto_commit"] = False
    config["allow_auto_create_topics"] = False
    # An offset of the user's choice that is not there is an error, and no place near it.
    is_place = isinstance(wanted.start, int) or wanted.start_ms is not None
    config.setdefault("auto_offset_reset", "none" if is_place else wanted.start)
    output = sys.stdout.buffer
    with ExitStack() as stack:
        broker = stack.enter_context(session.open_broker(read_only=not has_group))
        consumer = stack.enter_context(Consumer(broker, config=config))
        reading = Reading(broker, consumer, wanted, commits=commits)
        reading.begin()
        is_cut_off = False
        try:
            _print_all(reading, to_bytes, output, broker.runtime.clock.monotonic_ms, interval_ms)
        except BrokenPipeError:  # the reader has read enough
            is_cut_off = True
            raise
        except KeyboardInterrupt:
            if sys.stderr.isatty():
                note("")  # the terminal shows ^C, and no end of the line
            raise
        finally:
            reading.commit()
            if not is_cut_off:
                note(f"Processed a total of {reading.count} messages")


def _print_all(
    reading: Reading,
    to_bytes: RecordFormat,
    output: BinaryIO,
    monotonic_ms: Callable[[], float],
    commit_interval_ms: float,
) -> None:
    next_commit_ms = monotonic_ms() + commit_interval_ms
    while (records := reading.next_records()) is not None:
        written: deque[int] = deque()
        try:
            # Not a loop of ours: Ctrl-C could come out between what is written and its being counted.
            written.extend(map(output.write, map(to_bytes, records)))
            output.flush()  # what the pipe did not take was not printed
            reading.printed(records, len(written))
        except KeyboardInterrupt:  # wherever it came, what stands on the screen counts
            output.flush()
            reading.printed(records, len(written))
            raise
        if monotonic_ms() >= next_commit_ms:
            reading.commit()
            next_commit_ms = monotonic_ms() + commit_interval_ms


def _wanted(topics: tuple[str, ...], has_group: bool, options: Mapping[str, Any]) -> Wanted:
    include, partitions, offset = options["include"], options["partitions"], options["offset"]
    from_beginning, start_ms = options["from_beginning"], options["from_time"]
    if bool(topics) == (include is not None):
        raise click.UsageError("say what to read: either --topic or --include")
    if partitions and len(topics) != 1:
        raise click.UsageError("--partition is of one topic: give one --topic")
    places = [
        name
        for name, given in (
            ("--from-beginning", from_beginning),
            ("--offset", offset is not None),
            ("--from-time", start_ms is not None),
        )
        if given
    ]
    if len(places) > 1:
        raise click.UsageError(f"{' and '.join(places)} exclude each other")
    if has_group:
        for name, given in (
            ("--partition", partitions),
            ("--offset", offset is not None),
            ("--from-time", start_ms is not None),
        ):
            if given:
                raise click.UsageError(
                    f"{name} and --group exclude each other: the group knows where it was;"
                    " `groups reset-offsets` moves it"
                )
        if options["follow"]:
            raise click.UsageError(
                "--follow and --group exclude each other: the group has the directory for itself, so"
                " nothing new can come"
            )
    start = EARLIEST if from_beginning else _start(offset)
    if isinstance(start, int) and len(partitions) != 1:
        raise click.UsageError("--offset with a number is of one partition: give one --partition")
    follow = options["follow"]
    if follow is None:
        follow = start == LATEST and start_ms is None and not has_group
    return Wanted(
        topics=topics,
        pattern=None if include is None else _pattern(include),
        partitions=sorted(partitions),
        start=start,
        start_ms=start_ms,
        max_messages=options["max_messages"],
        timeout_ms=options["timeout_ms"],
        follow=follow,
        skip_on_error=options["skip_message_on_error"],
    )


def _start(offset: str | None) -> str | int:
    if offset is None:
        return LATEST
    if offset.lower() in (EARLIEST, LATEST):
        return offset.lower()
    if offset.isascii() and offset.isdecimal():
        return int(offset)
    raise click.BadParameter(
        f"expected an offset from 0, {EARLIEST} or {LATEST}, found {offset!r}",
        param_hint="--offset",
    )


def _pattern(include: str) -> re.Pattern[str]:
    try:
        return re.compile(include)
    except re.error as error:
        raise click.BadParameter(f"{include!r}: {error}", param_hint="--include") from None


def _format(session: Session, options: Mapping[str, Any], settings: dict[str, str]) -> RecordFormat:
    name, template, encoding = options["format_name"], options["template"], options["encoding"]
    if session.json or name == "json":
        if settings or template is not None:
            raise click.UsageError(
                "JSON has every field: no template or formatter property applies"
            )
        if encoding not in (None, "base64"):
            raise click.UsageError(f"--encoding {encoding}: JSON is text; there is base64")
        return json_format(always_base64=encoding == "base64")
    encode = ENCODERS[encoding or ("escape" if sys.stdout.isatty() else "raw")]
    if template is not None:
        if name != "value" or settings.keys() - {"null.literal", "line.separator"}:
            raise click.UsageError(
                "--template says it all: no --format or formatter property applies"
            )
        ends = LineFormatter.of("--formatter-property", settings)
        try:
            return template_format(template, encode, ends.null_literal, ends.line_separator)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--template") from None
    if name == "key-value":
        settings.setdefault("print.key", "true")
    return LineFormatter.of("--formatter-property", settings, encode)


def _is_on(value: object) -> bool:
    return str(value).strip().lower() != "false"
