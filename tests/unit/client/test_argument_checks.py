"""What producers and consumers say about arguments that cannot be right."""

from __future__ import annotations

from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.client.argument_checks import check_broker, check_callback, check_timeout
from streamlog.errors import ClosedError


@pytest.mark.parametrize("good", [0, 1, 0.5, float("inf"), 10**12])
def test_a_timeout_may_be_any_number_of_milliseconds(good: float) -> None:
    check_timeout("poll", good)


@pytest.mark.parametrize("bad", ["1", None, True, b"1", [], 1j, object()])
def test_a_timeout_that_is_no_number_names_call_and_value(bad: Any) -> None:
    with pytest.raises(TypeError, match=r"^poll: timeout_ms: expected a number of milli.*, found "):
        check_timeout("poll", bad)


@pytest.mark.parametrize("bad", [-1, -0.001, float("nan"), float("-inf")])
def test_a_timeout_below_0_names_call_and_value(bad: float) -> None:
    with pytest.raises(ValueError, match=f"^poll: timeout_ms: expected 0 or more, found {bad}"):
        check_timeout("poll", bad)


@pytest.mark.parametrize("bad", [None, "localhost:9092", {"bootstrap.servers": "x"}, Broker])
def test_what_is_no_broker_is_refused_by_type(bad: Any) -> None:
    with pytest.raises(
        TypeError, match="^Producer: expected a Broker as the first argument, found"
    ):
        check_broker("Producer", bad)


def test_a_closed_broker_is_refused(broker: Broker) -> None:
    check_broker("Producer", broker)
    broker.close()
    with pytest.raises(ClosedError):
        check_broker("Producer", broker)


def test_a_callback_is_a_callable_or_none() -> None:
    check_callback("send", "on_delivery", None)
    check_callback("send", "on_delivery", print)
    with pytest.raises(
        TypeError, match="^send: on_delivery: expected a callable or None, found st"
    ):
        check_callback("send", "on_delivery", "done")
