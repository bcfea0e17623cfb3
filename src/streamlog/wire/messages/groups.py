"""Consumer groups of both protocols and their offsets. Format: see ``codec/schema.py``."""

from __future__ import annotations

TABLE = """
11 JoinGroupRequest 0-9 flexible 6+
group_id string
session_timeout_ms int32
rebalance_timeout_ms int32 1+ = -1
member_id string
group_instance_id string 5+ nullable = null
protocol_type string
protocols []
    name string
    metadata bytes
reason string 8+ nullable = null

11 JoinGroupResponse 0-9 flexible 6+
throttle_time_ms int32 2+
error_code int16
generation_id int32 = -1
protocol_type string 7+ nullable = null
protocol_name string nullable 7+
leader string
skip_assignment bool 9+
member_id string
members []
    member_id string
    group_instance_id string 5+ nullable = null
    metadata bytes

14 SyncGroupRequest 0-5 flexible 4+
group_id string
generation_id int32
member_id string
group_instance_id string 3+ nullable = null
protocol_type string 5+ nullable = null
protocol_name string 5+ nullable = null
assignments []
    member_id string
    assignment bytes

14 SyncGroupResponse 0-5 flexible 4+
throttle_time_ms int32 1+
error_code int16
protocol_type string 5+ nullable = null
protocol_name string 5+ nullable = null
assignment bytes

12 HeartbeatRequest 0-4 flexible 4+
group_id string
generation_id int32
member_id string
group_instance_id string 3+ nullable = null

12 HeartbeatResponse 0-4 flexible 4+
throttle_time_ms int32 1+
error_code int16

13 LeaveGroupRequest 0-5 flexible 4+
group_id string
member_id string 0-2
members [] 3+
    member_id string
    group_instance_id string nullable = null
    reason string 5+ nullable = null

13 LeaveGroupResponse 0-5 flexible 4+
throttle_time_ms int32 1+
error_code int16
members [] 3+
    member_id string
    group_instance_id string nullable
    error_code int16

8 OffsetCommitRequest 0-9 flexible 8+
group_id string
generation_id_or_member_epoch int32 1+ = -1
member_id string 1+
group_instance_id string 7+ nullable = null
retention_time_ms int64 2-4 = -1
topics []
    name string
    partitions []
        partition_index int32
        committed_offset int64
        committed_leader_epoch int32 6+ = -1
        commit_timestamp int64 1 = -1
        committed_metadata string nullable

8 OffsetCommitResponse 0-9 flexible 8+
throttle_time_ms int32 3+
topics []
    name string
    partitions []
        partition_index int32
        error_code int16

9 OffsetFetchRequest 0-9 flexible 6+
group_id string 0-7
topics [] 0-7 nullable 2-7
    name string
    partition_indexes []int32
groups [] 8+
    group_id string
    member_id string 9+ nullable = null
    member_epoch int32 9+ = -1
    topics [] nullable
        name string
        partition_indexes []int32
require_stable bool 7+

9 OffsetFetchResponse 0-9 flexible 6+
throttle_time_ms int32 3+
topics [] 0-7
    name string
    partitions []
        partition_index int32
        committed_offset int64
        committed_leader_epoch int32 5-7 = -1
        metadata string nullable
        error_code int16
error_code int16 2-7
groups [] 8+
    group_id string
    topics []
        name string
        partitions []
            partition_index int32
            committed_offset int64
            committed_leader_epoch int32 = -1
            metadata string nullable
            error_code int16
    error_code int16

47 OffsetDeleteRequest 0
group_id string
topics []
    name string
    partitions []
        partition_index int32

47 OffsetDeleteResponse 0
error_code int16
throttle_time_ms int32
topics []
    name string
    partitions []
        partition_index int32
        error_code int16

15 DescribeGroupsRequest 0-5 flexible 5+
groups []string
include_authorized_operations bool 3+

15 DescribeGroupsResponse 0-5 flexible 5+
throttle_time_ms int32 1+
groups []
    error_code int16
    group_id string
    group_state string
    protocol_type string
    protocol_data string
    members []
        member_id string
        group_instance_id string 4+ nullable = null
        client_id string
        client_host string
        member_metadata bytes
        member_assignment bytes
    authorized_operations int32 3+ = -2147483648

16 ListGroupsRequest 0-5 flexible 3+
states_filter []string 4+
types_filter []string 5+

16 ListGroupsResponse 0-5 flexible 3+
throttle_time_ms int32 1+
error_code int16
groups []
    group_id string
    protocol_type string
    group_state string 4+
    group_type string 5+

42 DeleteGroupsRequest 0-2 flexible 2+
groups_names []string

42 DeleteGroupsResponse 0-2 flexible 2+
throttle_time_ms int32
results []
    group_id string
    error_code int16

68 ConsumerGroupHeartbeatRequest 0-1 flexible 0+
group_id string
member_id string
member_epoch int32
instance_id string nullable = null
rack_id string nullable = null
rebalance_timeout_ms int32 = -1
subscribed_topic_names []string nullable = null
subscribed_topic_regex string 1+ nullable = null
server_assignor string nullable = null
topic_partitions [] nullable = null
    topic_id uuid
    partitions []int32

68 ConsumerGroupHeartbeatResponse 0-1 flexible 0+
throttle_time_ms int32
error_code int16
error_message string nullable = null
member_id string nullable = null
member_epoch int32
heartbeat_interval_ms int32
assignment {} nullable = null
    topic_partitions []
        topic_id uuid
        partitions []int32

69 ConsumerGroupDescribeRequest 0 flexible 0+
group_ids []string
include_authorized_operations bool

69 ConsumerGroupDescribeResponse 0 flexible 0+
throttle_time_ms int32
groups []
    error_code int16
    error_message string nullable = null
    group_id string
    group_state string
    group_epoch int32
    assignment_epoch int32
    assignor_name string
    members []
        member_id string
        instance_id string nullable = null
        rack_id string nullable = null
        member_epoch int32
        client_id string
        client_host string
        subscribed_topic_names []string
        subscribed_topic_regex string nullable = null
        assignment {}
            topic_partitions []
                topic_id uuid
                topic_name string
                partitions []int32
        target_assignment {}
            topic_partitions []
                topic_id uuid
                topic_name string
                partitions []int32
    authorized_operations int32 = -2147483648
"""
