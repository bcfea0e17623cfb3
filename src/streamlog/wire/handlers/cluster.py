"""What a cluster of one broker has to say of itself."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from streamlog.errors import StreamlogError
from streamlog.wire.authorized import CLUSTER, NOT_ASKED
from streamlog.wire.error_codes import code_of

if TYPE_CHECKING:
    from streamlog.broker.partition import Partition
    from streamlog.wire.call import Call

SECURITY_DISABLED = 54
ELECTION_NOT_NEEDED = 84
MISMATCHED_ENDPOINT_TYPE, UNSUPPORTED_ENDPOINT_TYPE = 114, 115

_BROKERS, _CONTROLLERS = 1, 2


def handle_describe(call: Call) -> Any:
    """DescribeCluster: this broker."""
    make, settings, asked = call.response, call.settings, call.request.endpoint_type
    if asked != _BROKERS:
        is_known = asked == _CONTROLLERS
        return make(
            error_code=MISMATCHED_ENDPOINT_TYPE if is_known else UNSUPPORTED_ENDPOINT_TYPE,
            error_message=f"endpoint_type: expected {_BROKERS}, brokers, found {asked}",
        )
    operations = CLUSTER if call.request.include_cluster_authorized_operations else NOT_ASKED
    return make(
        endpoint_type=_BROKERS,
        cluster_id=call.broker.cluster_id,
        controller_id=settings.node_id,
        brokers=[
            make.Brokers(
                broker_id=settings.node_id,
                host=settings.advertised_host,
                port=settings.advertised_port,
            )
        ],
        cluster_authorized_operations=operations,
    )


def handle_log_dirs(call: Call) -> Any:
    """DescribeLogDirs: the data directory and the bytes of each partition in it; None asks for all of them."""
    make = call.response
    sizes: dict[str, list[Any]] = defaultdict(list)
    results = make.Results
    for partition in _partitions(call):
        if partition.is_refused:
            continue
        try:
            size = partition.log.size_bytes
        except (StreamlogError, OSError):
            continue  # deleted meanwhile
        sizes[partition.topic].append(
            results.Topics.Partitions(partition_index=partition.number, partition_size=size)
        )
    directory = results(
        log_dir=call.broker.path or "memory",
        topics=[results.Topics(name=name, partitions=found) for name, found in sizes.items()],
    )
    return make(results=[directory])


def _partitions(call: Call) -> list[Partition]:
    broker, wanted = call.broker, call.request.topics
    if wanted is None:
        return list(broker.topic_registry.partitions())
    found = []
    for topic in wanted:
        for number in topic.partitions:
            try:
                found.append(broker.partition(topic.topic, number))
            except StreamlogError:
                continue  # what does not exist is not listed, as in Kafka
    return list(dict.fromkeys(found))


def handle_reassignments(call: Call) -> Any:
    """ListPartitionReassignments: there is nowhere to move a partition to."""
    return call.response()


def handle_elect_leaders(call: Call) -> Any:
    """ElectLeaders: the only replica leads already."""
    make = call.response.ReplicaElectionResults
    wanted = call.request.topic_partitions
    if wanted is None:
        return call.response()
    results = []
    for topic in wanted:
        found = []
        for number in topic.partitions:
            answer = make.PartitionResult(partition_id=number, error_code=ELECTION_NOT_NEEDED)
            try:
                call.broker.partition(topic.topic, number)
            except StreamlogError as error:
                answer.error_code, answer.error_message = code_of(error), str(error)
            found.append(answer)
        results.append(make(topic=topic.topic, partition_result=found))
    return call.response(replica_election_results=results)


def handle_acls(call: Call) -> Any:
    """DescribeAcls: as a Kafka broker without an authorizer."""
    return call.response(error_code=SECURITY_DISABLED, error_message="there is no access control")
