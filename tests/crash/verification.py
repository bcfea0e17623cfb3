"""Opening a directory in processes of its own, again and again, and seeing that it says the same each time."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable
from pathlib import Path

from streamlog import Broker
from streamlog.errors import StreamlogError
from streamlog.storage.file_names import snapshot_offset_of
from tests.crash.forked import Child, Reporter
from tests.crash.ledger import Broken, Ledger
from tests.crash.reading import Contents, Found, Reading
from tests.crash.seam_files import SeamFileSystem, pass_by

CHUNK_BYTES = 64 * 1024
"""What a partition may have preallocated (less where its segments are smaller)."""

_SUFFIXES = (".log", ".idx", ".tix", ".txn")


class Verification:
    """One directory and what was promised about it.

    *boot*: that of the machine (empty: of this one); with *lost_power* only what was on the disk has to be there.
    """

    def __init__(
        self, path: str, ledger: Ledger, *, boot: str = "", lost_power: bool = False
    ) -> None:
        self._path = path
        self._ledger = ledger
        self._boot = boot
        self._lost_power = lost_power

    def run(self, *, dies_first: bool) -> Contents:
        """Open, compare with the ledger, close, open again, and return what is there. Raises Broken.

        With *dies_first* a process that recovers and is killed comes before: what recovery does must not depend on how often it
        is done (I17).
        """
        first = _in_child(self._open_and_die) if dies_first else None
        contents = _in_child(self._open_twice)
        if first is not None and not first.same_as(contents):
            raise Broken("wrong", "opening after a killed recovery found something else")
        return contents

    def _open(self) -> Broker:
        return Broker(
            self._path,
            filesystem=SeamFileSystem(pass_by, self._boot) if self._boot else None,
            offsets_topic_num_partitions=2,
        )

    def _open_and_die(self) -> Contents:
        broker = self._open()
        contents = self._read(broker)
        self._check_disk_use(contents, chunks=1)
        return contents

    def _open_twice(self) -> Contents:
        with self._open() as broker:
            contents = self._read(broker)
        with self._open() as broker:
            report = broker.recovery_report
            if not report.clean or report.scanned_bytes:
                raise Broken("wrong", f"opening after a clean close scanned: {report}")  # I18
            reading = Reading(broker, self._ledger, lost_power=self._lost_power)
            again, table = reading.values(), reading.table()
        if contents.partitions != again or (contents.table, contents.table_logs) != table:
            raise Broken("wrong", "opening after a clean close found something else")
        self._check_disk_use(contents, chunks=0)
        return contents

    def _read(self, broker: Broker) -> Contents:
        return Reading(broker, self._ledger, lost_power=self._lost_power).compared()

    def _check_disk_use(self, contents: Contents, *, chunks: int) -> None:
        """Nothing is left over, and a log takes no more room than its records (I19), but for *chunks* ahead of each."""
        for name in (
            ("", "topics") if not chunks else ()
        ):  # while it is open, STATE may just be written
            for entry in Path(self._path, name).iterdir():
                if entry.name.endswith((".tmp", "-delete")):
                    raise Broken("wrong", f"{entry} is left over")
        if not self._lost_power:
            for entry in Path(self._path, "quarantine").iterdir():
                raise Broken("wrong", f"{entry} is left over")
        logs = {**contents.partitions, **contents.table_logs}
        names = {f"{one.topic}-{one.partition}" for one in logs}
        for directory in Path(self._path, "topics").iterdir():
            if directory.name in names or directory.name.startswith("__"):
                continue
            # One that was about to become a topic's is left alone; it is empty.
            if any(file.stat().st_size for file in directory.glob("*")):
                raise Broken("wrong", f"{directory}: left over, with something in it")
        for partition, found in logs.items():
            name = f"{partition.topic}-{partition.partition}"
            is_compacted = partition in contents.table_logs
            _check_log_files(Path(self._path, "topics", name), found, chunks, is_compacted)


def _check_log_files(directory: Path, found: Found, chunks: int, is_compacted: bool) -> None:
    files = {entry.name: entry.stat().st_size for entry in directory.iterdir()}
    logs = {name[:20] for name in files if name.endswith(".log")}
    snapshots = {name for name in files if snapshot_offset_of(name) is not None}
    for name in snapshots:
        del files[name]
    if any(not min(logs, default="") <= name[:20] <= f"{found.end:020d}" for name in snapshots):
        raise Broken("wrong", f"{directory}: {snapshots} in a log of {logs} up to {found.end}")
    # One where each segment begins, and the last two. Compaction leaves those of segments that it merged to the next one that is written.
    if len(snapshots) > len(logs) + 2 and not is_compacted:
        raise Broken("wrong", f"{directory}: {len(snapshots)} snapshots for {len(logs)} segments")
    strange = [name for name in files if name[:20] not in logs or name[20:] not in _SUFFIXES]
    if strange:
        raise Broken("wrong", f"{directory}: left over: {strange}")
    size = sum(size for name, size in files.items() if name.endswith(".log"))
    if not found.size_bytes <= size <= found.size_bytes + chunks * CHUNK_BYTES:
        raise Broken(
            "wrong", f"{directory}: {found.size_bytes} bytes of records in {size} of files"
        )
    indexes = sum(files.values()) - size
    if indexes > found.size_bytes / 8 + 512 * len(files):
        raise Broken("wrong", f"{directory}: indexes of {indexes} bytes for {size} of records")


def _in_child(target: Callable[[], Contents]) -> Contents:
    """Return what *target* returns in a fresh process, or raise what it raises."""

    def answer(report: Reporter) -> None:
        logging.getLogger("streamlog").setLevel(
            logging.ERROR
        )  # a torn tail is nothing to talk about
        try:
            result: Contents | tuple[str, str] = target()
        except Broken as error:
            result = error.kind, error.message
        except (StreamlogError, OSError) as error:
            result = "unopenable", f"{type(error).__name__}: {error}"
        report.raw(pickle.dumps(result))

    child = Child(answer)
    data = child.read_all()
    code = child.wait()
    child.end()
    if code != 0:
        raise Broken("unopenable", f"verifying ended with {code}: {data.decode(errors='replace')}")
    result = pickle.loads(data)
    if isinstance(result, Contents):
        return result
    raise Broken(*result)
