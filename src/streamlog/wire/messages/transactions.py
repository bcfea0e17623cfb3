"""Producers with an id and their transactions. Format: see ``codec/schema.py``."""

from __future__ import annotations

TABLE = """
22 InitProducerIdRequest 0-5 flexible 2+
transactional_id string nullable
transaction_timeout_ms int32
producer_id int64 3+ = -1
producer_epoch int16 3+ = -1

22 InitProducerIdResponse 0-5 flexible 2+
throttle_time_ms int32
error_code int16
producer_id int64 = -1
producer_epoch int16

24 AddPartitionsToTxnRequest 0-3 flexible 3+
transactional_id string
producer_id int64
producer_epoch int16
topics []
    name string
    partitions []int32

24 AddPartitionsToTxnResponse 0-3 flexible 3+
throttle_time_ms int32
results_by_topic []
    name string
    results_by_partition []
        partition_index int32
        partition_error_code int16

25 AddOffsetsToTxnRequest 0-4 flexible 3+
transactional_id string
producer_id int64
producer_epoch int16
group_id string

25 AddOffsetsToTxnResponse 0-4 flexible 3+
throttle_time_ms int32
error_code int16

26 EndTxnRequest 0-5 flexible 3+
transactional_id string
producer_id int64
producer_epoch int16
committed bool

26 EndTxnResponse 0-5 flexible 3+
throttle_time_ms int32
error_code int16
producer_id int64 5+ = -1
producer_epoch int16 5+ = -1

28 TxnOffsetCommitRequest 0-4 flexible 3+
transactional_id string
group_id string
producer_id int64
producer_epoch int16
generation_id int32 3+ = -1
member_id string 3+
group_instance_id string 3+ nullable = null
topics []
    name string
    partitions []
        partition_index int32
        committed_offset int64
        committed_leader_epoch int32 2+ = -1
        committed_metadata string nullable

28 TxnOffsetCommitResponse 0-4 flexible 3+
throttle_time_ms int32
topics []
    name string
    partitions []
        partition_index int32
        error_code int16

61 DescribeProducersRequest 0 flexible 0+
topics []
    name string
    partition_indexes []int32

61 DescribeProducersResponse 0 flexible 0+
throttle_time_ms int32
topics []
    name string
    partitions []
        partition_index int32
        error_code int16
        error_message string nullable = null
        active_producers []
            producer_id int64
            producer_epoch int32
            last_sequence int32 = -1
            last_timestamp int64 = -1
            coordinator_epoch int32
            current_txn_start_offset int64 = -1

65 DescribeTransactionsRequest 0 flexible 0+
transactional_ids []string

65 DescribeTransactionsResponse 0 flexible 0+
throttle_time_ms int32
transaction_states []
    error_code int16
    transactional_id string
    transaction_state string
    transaction_timeout_ms int32
    transaction_start_time_ms int64
    producer_id int64
    producer_epoch int16
    topics []
        topic string
        partitions []int32

66 ListTransactionsRequest 0-1 flexible 0+
state_filters []string
producer_id_filters []int64
duration_filter int64 1+ = -1

66 ListTransactionsResponse 0-1 flexible 0+
throttle_time_ms int32
error_code int16
unknown_state_filters []string
transaction_states []
    transactional_id string
    producer_id int64
    transaction_state string

27 WriteTxnMarkersRequest 0-1 flexible 1+
markers []
    producer_id int64
    producer_epoch int16
    transaction_result bool
    topics []
        name string
        partition_indexes []int32
    coordinator_epoch int32

27 WriteTxnMarkersResponse 0-1 flexible 1+
markers []
    producer_id int64
    topics []
        name string
        partitions []
            partition_index int32
            error_code int16
"""
