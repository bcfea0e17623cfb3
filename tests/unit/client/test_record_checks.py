from __future__ import annotations

from typing import Any

import pytest

from streamlog.client.record_checks import (
    check_partition,
    check_timestamp,
    check_topic,
    checked_headers,
)
from streamlog.errors import SerializationError


def test_rec_3_headers_become_a_tuple_of_their_own() -> None:
    given = [["a", bytearray(b"1")], ("b", None), ("a", memoryview(b"2"))]
    checked = checked_headers("t", given)
    given.append(("c", b""))
    assert checked == (("a", b"1"), ("b", None), ("a", b"2"))
    assert {type(value) for _, value in checked} == {bytes, type(None)}
    assert checked_headers("t", None) == checked_headers("t", ()) == ()
    assert checked_headers("t", iter([("ü", b"")])) == (("ü", b""),)


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({"a": b"1"}, "a mapping will not do"),
        ("ab", "found str"),
        (b"ab", "found bytes"),
        (5, "found int"),
        ([("a",)], "pair"),
        ([5], "pair"),
        ([(1, b"")], "found int"),
        ([("a", "b")], "header 'a': expected bytes or None, found str"),
        ([("\ud800", b"")], "surrogates not allowed"),
    ],
)
def test_wrong_headers_are_named(headers: Any, found: str) -> None:
    """PRD-4."""
    with pytest.raises(SerializationError, match=found) as caught:
        checked_headers("orders", headers)
    assert "topic 'orders'" in str(caught.value)


def test_rec_2_timestamps_and_partitions_are_ints_from_0_on() -> None:
    for check in (check_timestamp, check_partition):
        check("t", 0)
        check("t", 2**62)
        for wrong in (True, "0", 1.0, None):
            with pytest.raises(TypeError, match="topic 't'"):
                check("t", wrong)
        with pytest.raises(ValueError, match="found -1"):
            check("t", -1)
    with pytest.raises(ValueError, match="timestamp_ms"):
        check_timestamp("t", 1 << 63)


def test_a_topic_is_a_str() -> None:
    check_topic("t")
    with pytest.raises(TypeError, match="found bytes"):
        check_topic(b"t")
