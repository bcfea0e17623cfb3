"""`streamlog dump`: any file of a data directory, readable."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import click

from streamlog.cli.command import Command
from streamlog.cli.dumping import Line
from streamlog.cli.dumping.index_files import (
    offset_index_lines,
    snapshot_lines,
    time_index_lines,
    transaction_index_lines,
)
from streamlog.cli.dumping.log_file import LogFileDump
from streamlog.cli.dumping.payloads import OFFSETS_DECODER, TRANSACTION_LOG_DECODER, decoder_for
from streamlog.cli.dumping.plain_files import checkpoint_lines, lock_lines, reason_lines
from streamlog.cli.failures import DAMAGED, NOT_FOUND, Failure
from streamlog.cli.output import to_json
from streamlog.cli.session import Session, pass_session
from streamlog.runtime import LOCK_FILE_NAME, FileSystem, OsFileSystem, path_string
from streamlog.storage.file_names import LOG_SUFFIX, OFFSET_INDEX_SUFFIX, TIME_INDEX_SUFFIX
from streamlog.storage.verification.batch_walk import StoredBatch, walk_batches
from streamlog.storage.verification.file_bytes import FileBytes
from streamlog.storage.verification.index_check import IndexCheck

_MAX_BYTES = 1 << 30
_RENAMED = ".deleted", ".cleaned", ".swap"
_CHECKPOINTS = "FORMAT", "META", "STATE"


@click.command("dump", cls=Command)
@click.argument("files", nargs=-1, metavar="FILE...")
@click.option(
    "--files", "listed", metavar="FILES", default="", help="More files, separated by commas."
)
@click.option(
    "--deep-iteration", is_flag=True, help="Show each record of a log, without its payload."
)
@click.option(
    "--print-data-log", is_flag=True, help="Show each record with key, value and headers."
)
@click.option(
    "--skip-record-metadata", is_flag=True, help="With --print-data-log: only the payload."
)
@click.option(
    "--offsets-decoder", is_flag=True, help="Read records as those of __consumer_offsets."
)
@click.option(
    "--transaction-log-decoder", is_flag=True, help="Read records as those of __transaction_state."
)
@click.option(
    "--max-bytes", type=click.IntRange(min=1), help="Stop in each log behind so many bytes."
)
@click.option(
    *("--verify-index", "--verify-index-only", "--index-sanity-check"),
    is_flag=True,
    help="Only hold the indexes against their log, and print what does not agree.",
)
@pass_session
@click.pass_context
def dump(
    ctx: click.Context,
    session: Session,
    files: tuple[str, ...],
    listed: str,
    deep_iteration: bool,
    print_data_log: bool,
    skip_record_metadata: bool,
    offsets_decoder: bool,
    transaction_log_decoder: bool,
    max_bytes: int | None,
    verify_index: bool,
) -> None:
    """Print any file of a data directory as text, or with --json a JSON object a line.

    Logs (.log, also renamed ones and the pieces in quarantine), indexes (.idx, .tix, .txn), snapshots of producers (.snap), FORMAT,
    META, STATE, LOCK and reason.json. A name is looked for here, and then in the data directory. Fields have the names of Kafka's
    DumpLogSegments where that has them. Records of __consumer_offsets and __transaction_state are decoded. What is damaged is shown
    as such and stepped over; then the exit code is 5.

    Examples:
      streamlog dump STATE
      streamlog dump topics/orders-0/00000000000000000000.log --print-data-log
      streamlog dump topics/orders-0/00000000000000000000.idx --verify-index
    """
    names = [*files, *(name for name in listed.split(",") if name)]
    if not names:
        raise click.UsageError("expected the name of a file, found none")
    has_damage = False
    for name in names:
        path = _find(session, name)
        directory = path.rsplit("/", 2)[-2]
        decode = OFFSETS_DECODER if offsets_decoder else decoder_for(directory)
        log_dump = LogFileDump(
            deep_iteration or print_data_log,
            print_data_log,
            not skip_record_metadata,
            TRANSACTION_LOG_DECODER if transaction_log_decoder else decode,
            max_bytes,
        )
        found = _File(OsFileSystem(), path)
        if not session.json and not verify_index:
            click.echo(f"Dumping {name}")
        for line in found.index_problems() if verify_index else found.lines(log_dump):
            has_damage = has_damage or line.is_damage
            shown = {"file": name, **line.as_map()}
            click.echo(to_json(shown) if session.json else line.text())
    if has_damage:
        ctx.exit(DAMAGED)


def _find(session: Session, name: str) -> str:
    filesystem = OsFileSystem()
    places = [name] if session.data is None else [name, f"{session.data}/{name}"]
    for place in places:
        path = path_string(place)
        if filesystem.exists(path) and not filesystem.is_dir(path):
            return path
    raise Failure(
        f"{name}: no such file",
        hint="`streamlog verify` names files as they are in the data directory",
        exit_code=NOT_FOUND,
    )


@attrs.frozen
class _File:
    """A file of a data directory, told by its name."""

    filesystem: FileSystem
    path: str

    @property
    def place(self) -> str:
        """The path that it was made for: without what it was renamed to."""
        path = self.path
        for suffix in _RENAMED:
            path = path.removesuffix(suffix)
        return path

    @property
    def base_offset(self) -> int:
        """The 20 digits that its name begins with; 0 without."""
        digits = self.path.rsplit("/", 1)[-1][:20]
        return int(digits) if len(digits) == 20 and digits.isascii() and digits.isdigit() else 0

    def lines(self, log_dump: LogFileDump) -> Iterator[Line]:
        place, name = self.place, self.place.rsplit("/", 1)[-1]
        if LOG_SUFFIX in name:
            yield from log_dump.lines(FileBytes.open(self.filesystem, self.path), self.base_offset)
            return
        data = self.filesystem.read_file(self.path, _MAX_BYTES)
        if name in _CHECKPOINTS:
            yield from checkpoint_lines(data, self.path, name)
        elif name == LOCK_FILE_NAME:
            yield from lock_lines(data)
        elif name.endswith(".json"):
            yield from reason_lines(data)
        elif name.endswith(OFFSET_INDEX_SUFFIX):
            yield from offset_index_lines(data, place, self.base_offset)
        elif name.endswith(TIME_INDEX_SUFFIX):
            yield from time_index_lines(data, place, self.base_offset)
        elif name.endswith(".txn"):
            yield from transaction_index_lines(data, place)
        elif name.endswith(".snap"):
            yield from snapshot_lines(data, self.path)
        else:
            raise Failure(
                f"{self.path}: not the name of a file of a data directory",
                hint="docs/on-disk-format.md lists them",
            )

    def index_problems(self) -> Iterator[Line]:
        """Yield what does not agree between the two indexes, or this one of them, and the log beside it."""
        stem = self.path.rsplit(".", 1)[0]
        log_path = stem + LOG_SUFFIX
        if not self.path.endswith((LOG_SUFFIX, OFFSET_INDEX_SUFFIX, TIME_INDEX_SUFFIX)):
            raise click.UsageError(
                f"--verify-index: expected a .log, .idx or .tix, found {self.path}"
            )
        content = FileBytes.open(self.filesystem, log_path)
        check = IndexCheck(self.filesystem, stem, self.base_offset, len(content))
        end = 0
        for item in walk_batches(content, self.base_offset, is_growing=True):
            if isinstance(item, StoredBatch):
                check.see(item.position, item.header)
                end = item.position + item.header.aligned_size
        for path, message in check.problems(end, is_closed=True):
            if self.path in (path, log_path):
                yield Line("damage", {"file": path.rsplit("/", 1)[-1], "reason": message})
