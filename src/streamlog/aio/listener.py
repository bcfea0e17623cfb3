"""A broker that Kafka's clients can connect to, served in the loop of the program."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from streamlog.broker.broker import Broker
    from streamlog.wire.loop_host import LoopHost
    from streamlog.wire.settings import ListenOptions


async def listen(
    broker: Broker, address: str = "127.0.0.1:0", **options: Unpack[ListenOptions]
) -> AsyncListener:
    """Serve Kafka's protocol at *address* in the running loop, without a thread of its own; `Broker.listen` says what the options mean.

    Clients in the same loop are the natural use::

        async with await listen(broker) as listener:
            consumer = AIOKafkaConsumer("orders", bootstrap_servers=listener.bootstrap_servers)

    It ends with `AsyncListener.close`, with the broker, or with the loop, if that cancels its tasks in the end, as `asyncio.run` does. Raises
    what `Broker.listen` does. Cancelled, it leaves nothing behind.
    """
    from streamlog.wire.loop_host import LoopHost  # loaded by whoever listens

    return AsyncListener(await LoopHost.open(broker, address, **options))


class AsyncListener:
    """What `listen` returns: the listener of `Broker.listen`, in the loop that was running then.

    In the loop run, and so keep it busy, as they do in the thread of the other kind: reading from sockets and writing to them, decoding requests
    of up to 1,000 elements, appending what clients send (a checksum and a copy of up to ``max_frame_bytes``, about a millisecond for each 1 MiB),
    fetches for about a millisecond each, and list offsets, api versions, and what describes configurations, the cluster, log directories and
    access. All else, larger requests, fetches that take longer, and what has to wait for a disk, run in up to six worker threads. The other
    way round, what keeps the loop busy elsewhere keeps clients waiting.

    ``broker.close()``, from any thread, closes it too. In the loop's own thread it cannot wait for the loop: connections are ended when it
    returns, the last sockets are closed when the loop goes on. From another thread it waits for the loop, for 2 s if that stands still.

    Threads: the loop's; `bootstrap_servers` and `closed` any.
    """

    def __init__(self, host: LoopHost) -> None:
        self._host = host

    def __repr__(self) -> str:
        return f"<AsyncListener {self.bootstrap_servers}{', closed' if self.closed else ''}>"

    @property
    def bootstrap_servers(self) -> str:
        """What clients are to be given, ``host:port``."""
        return self._host.bootstrap_servers

    @property
    def closed(self) -> bool:
        """Whether it no longer listens."""
        return self._host.closed

    async def close(self) -> None:
        """End all connections, also those with a request under way, and stop listening; return when that is done.

        A task that is cancelled meanwhile does not wait, and it is done all the same. Closing again changes nothing.
        """
        await self._host.aclose()

    async def __aenter__(self) -> AsyncListener:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
