"""What reads bytes that may come from anyone, one function each: it raises only when something is wrong.

A target calls the library with *data* and lets through the errors that are promised for it; any other exception, a wrong answer, a
hang or too much memory is a finding. Each gets the bytes as they are or, told by the first one, with checksums made right.
"""

from __future__ import annotations

import logging
import os.path
import resource
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any

from streamlog.broker.manifest import Manifest
from streamlog.broker.offsets_topic import decode_record, encode_record
from streamlog.broker.topic_name import collision_key, validate_topic_name
from streamlog.broker.transactions.records import decode_transaction, encode_transaction
from streamlog.config import BrokerConfig, ConsumerConfig, ProducerConfig, TopicConfig
from streamlog.config.iso_duration import parse_duration_ms
from streamlog.errors import (
    CorruptLogError,
    CorruptRecordError,
    InvalidConfigurationError,
    InvalidRecordError,
    InvalidTimestampError,
    InvalidTopicError,
    RecordDecodeError,
    SerializationError,
    StreamlogError,
    UnsupportedCompressionTypeError,
    UnsupportedFormatError,
)
from streamlog.record import BatchView, Codec, Compressor, PendingBatch, split_batches
from streamlog.record.columns import ColumnReader, body_has_values_only, decode_values, plain_value
from streamlog.record.decompression import decompress
from streamlog.record.kafka_batch import (
    look_into,
    pending_from_kafka,
    recompress,
    set_append_time,
    to_kafka,
)
from streamlog.record.kafka_decompression import decompress_kafka
from streamlog.record.kafka_layout import read_kafka_header
from streamlog.record.layout import (
    HEADER_SIZE,
    MAGIC,
    MAX_BATCH_BYTES,
    BatchHeader,
    pack_batch,
    read_header,
)
from streamlog.record.serialization import resolve_deserializer, resolve_serializer
from streamlog.record.sparse_columns import SparseColumnReader
from streamlog.runtime import MemoryFileSystem, VirtualClock
from streamlog.storage.checkpoint_file import decode_checkpoint
from streamlog.storage.directory_state import DirectoryState
from streamlog.storage.index_file import read_entries
from streamlog.storage.offset_index import OffsetIndex
from streamlog.storage.time_index import TimeIndex
from streamlog.wire.codec.errors import MalformedMessageError
from streamlog.wire.dispatch import ROUTES
from streamlog.wire.messages import APIS
from tests.crash.damage_data import ROOT, Disk, directories_of, kill, open_broker, read_files
from tests.fuzz.repair import as_batches, as_checkpoint, as_index, as_kafka_batch

Target = Callable[[bytes], None]

_TOPIC, _RECORDS = "t", 5
_LOG = f"{ROOT}/topics/{_TOPIC}-0/{0:020d}.log"


@lru_cache
def small_disk() -> Disk:
    """Return a directory with one log of five records, as a killed process leaves it."""
    filesystem = MemoryFileSystem()
    broker = open_broker(filesystem, VirtualClock())
    broker.create_topic(_TOPIC, configs={"segment_bytes": 4096, "flush_ms": None})
    for number in range(_RECORDS):
        broker.partition(_TOPIC, 0).append_value(b"%d" % number, broker.runtime.clock.time_ms())
    disk = Disk(read_files(filesystem), directories_of(filesystem))
    kill(broker)
    return disk


def fuzz_batches(data: bytes) -> None:
    """Headers, and what a consumer does with the batches behind them."""
    if data[:1] == b"r":
        data = as_batches(data[1:])
    header = read_header(data[:HEADER_SIZE])
    try:
        batches = split_batches(data)
    except CorruptRecordError:
        return
    assert not data or batches
    assert header is None or batches[0].header == header
    offset = None
    for batch in batches:
        assert offset is None or batch.base_offset == offset
        offset = batch.next_offset
        assert 0 <= batch.base_offset < batch.next_offset or batch.record_count == 0
        with suppress(CorruptRecordError):
            batch.check()
        _decode(batch)


def _decode(batch: BatchView) -> None:
    if batch.plain_value is not None:
        assert batch.values() == [batch.plain_value]
    for read in (batch.values, batch.keys, batch.headers, batch.timestamps_ms):
        with suppress(RecordDecodeError):
            column = read()
            assert column is None or len(column) == batch.record_count
    with suppress(RecordDecodeError):
        offsets = batch.offsets()
        assert len(offsets) == batch.record_count
        _check_rising(offsets, batch.base_offset, batch.next_offset)
    for attribute in (
        *("timestamp_type", "is_control", "codec", "common_timestamp_ms"),
        *("is_sparse", "delete_horizon_ms"),
    ):
        getattr(batch, attribute)
    with suppress(RecordDecodeError):
        _ = batch.has_values_only


def _check_rising(offsets: Sequence[int], start: int, end: int) -> None:
    if offsets:
        assert start <= offsets[0] <= offsets[-1] < end
    if isinstance(offsets, list):  # a range is, and may be of 2**32
        assert offsets == sorted(set(offsets))


def fuzz_sparse(data: bytes) -> None:
    """Bodies of batches with gaps: offsets that fall, repeat, lie outside, or are none."""
    if len(data) < 4:
        return
    count, last_offset_delta = struct.unpack_from("<HH", data)
    try:
        reader = SparseColumnReader(memoryview(data)[4:], count, 1 << 40, last_offset_delta)
    except RecordDecodeError:
        return
    assert len(reader.offsets) == count > 0
    _check_rising(reader.offsets, 1 << 40, (1 << 40) + last_offset_delta + 1)
    with suppress(RecordDecodeError):
        assert len(reader.values()) == count
    with suppress(RecordDecodeError):
        reader.check()


def fuzz_columns(data: bytes) -> None:
    """Bodies of records: sizes that lie, msgpack that nests or claims to be long."""
    if len(data) < 2:
        return
    count, body = int.from_bytes(data[:2], "little"), data[2:]
    fast = _outcome(lambda: decode_values(body, count))
    slow = _outcome(lambda: ColumnReader(memoryview(body), count).values())
    assert fast == slow, f"two readers, two answers: {fast} and {slow}"
    value = plain_value(body)
    if value is not None and count == 1:
        assert fast == [value]
    body_has_values_only(body)
    with suppress(RecordDecodeError):
        ColumnReader(memoryview(body), count).check()


def _outcome(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except RecordDecodeError:
        return RecordDecodeError


def fuzz_decompression(data: bytes) -> None:
    """Compressed bodies: so many bytes as were promised, or an error, and no more memory."""
    if len(data) < 5:
        return
    codec, size, body = data[0] & 7, int.from_bytes(data[1:5], "little"), data[5:]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        output = decompress(body, codec, size)
    except RecordDecodeError:
        pass
    else:
        assert len(output) == size
        batch = PendingBatch(body, 1, 0, 0)
        batch.attributes, batch.uncompressed_size = codec, size
        Compressor(Codec.NONE).apply(batch)
        assert batch.body == output
    grown_bytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown_bytes < 3 * min(size, len(body) << 15) + (32 << 20)


def fuzz_kafka(data: bytes) -> None:
    """Batches of Kafka's clients: refused, or stored, read, changed and sent on."""
    if data[:1] == b"r":
        data = as_kafka_batch(data[1:])
    try:
        batch = pending_from_kafka(data)
    except (
        CorruptRecordError,
        InvalidRecordError,
        InvalidTimestampError,
        UnsupportedCompressionTypeError,
    ):
        return
    assert batch.body is data
    assert 0 < batch.record_count <= len(data) << 15
    _decode_kafka(batch)
    with suppress(RecordDecodeError):
        look_into(batch)
    set_append_time(batch, 7)
    assert _stamped(batch) == (batch.attributes, 7)
    _decode_kafka(batch)
    for codec in (Codec.NONE, Codec.LZ4):
        with suppress(RecordDecodeError):
            recompress(batch, Compressor(codec, 9))
            assert read_kafka_header(batch.body).attributes == batch.attributes
            _decode_kafka(batch)


def _stamped(batch: PendingBatch) -> tuple[int, int]:
    header = read_kafka_header(batch.body)
    return header.attributes, header.max_timestamp_ms


def _decode_kafka(batch: PendingBatch) -> None:
    header = BatchHeader(
        *(0, 0, MAGIC, 0, 50, 0, 3, batch.attributes, batch.body_encoding, 0),
        *(batch.record_count, batch.record_count - 1, batch.base_sequence, batch.producer_id),
        *(batch.producer_epoch, 0, 0, batch.first_timestamp_ms, batch.max_timestamp_ms),
    )
    stored = pack_batch(header, batch.body)
    (view,) = split_batches(stored)
    view.check()
    _decode(view)
    sent = bytes(to_kafka(view))
    assert sent[16:] == batch.body[16:]
    assert read_kafka_header(sent).base_offset == 50
    with suppress(RecordDecodeError):
        view.columns.check()


def fuzz_kafka_compression(data: bytes) -> None:
    """Compressed records of Kafka's clients, which do not say how many bytes they are: some, or an error, and no more memory."""
    if not data:
        return
    codec, records = data[0] & 7, data[1:]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    size = 0
    with suppress(RecordDecodeError):
        size = len(decompress_kafka(records, codec))
    assert size <= MAX_BATCH_BYTES
    grown_bytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown_bytes < 3 * min(MAX_BATCH_BYTES, len(records) << 15) + (32 << 20)


def fuzz_index(data: bytes) -> None:
    """Index files: read as far as they are good, and never out of order."""
    path = "/a-0/0.idx"
    content = as_index(data[1:], path) if data[:1] == b"r" else data
    filesystem = MemoryFileSystem()
    filesystem.make_dir("/a-0")
    filesystem.write_atomically(path, content)
    for log_bytes in (0, 1000, 1 << 20):
        found = read_entries(filesystem, path, log_bytes)
        assert len(found.entries) <= log_bytes + 1024
        offsets, times = OffsetIndex(), TimeIndex()
        offsets.load(found.entries, log_bytes)
        times.load(found.entries, log_bytes)
        for index, size, layout in ((offsets, 8, "<II"), (times, 16, "<qq")):
            packed = index.pack()
            assert found.entries.startswith(packed)
            rows = [struct.unpack_from(layout, packed, at) for at in range(0, len(packed), size)]
            assert rows == sorted(rows)
            index.last()
        assert 0 <= offsets.floor(5) <= max(log_bytes - 1, 0)
        assert 0 <= times.floor(5) <= max(log_bytes - 1, 0)


def fuzz_checkpoint(data: bytes) -> None:
    """FORMAT, META and STATE, each as if it were all three."""
    for kind in ("FORMAT", "META", "STATE"):
        content = as_checkpoint(data[1:], kind) if data[:1] == b"r" else data
        payload: dict[str, Any] = {}
        with suppress(CorruptLogError, UnsupportedFormatError):
            payload = decode_checkpoint(content, kind, kind)
        with suppress(UnsupportedFormatError):
            manifest = Manifest.from_map(payload, 1)
            assert Manifest.from_map(manifest.to_map(), 1) == manifest
    filesystem = MemoryFileSystem()
    filesystem.write_atomically("STATE", content)
    with suppress(CorruptLogError):
        state = DirectoryState.read(filesystem, "STATE")
        state.power_may_have_failed("boot")
        state.write(filesystem, "STATE")


def fuzz_directory(data: bytes) -> None:
    """A directory whose FORMAT, META or STATE holds anything: it opens, or says what is wrong."""
    if len(data) < 2:
        return
    disk = small_disk()
    kind = ("FORMAT", "META", "STATE")[data[0] % 3]
    content = as_checkpoint(data[2:], kind) if data[1:2] == b"r" else data[1:]
    filesystem = disk.load({f"{ROOT}/{kind}": content})
    try:
        broker = open_broker(filesystem, VirtualClock())
    except StreamlogError:
        return
    try:
        for name in broker.topics(include_internal=True):
            _read_topic(broker, name)
    finally:
        kill(broker)
        disk.forget()


def _read_topic(broker: Any, name: str) -> None:
    description = broker.describe_topic(name)
    for info in description.partitions[:3]:
        try:
            partition = broker.partition(name, info.partition)
            partition.read_batches(partition.log_start_offset, 1 << 20, partition.log_end_offset)
            partition.append_value(b"after", broker.runtime.clock.time_ms())
        except StreamlogError:
            continue


def fuzz_recovery(data: bytes) -> None:
    """Any bytes as the end of a log: it opens, gives back what is good, and goes on."""
    disk = small_disk()
    content = as_batches(data[1:]) if data[:1] == b"r" else data
    filesystem = disk.load({_LOG: content})
    broker = open_broker(filesystem, VirtualClock())
    try:
        partition = broker.partition(_TOPIC, 0)
        offset, end = 0, partition.log_end_offset
        while offset < end:
            try:
                batches = partition.read_batches(offset, 1 << 20, end)
            except CorruptLogError as error:
                assert error.first_bad_offset == offset
                if error.next_good_offset is None:
                    break
                assert error.next_good_offset > offset
                offset = error.next_good_offset
                continue
            assert batches[0].base_offset <= offset
            for batch in batches:
                with suppress(CorruptRecordError):
                    batch.check()
                _decode(batch)
            offset = batches[-1].next_offset
        with suppress(CorruptLogError):
            assert partition.append_value(b"after", broker.runtime.clock.time_ms()) == end
            assert partition.read_batches(end, 1, end + 1)[0].values() == [b"after"]
        with suppress(CorruptLogError, RecordDecodeError):
            partition.offset_for_timestamp(1)
    finally:
        kill(broker)
        disk.forget()


def fuzz_names(data: bytes) -> None:
    """Names of topics: what is accepted is a name inside the directory, on every system."""
    name = data.decode("utf-8", "surrogateescape" if data[:1] == b"s" else "replace")
    try:
        assert validate_topic_name(name) == name
    except InvalidTopicError as error:
        assert len(str(error)) < 1000
        return
    directory = f"{name}-{(1 << 31) - 1}"
    assert os.path.normpath(os.path.join("/root", directory)) == f"/root/{directory}"
    assert os.path.dirname(directory) == ""
    assert len(name.encode("ascii")) <= 249
    assert not set(name) & set('/\\:*?"<>|\0 ')
    assert name not in (".", "..")
    assert collision_key(name) == collision_key(name.upper())


_CODECS: list[tuple[str, Any, Any]] = [
    (codec, resolve_deserializer(codec, "t"), resolve_serializer(codec, "t"))
    for codec in ("str", "int", "int32", "float", "json", "msgpack")
]


def fuzz_serdes(data: bytes) -> None:
    """Stock deserializers: a value that can be serialized again, or RecordDecodeError."""
    for codec, decode, encode in _CODECS:
        try:
            value = decode(data)
        except RecordDecodeError:
            continue
        if value is None:
            continue  # the text "null": never written, since null is a tombstone
        try:
            again = encode(value)
        except SerializationError:
            assert codec in ("json", "msgpack")  # 1e999 is infinity, "\ud800" no UTF-8
            continue
        assert again is not None
        assert encode(decode(again)) == again


def fuzz_offsets(data: bytes) -> None:
    """Records of ``__consumer_offsets``."""
    size = data[0] if data else 0
    key, value = data[1 : 1 + size], data[1 + size :] or None
    try:
        record = decode_record(key, value)
    except (ValueError, UnsupportedFormatError):
        return
    if record is not None:
        try:
            stored = encode_record(record)
        except UnicodeEncodeError:
            return
        assert decode_record(*stored) == record


def fuzz_transactions(data: bytes) -> None:
    """Records of ``__transaction_state``."""
    size = data[0] if data else 0
    key, value = data[1 : 1 + size], data[1 + size :] or None
    try:
        record = decode_transaction(key, value)
    except (ValueError, UnsupportedFormatError):
        return
    if record is not None:
        try:
            stored = encode_transaction(record)
        except (UnicodeEncodeError, OverflowError):
            return
        assert decode_transaction(*stored) == record


_ELEMENTS = 1000


def fuzz_requests(data: bytes) -> None:
    """A request of each API in each version: its key and version in a byte each, then what is behind the head of its frame."""
    if len(data) < 2:
        return
    key, version = data[0], data[1]
    route = ROUTES.get(key)
    if route is None or not route.first <= version <= route.last:
        return
    message = APIS[key].request
    try:
        request = message.decode(data, version, 2, _ELEMENTS)
    except MalformedMessageError as error:
        assert len(str(error)) < 1000
        return
    written = b"".join(message.encode(request, version))
    assert message.decode(written, version, 0, _ELEMENTS) == request


_CONFIGS: tuple[Any, ...] = (BrokerConfig, ConsumerConfig, ProducerConfig, TopicConfig)
_KEYS = [[description.key for description in config.describe()] for config in _CONFIGS]


def fuzz_config(data: bytes) -> None:
    """Values of configuration keys, as text and as lists, and the durations among them."""
    if len(data) < 3:
        return
    text = data[2:].decode("utf-8", "replace")
    config, keys = _CONFIGS[data[0] % len(_CONFIGS)], _KEYS[data[0] % len(_CONFIGS)]
    key = keys[data[1] % len(keys)]
    for value in (text, text.split(",")):
        try:
            parsed = config.parse_options({key: value}, {})
        except InvalidConfigurationError as error:
            assert len(str(error)) < 100_000
            continue
        assert config.parse_options({}, parsed) == parsed, "parsing again changes nothing"
    with suppress(InvalidConfigurationError):
        config.parse_options({text: 1}, {})
    with suppress(ValueError):
        assert 0 <= parse_duration_ms(text) < 1 << 63


TARGETS: dict[str, Target] = {
    "batches": fuzz_batches,
    "checkpoint": fuzz_checkpoint,
    "columns": fuzz_columns,
    "config": fuzz_config,
    "decompression": fuzz_decompression,
    "directory": fuzz_directory,
    "index": fuzz_index,
    "kafka": fuzz_kafka,
    "kafka_compression": fuzz_kafka_compression,
    "names": fuzz_names,
    "offsets": fuzz_offsets,
    "recovery": fuzz_recovery,
    "requests": fuzz_requests,
    "serdes": fuzz_serdes,
    "sparse": fuzz_sparse,
    "transactions": fuzz_transactions,
}

#: These open a broker for each input, which takes a thousand times as long.
SLOW = {"directory", "recovery"}


def quiet() -> None:
    """Log nothing: each input would be a warning."""
    logging.disable(logging.CRITICAL)
