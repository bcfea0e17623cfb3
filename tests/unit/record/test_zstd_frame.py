"""Headers of zstd frames, byte by byte (RFC 8878), and those that the library writes."""

from __future__ import annotations

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.record.zstd_frame import read_frame_header, zstd_frame_bound

MAGIC = b"\x28\xb5\x2f\xfd"


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        (b"\x20\x07", (7, 7)),  # one byte of size, a single segment
        (b"\x60\x01\x00", (257, 257)),  # two bytes are 256 less
        (b"\xa0\x00\x00\x01\x00", (65_536, 65_536)),
        (b"\xe0\x00\x00\x00\x00\x01\x00\x00\x00", (1 << 32, 1 << 32)),
        (b"\x40\x00\x01\x00", (1024, 257)),  # with a window: the smallest,
        (b"\x80\x51\x05\x00\x00\x00", ((1 << 20) * 9 // 8, 5)),  # one with a mantissa,
        (b"\x80\xff\x05\x00\x00\x00", ((1 << 41) * 15 // 8, 5)),  # the largest
        (b"\x24\x07", (7, 7)),  # with a checksum
    ],
)
def test_the_header_says_window_and_size(rest: bytes, expected: tuple[int, int]) -> None:
    assert read_frame_header(MAGIC + rest + b"...") == expected
    assert read_frame_header(MAGIC + rest) == expected
    assert read_frame_header(MAGIC + rest[:-1]) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        MAGIC,
        b"\x28\xb5\x2f\xfc\x20\x07.",
        b"\x50\x2a\x4d\x18\x03\x00\x00\x00...",  # a frame to be skipped
        MAGIC + b"\x00\x00......",  # no size
        MAGIC + b"\x21\x05\x07.....",  # a dictionary
        MAGIC + b"\x28\x07.....",  # the reserved bit
    ],
)
def test_a_frame_without_a_size_or_one_that_is_none_gives_nothing(data: bytes) -> None:
    assert read_frame_header(data) is None


@pytest.mark.parametrize("level", [-131_072, 1, 3, 19, 22])
@pytest.mark.parametrize("size", [1, 255, 256, 70_000, 3_000_000])
def test_frames_of_the_library_declare_their_size(size: int, level: int) -> None:
    frame = bytes(cramjam.zstd.compress(bytes(size // 2) + b"x" * (size - size // 2), level=level))
    header = read_frame_header(frame)
    assert header is not None
    window, content = header
    assert content == size
    assert window <= max(size, 1024)


@given(st.binary(max_size=20))
def test_any_bytes_give_nothing_or_two_numbers(rest: bytes) -> None:
    header = read_frame_header(MAGIC + rest)
    assert header is None or min(header) >= 0


# ---- how much one whole frame holds at most


def block(kind: int, size: int, *, is_last: bool = True, content: int | None = None) -> bytes:
    head = (size << 3 | kind << 1 | is_last).to_bytes(3, "little")
    return head + bytes(size if content is None else content)


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (b"\x00\x58" + block(0, 5), 5),
        (b"\x00\x58" + block(0, 5, is_last=False) + block(1, 131_072, content=1), 131_077),
        (b"\x00\x58" + block(2, 9), 131_072),
        (b"\x20\x07" + block(2, 9), 7),  # the size it declares
        (b"\x80\x58\x09\0\0\0" + block(0, 5), 5),
        (b"\x04\x58" + block(0, 0) + b"sums", 0),
        (b"\x04\x58" + block(0, 0), None),  # no checksum
        (b"\x00\x58" + block(0, 5) + b".", None),
        (b"\x00\x58" + block(0, 5)[:-1], None),
        (b"\x00\x58" + block(0, 5, is_last=False), None),
        (b"\x00\x58" + block(3, 5), None),
        (b"\x00\x58" + block(0, 131_073), None),
        (b"\x01\x58" + block(0, 5), None),  # a dictionary
        (b"\x08\x58" + block(0, 5), None),  # the reserved bit
        (b"\xc0\x58\x07", None),  # cut in the header
        (b"\x00", None),
    ],
)
def test_the_blocks_say_how_much_a_frame_holds(frame: bytes, expected: int | None) -> None:
    assert zstd_frame_bound(MAGIC + frame) == expected
    assert zstd_frame_bound(b"\x50\x2a\x4d\x18" + frame) is None


@pytest.mark.parametrize("level", [-131_072, 1, 3, 19, 22])
@pytest.mark.parametrize("size", [0, 1, 255, 256, 70_000, 3_000_000])
def test_frames_of_the_library_hold_what_they_hold(size: int, level: int) -> None:
    frame = bytes(cramjam.zstd.compress(bytes(size), level=level))
    assert zstd_frame_bound(frame) == size
    assert all(zstd_frame_bound(frame[:cut]) is None for cut in range(len(frame)))
