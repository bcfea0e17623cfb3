"""What a broker begins with once its directory is open for writing, and then does by the clock."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING
from weakref import ref

from streamlog.errors import ClosedError

if TYPE_CHECKING:
    from streamlog.broker.broker import Broker
    from streamlog.broker.broker_resources import BrokerResources
    from streamlog.structs import TopicPartition


def begin_care(broker: Broker, resources: BrokerResources) -> None:
    """End what a process that has ended left open, and begin to let offsets and ids expire.

    The timers know *broker* by weak references only: one that nobody holds any more is not kept alive.
    """
    topics = resources.topics
    # Greater than what will be given out, after a STATE that was lost while the clock was wrong, and never else.
    broker.producer_ids.pass_over(topics.greatest_producer_id())
    config, repeat = broker.config, resources.maintenance.repeat
    repeat(config.offsets_retention_check_interval_ms, partial(_expire_offsets, ref(broker)))
    repeat(
        config.transaction_remove_expired_transaction_cleanup_interval_ms,
        partial(_expire_transactional_ids, ref(broker)),
    )
    topics.verify_transactions_with(partial(_verify_transaction, ref(broker)))
    if any(not p.is_refused and p.log.open_transactions() for p in topics.partitions()):
        broker.transaction_coordinator.finish_left_open(topics.partitions())


def _expire_offsets(broker: ref[Broker]) -> None:
    alive = broker()
    if alive is not None and not alive.closed:
        alive._expire_offsets()


def _expire_transactional_ids(broker: ref[Broker]) -> None:
    alive = broker()
    if alive is not None and not alive.closed:
        alive._expire_transactional_ids()


def _verify_transaction(
    broker: ref[Broker], producer_id: int, producer_epoch: int, topic_partition: TopicPartition
) -> None:
    alive = broker()
    if alive is None:
        raise ClosedError(f"{topic_partition}: nobody holds the broker any more")
    alive.transaction_coordinator.add_partition(producer_id, producer_epoch, topic_partition)
