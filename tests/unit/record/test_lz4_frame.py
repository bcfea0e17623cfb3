"""LZ4 frames, byte by byte: ours, and those of the reference library (lz4 4.4.5) with each of its options."""

from __future__ import annotations

import cramjam
import pytest

from streamlog.record.lz4_frame import lz4_frame_bound, write_lz4_frame

#: 20 bytes: with their size; with blocks that refer to each other and both kinds of checksum.
REFERENCE = ["04224d1868401400000000000000a30b000000296162020050626162616200000000"]
REFERENCE += ["04224d187440bd0b000000296162020050626162616218c70a01000000007cbf4f24"]
FRAMES = [bytes.fromhex(frame) for frame in REFERENCE]


def block(data: memoryview) -> bytes:
    return bytes(cramjam.lz4.compress_block(data, store_size=False))


@pytest.mark.parametrize("frame", FRAMES)
def test_frames_of_the_reference_library_have_a_bound(frame: bytes) -> None:
    assert lz4_frame_bound(frame) == 11 * 255
    output = bytearray(2805)
    assert cramjam.lz4.decompress_into(frame, output) == 20


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 200_000])
@pytest.mark.parametrize("seed", [b"\0", bytes(range(256))])
def test_a_frame_of_ours_is_read_by_the_library(size: int, seed: bytes) -> None:
    data = (seed * (size // len(seed) + 1))[:size]
    frame = write_lz4_frame(data, block)
    bound = lz4_frame_bound(frame)
    assert bound is not None
    assert bound >= size
    output = bytearray(bound)
    assert cramjam.lz4.decompress_into(frame, output) == size
    assert output[:size] == data


def test_java_reads_it_its_blocks_stand_alone_and_have_no_sizes() -> None:
    frame = write_lz4_frame(b"ab", lambda data: b"longer than it")
    assert frame.hex(" ") == "04 22 4d 18 60 40 82 02 00 00 80 61 62 00 00 00 00"
    assert lz4_frame_bound(frame) == 2, "a block that does not get smaller is stored as it is"


@pytest.mark.parametrize(
    ("descriptor", "expected"), [(0x40, 1 << 16), (0x50, 1 << 18), (0x60, 1 << 20), (0x70, 1 << 22)]
)
def test_the_size_of_blocks_bounds_what_they_hold(descriptor: int, expected: int) -> None:
    size = 20_000
    frame = b"\x04\x22\x4d\x18\x60%c\0" % descriptor + size.to_bytes(4, "little") + bytes(size + 4)
    assert lz4_frame_bound(frame) == min(expected, size * 255)


@pytest.mark.parametrize("frame", FRAMES)
def test_a_frame_cut_short_or_with_more_behind_it_has_none(frame: bytes) -> None:
    for size in range(len(frame)):
        assert lz4_frame_bound(frame[:size]) is None
    assert lz4_frame_bound(frame + b"\0") is None
    assert lz4_frame_bound(frame * 2) is None


@pytest.mark.parametrize(
    ("place", "byte"),
    [(0, 5), (4, 0x20), (4, 0xE0), (4, 0x61), (4, 0x62), (5, 0x30), (5, 0x80)],
    ids=["magic", "version-0", "version-3", "dictionary", "reserved", "small", "large"],
)
def test_other_frames_have_none(place: int, byte: int) -> None:
    frame = bytearray(write_lz4_frame(b"data", block))
    frame[place] = byte
    assert lz4_frame_bound(bytes(frame)) is None
