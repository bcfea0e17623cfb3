"""The names of stock serializers and partitioners, which the layers above implement."""

from __future__ import annotations

SERDE_NAMES = ("bytes", "str", "int", "int32", "float", "json", "msgpack")
"""Accepted by ``key_serializer`` and its like; implemented in ``record/serialization.py``."""

ASSIGNOR_NAMES = ("range", "roundrobin", "sticky", "cooperative-sticky")
"""Accepted by ``partition_assignment_strategy``; implemented in ``client/partition_assignor.py``."""

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
