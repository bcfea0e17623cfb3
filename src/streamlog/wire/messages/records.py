"""Writing, reading and finding records. Format: see ``codec/schema.py``."""

from __future__ import annotations

TABLE = """
0 ProduceRequest 0-11 flexible 9+
transactional_id string 3+ nullable = null
acks int16
timeout_ms int32
topic_data []
    name string
    partition_data []
        index int32
        records records nullable

0 ProduceResponse 0-11 flexible 9+
responses []
    name string
    partition_responses []
        index int32
        error_code int16
        base_offset int64
        log_append_time_ms int64 2+ = -1
        log_start_offset int64 5+ = -1
        record_errors [] 8+
            batch_index int32
            batch_index_error_message string nullable = null
        error_message string 8+ nullable = null
        current_leader {} 10+ tag 0
            leader_id int32 = -1
            leader_epoch int32 = -1
throttle_time_ms int32 1+
node_endpoints [] 10+ tag 0
    node_id int32
    host string
    port int32
    rack string nullable = null

1 FetchRequest 0-13 flexible 12+
cluster_id string 12+ nullable tag 0 = null
replica_id int32 = -1
max_wait_ms int32
min_bytes int32
max_bytes int32 3+ = 2147483647
isolation_level int8 4+
session_id int32 7+
session_epoch int32 7+ = -1
topics []
    topic string 0-12
    topic_id uuid 13+
    partitions []
        partition int32
        current_leader_epoch int32 9+ = -1
        fetch_offset int64
        last_fetched_epoch int32 12+ = -1
        log_start_offset int64 5+ = -1
        partition_max_bytes int32
forgotten_topics_data [] 7+
    topic string 7-12
    topic_id uuid 13+
    partitions []int32
rack_id string 11+

1 FetchResponse 0-13 flexible 12+
throttle_time_ms int32 1+
error_code int16 7+
session_id int32 7+
responses []
    topic string 0-12
    topic_id uuid 13+
    partitions []
        partition_index int32
        error_code int16
        high_watermark int64
        last_stable_offset int64 4+ = -1
        log_start_offset int64 5+ = -1
        diverging_epoch {} 12+ tag 0
            epoch int32 = -1
            end_offset int64 = -1
        current_leader {} 12+ tag 1
            leader_id int32 = -1
            leader_epoch int32 = -1
        snapshot_id {} 12+ tag 2
            end_offset int64 0+ = -1
            epoch int32 0+ = -1
        aborted_transactions [] 4+ nullable
            producer_id int64
            first_offset int64
        preferred_read_replica int32 11+ = -1
        records records nullable

2 ListOffsetsRequest 0-9 flexible 6+
replica_id int32
isolation_level int8 2+
topics []
    name string
    partitions []
        partition_index int32
        current_leader_epoch int32 4+ = -1
        timestamp int64
        max_num_offsets int32 0 = 1

2 ListOffsetsResponse 0-9 flexible 6+
throttle_time_ms int32 2+
topics []
    name string
    partitions []
        partition_index int32
        error_code int16
        old_style_offsets []int64 0
        timestamp int64 1+ = -1
        offset int64 1+ = -1
        leader_epoch int32 4+ = -1

23 OffsetForLeaderEpochRequest 0-4 flexible 4+
replica_id int32 3+ = -2
topics []
    topic string
    partitions []
        partition int32
        current_leader_epoch int32 2+ = -1
        leader_epoch int32

23 OffsetForLeaderEpochResponse 0-4 flexible 4+
throttle_time_ms int32 2+
topics []
    topic string
    partitions []
        error_code int16
        partition int32
        leader_epoch int32 1+ = -1
        end_offset int64 = -1

21 DeleteRecordsRequest 0-2 flexible 2+
topics []
    name string
    partitions []
        partition_index int32
        offset int64
timeout_ms int32

21 DeleteRecordsResponse 0-2 flexible 2+
throttle_time_ms int32
topics []
    name string
    partitions []
        partition_index int32
        low_watermark int64
        error_code int16
"""
