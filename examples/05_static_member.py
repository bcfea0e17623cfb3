"""A static member restarts, and nobody else notices: its partitions wait for it.

Time is virtual here, so the ten seconds of the session take none.
"""

from streamlog import Broker, Consumer
from streamlog.testing import VirtualClock

SESSION_MS = 10_000


def join(broker: Broker, name: str) -> Consumer:
    """Return a member that is known by *name*, whichever object it is."""
    return Consumer(
        broker,
        "orders",
        group_id="shipping",
        group_protocol="classic",
        group_instance_id=name,
        session_timeout_ms=SESSION_MS,
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


def main() -> None:
    clock = VirtualClock()
    with Broker(clock=clock) as broker:
        broker.create_topic("orders", partitions=4)
        first, second = join(broker, "host-1"), join(broker, "host-2")
        show("both are there", first, second)
        first.close()
        clock.advance(SESSION_MS - 1)
        show("one restarts  ", second)
        first = join(broker, "host-1")
        show("it is back    ", first, second)
        first.close()
        clock.advance(SESSION_MS)
        show("it stays away ", second)


if __name__ == "__main__":
    main()
