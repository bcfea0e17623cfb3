"""The part of a broker that the outside world sees: its id, and a listener for Kafka's clients."""

from __future__ import annotations

from functools import partial
from operator import is_not
from typing import TYPE_CHECKING, Any, Protocol

from streamlog.errors import IllegalStateError

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from streamlog.broker.broker_resources import BrokerResources
    from streamlog.runtime import RLock
    from streamlog.wire.listener import Listener
    from streamlog.wire.settings import ListenOptions


class AnyListener(Protocol):
    """What a broker knows of a listener, whoever's thread it serves in."""

    @property
    def bootstrap_servers(self) -> str:
        """Where it listens."""

    @property
    def closed(self) -> bool:
        """Whether it no longer does."""

    def close(self) -> None:
        """End it; called by the broker while that still works."""


class ListeningBroker:
    """What `Broker` inherits; see there."""

    _lock: RLock
    _listeners: list[AnyListener]

    def _require_resources(self) -> BrokerResources:
        raise NotImplementedError

    def register_client(self, client: Any) -> None:
        """See `Broker`."""
        raise NotImplementedError

    def unregister_client(self, client: Any) -> None:
        """See `Broker`."""
        raise NotImplementedError

    @property
    def cluster_id(self) -> str:
        """The id of the data directory, made with it: what Kafka calls the id of the cluster."""
        return self._require_resources().directory.directory_id

    def listen(self, address: str = "127.0.0.1:0", **options: Unpack[ListenOptions]) -> Listener:
        """Serve Kafka's protocol at *address*, ``host:port``, until the listener or the broker is closed; port 0 is any that is free.

        In a thread of its own; `streamlog.aio.listen` does it in a running event loop. An IPv6 address is in brackets, ``[::1]:9092``. A name
        is listened at with all its addresses. Of names only ``localhost`` counts as a loopback address.

        Any client of any language can then be given ``broker.bootstrap_servers``, and shares topics, groups and transactions with the
        producers and consumers in this process. Options, by name:

        * ``node_id``: the broker's number as clients see it (``broker_id``)
        * ``advertised``: the ``host:port`` that clients are told to connect to (the one that was bound; without a port its port). Needed
          where *address* stands for all addresses of the machine, ``0.0.0.0`` or ``[::]``, for no client can connect to those
        * ``default_partitions``, ``auto_create``: of topics that come into being by being used (``num_partitions``,
          ``auto_create_topics_enable``)
        * ``allow_remote``: needed for any address but a loopback one: there is no TLS and no SASL (False). Options that ask for one of
          them, such as ``ssl_context`` or ``sasl_mechanism``, raise
        * ``max_frame_bytes`` (100 MiB), ``max_connections`` (1,000), ``max_idle_ms`` (600,000), ``max_handshake_ms`` (30,000): what a
          client may do before it is cut off
        * ``queued_max_request_bytes`` (256 MiB): what requests may take together that were read and not answered; more is not read until
          there is room. Those of up to 64 KiB do not count, and one request may be larger. ``queued_max_response_bytes`` (256 MiB): what
          answers may take together that clients have not read; a fetch gets less when there is little left. When either is short, a
          client is cut off whose request has taken of it for longer than ``max_handshake_ms`` without a worker being at it, or that has
          read nothing of its answer for as long
        * ``initial_rebalance_delay_ms``: how long at least an empty classic group waits for more members when one comes over the wire,
          which would learn of a second rebalance by its next heartbeat only (50). Like all time-outs of groups it goes by the broker's
          clock: whoever gives it a virtual one has to advance that, or to say 0 here

        A read-only broker can be read from; what would change something is refused with CLUSTER_AUTHORIZATION_FAILED.

        Raises `InvalidConfigurationError`, OSError when the address cannot be bound, `ClosedError`. Threads: any. Source:
        Kafka ``listeners``, ``advertised.listeners``, ``queued.max.request.bytes``.
        """
        from streamlog.wire.listener import Listener  # the layer above: loaded by whoever listens

        return Listener(self, address, **options)  # type: ignore[arg-type]

    @property
    def bootstrap_servers(self) -> str:
        """The addresses of all listeners, with commas between, as clients take them. Raises `IllegalStateError` without any,
        `ClosedError`, `ForkedError`.
        """
        addresses = self.listener_addresses
        if not addresses:
            self._require_resources()
            raise IllegalStateError("the broker listens nowhere: call broker.listen() first")
        return ",".join(addresses)

    @property
    def listener_addresses(self) -> tuple[str, ...]:
        """What clients are given by each listener that is open, ``host:port``, in the order in which they were made. Internal."""
        return tuple(one.bootstrap_servers for one in self._listeners if not one.closed)

    def register_listener(self, listener: AnyListener) -> None:
        """Count *listener* among those of `bootstrap_servers`, and close it before the broker closes. Internal."""
        with self._lock:
            self.register_client(listener)
            self._listeners = [*self._listeners, listener]

    def unregister_listener(self, listener: AnyListener) -> None:
        """Forget *listener*, which is closed; nothing happens when it was not registered. Internal."""
        with self._lock:
            self._listeners = list(filter(partial(is_not, listener), self._listeners))
            self.unregister_client(listener)
