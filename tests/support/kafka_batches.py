"""Batches as clients of Kafka send them: made once by kafka-python 3.0.12 with the reference libraries of each codec, and made here."""

from __future__ import annotations

from collections.abc import Sequence

from streamlog.record import Codec, Compressor, PendingBatch
from streamlog.record.columns import Headers
from streamlog.record.kafka_batch import pending_from_kafka, recompress
from streamlog.record.kafka_layout import KafkaBatchHeader, pack_kafka_batch
from streamlog.record.kafka_records import encode_kafka_records

_HEAD = "0000000000000000000000%02x0000000002%s%04x000000020000018bcfe568000000018bcfe56864000000000000000700030000002900000003"
_PARTS = (
    (
        "none",
        0x10,
        0xB5,
        "7efd3116",
        "de01000000046b30c001"
        + b"a value ".hex() * 12
        + "040268027800010e00c801020101001400130400000204c3a400",
    ),
    (
        "gzip",
        0x11,
        0x73,
        "11b04135",
        "1f8b0800dda7036b02ffbbc7c8c0c0c0926d70803151a12c31a734558156340b5306530503231fc30946264646061106611606062696c34b180037eb7d4084000000",
    ),
    (
        "snappy",
        0x12,
        0x7B,
        "3cdfa6d3",
        "82534e4150505900000000010000000100000036840144de01000000046b30c001612076616c756520fe08005e080064040268027800010e00c801020101001400130400000204c3a400",
    ),
    (
        "lz4",
        0x13,
        0x7B,
        "f0903137",
        "04224d1868408400000000000000ab33000000ff03de01000000046b30c001612076616c756520080045f00b040268027800010e00c801020101001400130400000204c3a40000000000",
    ),
    (
        "zstd",
        0x14,
        0x6E,
        "4ac43454",
        "28b52ffd2084a50100c402de01000000046b30c001612076616c756520040268027800010e00c801020101001400130400000204c3a40001006a530903",
    ),
)

#: By number of the codec. Of producer 7 epoch 3, sequences 41 to 43, in a transaction.
GOLDEN = [
    bytes.fromhex(_HEAD % (length, crc, attributes) + records)
    for _, attributes, length, crc, records in _PARTS
]
FIRST_MS = 1_700_000_000_000
#: What is in each of them.
GOLDEN_KEYS = [b"k0", None, b""]
GOLDEN_VALUES = [b"a value " * 12, None, b""]
GOLDEN_HEADERS = [(("h", b"x"), ("", None)), (), (("ä", b""),)]
GOLDEN_TIMESTAMPS_MS = [FIRST_MS, FIRST_MS + 100, FIRST_MS - 10]


def kafka_batch(
    values: Sequence[bytes | None],
    keys: Sequence[bytes | None] | None = None,
    timestamp_deltas: Sequence[int] | None = None,
    headers: Sequence[Headers] | None = None,
    *,
    records: bytes | None = None,
    **fields: int,
) -> bytes:
    """Return one batch of these records, or of the bytes *records*; *fields* are those of its header."""
    if records is None:
        records = encode_kafka_records(range(len(values)), timestamp_deltas, keys, values, headers)
    count = len(values)
    first = fields.pop("base_timestamp_ms", FIRST_MS)
    greatest = first + max(timestamp_deltas or (0,))
    header = KafkaBatchHeader(0, 0, -1, 0, 0, 0, count - 1, first, greatest, -1, -1, -1, count)
    return pack_kafka_batch(header._replace(**fields), records)


def as_kafka(
    values: Sequence[bytes | None],
    timestamps_ms: Sequence[int],
    keys: Sequence[bytes | None] | None,
    headers: Sequence[Headers] | None,
    codec: Codec,
) -> PendingBatch:
    """Return what `build_batch` makes of these columns as if a client of Kafka had sent it, in *codec*."""
    first = timestamps_ms[0]
    deltas = [timestamp - first for timestamp in timestamps_ms]
    batch = pending_from_kafka(kafka_batch(values, keys, deltas, headers, base_timestamp_ms=first))
    recompress(batch, Compressor(codec, 3))
    return batch
