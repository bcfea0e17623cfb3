"""Listeners in a loop, ended in every way and at any moment under clients that come and go."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from streamlog import Broker
from streamlog.aio import AsyncListener, listen
from tests.support.sockets import open_sockets
from tests.support.wire import RawClient, send_join

ROUNDS = 8
CLIENTS = 3

End = Callable[[Broker, list[AsyncListener], random.Random], Coroutine[Any, Any, None]]


async def by_the_broker(broker: Broker, listeners: list[AsyncListener], rng: random.Random) -> None:
    broker.close()


async def by_the_broker_elsewhere(
    broker: Broker, listeners: list[AsyncListener], rng: random.Random
) -> None:
    await asyncio.to_thread(broker.close)


async def by_the_broker_elsewhere_and_unseen(
    broker: Broker, listeners: list[AsyncListener], rng: random.Random
) -> None:
    threading.Thread(target=broker.close).start()
    await asyncio.sleep(rng.random() / 200)
    if rng.random() < 0.5:
        await listeners[-1].close()


async def by_themselves(broker: Broker, listeners: list[AsyncListener], rng: random.Random) -> None:
    await asyncio.gather(*(one.close() for one in listeners))


async def by_a_task_that_is_cancelled(
    broker: Broker, listeners: list[AsyncListener], rng: random.Random
) -> None:
    closing = asyncio.create_task(listeners[0].close())
    await asyncio.sleep(rng.random() / 500)
    closing.cancel()
    await asyncio.wait([closing])


async def by_the_loop(broker: Broker, listeners: list[AsyncListener], rng: random.Random) -> None:
    pass


def come_and_go(address: str, rng: random.Random, is_over: threading.Event) -> None:
    """Ask for something, wait for it or not, and come again."""
    partition = {"partition": 0, "fetch_offset": 0, "partition_max_bytes": 1000}
    while not is_over.is_set():
        try:
            with RawClient(address) as client:
                for _ in range(rng.randrange(4)):
                    asks = rng.randrange(4)
                    if asks == 0:
                        client.request("ApiVersions", 3)
                    elif asks == 1:
                        client.request("Metadata", 12, topics=None)
                    elif asks == 2:
                        client.send(
                            "Fetch",
                            12,
                            max_wait_ms=rng.choice([0, 5, 60_000]),
                            min_bytes=1,
                            max_bytes=1000,
                            topics=[{"topic": "t", "partitions": [partition]}],
                        )
                    else:
                        send_join(client)
        except (OSError, AssertionError):
            continue  # hung up on, or the answer was to the request before


@pytest.mark.stress
@pytest.mark.parametrize(
    "end",
    [
        by_the_broker,
        by_the_broker_elsewhere,
        by_the_broker_elsewhere_and_unseen,
        by_themselves,
        by_a_task_that_is_cancelled,
        by_the_loop,
    ],
)
def test_however_it_ends_nothing_is_left(end: End) -> None:
    seed = random.SystemRandom().randrange(1 << 31)
    print(f"seed {seed}")
    before = open_sockets()
    for number in range(ROUNDS):
        rng = random.Random(seed + number)
        is_over = threading.Event()
        broker = Broker()
        broker.create_topic("t")
        if rng.random() < 0.5:
            broker.listen()

        async def main() -> list[threading.Thread]:
            listeners = [await listen(broker) for _ in range(rng.randrange(1, 3))]  # noqa: B023
            clients = [
                threading.Thread(
                    target=come_and_go,
                    args=(
                        rng.choice(listeners).bootstrap_servers,  # noqa: B023
                        random.Random(rng.random()),  # noqa: B023
                        is_over,  # noqa: B023
                    ),
                )
                for _ in range(CLIENTS)
            ]
            for client in clients:
                client.start()
            await asyncio.sleep(rng.random() / 20)  # noqa: B023
            await end(broker, listeners, rng)  # noqa: B023
            return clients

        clients = asyncio.run(main())
        is_over.set()
        broker.close()
        for client in clients:
            client.join()
        names = [one.name for one in threading.enumerate()]
        assert not [name for name in names if "listener" in name], number
        gc.collect()
        assert open_sockets() <= before, number
