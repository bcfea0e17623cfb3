"""What there is: versions, brokers, directories. Format: see ``codec/schema.py``."""

from __future__ import annotations

TABLE = """
18 ApiVersionsRequest 0-4 flexible 3+
client_software_name string 3+
client_software_version string 3+

18 ApiVersionsResponse 0-4 flexible 3+
error_code int16
api_keys []
    api_key int16
    min_version int16
    max_version int16
throttle_time_ms int32 1+
supported_features [] 3+ tag 0
    name string
    min_version int16
    max_version int16
finalized_features_epoch int64 3+ tag 1 = -1
finalized_features [] 3+ tag 2
    name string
    max_version_level int16
    min_version_level int16
zk_migration_ready bool 3+ tag 3

3 MetadataRequest 0-12 flexible 9+
topics [] nullable 1+
    topic_id uuid 10+
    name string nullable 10+
allow_auto_topic_creation bool 4+ = true
include_cluster_authorized_operations bool 8-10
include_topic_authorized_operations bool 8+

3 MetadataResponse 0-12 flexible 9+
throttle_time_ms int32 3+
brokers []
    node_id int32
    host string
    port int32
    rack string 1+ nullable = null
cluster_id string 2+ nullable = null
controller_id int32 1+ = -1
topics []
    error_code int16
    name string nullable 12+
    topic_id uuid 10+
    is_internal bool 1+
    partitions []
        error_code int16
        partition_index int32
        leader_id int32
        leader_epoch int32 7+ = -1
        replica_nodes []int32
        isr_nodes []int32
        offline_replicas []int32 5+
    topic_authorized_operations int32 8+ = -2147483648
cluster_authorized_operations int32 8-10 = -2147483648

10 FindCoordinatorRequest 0-6 flexible 3+
key string 0-3
key_type int8 1+
coordinator_keys []string 4+

10 FindCoordinatorResponse 0-6 flexible 3+
throttle_time_ms int32 1+
error_code int16 0-3
error_message string 1-3 nullable
node_id int32 0-3
host string 0-3
port int32 0-3
coordinators [] 4+
    key string
    node_id int32
    host string
    port int32
    error_code int16
    error_message string nullable

60 DescribeClusterRequest 0-1 flexible 0+
include_cluster_authorized_operations bool
endpoint_type int8 1+ = 1

60 DescribeClusterResponse 0-1 flexible 0+
throttle_time_ms int32
error_code int16
error_message string nullable = null
endpoint_type int8 1+ = 1
cluster_id string
controller_id int32 = -1
brokers []
    broker_id int32
    host string
    port int32
    rack string nullable = null
cluster_authorized_operations int32 = -2147483648

35 DescribeLogDirsRequest 0-4 flexible 2+
topics [] nullable
    topic string
    partitions []int32

35 DescribeLogDirsResponse 0-4 flexible 2+
throttle_time_ms int32
error_code int16 3+
results []
    error_code int16
    log_dir string
    topics []
        name string
        partitions []
            partition_index int32
            partition_size int64
            offset_lag int64
            is_future_key bool
    total_bytes int64 4+ = -1
    usable_bytes int64 4+ = -1

17 SaslHandshakeRequest 0-1
mechanism string

17 SaslHandshakeResponse 0-1
error_code int16
mechanisms []string

43 ElectLeadersRequest 0-2 flexible 2+
election_type int8 1+
topic_partitions [] nullable
    topic string
    partitions []int32
timeout_ms int32 = 60000

43 ElectLeadersResponse 0-2 flexible 2+
throttle_time_ms int32
error_code int16 1+
replica_election_results []
    topic string
    partition_result []
        partition_id int32
        error_code int16
        error_message string nullable

46 ListPartitionReassignmentsRequest 0 flexible 0+
timeout_ms int32 = 60000
topics [] nullable = null
    name string
    partition_indexes []int32

46 ListPartitionReassignmentsResponse 0 flexible 0+
throttle_time_ms int32
error_code int16
error_message string nullable
topics []
    name string
    partitions []
        partition_index int32
        replicas []int32
        adding_replicas []int32
        removing_replicas []int32

29 DescribeAclsRequest 0-3 flexible 2+
resource_type_filter int8
resource_name_filter string nullable
pattern_type_filter int8 1+ = 3
principal_filter string nullable
host_filter string nullable
operation int8
permission_type int8

29 DescribeAclsResponse 0-3 flexible 2+
throttle_time_ms int32
error_code int16
error_message string nullable
resources []
    resource_type int8
    resource_name string
    pattern_type int8 1+ = 3
    acls []
        principal string
        host string
        operation int8
        permission_type int8
"""
