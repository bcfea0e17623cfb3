"""One partition log in a data directory that can be closed, killed, damaged and opened again."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from streamlog.config import TopicConfig
from streamlog.errors import ForkedError
from streamlog.record import build_batch, split_batches
from streamlog.runtime import FileSystem, RandomSource, Runtime, TokenLock, VirtualClock
from streamlog.storage import DataDirectory, PartitionLog
from streamlog.storage.log_reader import ReadableLog

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from streamlog.record import BatchView, PendingBatch
    from streamlog.storage import PartitionRecovery

TOPIC, TOPIC_ID = "t", "0123456789abcdef"


@contextmanager
def holding(lock: TokenLock) -> Iterator[None]:
    """Hold a log's lock, in a thread that nobody interrupts."""
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


class Disk(NamedTuple):
    """A file system and an empty directory in it."""

    filesystem: FileSystem
    root: str

    def path(self, name: str) -> str:
        return f"{self.root}/{name}"

    def read(self, path: str) -> bytes:
        return self.filesystem.read_file(path, 1 << 30)

    def write(self, path: str, data: bytes) -> None:
        """Replace the content of the file at *path*."""
        file = self.filesystem.open(path, create=True)
        file.truncate(0)
        file.write_at(0, data)
        file.close()

    def patch(self, path: str, position: int, data: bytes) -> None:
        """Overwrite bytes of a file that nobody has mapped."""
        file = self.filesystem.open(path)
        file.write_at(position, data)
        file.close()

    def flip(self, path: str, position: int, mask: int = 0xFF) -> None:
        """Change one byte of a file."""
        byte = self.read(path)[position]
        self.patch(path, position, bytes((byte ^ mask,)))

    def cut(self, path: str, size: int) -> None:
        """Make a file shorter (or longer, with zeros)."""
        file = self.filesystem.open(path)
        file.truncate(size)
        file.close()


class Store:
    """A data directory with logs in it; `log` is partition 0 of topic ``t``."""

    def __init__(self, disk: Disk, *, clock: VirtualClock | None = None, **config: Any) -> None:
        self.disk = disk
        self.path = disk.path("data")
        self.clock = clock or VirtualClock()
        self.config = TopicConfig.from_options(config)
        self.max_open_segments: int | None = None
        self.runtime = Runtime(clock=self.clock, filesystem=disk.filesystem, random=RandomSource(1))
        self.directory: DataDirectory
        self.log: PartitionLog
        self.open_directory()
        self.directory.create_log_directory(TOPIC, 0)
        self.directory.sync_topics()
        self.open_log()

    # ---- life

    def open_directory(self) -> DataDirectory:
        self.directory = DataDirectory.open(
            self.path,
            self.runtime,
            min_free_bytes=0,
            max_open_segments=self.max_open_segments,
        )
        return self.directory

    def open_log(self, partition: int = 0) -> PartitionLog:
        self.log = self.directory.open_log(TOPIC, partition, TOPIC_ID, self.config)
        return self.log

    def open(self) -> PartitionLog:
        """Open the directory and the log, as a broker does."""
        self.open_directory()
        try:
            self.open_log()
            self.directory.finish_opening({self.log.topic_partition})
        except BaseException:
            self.kill()
            raise
        return self.log

    def close(self) -> None:
        self.directory.close()

    def kill(self) -> None:
        """As ``kill -9``: what was stored stays, nothing else is written."""
        self.directory.abandon(ForkedError("killed"))

    def reopen(self) -> PartitionLog:
        self.close()
        return self.open()

    def kill_and_open(self) -> PartitionLog:
        self.kill()
        return self.open()

    def with_config(self, **changes: Any) -> None:
        self.config = self.config.with_overrides(changes)
        self.log.config = self.config

    # ---- content

    @property
    def recovery(self) -> PartitionRecovery:
        return self.log.recovery

    def batch(self, *values: bytes | None, timestamp_ms: int | None = None) -> PendingBatch:
        return build_batch(values, self.clock.time_ms() if timestamp_ms is None else timestamp_ms)

    def append(self, *values: bytes | None, timestamp_ms: int | None = None) -> int:
        """Append one batch of these values and return its base offset."""
        return self.log.append(self.batch(*values, timestamp_ms=timestamp_ms))

    def fill(self, count: int, *, size: int = 8, start: int | None = None) -> list[bytes]:
        """Append *count* records in batches of their own; value n is the decimal n, padded."""
        first = self.log.log_end_offset if start is None else start
        values = [b"%0*d" % (size, number) for number in range(first, first + count)]
        for value in values:
            self.append(value)
        return values

    def values(self, start: int | None = None) -> list[bytes | None]:
        """Return the values of all records from *start* on."""
        return [value for _, value in read_values(self.log, start)]

    # ---- files

    @property
    def log_path(self) -> str:
        return f"{self.path}/topics/{TOPIC}-0"

    def names(self) -> list[str]:
        return self.disk.filesystem.list_dir(self.log_path)

    def segment_path(self, base_offset: int = 0, suffix: str = ".log") -> str:
        return f"{self.log_path}/{base_offset:020d}{suffix}"

    def base_offsets(self) -> list[int]:
        return [segment.base_offset for segment in self.log.segments]


def read_batches(
    log: ReadableLog, start: int | None = None, *, max_bytes: int = 1 << 20
) -> Iterable[BatchView]:
    """Yield the checked batches from *start* (None = log start) to the log end."""
    offset = log.log_start_offset if start is None else start
    while data := log.read(offset, max_bytes):
        batches = split_batches(data)
        for batch in batches:
            batch.check()
            yield batch
        offset = batches[-1].next_offset


def read_values(
    log: ReadableLog, start: int | None = None, *, max_bytes: int = 1 << 20
) -> list[tuple[int, bytes | None]]:
    """Return (offset, value) of every record from *start* (None = log start) to the log end."""
    offset = log.log_start_offset if start is None else start
    return [
        pair
        for batch in read_batches(log, start, max_bytes=max_bytes)
        for pair in zip(batch.offsets(), batch.values(), strict=True)
        if pair[0] >= offset
    ]


def check_log(log: PartitionLog) -> None:
    """Assert what holds of every healthy log at every moment, and that all of it can be read."""
    log._check()
    segments = log.segments
    for segment, following in pairwise(segments):
        assert segment.next_offset == following.base_offset
    next_offset: int | None = None
    for batch in read_batches(
        log, segments[0].base_offset if log.log_start_offset == segments[0].base_offset else None
    ):
        # Gaps are inside of batches, never between them.
        assert next_offset in (None, batch.base_offset)
        next_offset = batch.next_offset
        offsets = list(batch.offsets())
        assert len(offsets) == batch.record_count
        assert offsets == sorted({*offsets} & {*range(batch.base_offset, next_offset)})
