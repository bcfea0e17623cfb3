"""Topics and their configuration. Format: see ``codec/schema.py``."""

from __future__ import annotations

TABLE = """
19 CreateTopicsRequest 0-7 flexible 5+
topics []
    name string
    num_partitions int32
    replication_factor int16
    assignments []
        partition_index int32
        broker_ids []int32
    configs []
        name string
        value string nullable
timeout_ms int32 = 60000
validate_only bool 1+

19 CreateTopicsResponse 0-7 flexible 5+
throttle_time_ms int32 2+
topics []
    name string
    topic_id uuid 7+
    error_code int16
    error_message string 1+ nullable
    topic_config_error_code int16 5+ tag 0
    num_partitions int32 5+ = -1
    replication_factor int16 5+ = -1
    configs [] 5+ nullable
        name string
        value string nullable
        read_only bool
        config_source int8 = -1
        is_sensitive bool

20 DeleteTopicsRequest 0-6 flexible 4+
topics [] 6+
    name string nullable = null
    topic_id uuid
topic_names []string 0-5
timeout_ms int32

20 DeleteTopicsResponse 0-6 flexible 4+
throttle_time_ms int32 1+
responses []
    name string nullable 6+
    topic_id uuid 6+
    error_code int16
    error_message string 5+ nullable = null

37 CreatePartitionsRequest 0-3 flexible 2+
topics []
    name string
    count int32
    assignments [] nullable
        broker_ids []int32
timeout_ms int32
validate_only bool

37 CreatePartitionsResponse 0-3 flexible 2+
throttle_time_ms int32
results []
    name string
    error_code int16
    error_message string nullable = null

32 DescribeConfigsRequest 0-4 flexible 4+
resources []
    resource_type int8
    resource_name string
    configuration_keys []string nullable
include_synonyms bool 1+
include_documentation bool 3+

32 DescribeConfigsResponse 0-4 flexible 4+
throttle_time_ms int32
results []
    error_code int16
    error_message string nullable
    resource_type int8
    resource_name string
    configs []
        name string
        value string nullable
        read_only bool
        is_default bool 0
        config_source int8 1+ = -1
        is_sensitive bool
        synonyms [] 1+
            name string
            value string nullable
            source int8
        config_type int8 3+
        documentation string 3+ nullable

33 AlterConfigsRequest 0-2 flexible 2+
resources []
    resource_type int8
    resource_name string
    configs []
        name string
        value string nullable
validate_only bool

33 AlterConfigsResponse 0-2 flexible 2+
throttle_time_ms int32
responses []
    error_code int16
    error_message string nullable
    resource_type int8
    resource_name string

44 IncrementalAlterConfigsRequest 0-1 flexible 1+
resources []
    resource_type int8
    resource_name string
    configs []
        name string
        config_operation int8
        value string nullable
validate_only bool

44 IncrementalAlterConfigsResponse 0-1 flexible 1+
throttle_time_ms int32
responses []
    error_code int16
    error_message string nullable
    resource_type int8
    resource_name string

75 DescribeTopicPartitionsRequest 0 flexible 0+
topics []
    name string
response_partition_limit int32 = 2000
cursor {} nullable = null
    topic_name string
    partition_index int32

75 DescribeTopicPartitionsResponse 0 flexible 0+
throttle_time_ms int32
topics []
    error_code int16
    name string nullable
    topic_id uuid
    is_internal bool
    partitions []
        error_code int16
        partition_index int32
        leader_id int32
        leader_epoch int32 = -1
        replica_nodes []int32
        isr_nodes []int32
        eligible_leader_replicas []int32 nullable = null
        last_known_elr []int32 nullable = null
        offline_replicas []int32
    topic_authorized_operations int32 = -2147483648
next_cursor {} nullable = null
    topic_name string
    partition_index int32
"""
