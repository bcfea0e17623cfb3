"""Which topic names are legal. The name becomes a directory, so this is also what makes path
traversal impossible.

Source: Kafka ``internals/Topic.java`` (REC-5); the names that only Windows or a case-insensitive
file system would mind are refused everywhere, so that a data directory can be copied anywhere.
"""

from __future__ import annotations

import re
from typing import Final

from streamlog.errors import InvalidTopicError

GROUP_OFFSETS_TOPIC: Final = "__consumer_offsets"
TRANSACTION_STATE_TOPIC: Final = "__transaction_state"
SHARE_GROUP_STATE_TOPIC: Final = "__share_group_state"

INTERNAL_TOPICS: Final = frozenset(
    {GROUP_OFFSETS_TOPIC, TRANSACTION_STATE_TOPIC, SHARE_GROUP_STATE_TOPIC}
)
"""The topics the broker keeps its own state in: compacted, hidden from ``topics()``."""

MAX_NAME_LENGTH: Final = 249
"""Kafka's limit: 255 bytes of a file name, less the room for a partition number."""

_LEGAL_NAME = re.compile(r"[a-zA-Z0-9._-]+")
_WINDOWS_DEVICES = frozenset(
    {"con", "prn", "aux", "nul"}
    | {f"{device}{number}" for device in ("com", "lpt") for number in range(10)}
)


def is_internal(name: str) -> bool:
    """Return whether *name* is one of the broker's own topics. Source: ``Topic.isInternal``."""
    return name in INTERNAL_TOPICS


def collision_key(name: str) -> str:
    """Return what two topic names may not share: *name* in lower case, with ``_`` for ``.``.

    Kafka refuses ``a.b`` next to ``a_b`` (they are one name to its metrics); ``Orders`` next to
    ``orders`` would be one directory on macOS and Windows.

    >>> collision_key("Orders.EU")
    'orders_eu'
    """
    return name.replace(".", "_").lower()


def validate_topic_name(name: object) -> str:
    """Return *name* when a topic may be called so; raise `InvalidTopicError` saying why not.

    >>> validate_topic_name("orders.eu-1")
    'orders.eu-1'
    """
    reason = _reason_against(name)
    if reason is not None:
        raise InvalidTopicError(f"topic name {_shown(name)} is not legal: {reason}")
    assert isinstance(name, str)
    return name


def _reason_against(name: object) -> str | None:
    """Return what is wrong with *name*, None when nothing is."""
    if not isinstance(name, str):
        return f"expected a str, found {type(name).__name__}"
    if not name:
        return "it is empty"
    if len(name) > MAX_NAME_LENGTH:
        return f"expected at most {MAX_NAME_LENGTH} characters, found {len(name)}"
    if _LEGAL_NAME.fullmatch(name) is None:
        return "expected only ASCII letters, digits, '.', '_' and '-'"
    if name.startswith("."):
        return "it begins with '.', which hides files and leads out of the directory"
    if name.endswith("."):
        return "it ends with '.', which Windows drops from file names"
    if name.split(".", 1)[0].lower() in _WINDOWS_DEVICES:
        return "Windows reserves it for a device"
    if name.startswith("__") and name not in INTERNAL_TOPICS:
        return "names that begin with '__' are kept for internal topics"
    return None


def _shown(name: object) -> str:
    """Return *name* for a message, cut to a sane length."""
    text = repr(name)
    return text if len(text) <= MAX_NAME_LENGTH else f"{text[:60]}...{text[-10:]}"
