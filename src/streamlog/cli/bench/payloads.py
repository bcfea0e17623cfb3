"""The values that `streamlog bench` sends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.cli.failures import Failure

if TYPE_CHECKING:
    from streamlog.runtime import Chance

_LETTERS = bytes(range(ord("A"), ord("Z") + 1))
_POOL_SIZE = 1000
_POOL_BYTES = 16 * 1024 * 1024


def random_payloads(size_bytes: int, chance: Chance) -> list[bytes]:
    """Return different values of *size_bytes* capital letters, as Kafka's tool sends.

    There are fewer of them than records, and they are made before the clock runs: making one takes
    longer than sending it.
    """
    count = max(1, min(_POOL_SIZE, _POOL_BYTES // max(size_bytes, 1)))
    return [bytes(chance.choices(_LETTERS, k=size_bytes)) for _ in range(count)]


def payloads_of(name: str, content: bytes, delimiter: bytes) -> list[bytes]:
    """Return the parts of *content*, the file *name*, between delimiters; an empty last one is none."""
    parts = content.split(delimiter)
    if parts and not parts[-1]:
        parts.pop()
    if not parts:
        raise Failure(f"{name}: there is no payload in it")
    return parts
