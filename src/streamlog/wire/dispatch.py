"""Which requests are served, in which versions, and by whom: the table that ApiVersions shows.

It is a fingerprint as well: clients guess the broker's release from it, and choose formats by that. So the versions are those that
every client was seen to get along with, and not all that could be read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from streamlog.wire.call import Call
from streamlog.wire.handlers import (
    api_versions,
    cluster,
    configs,
    fetch,
    list_offsets,
    metadata,
    produce,
    security,
    topics,
    transaction_looks,
    transactions,
)
from streamlog.wire.handlers.groups import (
    consumer_groups,
    coordinators,
    looks,
    membership,
    offsets,
    rebalance,
)
from streamlog.wire.messages import BY_NAME

API_VERSIONS_KEY = 18


class Route(NamedTuple):
    """Who serves an API."""

    first: int
    """The first version that is served and advertised."""
    last: int
    handler: Callable[[Call], Any]
    is_slow: bool
    """Whether it may wait for a disk, and so runs in a thread of its own."""


def _route(
    name: str, first: int, last: int, handler: Callable[[Call], Any], *, is_slow: bool = False
) -> tuple[int, Route]:
    api = BY_NAME[name]
    assert first in api.request.schema.versions and last in api.request.schema.versions
    return api.key, Route(first, last, handler, is_slow)


ROUTES: dict[int, Route] = dict(
    (
        _route("ApiVersions", 0, 3, api_versions.handle),
        _route("Metadata", 0, 12, metadata.handle, is_slow=True),
        _route("Produce", 0, 9, produce.handle),
        _route("Fetch", 4, 13, fetch.handle),
        _route("ListOffsets", 1, 7, list_offsets.handle),
        _route("OffsetForLeaderEpoch", 2, 4, list_offsets.handle_epochs),
        _route("DeleteRecords", 0, 2, list_offsets.handle_delete, is_slow=True),
        _route("CreateTopics", 0, 7, topics.handle_create, is_slow=True),
        _route("DeleteTopics", 0, 6, topics.handle_delete, is_slow=True),
        _route("CreatePartitions", 0, 3, topics.handle_create_partitions, is_slow=True),
        _route("DescribeConfigs", 0, 4, configs.handle_describe, is_slow=True),
        _route("AlterConfigs", 0, 2, configs.handle_alter, is_slow=True),
        _route("IncrementalAlterConfigs", 0, 1, configs.handle_incremental_alter, is_slow=True),
        _route("DescribeCluster", 0, 1, cluster.handle_describe),
        _route("DescribeLogDirs", 0, 4, cluster.handle_log_dirs, is_slow=True),
        _route("ListPartitionReassignments", 0, 0, cluster.handle_reassignments),
        _route("ElectLeaders", 0, 2, cluster.handle_elect_leaders),
        _route("DescribeAcls", 0, 3, cluster.handle_acls),
        _route("SaslHandshake", 0, 1, security.handle_sasl),
        _route("FindCoordinator", 0, 4, coordinators.handle),
        _route("JoinGroup", 0, 7, rebalance.handle_join, is_slow=True),
        _route("SyncGroup", 0, 5, rebalance.handle_sync, is_slow=True),
        _route("Heartbeat", 0, 4, membership.handle_heartbeat, is_slow=True),
        _route("LeaveGroup", 0, 5, membership.handle_leave, is_slow=True),
        _route("OffsetCommit", 1, 9, offsets.handle_commit, is_slow=True),
        _route("OffsetFetch", 1, 9, offsets.handle_fetch, is_slow=True),
        _route("OffsetDelete", 0, 0, offsets.handle_delete, is_slow=True),
        _route("DescribeGroups", 0, 5, looks.handle_describe, is_slow=True),
        _route("ListGroups", 0, 5, looks.handle_list, is_slow=True),
        _route("DeleteGroups", 0, 2, looks.handle_delete, is_slow=True),
        _route("InitProducerId", 0, 4, transactions.handle_init, is_slow=True),
        _route("AddPartitionsToTxn", 0, 3, transactions.handle_add_partitions, is_slow=True),
        _route("AddOffsetsToTxn", 0, 3, transactions.handle_add_offsets, is_slow=True),
        _route("EndTxn", 0, 3, transactions.handle_end, is_slow=True),
        _route("TxnOffsetCommit", 0, 3, transactions.handle_commit_offsets, is_slow=True),
        _route("DescribeProducers", 0, 0, transaction_looks.handle_producers, is_slow=True),
        _route("DescribeTransactions", 0, 0, transaction_looks.handle_describe, is_slow=True),
        _route("ListTransactions", 0, 1, transaction_looks.handle_list, is_slow=True),
        _route("ConsumerGroupHeartbeat", 0, 1, consumer_groups.handle_heartbeat, is_slow=True),
        _route("ConsumerGroupDescribe", 0, 0, consumer_groups.handle_describe, is_slow=True),
    )
)
"""By API key."""
