"""What a new or larger topic must fulfil, apart from its name's spelling (REC-5, REC-11)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.broker.topic_name import collision_key
from streamlog.errors import (
    InvalidPartitionsError,
    InvalidReplicationFactorError,
    InvalidTopicError,
    PolicyViolationError,
    TopicAlreadyExistsError,
)

if TYPE_CHECKING:
    from collections.abc import Collection

MAX_PARTITIONS_PER_CALL = 10_000
"""More new partitions at once are refused. Source: Kafka ``ReplicationControlManager``."""


def check_name_is_free(name: str, taken: Collection[str]) -> None:
    """Raise `TopicAlreadyExistsError` for a name in *taken*, `InvalidTopicError` for one too close."""
    if name in taken:
        raise TopicAlreadyExistsError(f"topic {name!r} already exists")
    key = collision_key(name)
    for other in taken:
        if collision_key(other) == key:
            raise InvalidTopicError(
                f"topic name {name!r} collides with topic {other!r}: names must differ in more than "
                "case and '.' for '_'"
            )


def check_partition_count(name: str, count: object, present: int) -> None:
    """Raise `InvalidPartitionsError` unless *count* is a number above *present*, and
    `PolicyViolationError` when that many at once can only be a slip of the hand.
    """
    if type(count) is not int or count <= present:
        expected = (
            f"more partitions than the {present} it has" if present else "1 partition or more"
        )
        raise InvalidPartitionsError(f"topic {name!r}: expected {expected}, found {count!r}")
    if count - present > MAX_PARTITIONS_PER_CALL:
        raise PolicyViolationError(
            f"topic {name!r}: expected at most {MAX_PARTITIONS_PER_CALL} new partitions at once, "
            f"found {count - present}"
        )


def check_replication_factor(name: str, factor: object, live_brokers: int) -> None:
    """Raise `InvalidReplicationFactorError` unless *factor* is from 1 to the number of live brokers."""
    if type(factor) is not int or not 1 <= factor <= live_brokers:
        raise InvalidReplicationFactorError(
            f"topic {name!r}: expected a replication_factor from 1 to the number of live brokers, "
            f"{live_brokers}, found {factor!r}"
        )
