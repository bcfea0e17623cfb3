"""What a new or larger topic must fulfil, apart from its name's spelling (REC-5, REC-11)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.broker.topic_name import collision_key, is_internal
from streamlog.errors import (
    InvalidPartitionsError,
    InvalidReplicationFactorError,
    InvalidTopicError,
    PolicyViolationError,
    TopicAlreadyExistsError,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from streamlog.config import TopicConfig

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
        if type(count) is not int:
            expected += " (an int)"
        raise InvalidPartitionsError(f"topic {name!r}: expected {expected}, found {count!r:.80}")
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


def check_may_create(name: str, wanted: TopicConfig) -> None:
    """Raise `PolicyViolationError` if *wanted* would let one of the broker's own topics lose records."""
    if wanted.cleanup_policy != ("compact",):
        _refuse_if_internal(
            name,
            f"cleanup_policy: expected ('compact',), found {wanted.cleanup_policy!r}: what it "
            "is to remember would be deleted by its age or size",
        )


def check_may_grow(name: str) -> None:
    """Raise `PolicyViolationError` for one of the broker's own topics."""
    _refuse_if_internal(
        name,
        "its number of partitions is fixed: it says where each group or transactional id is kept, and "
        "with another one most would not be found",
    )


def check_may_delete(name: str) -> None:
    """Raise `PolicyViolationError` for one of the broker's own topics."""
    _refuse_if_internal(
        name,
        "it cannot be deleted: groups would lose what they committed, or transactions their end",
    )


def check_may_configure(name: str, present: TopicConfig, wanted: TopicConfig) -> None:
    """Raise `PolicyViolationError` if *wanted* would let one of the broker's own topics lose records."""
    for key in ("cleanup_policy", "retention_ms", "retention_bytes"):
        before, after = getattr(present, key), getattr(wanted, key)
        if after != before and not (key == "cleanup_policy" and after == ("compact",)):
            _refuse_if_internal(
                name,
                f"{key}: expected {before!r}, which it has, found {after!r}: what it "
                "remembers would be deleted by its age or size",
            )


def _refuse_if_internal(name: str, consequence: str) -> None:
    if is_internal(name):
        raise PolicyViolationError(f"topic {name!r} is the broker's own: {consequence}")
