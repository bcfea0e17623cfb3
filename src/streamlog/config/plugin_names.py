"""The names of stock serializers and partitioners, which the layers above implement."""

from __future__ import annotations

SERDE_NAMES = ("bytes", "str", "int", "int32", "float", "json", "msgpack")
"""Accepted by ``key_serializer`` and its like; implemented in ``record/serialization.py``."""

PARTITIONER_NAMES = (
    "murmur2",
    "murmur2_random",
    "consistent_random",
    "consistent",
    "random",
    "round_robin",
    "sticky",
)
"""Accepted by ``partitioner``; implemented in ``client/partitioner.py``."""
