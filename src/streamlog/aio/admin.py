"""`Admin` for asyncio."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.aio.delegation import in_thread
from streamlog.client.admin import Admin

if TYPE_CHECKING:
    from types import TracebackType

    from streamlog.broker.broker import Broker


class AsyncAdmin:
    """What `Admin` does, awaited: each call runs in a worker thread, since it may wait for the disk.

    Threads: any loop. Source: Kafka ``org.apache.kafka.clients.admin.Admin``.
    """

    def __init__(self, broker: Broker) -> None:
        self._client = Admin(broker)
        self._is_virtual = broker.runtime.clock.is_virtual

    def __repr__(self) -> str:
        return repr(self._client).replace("<Admin", "<AsyncAdmin", 1)

    create_topics = in_thread(Admin.create_topics)
    delete_topics = in_thread(Admin.delete_topics)
    describe_topics = in_thread(Admin.describe_topics)
    list_topics = in_thread(Admin.list_topics)
    create_partitions = in_thread(Admin.create_partitions)
    list_offsets = in_thread(Admin.list_offsets)
    delete_records = in_thread(Admin.delete_records)
    describe_configs = in_thread(Admin.describe_configs)
    incremental_alter_configs = in_thread(Admin.incremental_alter_configs)
    list_consumer_groups = in_thread(Admin.list_consumer_groups)
    describe_consumer_groups = in_thread(Admin.describe_consumer_groups)
    delete_consumer_groups = in_thread(Admin.delete_consumer_groups)
    list_consumer_group_offsets = in_thread(Admin.list_consumer_group_offsets)
    alter_consumer_group_offsets = in_thread(Admin.alter_consumer_group_offsets)
    reset_consumer_group_offsets = in_thread(Admin.reset_consumer_group_offsets)
    delete_consumer_group_offsets = in_thread(Admin.delete_consumer_group_offsets)
    list_transactions = in_thread(Admin.list_transactions)
    describe_transactions = in_thread(Admin.describe_transactions)
    describe_producers = in_thread(Admin.describe_producers)
    fence_producers = in_thread(Admin.fence_producers)
    force_terminate_transaction = in_thread(Admin.force_terminate_transaction)
    abort_transaction = in_thread(Admin.abort_transaction)

    async def close(self) -> None:
        """Refuse further use. The broker stays open. Closing again changes nothing."""
        self._client.close()

    async def __aenter__(self) -> AsyncAdmin:
        self._client.__enter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
