from __future__ import annotations

from typing import Any

import pytest

from streamlog.record import build_batch
from streamlog.record.control import ControlType, build_marker
from streamlog.record.layout import TRANSACTIONAL_BIT
from streamlog.storage.batch_scan import headers_from
from streamlog.storage.directory_state import DirectoryState
from streamlog.storage.partition_checkpoint import PartitionCheckpoint
from streamlog.storage.verification import Finding, LogVerification
from streamlog.storage.verification.file_bytes import FileBytes
from tests.support.storage import TOPIC_ID, Store
from tests.unit.storage.conftest import memory_disk_of

PRODUCER_ID = 7
TRANSACTIONS = 12


class StoredLog:
    """A closed log of several segments: transactions of three records, every other one aborted, with a plain batch between two."""

    def __init__(self) -> None:
        self.store = store = Store(memory_disk_of(), segment_bytes=1024, index_interval_bytes=0)
        self.filesystem = store.disk.filesystem
        for number in range(TRANSACTIONS):
            store.clock.advance(1)
            now_ms = store.clock.time_ms()
            for record in range(3):
                batch = build_batch([b"t%d" % record], now_ms)
                batch.attributes |= TRANSACTIONAL_BIT
                batch.producer_id, batch.producer_epoch = PRODUCER_ID, 0
                batch.base_sequence = number * 3 + record
                store.log.append(batch)
            control_type = ControlType.ABORT if number % 2 else ControlType.COMMIT
            store.log.append(build_marker(control_type, PRODUCER_ID, 0, 0, now_ms))
            store.append(b"plain")
        self.base_offsets = store.base_offsets()
        self.end_offset = store.log.log_end_offset
        store.close()
        assert len(self.base_offsets) > 3

    @property
    def checkpoint(self) -> PartitionCheckpoint:
        """What STATE says."""
        state = DirectoryState.read(self.filesystem, f"{self.store.path}/STATE")
        return state.checkpoints[f"{TOPIC_ID}/0"]

    def path(self, number: int, suffix: str = ".log") -> str:
        """Return the path of a file of segment *number*, counted from either end."""
        return self.store.segment_path(self.base_offsets[number], suffix)

    def last_position(self, number: int) -> int:
        """Return where the last batch of a segment begins."""
        content = FileBytes.open(self.filesystem, self.path(number))
        return [position for position, _ in headers_from(content.mapping, 0, len(content))][-1]

    def size(self, number: int) -> int:
        return self.filesystem.file_size(self.path(number))

    def verification(
        self, checkpoint: PartitionCheckpoint | None = None, *, is_closed: bool = True, **more: Any
    ) -> LogVerification:
        store = self.store
        checkpoint = checkpoint or self.checkpoint
        return LogVerification(
            self.filesystem,
            store.log_path,
            store.log.topic_partition,
            checkpoint,
            is_closed=is_closed,
            **more,
        )

    def findings(
        self, checkpoint: PartitionCheckpoint | None = None, *, is_closed: bool = True, **more: Any
    ) -> list[Finding]:
        return self.verification(checkpoint, is_closed=is_closed, **more).run()

    def content(self) -> dict[str, bytes]:
        """Return the content of every ``.log`` file."""
        names = [name for name in self.store.names() if name.endswith(".log")]
        return {name: self.store.disk.read(f"{self.store.log_path}/{name}") for name in names}


@pytest.fixture
def stored() -> StoredLog:
    return StoredLog()
