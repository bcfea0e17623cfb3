"""Configuration as the protocol has it: keys with dots, values as text."""

from __future__ import annotations

from streamlog.broker.config_entry import ConfigSource

#: Kafka ``ConfigEntry.ConfigSource`` as numbers.
SOURCES = {
    ConfigSource.DYNAMIC_TOPIC_CONFIG: 1,
    ConfigSource.STATIC_BROKER_CONFIG: 4,
    ConfigSource.DEFAULT_CONFIG: 5,
}

#: What Kafka says where we say never.
_NEVER = str(2**63 - 1)

_BOOLEAN, _STRING, _INT, _LONG, _DOUBLE, _LIST = 1, 2, 3, 5, 6, 7

#: Times, sizes and counts are long in Kafka, but for these of its first days.
_LONG_ENDINGS = (".ms", ".bytes", ".messages")
_INTS = frozenset(
    (
        "group.consumer.heartbeat.interval.ms",
        "group.consumer.session.timeout.ms",
        "group.initial.rebalance.delay.ms",
        "group.max.session.timeout.ms",
        "group.min.session.timeout.ms",
        "index.interval.bytes",
        "max.message.bytes",
        "segment.bytes",
        "segment.index.bytes",
        "transaction.max.timeout.ms",
        "transactional.id.expiration.ms",
    )
)


def key_text(key: str) -> str:
    """Return *key* with dots."""
    return key.replace("_", ".")


def value_text(value: object) -> str:
    """Return *value* as Kafka writes it: lists with commas, booleans in small letters, no limit as the greatest number."""
    if value is None:
        return _NEVER
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value)


def type_number(name: str, value: object) -> int:
    """Return Kafka's number for the type of the configuration *name* (with dots), which has *value*."""
    if isinstance(value, bool):
        return _BOOLEAN
    if isinstance(value, int):
        is_long = name.endswith(_LONG_ENDINGS) and name not in _INTS
        return _LONG if is_long or abs(value) >= 2**31 else _INT
    if isinstance(value, float):
        return _DOUBLE
    if isinstance(value, tuple):
        return _LIST
    return _LONG if value is None else _STRING
