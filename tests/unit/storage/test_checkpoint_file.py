"""Small files that are replaced as a whole."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.errors import CorruptLogError, UnsupportedFormatError
from streamlog.record.checksum import crc32c
from streamlog.storage import checkpoint_file
from streamlog.storage.checkpoint_file import (
    decode_checkpoint,
    encode_checkpoint,
    read_checkpoint,
    write_checkpoint,
)

if TYPE_CHECKING:
    from tests.support.storage import Disk

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=8), plain, max_size=6))
def test_what_was_encoded_is_decoded(payload: dict[str, object]) -> None:
    assert decode_checkpoint(encode_checkpoint("META", payload), "META", "p") == payload


def test_a_file_is_replaced_as_a_whole(disk: Disk) -> None:
    path = disk.path("META")
    write_checkpoint(disk.filesystem, path, "META", {"a": 1})
    write_checkpoint(disk.filesystem, path, "META", {"b": [2, None]})
    assert read_checkpoint(disk.filesystem, path, "META") == {"b": [2, None]}
    assert disk.filesystem.list_dir(disk.root) == ["META"]


def test_its_envelope_is_where_the_table_says() -> None:
    data = encode_checkpoint("STATE", {"a": 1})
    assert data[:4] == b"SLF\x01"
    assert data[4:12] == b"STATE\0\0\0"
    assert struct.unpack_from("<II", data, 12) == (len(data) - 20, crc32c(data[4:16] + data[20:]))
    assert msgpack.unpackb(data[20:]) == {"a": 1}


def test_a_missing_file_is_named(disk: Disk) -> None:
    with pytest.raises(CorruptLogError, match="expected a META file, found none") as caught:
        read_checkpoint(disk.filesystem, disk.path("META"), "META")
    assert caught.value.file == disk.path("META")


def test_every_flipped_byte_and_every_cut_is_noticed() -> None:
    data = encode_checkpoint("META", {"topics": {"t": 1}})
    for position in range(len(data)):
        for mask in (0x01, 0x80):
            damaged = data[:position] + bytes((data[position] ^ mask,)) + data[position + 1 :]
            expected = (
                UnsupportedFormatError if position == 3 and damaged[3] > 1 else CorruptLogError
            )
            with pytest.raises(expected):
                decode_checkpoint(damaged, "META", "p")
        with pytest.raises(CorruptLogError):
            decode_checkpoint(data[:position], "META", "p")
    with pytest.raises(CorruptLogError, match="damaged"):
        decode_checkpoint(data + b"x", "META", "p")


def test_a_file_of_another_kind_is_refused() -> None:
    with pytest.raises(CorruptLogError, match=r"META file is damaged \(kind b'STATE"):
        decode_checkpoint(encode_checkpoint("STATE", {}), "META", "p")


def test_a_newer_envelope_is_refused_by_name() -> None:
    data = encode_checkpoint("META", {})
    with pytest.raises(UnsupportedFormatError, match="p: format version 2"):
        decode_checkpoint(data[:3] + b"\x02" + data[4:], "META", "p")


@pytest.mark.parametrize(
    "body", [b"", b"\xc1", b"\x90", b"\x81\x01\x02", b"\xc7\x00\x05", b"\x81\xa1a"]
)
def test_a_good_envelope_around_something_else_is_refused(body: bytes) -> None:
    name = b"META".ljust(8, b"\0")
    crc = crc32c(name + struct.pack("<I", len(body)) + body)
    data = b"SLF\x01" + name + struct.pack("<II", len(body), crc) + body
    with pytest.raises(CorruptLogError, match="META file"):
        decode_checkpoint(data, "META", "p")


def test_a_file_that_is_far_too_large_is_not_read(
    memory_disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint_file, "_MAX_BYTES", 100)
    memory_disk.write(memory_disk.path("META"), bytes(101))
    with pytest.raises(CorruptLogError, match="at most 100 bytes, found 101"):
        read_checkpoint(memory_disk.filesystem, memory_disk.path("META"), "META")


@given(st.binary(max_size=100))
def test_any_bytes_are_refused_by_a_named_error(data: bytes) -> None:
    for candidate in (data, b"SLF\x01" + data):
        with pytest.raises(CorruptLogError):
            decode_checkpoint(candidate, "META", "p")
