"""A static member restarts, and nobody else notices: its partitions wait for it.

Both protocols have it. They differ in who says how long a member may be away: each member by its session_timeout_ms in
the classic one, the broker in the other. Time is virtual here, so the ten seconds take none.
"""

from typing import Any

from streamlog import Broker, Consumer
from streamlog.testing import VirtualClock

SESSION_MS = 10_000

PROTOCOLS: dict[str, dict[str, Any]] = {
    "classic": {"group_protocol": "classic", "session_timeout_ms": SESSION_MS},
    "consumer": {"group_protocol": "consumer"},  # KIP-848, and the default
}


def join(broker: Broker, name: str, protocol: str) -> Consumer:
    """Return a member that is known by *name*, whichever object it is."""
    return Consumer(
        broker, "orders", group_id="shipping", group_instance_id=name, **PROTOCOLS[protocol]
    )


def show(what: str, *consumers: Consumer) -> None:
    """Let everybody poll, and print who reads what in which generation."""
    for _ in range(4):
        for consumer in consumers:
            consumer.poll()
    shares = [
        f"{one.group_metadata().group_instance_id} reads {sorted(tp.partition for tp in one.assignment())}"
        for one in consumers
    ]
    generation = consumers[-1].group_metadata().generation_id
    print(f"{what}: {', '.join(shares)}, generation {generation}")


def restart(protocol: str) -> None:
    print(f"group_protocol={protocol}")
    clock = VirtualClock()
    with Broker(clock=clock, group_consumer_session_timeout_ms=SESSION_MS) as broker:
        broker.create_topic("orders", partitions=4)
        first, second = join(broker, "host-1", protocol), join(broker, "host-2", protocol)
        show("both are there", first, second)
        first.close()
        clock.advance(SESSION_MS - 1)
        show("one restarts  ", second)
        first = join(broker, "host-1", protocol)
        show("it is back    ", first, second)
        first.close()
        clock.advance(SESSION_MS)
        show("it stays away ", second)


def main() -> None:
    for protocol in PROTOCOLS:
        restart(protocol)


if __name__ == "__main__":
    main()
