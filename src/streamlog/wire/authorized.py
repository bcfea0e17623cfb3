"""What a client may do, for the fields of answers that say so: all there is, since nobody is told from others."""

from __future__ import annotations

# Kafka ``AclOperation``: numbers of bits.
_READ, _WRITE, _CREATE, _DELETE, _ALTER, _DESCRIBE = 3, 4, 5, 6, 7, 8
_CLUSTER_ACTION, _DESCRIBE_CONFIGS, _ALTER_CONFIGS, _IDEMPOTENT_WRITE = 9, 10, 11, 12

NOT_ASKED = -(2**31)
"""Where the client did not want to know."""


def _bits(*operations: int) -> int:
    return sum(1 << operation for operation in operations)


CLUSTER = _bits(
    _CREATE,
    _ALTER,
    _DESCRIBE,
    _CLUSTER_ACTION,
    _DESCRIBE_CONFIGS,
    _ALTER_CONFIGS,
    _IDEMPOTENT_WRITE,
)
TOPIC = _bits(_READ, _WRITE, _CREATE, _DELETE, _ALTER, _DESCRIBE, _DESCRIBE_CONFIGS, _ALTER_CONFIGS)
GROUP = _bits(_READ, _DELETE, _DESCRIBE)
"""As a broker without an authorizer answers. Source: Kafka ``AclEntry.supportedOperations``."""
