"""Configuration as the protocol has it."""

from __future__ import annotations

import pytest

from streamlog.wire.config_text import key_text, type_number, value_text

BOOLEAN, STRING, INT, LONG, DOUBLE, LIST = 1, 2, 3, 5, 6, 7


def test_key_has_dots() -> None:
    assert key_text("min_cleanable_dirty_ratio") == "min.cleanable.dirty.ratio"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "9223372036854775807"),
        (True, "true"),
        (("delete", "compact"), "delete,compact"),
        ((), ""),
        (0.5, "0.5"),
        (-1, "-1"),
        ("lz4", "lz4"),
    ],
)
def test_value_is_written_as_kafka_writes_it(value: object, expected: str) -> None:
    assert value_text(value) == expected


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("retention.bytes", -1, LONG),
        ("retention.ms", 1, LONG),
        ("flush.messages", None, LONG),
        ("segment.bytes", 1, INT),
        ("max.message.bytes", 1, INT),
        ("num.partitions", 1, INT),
        ("num.partitions", 2**31, LONG),
        ("auto.create.topics.enable", False, BOOLEAN),
        ("min.cleanable.dirty.ratio", 0.5, DOUBLE),
        ("cleanup.policy", ("delete",), LIST),
        ("compression.type", "producer", STRING),
    ],
)
def test_type_is_the_one_that_kafka_gives_the_key(name: str, value: object, expected: int) -> None:
    assert type_number(name, value) == expected
