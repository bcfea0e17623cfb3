"""The plain values: how they look, compare and refuse nonsense."""

from __future__ import annotations

from functools import partial
from typing import Any

import attrs
import pytest

from streamlog.structs import (
    NO_TIMESTAMP,
    ConsumerGroupMetadata,
    ConsumerRecord,
    Durability,
    Isolation,
    OffsetAndMetadata,
    OffsetAndTimestamp,
    PartitionInfo,
    ProducerIdAndEpoch,
    ProducerRecord,
    RecordMetadata,
    TimestampType,
    TopicDescription,
    TopicPartition,
)


def test_a_topic_partition_reads_like_a_directory_and_sorts_by_number() -> None:
    assert str(TopicPartition("orders", 3)) == f"{TopicPartition('orders', 3)}" == "orders-3"
    assert TopicPartition("a", 2) < TopicPartition("a", 10) < TopicPartition("b", 0)
    assert {TopicPartition("a", 1): 5}[TopicPartition("a", 1)] == 5


def test_enums_read_as_their_configuration_values() -> None:
    assert f"{Isolation.READ_COMMITTED}" == "read_committed" == Isolation("read_committed")
    assert f"{Durability.DISK} {Durability.PROCESS} {Durability.NONE}" == "disk process none"
    assert [kind.value for kind in TimestampType] == [0, 1]


def test_a_later_epoch_of_a_producer_id_sorts_behind_an_earlier_one() -> None:
    """IDM-4."""
    earlier = ProducerIdAndEpoch(1_000_000, 0)
    assert earlier < ProducerIdAndEpoch(1_000_000, 1)
    assert earlier == ProducerIdAndEpoch(producer_id=1_000_000, producer_epoch=0)


def test_a_consumer_record_is_plain_to_build_by_hand() -> None:
    """REC-1."""
    record = ConsumerRecord("orders", 0, 7, value=b"")
    assert record.timestamp_ms == NO_TIMESTAMP == -1
    assert record.timestamp_type is TimestampType.CREATE_TIME
    assert record.key is None
    assert record.value == b""
    assert record.headers == ()
    assert record.leader_epoch is None
    assert (record.serialized_key_size, record.serialized_value_size) == (-1, -1)
    assert record.topic_partition == TopicPartition("orders", 0)


def test_the_fields_of_a_consumer_record_keep_their_order() -> None:
    """Readers mint records from tuples in this order."""
    fields = (
        *("topic", "partition", "offset", "timestamp_ms", "timestamp_type", "key", "value"),
        *("headers", "leader_epoch", "serialized_key_size", "serialized_value_size"),
    )
    assert ConsumerRecord._fields == fields
    mint = partial(tuple.__new__, ConsumerRecord)
    assert mint(range(11)) == ConsumerRecord(*range(11))  # type: ignore[arg-type]


def test_record_metadata_names_its_partition() -> None:
    metadata = RecordMetadata("orders", 2, 5, 1000)
    assert metadata.topic_partition == TopicPartition("orders", 2)
    assert metadata[4:] == (-1, -1, Durability.PROCESS)


def test_a_producer_record_copies_its_headers() -> None:
    """REC-3."""
    headers = [("trace", b"1"), ("trace", None)]
    record = ProducerRecord("orders", headers=headers)
    headers.clear()
    assert record.headers == (("trace", b"1"), ("trace", None))


def test_headers_as_a_mapping_are_refused() -> None:
    """REC-1: a mapping cannot repeat a name."""
    with pytest.raises(TypeError, match="not a mapping"):
        ProducerRecord("orders", headers={"trace": b"1"})


@pytest.mark.parametrize("field", ["partition", "timestamp_ms"])
def test_a_producer_record_refuses_negative_numbers(field: str) -> None:
    """REC-2."""
    options: dict[str, Any] = {field: -1}
    with pytest.raises(ValueError, match=f"{field} must be 0 or greater, found -1"):
        ProducerRecord("orders", **options)
    options[field] = 0
    record = ProducerRecord("orders", **options)
    assert getattr(record, field) == 0
    with pytest.raises(ValueError, match=field):
        setattr(record, field, -1)


def test_an_interceptor_may_change_a_producer_record() -> None:
    record = ProducerRecord("orders", b"v")
    assert attrs.evolve(record, value=b"w") == ProducerRecord("orders", b"w")
    record.value = b"x"
    assert record.value == b"x"


def test_committed_positions_refuse_negative_offsets_and_know_no_null_metadata() -> None:
    """CON-9."""
    with pytest.raises(ValueError, match="offset must be 0 or greater, found -1"):
        OffsetAndMetadata(-1)
    assert OffsetAndMetadata(0, None) == OffsetAndMetadata(0, "") == OffsetAndMetadata(0)


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"offset": 2**63}, ValueError, "offset must be at most 9223372036854775807, found 9"),
        ({"leader_epoch": "x"}, TypeError, "leader_epoch must be an int, found 'x'"),
        ({"leader_epoch": 1.5}, TypeError, "leader_epoch must be an int, found 1.5"),
        ({"leader_epoch": -1}, ValueError, "leader_epoch must be 0 or greater, found -1"),
        ({"leader_epoch": 2**31}, ValueError, "leader_epoch must be at most 2147483647, found"),
        ({"metadata": "\ud800"}, ValueError, r"metadata must be text, found '\\ud800'"),
    ],
)
def test_committed_positions_that_could_not_be_read_again_are_refused(
    fields: Any, error: type[Exception], message: str
) -> None:
    """A leader epoch that was no int was stored, and made the partition of the offsets topic unreadable."""
    with pytest.raises(error, match=message):
        OffsetAndMetadata(**{"offset": 0, **fields})
    assert OffsetAndMetadata(2**63 - 1, "é", 2**31 - 1).leader_epoch == 2**31 - 1


@pytest.mark.parametrize(
    "fields",
    [
        {"group_id": 5},
        {"group_id": None},
        {"generation_id": "x"},
        {"generation_id": True},
        {"member_id": None},
        {"group_instance_id": 5},
    ],
)
def test_group_metadata_of_other_types_is_refused(fields: Any) -> None:
    """It was an AttributeError, or a TypeError without a name, where the metadata was used."""
    (name,) = fields
    with pytest.raises(TypeError, match=f"{name} must be an? (str|int), found"):
        ConsumerGroupMetadata(**{"group_id": "g", **fields})


@pytest.mark.parametrize(("offset", "timestamp_ms"), [(-1, 0), (0, -1)])
def test_an_offset_and_timestamp_refuses_negative_numbers(offset: int, timestamp_ms: int) -> None:
    """TIM-1."""
    with pytest.raises(ValueError, match="must be 0 or greater, found -1"):
        OffsetAndTimestamp(offset, timestamp_ms)


@pytest.mark.parametrize(
    "value",
    [
        OffsetAndMetadata(5),
        OffsetAndTimestamp(5, 6),
        ConsumerGroupMetadata("g"),
        PartitionInfo("t", 0, 1, (1,), (1,)),
        TopicDescription("t", "id", [], {}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_metadata_cannot_be_changed(value: Any) -> None:
    name = attrs.fields(type(value))[0].name
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(value, name, 1)


def test_partition_info_takes_any_sequence_of_brokers() -> None:
    info = PartitionInfo("t", 0, None, [1, 2], [2])
    assert (info.replicas, info.in_sync_replicas) == ((1, 2), (2,))


def test_a_consumer_outside_any_group_has_generation_minus_one() -> None:
    metadata = ConsumerGroupMetadata("g")
    assert (metadata.generation_id, metadata.member_id) == (-1, "")
