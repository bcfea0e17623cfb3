"""`streamlog verify`: is the directory whole?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from streamlog.broker.verification import DirectoryVerification, repair_directory
from streamlog.cli.command import Command
from streamlog.cli.failures import DAMAGED, FAILED
from streamlog.cli.output import emit, note, progress
from streamlog.cli.session import Session, pass_session
from streamlog.runtime import OsFileSystem, SystemClock, path_string
from streamlog.storage.verification import Finding, Severity

if TYPE_CHECKING:
    from streamlog.runtime import FileSystem


@click.command("verify", cls=Command)
@click.option("--repair", is_flag=True, help="Make again what is derived; the data is not touched.")
@pass_session
@click.pass_context
def verify(ctx: click.Context, session: Session, repair: bool) -> None:
    """Check the data directory end to end.

    Every checksum, offset, record, sequence of a producer, index, snapshot and transaction is checked, and that the files around
    the logs agree with them. Nothing is written and nobody is disturbed: the directory may be in use, and is checked as far as it
    is stored then. What is found goes to stdout, a line each: damage (records are damaged or missing), derived (an index or the
    like, which --repair makes again from the log), unreadable (a file that you may not read, and what depends on it), note (nothing
    wrong). Exits with 5 if anything is damaged or derived, otherwise with 1 if anything is unreadable.

    With --repair nobody else may have the directory open. Indexes, snapshots and an unreadable STATE are made again. The logs stay
    as they are, byte for byte; damage in them stays damage.

    Examples:
      streamlog verify
      streamlog verify --json
      streamlog verify --repair
    """
    filesystem, path = OsFileSystem(), path_string(session.directory())
    findings = _check(filesystem, path)
    if repair:
        made = repair_directory(filesystem, path, SystemClock(), findings)
        for file in made:
            note(f"made again: {_inside(file, path)}")
        if made:
            findings = _check(filesystem, path)
    rows = [{**finding.as_map(), "path": _inside(finding.path, path)} for finding in findings]
    emit(session, rows, ("severity", "path", "position", "offset", "message"))
    found = {finding.severity for finding in findings}
    if Severity.UNREADABLE in found:
        note(
            "hint: run it as a user who may read all files; what is unreadable is not known to be damaged"
        )
    if found & {Severity.DAMAGE, Severity.DERIVED}:
        if not repair and Severity.DERIVED in found:
            note("hint: `streamlog verify --repair` makes again what is derived")
        ctx.exit(DAMAGED)
    if Severity.UNREADABLE in found:
        ctx.exit(FAILED)


def _check(filesystem: FileSystem, path: str) -> list[Finding]:
    with progress("verify", in_bytes=True) as bar:
        task = bar.task_ids[0]
        verification = DirectoryVerification(
            filesystem, path, lambda count: bar.advance(task, count)
        )
        bar.update(task, total=verification.total_bytes())
        findings = list(verification.run())
    note(
        f"checked {verification.logs} logs, {verification.batches} batches, {verification.records} records"
    )
    return findings


def _inside(file: str, path: str) -> str:
    return file.removeprefix(f"{path}/")
