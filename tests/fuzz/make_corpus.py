"""Write the corpus: ``python -m tests.fuzz.make_corpus``. A few real inputs for each target, taken from a real directory."""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path

import msgpack

from streamlog.broker.transactions.records import (
    CommitMarker,
    LogEnd,
    TransactionRecord,
    encode_transaction,
)
from streamlog.broker.transactions.state import TransactionState
from streamlog.record import Codec, Compressor, PendingBatch, build_batch
from streamlog.record.kafka_batch import pending_from_kafka
from streamlog.record.sparse_columns import encode_sparse_columns
from streamlog.structs import ProducerIdAndEpoch, TopicPartition
from streamlog.wire.messages import BY_NAME
from tests.crash.damage_data import KILLED, OFFSETS_TOPIC, ROOT, Dataset, batches_of, make_dataset
from tests.support.kafka_batches import GOLDEN
from tests.support.segments import T0, new_segment
from tests.support.sparse import Kept, append_cleaned
from tests.support.wire_messages import random_struct
from tests.unit.storage.conftest import memory_disk_of

CORPUS = Path(__file__).parent / "corpus"

#: Of the first byte of an input: checksums are made right.
REPAIRED = b"r"


def corpus() -> dict[str, list[bytes]]:
    """Return the inputs of each target."""
    dataset = make_dataset(KILLED)
    log = dataset.files[f"{ROOT}/topics/orders-0/{0:020d}.log"]
    batches = batches_of("", log)[:6]
    first = log[: batches[3].end]
    tail = dataset.files[f"{ROOT}/topics/events-0/{60:020d}.log"][:600]
    bodies = [log[b.position + 80 : b.end] for b in batches]
    headers = build_batch([b"a", None], [5, 3], [None, b"k"], [(("h", b"v"), ("h", None)), ()])
    checkpoints = [dataset.files[f"{ROOT}/{kind}"] for kind in ("FORMAT", "META", "STATE")]
    index = dataset.files[f"{ROOT}/topics/orders-0/{0:020d}.idx"]
    times = dataset.files[f"{ROOT}/topics/orders-0/{0:020d}.tix"]
    packed = [
        _packed(codec, [b"one record", b"one record after it"] * 2) for codec in Codec if codec
    ]
    bomb = b"\x91" * 600
    cleaned = _cleaned()
    return {
        "batches": [
            *(first, REPAIRED + first, tail, REPAIRED + tail[:300]),
            *(REPAIRED + _stored(batch) for batch in packed),
            REPAIRED + cleaned,
            REPAIRED + _stored(pending_from_kafka(GOLDEN[Codec.ZSTD])),
        ],
        "columns": [
            *((12).to_bytes(2, "little") + body for body in bodies[:2]),
            (2).to_bytes(2, "little") + headers.body,
            b"\x01\x00" + (len(bomb)).to_bytes(4, "little") + bytes(8) + bomb,
        ],
        "decompression": [
            *(_promise(batch, batch.uncompressed_size) for batch in packed),
            *(_promise(batch, 0x0FFFFFFF) for batch in packed),
            _promise(_packed(Codec.ZSTD, [bytes(1 << 20)]), 1 << 16),
        ],
        "index": [index, times, REPAIRED + b"\x10\x00" + (400).to_bytes(4, "little") + index[16:32]],
        "kafka": [GOLDEN[Codec.SNAPPY], *(REPAIRED + data for data in GOLDEN)],
        "kafka_compression": [
            *(bytes((codec,)) + GOLDEN[codec][61:] for codec in Codec if codec),
            b"\x04\x28\xb5\x2f\xfd\x00\x58" + b"\x02\x00\x10x" * 99 + b"\x01\x00\x00",
        ],
        "checkpoint": [*checkpoints, *(REPAIRED + content[20:] for content in checkpoints)],
        "directory": [
            bytes((number,)) + REPAIRED + content[20:] for number, content in enumerate(checkpoints)
        ],
        "recovery": [tail, REPAIRED + tail, REPAIRED + first, REPAIRED + cleaned],
        "requests": _requests(),
        "names": [b"orders.eu-1", b"__consumer_offsets", b"../up", b".", "\u00e9t\u00e9".encode(), b"con.x", b"a" * 250],
        "serdes": [
            json.dumps({"a": [1, 2.5, None, "x"]}).encode(),
            msgpack.packb({"a": [1, -2, None, b"x", "y", 2.5]}),
            (1 << 40).to_bytes(8, "big"),
            b"\x00\x00\x00\x07",
            bomb[:300],
        ],
        "sparse": [
            struct.pack("<HH", 2, 9) + encode_sparse_columns([3, 7], [b"a", None], None, None, None),
            struct.pack("<HH", 3, 400)
            + encode_sparse_columns(
                [0, 200, 400], [b"a", None, b""], [b"k"] * 3, [0, 5, -3], [(("h", b"v"),), (), ()]
            ),
        ],
        "offsets": _offset_records(dataset),
        "transactions": _transaction_records(),
        "config": [
            b"\x01\x05by_duration:P1DT2H3M4.5S",
            b"\x03\x00compact,delete",
            b"\x00\x07-1",
            b"\x02\x04linger.ms",
            b"\x03\x0b 1073741824 ",
            b"\x02\x01true",
        ],
    }  # fmt: skip


def _packed(codec: Codec, values: list[bytes]) -> PendingBatch:
    batch = build_batch(values, 1_700_000_000_000)
    Compressor(codec, 9).apply(batch)
    return batch


def _promise(batch: PendingBatch, size: int) -> bytes:
    """Return an input of target ``decompression``: the codec, what the header would say, the body."""
    return bytes((batch.attributes,)) + size.to_bytes(4, "little") + batch.body


def _stored(batch: PendingBatch) -> bytes:
    segment = new_segment(memory_disk_of())
    segment.reserve(1000, 1 << 20)
    segment.append(batch, 0, 0)
    return segment.mapping_for_read()[: segment.position]


def _cleaned() -> bytes:
    """Return batches as compaction leaves them."""
    segment = new_segment(memory_disk_of())
    append_cleaned(segment, [Kept(1, b"a", b"k", T0 + 4), Kept(6, None, b"l")], 9)
    append_cleaned(segment, [], 3)
    append_cleaned(segment, [Kept(2, None, b"m")], 4, codec=Codec.LZ4, delete_horizon_ms=T0)
    return segment.mapping_for_read()[: segment.position]


def _requests() -> list[bytes]:
    """Return requests with a value in each field: fixed and flexible ones, arrays in arrays, records, tagged fields."""
    rng = random.Random(7)
    found: list[bytes] = []
    for name, version in (
        ("Produce", 3), ("Fetch", 12), ("Metadata", 12), ("JoinGroup", 7), ("OffsetFetch", 8),
        ("CreateTopics", 5), ("ApiVersions", 3), ("ConsumerGroupHeartbeat", 1),
    ):  # fmt: skip
        api = BY_NAME[name]
        made = random_struct(rng, api.request.make, api.request.schema.fields, version)
        found.append(bytes((api.key, version)) + b"".join(api.request.encode(made, version)))
    return found


def _offset_records(dataset: Dataset) -> list[bytes]:
    """Return key and value of two records, the key behind one byte for its length."""
    found: list[bytes] = []
    for tp, records in dataset.records.items():
        if tp.topic == OFFSETS_TOPIC:
            for record in records.values():
                assert record.key is not None
                found.append(bytes((len(record.key),)) + record.key + (record.value or b""))
    return found[:1] + found[-1:]


def _transaction_records() -> list[bytes]:
    """Return key and value of three records as `_offset_records` does."""
    ended = ProducerIdAndEpoch(7, 3)
    places = (TopicPartition("orders", 0), TopicPartition("orders", 1), TopicPartition("events", 0))
    found: list[bytes] = []
    owed = ((places[2], CommitMarker(ProducerIdAndEpoch(7, 1), LogEnd("id", 5))),)
    for state, old, partitions, owing in (
        (TransactionState.EMPTY, None, (), ()),
        (TransactionState.PREPARE_COMMIT, ended, places, ()),
        (TransactionState.PREPARE_ABORT, ended, places[:2], owed),
    ):
        record = TransactionRecord(
            "id", state, ProducerIdAndEpoch(7, 4), old, 60, 99, partitions, owed=owing
        )
        key, value = encode_transaction(record)
        found.append(bytes((len(key),)) + key + (value or b""))
    return found


def main() -> None:
    for target, inputs in corpus().items():
        directory = CORPUS / target
        directory.mkdir(parents=True, exist_ok=True)
        for number, data in enumerate(inputs):
            (directory / f"{number}").write_bytes(data)


if __name__ == "__main__":
    main()
