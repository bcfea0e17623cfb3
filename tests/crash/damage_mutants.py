"""Broken streamlogs, by name, that damage to files tells from a good one.

``make mutants`` damages a directory until each is caught, and prints by what (`mutant_table`).
"""

from __future__ import annotations

import random
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:  # run as a script
    sys.path.insert(0, str(ROOT))

from streamlog.record import BatchView, batch_view, layout  # noqa: E402
from streamlog.record.layout import BatchHeader  # noqa: E402
from streamlog.runtime import Mapping  # noqa: E402
from streamlog.storage import batch_reader, batch_scan, index_file  # noqa: E402
from streamlog.storage.batch_scan import header_at, resync  # noqa: E402
from streamlog.storage.data_directory import DataDirectory  # noqa: E402
from streamlog.storage.directory_tree import remove_tree  # noqa: E402
from streamlog.storage.index_file import IndexContent  # noqa: E402
from streamlog.storage.log_cut import LogCut  # noqa: E402
from streamlog.storage.recovery import LogRecovery  # noqa: E402
from streamlog.storage.segment import Segment  # noqa: E402
from tests.crash.damage import sweep  # noqa: E402
from tests.crash.damage_cases import single_damages  # noqa: E402
from tests.crash.damage_data import CLEAN, KILLED, POWER_FAILED, make_dataset  # noqa: E402
from tests.support.patching import patched  # noqa: E402


class Mutant(NamedTuple):
    """One broken build, and where to look for it."""

    why: str
    state: str
    kinds: tuple[str, ...]
    #: Of the names of the files.
    suffix: str
    patch: Callable[[], AbstractContextManager[None]]


MUTANTS: dict[str, Mutant] = {}


def mutant(
    name: str, state: str, *kinds: str, suffix: str = ""
) -> Callable[[Callable[[], Iterator[None]]], None]:
    """Register a generator that patches, yields, and leaves nothing patched; its docstring says why that is wrong.

    Damage of one of *kinds* to files with that *suffix*, in the directory left in *state*, must show it.
    """

    def register(function: Callable[[], Iterator[None]]) -> None:
        patch = contextmanager(function)
        MUTANTS[name] = Mutant(function.__doc__ or "", state, kinds, suffix, patch)

    return register


# ---- checksums


@mutant("header checksum ignored", CLEAN, "flip")
def header_checksum_ignored() -> Iterator[None]:
    """A header with one wrong bit sends its records to another time, or the reader to another place."""

    def read_header(header: bytes) -> BatchHeader | None:
        if len(header) != layout.HEADER_SIZE:
            return None
        fields = BatchHeader._make(layout.HEADER.unpack(header))
        framed = fields.length == fields.body_size + layout.HEADER_SIZE
        return fields if framed and fields.magic == layout.MAGIC else None

    with patched(batch_scan, "read_header", read_header):
        with patched(batch_reader, "read_header", read_header):
            with patched(batch_view, "read_header", read_header):
                yield


@mutant("body checksum ignored", CLEAN, "flip")
def body_checksum_ignored() -> Iterator[None]:
    """A value with one wrong bit is delivered."""
    with patched(BatchView, "check", lambda self: None):
        yield


# ---- indexes


def _unchecked(filesystem: Any, path: str, log_bytes: int) -> IndexContent:
    """Read an index file as if it could not be wrong."""
    data = filesystem.read_file(path, 1 << 20) if filesystem.exists(path) else b""
    entries, covers, position = b"", 0, 0
    while position + 16 <= len(data):
        size, _, covers = struct.unpack_from("<III", data, position + 4)
        entries += data[position + 16 : position + 16 + size]
        position += 16 + size
    return IndexContent(entries, covers, True)


@mutant("index believed", CLEAN, "flip", suffix=".idx")
def index_believed() -> Iterator[None]:
    """What an index says is taken for the log: a wrong entry hides batches, or finds none where there is one."""

    def locate(
        self: Segment, offset: int, mapping: Mapping, end: int
    ) -> tuple[int, BatchHeader] | None:
        return _walk(self, self.offset_index.floor(offset - self.base_offset), offset, mapping, end)

    with patched(index_file, "read_entries", _unchecked):
        with patched(Segment, "locate", locate):
            yield


@mutant("index of another log believed", CLEAN, "swap", suffix=".tix")
def index_of_another_log() -> Iterator[None]:
    """Lookups by time go by the times of other records."""
    with patched(index_file, "read_entries", _unchecked):
        yield


# ---- batches out of their place


def _walk(
    segment: Segment, position: int, offset: int, mapping: Mapping, end: int
) -> tuple[int, BatchHeader] | None:
    """Find the batch of *offset*, or the next one, from *position* on."""
    while position < end:
        header = header_at(mapping, position, end)
        if header is None:
            found = resync(mapping, position, end, segment.base_offset)
            if found is None or found[1].base_offset > offset:
                raise segment._damage(position, offset)
            position, header = found
        if header.next_offset > offset:
            return position, header
        position += header.aligned_size
    return None


@mutant("gaps stepped over", CLEAN, "remove")
def gaps_stepped_over() -> Iterator[None]:
    """Records that are gone are skipped in silence."""

    def locate(
        self: Segment, offset: int, mapping: Mapping, end: int
    ) -> tuple[int, BatchHeader] | None:
        return _walk(self, 0, offset, mapping, end)

    with patched(Segment, "locate", locate):
        yield


@mutant("recovery goes on behind a hole", KILLED, "flip")
def recovery_goes_on_behind_a_hole() -> Iterator[None]:
    """Good batches behind a bad one count as if there were nothing between them, and nobody is told."""
    scan_good = LogRecovery._scan_good

    def over_holes(
        self: LogRecovery, segment: Any, mapping: Any, position: int, size: int, expected: int
    ) -> tuple[int, int]:
        position, expected = scan_good(self, segment, mapping, position, size, expected)
        while mapping is not None and (found := resync(mapping, position, size, expected)):
            position, expected = found[0], found[1].base_offset
            position, expected = scan_good(self, segment, mapping, position, size, expected)
        return position, expected

    with patched(LogRecovery, "_scan_good", over_holes):
        yield


# ---- what recovery cuts and what it says


@mutant("damage is cut off", KILLED, "flip")
def damage_is_cut_off() -> Iterator[None]:
    """A bad batch on the same boot is no crash (class C): cutting it takes good ones with it."""
    init = LogRecovery.__init__

    def always_after_a_power_failure(self: LogRecovery, *arguments: Any, **options: Any) -> None:
        init(self, *arguments, **{**options, "power_failed": True})

    with patched(LogRecovery, "__init__", always_after_a_power_failure):
        yield


@mutant("data loss not reported", CLEAN, "delete", suffix=".log")
def data_loss_not_reported() -> Iterator[None]:
    """A log that ends before its recovery point, or begins behind its start, looks like a shorter one (class D)."""
    with patched(LogRecovery, "_require", lambda self, condition, what: None):
        yield


@mutant("what was cut stays in the file", POWER_FAILED, "flip")
def nothing_cut() -> Iterator[None]:
    """Old batches come back behind a new and shorter one."""

    def remove_behind(self: LogCut, segments: list[Segment], position: int, size: int) -> None:
        self.delete(segments[:0:-1])

    with patched(LogCut, "remove_behind", remove_behind):
        with patched(LogRecovery, "_settle", lambda self, segment: None):
            yield


@mutant("unknown logs deleted", CLEAN, "flip")
def unknown_logs_deleted() -> Iterator[None]:
    """A damaged or restored META would cost the logs that it does not name."""
    finish_opening = DataDirectory.finish_opening

    def tidy(self: DataDirectory, known: Any) -> None:
        finish_opening(self, known)
        for path in self.recovery_report.ignored_paths:
            remove_tree(self._filesystem, path)

    with patched(DataDirectory, "finish_opening", tidy):
        yield


@mutant("damage in one partition stops all", CLEAN, "delete", suffix=".log")
def one_stops_all() -> Iterator[None]:
    """Promise P6."""
    data_loss = LogRecovery._data_loss

    def not_a_corrupt_log(self: LogRecovery, what: str) -> Any:
        return LookupError(str(data_loss(self, what)))

    with patched(LogRecovery, "_data_loss", not_a_corrupt_log):
        yield


class Attempt(NamedTuple):
    """What came of damaging one mutant's directory."""

    #: How many damages it took.
    damages: int
    #: The damage and what was wrong, None when nothing was.
    found: tuple[str, str] | None


def attempt(name: str, *, most: int = 4000, seed: int = 1) -> Attempt:
    """Damage the directory, in a shuffled order, until the mutant is caught."""
    _, state, kinds, suffix, patch = MUTANTS[name]
    dataset = make_dataset(state)  # before anything is broken
    damages = [
        (case,)
        for case in single_damages(dataset)
        if case.kind in kinds and case.path.endswith(suffix)
    ]
    random.Random(seed).shuffle(damages)
    with patch():
        result = sweep(state, islice(damages, most), most_failures=1)
    found = result.failures[0][1:] if result.failures else None
    return Attempt(sum(result.counts.values()) + bool(found), found)
