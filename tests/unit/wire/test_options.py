"""What a listener is told that cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.errors import InvalidConfigurationError


@pytest.mark.parametrize(
    ("name", "number", "least"),
    [
        ("node_id", -1, 0),
        ("default_partitions", 0, 1),
        ("max_frame_bytes", 100, 1024),
        ("queued_max_request_bytes", -1, 1),
        ("queued_max_response_bytes", 0, 1),
        ("max_connections", 0, 1),
        ("max_idle_ms", 0, 1),
        ("max_handshake_ms", 1.5, 1),
        ("initial_rebalance_delay_ms", -1, 0),
    ],
)
def test_number_that_cannot_be_is_refused(name: str, number: Any, least: int) -> None:
    """0 of default_partitions was taken for none given, and 0 ms had the listener look after its clients without end."""
    with Broker() as broker, pytest.raises(InvalidConfigurationError) as caught:
        broker.listen(**{name: number})
    assert f"listen: {name}: expected a whole number from {least} on, found" in str(caught.value)


@pytest.mark.parametrize("option", ["address", "advertised"])
@pytest.mark.parametrize("found", [9092, ("127.0.0.1", 9092), b"127.0.0.1:9092"])
def test_address_that_is_no_string_is_refused(option: str, found: Any) -> None:
    """A port alone, and the pair of a socket, ended in an AttributeError."""
    with Broker() as broker, pytest.raises(InvalidConfigurationError) as caught:
        broker.listen(**{option: found})
    assert f"listen: {option}: expected a string host:port" in str(caught.value)
    assert repr(found) in str(caught.value)


@pytest.mark.parametrize("name", ["auto_create", "allow_remote"])
@pytest.mark.parametrize("found", ["false", 0, 1])
def test_flag_that_is_neither_true_nor_false_is_refused(name: str, found: Any) -> None:
    """The text "false", from an environment or a file, counted as True: the listener was open to others."""
    with Broker() as broker, pytest.raises(InvalidConfigurationError) as caught:
        broker.listen(**{name: found})
    assert str(caught.value) == f"listen: {name}: expected True or False, found {found!r}"


@pytest.mark.parametrize(("name", "most"), [("node_id", 2**31 - 1), ("default_partitions", 10_000)])
def test_number_that_no_answer_can_hold_and_no_topic_can_have_is_refused(
    name: str, most: int
) -> None:
    """They were taken, and then each answer that had to name the one ended the connection, and no topic could be created with the other."""
    with Broker() as broker:
        broker.listen(**{name: most})
        with pytest.raises(InvalidConfigurationError, match=f"{name}: expected at most {most}, "):
            broker.listen(**{name: most + 1})
