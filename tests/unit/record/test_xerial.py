"""Snappy in blocks with sizes, and bare."""

from __future__ import annotations

import pytest

from streamlog.record.xerial import snappy_block_size, snappy_blocks, write_xerial

HEAD = b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01"


@pytest.mark.parametrize(
    ("size", "sizes"), [(0, []), (1, [1]), (32_768, [32_768]), (70_000, [32_768, 32_768, 4464])]
)
def test_blocks_of_32_kib_come_back(size: int, sizes: list[int]) -> None:
    data = bytes(size)
    framed = write_xerial(data, bytes)
    assert framed.startswith(HEAD)
    assert [len(block) for block in snappy_blocks(framed)] == sizes
    assert b"".join(snappy_blocks(framed)) == data


def test_what_has_no_frame_is_one_block() -> None:
    assert list(snappy_blocks(b"\x01\x00a")) == [b"\x01\x00a"]
    assert list(snappy_blocks(b"")) == [b""]


@pytest.mark.parametrize("rest", [b"\0", b"\0\0\0", b"\0\0\0\x02a", b"\xff\xff\xff\xffa"])
def test_a_frame_cut_short_is_refused(rest: bytes) -> None:
    with pytest.raises(ValueError, match=r"a block ends at byte \d+ of"):
        list(snappy_blocks(HEAD + rest))
    with pytest.raises(ValueError, match="a block ends"):
        list(snappy_blocks(HEAD + b"\0\0\0\x01a" + rest))


@pytest.mark.parametrize("size", range(8, 16))
def test_a_head_cut_short_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"a frame ends at byte {size}"):
        list(snappy_blocks(HEAD[:size]))


@pytest.mark.parametrize(
    ("block", "size"), [(b"\x05", 5), (b"\x80\x01", 128), (b"", -1), (b"\x80" * 5, -1)]
)
def test_a_block_begins_with_its_size(block: bytes, size: int) -> None:
    assert snappy_block_size(block) == snappy_block_size(memoryview(block)) == size
