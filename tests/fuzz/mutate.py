"""Seeded changes to bytes, for where there is no atheris: the same targets on each Python, in seconds."""

from __future__ import annotations

import random
from collections.abc import Sequence

_INTERESTING = (0, 1, 2, 7, 8, 79, 80, 127, 128, 255, 256, 4095, 65535, 2**31 - 1, 2**31, 2**32 - 1)
_MSGPACK = (
    b"\xc0",
    b"\xc4\x00",
    b"\x90",
    b"\x80",
    b"\xdd\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\xd4\x01\x00",
    b"\x91" * 40,
)


def mutated(inputs: Sequence[bytes], rng: random.Random) -> bytes:
    """Return one of *inputs* changed in one to five places, or two of them joined."""
    data = bytearray(rng.choice(inputs))
    if rng.random() < 0.1:
        other = rng.choice(inputs)
        data[rng.randint(0, len(data)) :] = other[rng.randint(0, len(other)) :]
    for _ in range(rng.randint(1, 5)):
        _change(data, rng)
    return bytes(data)


def _change(data: bytearray, rng: random.Random) -> None:
    at = rng.randint(0, len(data))
    kind = rng.randrange(7)
    if kind == 0 and at < len(data):
        data[at] ^= 1 << rng.randrange(8)
    elif kind == 1 and at < len(data):
        data[at] = rng.randrange(256)
    elif kind == 2:
        del data[at : at + rng.randint(1, 16)]
    elif kind == 3:
        data[at:at] = rng.randbytes(rng.randint(1, 16))
    elif kind == 4:
        size = rng.choice((1, 2, 4, 8))
        number = rng.choice(_INTERESTING) % (1 << 8 * size)
        data[at : at + size] = number.to_bytes(size, "little")
    elif kind == 5:
        end = min(at + rng.randint(1, 32), len(data))
        data[at:at] = data[at:end]
    else:
        piece = rng.choice(_MSGPACK)
        data[at : at + len(piece)] = piece
