"""CRC-32C, the one checksum of the format."""

from __future__ import annotations

import pytest

from streamlog.record.checksum import crc32c, crc32c_from


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
    ],
)
def test_the_published_vectors_agree(data: bytes, expected: int) -> None:
    """RFC 3720, B.4."""
    assert crc32c(data) == expected


@pytest.mark.parametrize("size", [0, 20, 21, 22, 32_788, 32_789, 32_790, 65_557, 200_000])
def test_checksum_from_a_place_on_is_that_of_the_rest(size: int) -> None:
    data = bytes(number * 7 % 251 for number in range(size))
    assert crc32c_from(data, 21) == crc32c(data[21:])
