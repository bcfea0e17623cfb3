from __future__ import annotations

import pytest

from streamlog.wire.codec.message_type import MessageType
from streamlog.wire.codec.schema import parse

TABLE = """
7 ThingRequest 0-1 flexible 1+
name string
parts []
    size int32
"""


@pytest.fixture
def thing() -> MessageType:
    return MessageType(parse(TABLE)[0])


def test_class_of_a_message_is_made_when_it_is_asked_for_and_once(thing: MessageType) -> None:
    assert "make" not in vars(thing)
    make = thing.make
    assert thing.make is make
    assert make.Parts(size=3).size == 3
    # Somebody else asked at the same time, and finds the first one.
    assert thing.__getattr__("make") is make


def test_what_is_read_is_of_the_class_that_is_written(thing: MessageType) -> None:
    message = thing.make(name="x", parts=[thing.make.Parts(size=3)])
    (written,) = thing.encode(message, 1)
    assert thing.decode(bytes(written), 1) == message


def test_other_attributes_are_missing(thing: MessageType) -> None:
    with pytest.raises(AttributeError, match="made"):
        thing.made  # noqa: B018


def test_versions_from_the_flexible_one_on_are_flexible(thing: MessageType) -> None:
    assert [thing.is_flexible(version) for version in (0, 1)] == [False, True]
