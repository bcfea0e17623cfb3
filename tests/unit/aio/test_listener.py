"""Listening in the loop of the program: whatever ends it, and whenever, nothing is left."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from threading import Event
from typing import Any

import pytest

from streamlog import Broker, ClosedError, InvalidConfigurationError, Producer
from streamlog.aio import AsyncListener, listen
from streamlog.runtime import Signal
from streamlog.wire import dispatch, loop_host
from streamlog.wire.call import Call
from tests.support.sockets import connect, is_closed, open_sockets, own_address
from tests.support.wire import RawClient, send_join

BEAT: dict[str, Any] = {"group_id": "g", "generation_id": 1, "member_id": "m"}


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        broker.create_topic("t")
        yield broker


@pytest.fixture(autouse=True)
def _nothing_is_left(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No socket, no thread, and nothing that asyncio or we have to complain of."""
    sockets = open_sockets()
    yield
    assert open_sockets() <= sockets
    assert not [one for one in threading.enumerate() if "listener" in one.name]
    assert [
        record.getMessage()
        for record in caplog.records
        if record.name == "asyncio" or record.levelno > logging.WARNING
    ] == []


def fetch(client: RawClient, wait_ms: int = 600_000) -> None:
    partition = {"partition": 0, "fetch_offset": 0, "partition_max_bytes": 1000}
    topics = [{"topic": "t", "partitions": [partition]}]
    client.send("Fetch", 12, max_wait_ms=wait_ms, min_bytes=1, max_bytes=1000, topics=topics)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0)


async def connections(listener: AsyncListener, count: int) -> list[Any]:
    """Return all, once there are so many."""
    found = listener._host.endpoint._connections
    await until(lambda: len(found) >= count)
    return list(found)


@asynccontextmanager
async def waiting(listener: AsyncListener) -> AsyncIterator[list[RawClient]]:
    """Clients with requests parked: fetches at the end of a log, and joins that wait for members."""
    clients = [await asyncio.to_thread(RawClient, listener.bootstrap_servers) for _ in range(4)]
    for client in clients[:2]:
        fetch(client)
    for client in clients[2:]:
        send_join(client)
    served = await connections(listener, 4)
    await until(lambda: all(one.is_known for one in served))
    try:
        yield clients
    finally:
        for client in clients:
            client.close()


def hung_up_on(client: RawClient) -> bool:
    """Whether the connection ends, whatever is still answered before."""
    try:
        while client.socket.recv(1 << 16):
            pass
    except ConnectionError:
        pass
    return True


def serve_heartbeats(monkeypatch: pytest.MonkeyPatch, handler: Callable[[Call], Any]) -> None:
    monkeypatch.setitem(dispatch.ROUTES, 12, dispatch.ROUTES[12]._replace(handler=handler))


def hold_heartbeats(monkeypatch: pytest.MonkeyPatch) -> tuple[Event, Event]:
    """Return what is set when a heartbeat is served, and what it then waits for."""
    begun, go_on = Event(), Event()

    def wait(call: Call) -> Any:
        begun.set()
        assert go_on.wait(20)
        return call.response()

    serve_heartbeats(monkeypatch, wait)
    return begun, go_on


# ---- serving


def test_requests_are_served_in_the_running_loop(broker: Broker) -> None:
    async def main() -> None:
        async with await listen(broker, node_id=7) as listener:
            assert not listener.closed
            assert broker.bootstrap_servers == listener.bootstrap_servers
            assert listener.bootstrap_servers in repr(listener)
            with await asyncio.to_thread(RawClient, listener.bootstrap_servers) as client:
                answer = await asyncio.to_thread(client.request, "Metadata", 12, topics=None)
            assert answer.controller_id == 7
            assert [topic.name for topic in answer.topics] == ["t"]
        assert listener.closed
        assert repr(listener).endswith(", closed>")
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_append_by_another_thread_wakes_a_fetch_that_waits(broker: Broker) -> None:
    async def main() -> None:
        async with await listen(broker) as listener:
            with await asyncio.to_thread(RawClient, listener.bootstrap_servers) as client:
                fetch(client)
                (connection,) = await connections(listener, 1)
                await until(lambda: connection.is_waiting)
                answer = asyncio.create_task(asyncio.to_thread(client.receive))
                with Producer(broker) as producer:
                    await asyncio.to_thread(lambda: producer.send("t", b"x").result())
                assert (await answer).responses[0].partitions[0].records

    asyncio.run(main())


def test_slow_request_keeps_neither_the_loop_nor_other_clients(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = hold_heartbeats(monkeypatch)

    async def main() -> None:
        async with await listen(broker) as listener:
            clients = [
                await asyncio.to_thread(RawClient, listener.bootstrap_servers) for _ in range(2)
            ]
            clients[0].send("Heartbeat", 4, **BEAT)
            await until(begun.is_set)
            assert (await asyncio.to_thread(clients[1].request, "ApiVersions", 3)).api_keys
            go_on.set()
            await asyncio.to_thread(clients[0].receive)
            for client in clients:
                client.close()

    asyncio.run(main())


def test_listeners_of_both_kinds_serve_one_broker(broker: Broker) -> None:
    async def main() -> None:
        with broker.listen(node_id=1) as first:
            async with await listen(broker, node_id=2) as second, await listen(broker) as third:
                all_of_them = [one.bootstrap_servers for one in (first, second, third)]
                assert broker.bootstrap_servers == ",".join(all_of_them)
                for address, node_id in zip(all_of_them, (1, 2, 1), strict=True):
                    with await asyncio.to_thread(RawClient, address) as client:
                        answer = await asyncio.to_thread(client.request, "Metadata", 12, topics=[])
                        assert answer.controller_id == node_id
            assert broker.bootstrap_servers == first.bootstrap_servers

    asyncio.run(main())


def test_what_cannot_be_listened_at_is_an_error(broker: Broker) -> None:
    async def main() -> None:
        async with await listen(broker) as listener:
            with pytest.raises(OSError, match="in use"):
                await listen(broker, listener.bootstrap_servers)
            with pytest.raises(InvalidConfigurationError, match="allow_remote=True"):
                await listen(broker, "192.0.2.1:0")
            with pytest.raises(InvalidConfigurationError, match="no TLS and no SASL"):
                await listen(broker, sasl_mechanism="PLAIN")  # type: ignore[call-arg]
        broker.close()
        with pytest.raises(ClosedError):
            await listen(broker)

    asyncio.run(main())


def test_broker_that_is_closed_while_it_opens_is_not_listened_for(broker: Broker) -> None:
    async def main() -> None:
        opening = asyncio.create_task(listen(broker))
        await asyncio.sleep(0)
        broker.close()
        with pytest.raises(ClosedError):
            await opening

    asyncio.run(main())


# ---- the end


def test_close_ends_requests_that_wait(broker: Broker) -> None:
    async def main() -> None:
        listener = await listen(broker, own_address())
        async with waiting(listener) as clients:
            await asyncio.gather(listener.close(), listener.close())
            await listener.close()
            for client in clients:
                assert hung_up_on(client)
        async with await listen(broker, listener.bootstrap_servers) as again:
            assert again.bootstrap_servers == listener.bootstrap_servers

    asyncio.run(main())


def test_close_waits_for_slow_requests_while_the_loop_goes_on(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on, is_over = Event(), Event(), Event()

    def wait(call: Call) -> Any:
        begun.set()
        assert go_on.wait(20)
        is_over.set()
        return call.response()

    serve_heartbeats(monkeypatch, wait)

    async def main() -> None:
        listener = await listen(broker)
        clients = [await asyncio.to_thread(RawClient, listener.bootstrap_servers) for _ in range(8)]
        for client in clients:  # more than there are workers
            client.send("Heartbeat", 4, **BEAT)
        served = await connections(listener, 8)
        await until(lambda: all(one.is_waiting for one in served))
        assert begun.wait(20)
        closing = asyncio.create_task(listener.close())
        for client in clients:
            assert await asyncio.to_thread(hung_up_on, client)
            client.close()
        assert not closing.done()
        go_on.set()
        await closing
        assert is_over.is_set()

    asyncio.run(main())


def test_listening_that_is_cancelled_leaves_nothing(broker: Broker) -> None:
    """After each round of the loop, until it listens."""

    async def main() -> int:
        for rounds in range(1000):
            opening = asyncio.create_task(listen(broker, "localhost:0"))
            for _ in range(rounds):
                await asyncio.sleep(0)
            if opening.done():
                await opening.result().close()
                return rounds
            before = asyncio.all_tasks()
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
            assert asyncio.all_tasks() < before
            assert broker._listeners == broker._clients == []
        raise AssertionError("it never listens")

    sockets = open_sockets()
    assert asyncio.run(main()) > 3
    assert open_sockets() <= sockets


def test_close_that_is_cancelled_goes_on_without_its_task(broker: Broker) -> None:
    async def main() -> int:
        for rounds in range(1, 100):
            listener = await listen(broker)
            client = await asyncio.to_thread(RawClient, listener.bootstrap_servers)
            fetch(client)
            await connections(listener, 1)
            closing = asyncio.create_task(listener.close())
            for _ in range(rounds):
                await asyncio.sleep(0)
            was_done = closing.done()
            closing.cancel()
            await asyncio.wait([closing])
            assert await asyncio.to_thread(hung_up_on, client)
            client.close()
            await listener.close()
            assert asyncio.all_tasks() == {asyncio.current_task()}
            if was_done:
                return rounds
        raise AssertionError("it never ends")

    assert asyncio.run(main()) > 2


def test_task_that_is_cancelled_again_while_it_ends_ends_in_order(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = hold_heartbeats(monkeypatch)

    async def main() -> None:
        listener = await listen(broker)
        client = await asyncio.to_thread(RawClient, listener.bootstrap_servers)
        client.send("Heartbeat", 4, **BEAT)
        await until(begun.is_set)
        task = listener._host._task
        for _ in range(10):
            task.cancel()
            await asyncio.sleep(0)
        assert not task.done()  # a request is still under way
        go_on.set()
        await asyncio.wait([task])
        assert await asyncio.to_thread(hung_up_on, client)
        client.close()

    asyncio.run(main())


def test_client_that_is_just_being_accepted_is_hung_up_on_as_well(broker: Broker) -> None:
    """asyncio lost it, and it waited for ever: the server was closed before it was a connection."""

    async def main() -> None:
        listener = await listen(broker)
        with connect(listener.bootstrap_servers) as sock:
            # As another thread does: in the next round the task is told, then asyncio accepts. In the one after that the task ends,
            # and then asyncio makes a connection of what it accepted.
            listener._host.endpoint.ask_to_end()
            await asyncio.wait([listener._host._task])
            assert is_closed(sock)

    asyncio.run(main())


def test_loop_that_ends_ends_it_too(broker: Broker) -> None:
    async def main() -> tuple[AsyncListener, RawClient]:
        listener = await listen(broker)
        client = await asyncio.to_thread(RawClient, listener.bootstrap_servers)
        fetch(client)
        await connections(listener, 1)
        return listener, client

    listener, client = asyncio.run(main())
    assert listener.closed
    assert hung_up_on(client)
    client.close()
    assert broker._listeners == broker._clients == []
    broker.close()


# ---- the broker's close


def test_broker_closed_in_the_loop_ends_it(broker: Broker) -> None:
    async def main() -> None:
        listener = await listen(broker)
        async with waiting(listener) as clients:
            broker.close()
            assert listener.closed
            await listener.close()
            for client in clients:
                assert hung_up_on(client)

    asyncio.run(main())


def test_broker_closed_by_another_thread_ends_it_first(broker: Broker) -> None:
    async def main() -> None:
        before = open_sockets()
        listener = await listen(broker)
        async with waiting(listener) as clients:
            await asyncio.to_thread(broker.close)
            assert listener.closed
            assert len(open_sockets() - before) == len(clients)
            for client in clients:
                assert hung_up_on(client)

    asyncio.run(main())


def test_broker_closed_by_two_threads_one_of_them_the_loops_does_not_deadlock(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The one waits for the loop, and the loop for the one."""
    monkeypatch.setattr(loop_host, "_PATIENCE_S", 0.2)

    async def main() -> None:
        listener = await listen(broker)
        waits = Event()
        wait = listener._host._wait_in_thread

        def wait_in_thread() -> None:
            waits.set()
            wait()

        monkeypatch.setattr(listener._host, "_wait_in_thread", wait_in_thread)
        async with waiting(listener) as clients:
            other = threading.Thread(target=broker.close)
            other.start()
            assert waits.wait(20)
            broker.close()
            other.join()
            await listener.close()
            for client in clients:
                assert hung_up_on(client)

    with caplog.at_level(logging.WARNING, "streamlog"):
        asyncio.run(main())
    assert "its loop has done nothing for" in caplog.text


def test_broker_closed_by_another_thread_waits_for_slow_requests(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """However long they take: it is only for a loop that does nothing that it does not wait."""
    begun, go_on = Event(), Event()
    looks: list[Signal] = []

    def look() -> Signal:
        looks.append(Signal())
        return looks[-1]

    class Paced(Signal):
        """Time that goes by with each answer of the loop."""

        def wait(self, timeout_s: float | None = None) -> bool:
            assert looks[-1].wait(20)
            return self.is_set()

    def wait(call: Call) -> Any:
        begun.set()
        assert go_on.wait(20)
        call.broker.check_open()  # which it still is
        return call.response()

    serve_heartbeats(monkeypatch, wait)
    monkeypatch.setattr(loop_host, "_LOOKS", 2)

    async def main() -> None:
        listener = await listen(broker)
        with await asyncio.to_thread(RawClient, listener.bootstrap_servers) as client:
            client.send("Heartbeat", 4, **BEAT)
            await until(begun.is_set)
            monkeypatch.setattr(loop_host, "Signal", look)
            listener._host._has_ended = Paced()
            closing = asyncio.create_task(asyncio.to_thread(broker.close))
            await until(lambda: len(looks) > 4)
            assert not closing.done()
            go_on.set()
            await closing
            assert hung_up_on(client)

    asyncio.run(main())
    assert caplog.text == ""


def test_broker_closed_by_one_of_its_requests_does_not_wait_for_it(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = Event()

    def close(call: Call) -> Any:
        broker.close()
        closed.set()
        return call.response()

    serve_heartbeats(monkeypatch, close)

    async def main() -> None:
        listener = await listen(broker)
        with await asyncio.to_thread(RawClient, listener.bootstrap_servers) as client:
            client.send("Heartbeat", 4, **BEAT)
            await asyncio.to_thread(hung_up_on, client)
        await listener.close()

    asyncio.run(main())
    assert closed.is_set()


@pytest.mark.parametrize("key", [3, 12], ids=["metadata", "heartbeat"])
def test_request_that_meets_a_closed_broker_is_no_error_of_ours(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, key: int
) -> None:
    """In the loop's thread the broker cannot wait for a worker, who then had a stack for the log."""
    begun, go_on = Event(), Event()
    serve = dispatch.ROUTES[key].handler

    def wait(call: Call) -> Any:
        begun.set()
        assert go_on.wait(20)
        return serve(call)

    monkeypatch.setitem(dispatch.ROUTES, key, dispatch.ROUTES[key]._replace(handler=wait))

    async def main() -> None:
        listener = await listen(broker)
        with await asyncio.to_thread(RawClient, listener.bootstrap_servers) as client:
            if key == 3:
                client.send("Metadata", 12, topics=None)
            else:
                client.send("Heartbeat", 4, **BEAT)
            await until(begun.is_set)
            broker.close()
            go_on.set()
            await listener.close()
            assert hung_up_on(client)

    asyncio.run(main())


def test_broker_closed_while_the_loop_stands_still_does_not_hang(broker: Broker) -> None:
    loop = asyncio.new_event_loop()
    listener = loop.run_until_complete(listen(broker))
    broker.close()
    assert listener.closed
    loop.run_until_complete(listener.close())
    loop.close()


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # whichever is collected first
@pytest.mark.parametrize("is_broker_closed", [True, False])
def test_loop_closed_over_it_leaves_no_socket(
    broker: Broker, is_broker_closed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A program's own mistake, of which asyncio tells; the port is free all the same."""
    loop = asyncio.new_event_loop()
    listener = loop.run_until_complete(listen(broker, own_address()))
    address = listener.bootstrap_servers
    loop.close()
    if is_broker_closed:
        broker.close()
        assert listener.closed
    else:  # dropped with its broker
        broker._clients.clear()
        broker._listeners.clear()
        del listener
        gc.collect()
    with Broker() as other, other.listen(address):
        pass
    listener = None
    gc.collect()
    assert "Task was destroyed" in caplog.text
    caplog.clear()


def test_closed_from_another_loop_it_ends(broker: Broker) -> None:
    async def main() -> None:
        listener = await listen(broker)
        await asyncio.to_thread(asyncio.run, listener.close())
        assert listener.closed
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_exception_in_the_block_closes_it(broker: Broker) -> None:
    async def main() -> None:
        with contextlib.suppress(ZeroDivisionError):
            async with await listen(broker) as listener:
                raise ZeroDivisionError
        assert listener.closed

    asyncio.run(main())
