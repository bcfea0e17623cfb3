"""What holds between the batches of a log and their neighbours: each rule is broken by one batch that says something else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streamlog.config import TopicConfig
from streamlog.record import build_batch
from streamlog.record.checksum import crc32c
from streamlog.record.layout import HEADER, HEADER_SIZE, BatchHeader, header_checksum, read_header
from streamlog.runtime import MemoryFileSystem, Runtime, VirtualClock
from streamlog.runtime.randomness import RandomSource
from streamlog.storage import DataDirectory
from streamlog.storage.partition_checkpoint import PartitionCheckpoint
from streamlog.storage.verification import Finding, LogVerification, Severity
from streamlog.structs import TopicPartition

DIRECTORY = "/data/topics/orders-0"
PATH = f"{DIRECTORY}/00000000000000000000.log"
ORDERS = TopicPartition("orders", 0)


@pytest.fixture
def filesystem() -> MemoryFileSystem:
    """A log of five batches of an idempotent producer, one record each."""
    filesystem = MemoryFileSystem()
    directory = DataDirectory.open("/data", Runtime(VirtualClock(), filesystem, RandomSource(1)))
    directory.create_log_directory("orders", 0)
    log = directory.open_log("orders", 0, "id", TopicConfig())
    for number in range(5):
        batch = build_batch([b"v%d" % number], 1_000 + number)
        batch.producer_id, batch.producer_epoch, batch.base_sequence = 7, 0, number
        log.append(batch)
    directory.close()
    return filesystem


def verify(
    filesystem: MemoryFileSystem,
    checkpoint: PartitionCheckpoint | None = None,
    decode: Callable[[bytes | None, bytes | None], object] | None = None,
) -> list[Finding]:
    verification = LogVerification(
        filesystem, DIRECTORY, ORDERS, checkpoint, is_closed=True, decode=decode
    )
    return verification.run()


def change(
    filesystem: MemoryFileSystem, number: int, body: bytes | None = None, **fields: int
) -> None:
    """Write batch *number* again with other fields, or another body, and checksums that are right."""
    file = filesystem.open(PATH)
    position = 0
    for _ in range(number):
        header = read_header(file.read_at(position, HEADER_SIZE))
        assert header is not None
        position += header.aligned_size
    header = read_header(file.read_at(position, HEADER_SIZE))
    assert header is not None
    if body is not None:
        assert len(body) == header.body_size
        file.write_at(position + HEADER_SIZE, body)
        fields["body_crc"] = crc32c(body)
    new: BatchHeader = header._replace(**fields)
    crc = header_checksum(HEADER.pack(*new))
    file.write_at(position, HEADER.pack(*new._replace(header_crc=crc)))


def damage(filesystem: MemoryFileSystem) -> list[str]:
    return [f.message for f in verify(filesystem) if f.severity is Severity.DAMAGE]


def test_the_log_as_it_was_written_has_no_findings(filesystem: MemoryFileSystem) -> None:
    assert verify(filesystem) == []


@pytest.mark.parametrize(
    ("number", "fields", "expected"),
    [
        (2, {"base_offset": 9}, "expected the batch of offset 2, found that of offset 9"),
        (2, {"base_offset": 1}, "expected the batch of offset 2, found that of offset 1"),
        (3, {"base_sequence": 2}, "expected sequence 3, found 2"),
        (3, {"base_sequence": 5}, "expected sequence 3, found 5"),
        (0, {"leader_epoch": 3}, "expected leader epoch 3 or greater, found 0"),
        (1, {"record_count": 0}, "expected no body without records"),
        (1, {"last_offset_delta": 1, "body_encoding": 2}, "batch body"),
        (1, {"body_encoding": 9}, "found encoding 9"),
        (1, {"max_timestamp_ms": 3}, "expected timestamps up to 3, found 1001"),
        (1, {"attributes": 0x30}, "control batch"),
    ],
)
def test_a_batch_that_contradicts_the_others_or_itself_is_damage(
    filesystem: MemoryFileSystem, number: int, fields: dict[str, int], expected: str
) -> None:
    change(filesystem, number, **fields)
    messages = damage(filesystem)
    assert any(expected in message for message in messages), messages


def test_a_body_that_is_no_columns_is_damage_though_its_checksum_is_right(
    filesystem: MemoryFileSystem,
) -> None:
    change(filesystem, 1, body=b"\xff" * 17)
    (message,) = damage(filesystem)
    assert message.startswith("batch at offset 1: batch body: ")


def test_every_record_is_held_against_what_it_has_to_be(filesystem: MemoryFileSystem) -> None:
    def decode(key: bytes | None, value: bytes | None) -> None:
        if value == b"v3":
            raise ValueError("not a record of a group")

    (found,) = verify(filesystem, decode=decode)
    assert (found.offset, found.message) == (3, "batch at offset 3: not a record of a group")


def test_a_log_that_is_shorter_than_its_checkpoint_is_damage(filesystem: MemoryFileSystem) -> None:
    checkpoint = PartitionCheckpoint(0, 6, 0, 600, 0, 0, 0, 0)
    (found,) = verify(filesystem, checkpoint)
    assert "expected records up to offset 6 (says STATE), found an end at 5" in found.message
    assert verify(filesystem, checkpoint._replace(recovery_offset=5)) == []


def test_a_log_that_begins_behind_its_start_is_damage(filesystem: MemoryFileSystem) -> None:
    filesystem.rename(PATH, f"{DIRECTORY}/00000000000000000002.log")
    found = verify(filesystem, PartitionCheckpoint(0, 5, 0, 500, 0, 0, 0, 0))
    assert "the log starts at offset 0" in found[0].message


def test_a_log_without_files_is_damage_only_if_something_was_there(
    filesystem: MemoryFileSystem,
) -> None:
    for name in filesystem.list_dir(DIRECTORY):
        filesystem.unlink(f"{DIRECTORY}/{name}")
    assert verify(filesystem, PartitionCheckpoint(0, 0, 0, 0, 0, 0, 0, 0)) == []
    (found,) = verify(filesystem, PartitionCheckpoint(0, 5, 0, 500, 0, 0, 0, 0))
    assert "found no segment file" in found.message
