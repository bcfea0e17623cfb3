"""Which logs a data directory should have, by its META and STATE."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from streamlog.broker.manifest import Manifest
from streamlog.broker.offsets_topic import OFFSETS_TOPIC, decode_record
from streamlog.broker.topic_name import TRANSACTION_STATE_TOPIC, is_internal
from streamlog.broker.transactions.records import decode_transaction
from streamlog.storage.directory_state import DirectoryState
from streamlog.storage.directory_tree import TOPICS_NAME
from streamlog.storage.file_names import join
from streamlog.storage.partition_checkpoint import PartitionCheckpoint
from streamlog.storage.verification.batch_check import DecodeRecord
from streamlog.structs import NO_TIMESTAMP, TopicPartition

# A log that STATE does not name was never synced, nor had its beginning deleted: both write STATE first.
_NEW_LOG = PartitionCheckpoint(0, 0, 0, 0, 0, NO_TIMESTAMP, NO_TIMESTAMP, 0)
_DECODERS: dict[str, DecodeRecord] = {
    OFFSETS_TOPIC: decode_record,
    TRANSACTION_STATE_TOPIC: decode_transaction,
}


@attrs.frozen
class StoredLog:
    """A log that somebody may ask for."""

    topic_partition: TopicPartition
    path: str
    #: Its key in STATE.
    key: str
    #: What STATE says; None when STATE cannot be read.
    checkpoint: PartitionCheckpoint | None
    may_be_compacted: bool

    @property
    def decode(self) -> DecodeRecord | None:
        """What its records have to be, if it is one of the broker's own topics."""
        return _DECODERS.get(self.topic_partition.topic)


def stored_logs(path: str, manifest: Manifest, state: DirectoryState | None) -> Iterator[StoredLog]:
    """Yield every log of the directory at *path*, topics by name, partitions in order."""
    for name, entry in sorted(manifest.topics.items()):
        compacted = is_internal(name) or "compact" in entry.overrides.get("cleanup_policy", ())
        for number in range(entry.partitions):
            key = f"{entry.topic_id}/{number}"
            checkpoint = None if state is None else state.checkpoints.get(key, _NEW_LOG)
            where = join(join(path, TOPICS_NAME), f"{name}-{number}")
            yield StoredLog(TopicPartition(name, number), where, key, checkpoint, compacted)
