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
