"""How a listener shows its broker to clients, and what it lets them do."""

from __future__ import annotations

from typing import TypedDict

import attrs

#: Kafka's ``socket.request.max.bytes``.
MAX_FRAME_BYTES = 100 * 1024 * 1024
QUEUED_MAX_REQUEST_BYTES = QUEUED_MAX_RESPONSE_BYTES = 256 * 1024 * 1024
#: Kafka waits for 3 s.
INITIAL_REBALANCE_DELAY_MS = 50


@attrs.frozen(kw_only=True)
class ListenerSettings:
    """See `Listener`, whose keyword arguments these are. ``advertised_host`` and ``advertised_port`` are known once it is bound."""

    node_id: int
    default_partitions: int
    auto_create: bool
    advertised_host: str = ""
    advertised_port: int = 0
    max_frame_bytes: int = MAX_FRAME_BYTES
    queued_max_request_bytes: int = QUEUED_MAX_REQUEST_BYTES
    queued_max_response_bytes: int = QUEUED_MAX_RESPONSE_BYTES
    max_connections: int = 1000
    max_idle_ms: int = 600_000
    max_handshake_ms: int = 30_000
    initial_rebalance_delay_ms: int = INITIAL_REBALANCE_DELAY_MS


class ListenOptions(TypedDict, total=False):
    """The options of `Broker.listen`, which says what they mean."""

    node_id: int
    advertised: str
    default_partitions: int
    auto_create: bool
    allow_remote: bool
    max_frame_bytes: int
    queued_max_request_bytes: int
    queued_max_response_bytes: int
    max_connections: int
    max_idle_ms: int
    max_handshake_ms: int
    initial_rebalance_delay_ms: int
