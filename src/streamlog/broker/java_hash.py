"""Java's ``String.hashCode``, which decides where a group's state lives (GRP-1)."""

from __future__ import annotations

from functools import lru_cache

_MASK = 0xFFFFFFFF


def java_hash(text: str) -> int:
    """Return Java's ``text.hashCode()``: a signed 32-bit number, the same on every run.

    Java hashes UTF-16 code units, so a character outside the basic plane counts as two.

    >>> java_hash("my-group")
    -1906497762
    """
    result = 0
    units = text.encode("utf-16-le", "surrogatepass")
    for low, high in zip(units[::2], units[1::2], strict=True):
        result = (31 * result + (high << 8 | low)) & _MASK
    return result - (1 << 32) if result & 0x80000000 else result


@lru_cache(maxsize=1024)
def partition_for_group(group_id: str, partition_count: int) -> int:
    """Return the partition of ``__consumer_offsets`` that holds *group_id*: abs(hash) modulo the count.

    Remembered for the groups in use, since every commit asks. The least 32-bit number has no
    positive twin in Java; Kafka's ``Utils.abs`` makes it 0.
    Source: Kafka ``GroupMetadataManager.partitionFor``.

    >>> partition_for_group("test", 50)
    48
    """
    code = java_hash(group_id)
    return 0 if code == -0x80000000 else abs(code) % partition_count
