"""What `Broker.listen` is told, checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from streamlog.broker.topic_checks import MAX_PARTITIONS_PER_CALL
from streamlog.config.kinds import INT_MAX
from streamlog.errors import InvalidConfigurationError
from streamlog.wire.address import is_loopback, is_unspecified, split_address
from streamlog.wire.handlers.security import NO_SECURITY
from streamlog.wire.settings import (
    INITIAL_REBALANCE_DELAY_MS,
    MAX_FRAME_BYTES,
    QUEUED_MAX_REQUEST_BYTES,
    QUEUED_MAX_RESPONSE_BYTES,
    ListenerSettings,
)

if TYPE_CHECKING:
    from streamlog.config import BrokerConfig

#: How the options begin by which other brokers and clients are told of TLS and SASL.
_SECURITY = ("ssl", "sasl", "security", "tls")


#: Which holds any request of a client that tells its name, and says what there is.
_SMALLEST_FRAME_BYTES = 1024


class Place(NamedTuple):
    """Where to listen, and how. Of ``settings`` the advertised address is "" and 0 as far as it is the one that is bound."""

    host: str
    port: int
    settings: ListenerSettings


def read_options(
    config: BrokerConfig,
    address: str,
    *,
    node_id: int | None = None,
    advertised: str | None = None,
    default_partitions: int | None = None,
    auto_create: bool | None = None,
    allow_remote: bool = False,
    max_frame_bytes: int = MAX_FRAME_BYTES,
    queued_max_request_bytes: int = QUEUED_MAX_REQUEST_BYTES,
    queued_max_response_bytes: int = QUEUED_MAX_RESPONSE_BYTES,
    max_connections: int = 1000,
    max_idle_ms: int = 600_000,
    max_handshake_ms: int = 30_000,
    initial_rebalance_delay_ms: int = INITIAL_REBALANCE_DELAY_MS,
    **unknown: object,
) -> Place:
    """Return what the arguments of `Broker.listen` mean. Raises `InvalidConfigurationError`, TypeError for names that are none."""
    for name in unknown:
        if name.lower().startswith(_SECURITY):
            raise InvalidConfigurationError(f"listen: {name}: {NO_SECURITY}")
        raise TypeError(f"listen() got an unexpected keyword argument {name!r}")
    for name, least, number in (
        ("node_id", 0, node_id),
        ("default_partitions", 1, default_partitions),
        ("max_frame_bytes", _SMALLEST_FRAME_BYTES, max_frame_bytes),
        ("queued_max_request_bytes", 1, queued_max_request_bytes),
        ("queued_max_response_bytes", 1, queued_max_response_bytes),
        ("max_connections", 1, max_connections),
        ("max_idle_ms", 1, max_idle_ms),
        ("max_handshake_ms", 1, max_handshake_ms),
        ("initial_rebalance_delay_ms", 0, initial_rebalance_delay_ms),
    ):
        if number is not None and (type(number) is not int or number < least):
            raise InvalidConfigurationError(
                f"listen: {name}: expected a whole number from {least} on, found {number!r}"
            )
    for name, most, number in (
        ("node_id", INT_MAX, node_id),  # no answer could hold it
        ("default_partitions", MAX_PARTITIONS_PER_CALL, default_partitions),  # none could be made
    ):
        if number is not None and number > most:
            raise InvalidConfigurationError(
                f"listen: {name}: expected at most {most}, found {number}"
            )
    for name, flag in (("auto_create", auto_create), ("allow_remote", allow_remote)):
        if flag is not None and type(flag) is not bool:
            raise InvalidConfigurationError(
                f"listen: {name}: expected True or False, found {flag!r}"
            )
    host, port = split_address(address)
    if not allow_remote and not is_loopback(host):
        raise InvalidConfigurationError(
            f"listen: expected a loopback address, found {address!r}: whoever reaches it can do anything, "
            "since there is no TLS and no SASL; allow_remote=True if that is what you want"
        )
    shown_host, shown_port = (
        ("", 0) if advertised is None else split_address(advertised, "advertised")
    )
    if is_unspecified(shown_host or host):
        raise InvalidConfigurationError(
            f"listen: advertised: expected a host that clients can connect to, found {shown_host or host!r}, which stands for every "
            "address of this machine"
        )
    return Place(
        host,
        port,
        ListenerSettings(
            node_id=config.broker_id if node_id is None else node_id,
            default_partitions=default_partitions or config.num_partitions,
            auto_create=config.auto_create_topics_enable if auto_create is None else auto_create,
            advertised_host=shown_host,
            advertised_port=shown_port,
            max_frame_bytes=max_frame_bytes,
            queued_max_request_bytes=queued_max_request_bytes,
            queued_max_response_bytes=queued_max_response_bytes,
            max_connections=max_connections,
            max_idle_ms=max_idle_ms,
            max_handshake_ms=max_handshake_ms,
            initial_rebalance_delay_ms=initial_rebalance_delay_ms,
        ),
    )
