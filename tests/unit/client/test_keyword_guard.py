"""Keyword-only in what is shown and refused, ordinary in what it costs."""

from __future__ import annotations

import inspect
from unittest.mock import create_autospec

import pytest

from streamlog.client.keyword_guard import keywords_after_guard, refuse_positional
from streamlog.client.producer import Producer


def test_the_parameters_behind_the_guard_are_shown_as_keyword_only() -> None:
    @keywords_after_guard
    def call(first: int, _keywords_follow: object = ..., second: int = 2, third: int = 3) -> None:
        pass

    assert str(inspect.signature(call)) == (
        "(first: 'int', *, second: 'int' = 2, third: 'int' = 3) -> 'None'"
    )


def test_send_is_shown_as_it_is_pinned() -> None:
    shown = inspect.signature(Producer.send).parameters.values()
    by_position = [one.name for one in shown if one.kind is one.POSITIONAL_OR_KEYWORD]
    by_name = {one.name: one.default for one in shown if one.kind is one.KEYWORD_ONLY}
    assert by_position == ["self", "topic", "value"]
    assert by_name == {
        "key": None,
        "headers": (),
        "partition": None,
        "timestamp_ms": None,
        "on_delivery": None,
    }


def test_a_mock_made_after_the_producer_takes_what_the_producer_takes() -> None:
    mock = create_autospec(Producer, instance=True)
    mock.send("t", b"v", key=b"k")
    with pytest.raises(TypeError, match="too many positional"):
        mock.send("t", b"v", b"k")


def test_the_refusal_says_what_was_given_and_what_to_do() -> None:
    with pytest.raises(
        TypeError, match=r"send: .* by name, such as key=.*, found b'k' by position"
    ):
        refuse_positional("send", b"k")
