from __future__ import annotations

import asyncio

import pytest

from streamlog.aio import AsyncAdmin
from streamlog.broker.broker import Broker
from streamlog.client.admin import Admin
from streamlog.errors import ClosedError, GroupIdNotFoundError


def test_every_call_of_the_blocking_client_is_there() -> None:
    def calls(client: type) -> set[str]:
        return {name for name in dir(client) if not name.startswith("_")}

    assert calls(AsyncAdmin) == calls(Admin)


def test_calls_are_awaited_and_raise_what_the_others_do() -> None:
    async def main(broker: Broker) -> None:
        async with AsyncAdmin(broker) as admin:
            await admin.create_topics(["t"])
            assert await admin.list_topics() == ["t"]
            assert repr(admin) == "<AsyncAdmin of <Broker 1 in memory>>"
            with pytest.raises(GroupIdNotFoundError):
                await admin.describe_consumer_groups(["g"])
        with pytest.raises(ClosedError):
            await admin.list_topics()

    with Broker() as broker:
        asyncio.run(main(broker))
