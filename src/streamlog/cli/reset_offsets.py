"""`streamlog groups reset-offsets`: let a group go on elsewhere (CLI-3)."""

from __future__ import annotations

import csv
import io
import re
from typing import IO, TYPE_CHECKING, Any

import click

from streamlog.cli.arguments import exactly_one, group_option, partitions_option
from streamlog.cli.command import Command
from streamlog.cli.failures import Failure
from streamlog.cli.output import emit, note
from streamlog.cli.session import Session, pass_session
from streamlog.cli.times import parse_time
from streamlog.client.reset_to import ResetTo
from streamlog.config.iso_duration import parse_duration_ms
from streamlog.structs import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamlog.client.admin import Admin

Offsets = dict[TopicPartition, int]


def _duration(text: str) -> str:
    try:
        parse_duration_ms(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return text


@click.command("reset-offsets", cls=Command)
@group_option("A group without members; several times for several.", multiple=True)
@click.option("--all-groups", is_flag=True, help="Every group there is.")
@partitions_option("A topic, or some of its partitions; several times for several.")
@click.option(
    "--all-topics", is_flag=True, help="Every topic that the group committed anything of."
)
@click.option("--to-earliest", is_flag=True, help="To the start of each log.")
@click.option("--to-latest", is_flag=True, help="To the end of each log.")
@click.option("--to-current", is_flag=True, help="To what is committed.")
@click.option(
    "--to-offset",
    type=click.IntRange(min=0),
    metavar="OFFSET",
    help="To the same number everywhere.",
)
@click.option(
    "--to-datetime", type=parse_time, metavar="TIME", help="To the first record that is not older."
)
@click.option(
    "--by-duration",
    type=_duration,
    metavar="PT1H",
    help="The same, so long before now (PnDTnHnMnS).",
)
@click.option("--shift-by", type=int, metavar="N", help="N records on, or back when negative.")
@click.option(
    "--from-file",
    type=click.File(encoding="utf-8", lazy=False),
    metavar="FILE",
    help="To what a file of --export says; - is stdin.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would be; this is the default.")
@click.option("--execute", is_flag=True, help="Commit the new offsets.")
@click.option("--export", is_flag=True, help="Print CSV for --from-file.")
@pass_session
def reset_offsets(
    session: Session,
    /,
    group: tuple[str, ...],
    all_groups: bool,
    topic: tuple[list[TopicPartition | str], ...],
    all_topics: bool,
    from_file: IO[str] | None,
    dry_run: bool,
    execute: bool,
    export: bool,
    **modes: Any,
) -> None:
    """Show where a group would go on, and with --execute let it.

    An offset outside of a log stands for its nearer end. A group with members is refused; so is
    --execute while another process has the directory open, whose members they would be.

    Examples:
      streamlog groups reset-offsets --group billing --topic orders --to-earliest
      streamlog groups reset-offsets --group billing --topic orders:0 --shift-by -10 --execute
      streamlog groups reset-offsets --group billing --all-topics --to-current --export > offsets.csv
      streamlog groups reset-offsets --group billing --from-file offsets.csv --execute
    """
    if dry_run and execute:
        raise click.UsageError("expected --dry-run or --execute, found both")
    mode = exactly_one(
        [
            *(("--" + name.replace("_", "-"), _is_given(value)) for name, value in modes.items()),
            ("--from-file", from_file is not None),
        ]
    )
    if bool(group) == all_groups:
        raise click.UsageError("expected --group or --all-groups, one of them")
    if from_file is None and bool(topic) == all_topics:
        raise click.UsageError("expected --topic or --all-topics, one of them")
    if from_file is not None and (topic or all_topics):
        raise click.UsageError("--from-file says itself which topics: expected no --topic")
    partitions = [one for several in topic for one in several] if topic else None
    with session.open_admin(read_only=not execute) as admin:
        chosen = list(dict.fromkeys(group))
        if all_groups:
            chosen = [listed.group_id for listed in admin.list_consumer_groups()]
        if from_file is None:
            to = _aim(mode, modes)
            plan = dict.fromkeys(chosen, (to, partitions))
        else:
            plan = {
                name: (_to_these(offsets), list(offsets))
                for name, offsets in _offsets_of_file(from_file, chosen).items()
            }
        rows = _reset(admin, plan, execute=execute)
    if export:
        _export(rows, with_group=len(chosen) > 1)
    else:
        emit(session, rows)
    if not execute:
        note("Dry run: nothing was changed. --execute commits these offsets.")


def _is_given(value: object) -> bool:
    return value is not None and value is not False


def _aim(mode: str, modes: Mapping[str, Any]) -> ResetTo:
    if mode == "--to-earliest":
        return ResetTo.earliest()
    if mode == "--to-latest":
        return ResetTo.latest()
    if mode == "--to-current":
        return ResetTo.current()
    if mode == "--to-offset":
        return ResetTo.offset(modes["to_offset"])
    if mode == "--to-datetime":
        return ResetTo.time(modes["to_datetime"])
    if mode == "--by-duration":
        return ResetTo.duration(modes["by_duration"])
    assert mode == "--shift-by", mode
    return ResetTo.shift(modes["shift_by"])


def _to_these(offsets: Offsets) -> ResetTo:
    return ResetTo(
        "from-file", lambda partition, committed, now_ms: offsets[partition.topic_partition]
    )


def _reset(
    admin: Admin,
    plan: Mapping[str, tuple[ResetTo, list[TopicPartition | str] | list[TopicPartition] | None]],
    *,
    execute: bool,
) -> list[dict[str, object]]:
    """Find out about all groups before the first of them changes."""
    for name, (to, partitions) in plan.items():
        admin.reset_consumer_group_offsets(name, to, partitions, dry_run=True)
    rows: list[dict[str, object]] = []
    for name, (to, partitions) in plan.items():
        found = admin.reset_consumer_group_offsets(name, to, partitions, dry_run=not execute)
        rows += (
            {"group": name, "topic": tp.topic, "partition": tp.partition, "new_offset": new.offset}
            for tp, new in found.items()
        )
    return rows


def _export(rows: list[dict[str, object]], *, with_group: bool) -> None:
    """Print Kafka's CSV: topic, partition, offset; the group first where there are several."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        fields = [row["topic"], row["partition"], row["new_offset"]]
        writer.writerow([row["group"], *fields] if with_group else fields)
    click.echo(text.getvalue(), nl=False)


def _offsets_of_file(file: IO[str], groups: list[str]) -> dict[str, Offsets]:
    """Return the offsets of each group in a file of `--export`.

    Raises `Failure`, naming the line, for one that is none or says the same partition twice.
    """
    found: dict[str, Offsets] = {}
    for number, fields in enumerate(csv.reader(file), start=1):
        if not fields:
            continue
        if len(fields) == 3 and len(groups) == 1:
            fields = [groups[0], *fields]
        is_number = [re.fullmatch(r"\d{1,18}", one.strip(), re.ASCII) for one in fields[2:]]
        if len(fields) != 4 or not all(is_number):
            expected = (
                "topic,partition,offset" if len(groups) == 1 else "group,topic,partition,offset"
            )
            raise Failure(f"{file.name}: line {number}: expected {expected}, found {fields!r:.80}")
        group, topic = fields[0], fields[1]
        if group not in groups:
            raise Failure(f"{file.name}: line {number}: group {group!r} was not asked for")
        partition = TopicPartition(topic, int(fields[2]))
        offsets = found.setdefault(group, {})
        if partition in offsets:
            raise Failure(f"{file.name}: line {number}: {partition} is there twice")
        offsets[partition] = int(fields[3])
    if not found:
        raise Failure(f"{file.name}: expected a line for each partition, found none")
    return found
