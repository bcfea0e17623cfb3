"""A log that is written, and followed by a reader on a file system that fails the test for a write."""

from __future__ import annotations

from streamlog.runtime import FileSystem, RandomSource, Runtime
from streamlog.storage.read_only_directory import ReadOnlyDirectory
from streamlog.storage.read_only_log import ReadOnlyLog
from tests.support.frozen_files import FrozenFileSystem
from tests.support.storage import TOPIC, TOPIC_ID, Store, read_values


class Follower:
    """The reader of a `Store`."""

    def __init__(self, store: Store, filesystem: FileSystem | None = None) -> None:
        self.store = store
        runtime = Runtime(
            clock=store.clock,
            filesystem=FrozenFileSystem(filesystem or store.disk.filesystem),
            random=RandomSource(2),
        )
        self.directory = ReadOnlyDirectory.open(store.path, runtime, max_open_segments=4)
        self.log = self.open_log()

    def open_log(self) -> ReadOnlyLog:
        return self.directory.open_log(TOPIC, 0, TOPIC_ID, self.store.config)

    def refresh(self) -> bool:
        self.directory.refresh()
        return self.log.refresh()

    def values(self, start: int | None = None) -> list[bytes | None]:
        return [value for _, value in read_values(self.log, start)]

    def check(self) -> None:
        """It shows what the writer has."""
        written, log = self.store.log, self.log
        assert (log.log_start_offset, log.log_end_offset) == (
            written.log_start_offset,
            written.log_end_offset,
        )
        assert read_values(log, None) == read_values(written, None)
        assert log.leader_epoch == written.leader_epoch
        assert log.last_stable_offset == written.last_stable_offset
        for epoch in range(written.leader_epoch + 2):
            assert log.end_offset_for_epoch(epoch) == written.end_offset_for_epoch(epoch)
