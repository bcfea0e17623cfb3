from __future__ import annotations

import pytest

from streamlog.broker.topic_name import collision_key, is_internal, validate_topic_name
from streamlog.errors import InvalidTopicError


@pytest.mark.parametrize(
    "name",
    ["a", "Orders", "orders.eu-1", "_private", "-x", "0", "a" * 249, "a..b", "console", "com10"],
)
def test_rec_5_legal_name_is_returned(name: str) -> None:
    assert validate_topic_name(name) == name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "empty"),
        (".", "begins with '.'"),
        ("..", "begins with '.'"),
        (".hidden", "begins with '.'"),
        ("orders.", "ends with '.'"),
        ("a" * 250, "at most 249 characters, found 250"),
        ("a/b", "only ASCII letters"),
        ("../../etc/passwd", "only ASCII letters"),
        ("a\\b", "only ASCII letters"),
        ("a b", "only ASCII letters"),
        ("orders\n", "only ASCII letters"),
        ("orders\x00", "only ASCII letters"),
        ("größe", "only ASCII letters"),
        ("٣", "only ASCII letters"),
        ("CON", "reserves it for a device"),
        ("nul.txt", "reserves it for a device"),
        ("Lpt1", "reserves it for a device"),
        ("__mine", "kept for internal topics"),
        (b"orders", "expected a str, found bytes"),
        (None, "expected a str, found NoneType"),
    ],
)
def test_rec_5_illegal_name_raises_invalid_topic_error_with_the_reason(
    name: object, reason: str
) -> None:
    with pytest.raises(InvalidTopicError, match=reason) as caught:
        validate_topic_name(name)
    assert caught.value.code == 17
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "name", ["__consumer_offsets", "__transaction_state", "__share_group_state"]
)
def test_rec_5_internal_names_are_legal_and_internal(name: str) -> None:
    assert validate_topic_name(name) == name
    assert is_internal(name)
    assert not is_internal("orders")


def test_names_that_differ_by_dot_or_case_share_a_collision_key() -> None:
    assert collision_key("a.b") == collision_key("a_b") == collision_key("A_B")
    assert collision_key("a-b") != collision_key("a_b")
