"""streamlog: an embeddable, single-process Kafka.

Everything public is here; helpers for tests are in `streamlog.testing`. Start with `Broker`, then `Producer` and
`Consumer`; `Admin` looks after topics and groups. Every error is a `StreamlogError`.

>>> with Broker() as broker:
...     broker.create_topic("orders", partitions=3).name
'orders'
"""

from streamlog.broker.assignors import MemberSubscription
from streamlog.broker.broker import Broker
from streamlog.broker.group import GroupState
from streamlog.broker.group_description import (
    ConsumerGroupDescription,
    ConsumerGroupListing,
    GroupOffset,
    MemberDescription,
)
from streamlog.broker.group_member import MemberState
from streamlog.client.admin import Admin
from streamlog.client.config_entry import (
    AlterConfigOp,
    ConfigEntry,
    ConfigResource,
    ConfigResourceType,
    ConfigSource,
    OpType,
)
from streamlog.client.consumer import Consumer
from streamlog.client.consumer_inspection import ConsumerMetrics
from streamlog.client.consumer_records import ConsumerRecords
from streamlog.client.new_topic import NewTopic
from streamlog.client.offset_spec import ListedOffset, OffsetSpec
from streamlog.client.partition_assignor import (
    CooperativeStickyAssignor,
    PartitionAssignor,
    RangeAssignor,
    RoundRobinAssignor,
    StickyAssignor,
)
from streamlog.client.producer import Producer
from streamlog.client.rebalance_listener import RebalanceListener
from streamlog.client.record_future import RecordFuture, RunFuture
from streamlog.client.reset_to import ResetTo
from streamlog.config import BrokerConfig, ConsumerConfig, ProducerConfig, TopicConfig
from streamlog.errors import (
    AlreadyOpenError,
    BufferExhaustedError,
    ClosedError,
    CommitFailedError,
    ConcurrentModificationError,
    CoordinatorNotAvailableError,
    CorruptLogError,
    CorruptRecordError,
    DataLossError,
    DeadlockError,
    DiskFullError,
    DurabilityError,
    FencedInstanceIdError,
    FencedMemberEpochError,
    ForkedError,
    GroupIdNotFoundError,
    GroupMaxSizeReachedError,
    GroupNotEmptyError,
    GroupSubscribedToTopicError,
    IllegalGenerationError,
    IllegalStateError,
    InconsistentGroupProtocolError,
    InvalidConfigurationError,
    InvalidGroupIdError,
    InvalidPartitionsError,
    InvalidRecordError,
    InvalidReplicationFactorError,
    InvalidRequestError,
    InvalidSessionTimeoutError,
    InvalidTimestampError,
    InvalidTopicError,
    LogTruncationError,
    MemberIdRequiredError,
    MessageTooLargeError,
    NoOffsetForPartitionError,
    NotLeaderOrFollowerError,
    NotStreamlogDirectoryError,
    OffsetMetadataTooLargeError,
    OffsetOutOfRangeError,
    PolicyViolationError,
    RebalanceInProgressError,
    RecordBatchTooLargeError,
    RecordDecodeError,
    RecordTooLargeError,
    RetriableCommitFailedError,
    RetriableError,
    SerializationError,
    StaleMemberEpochError,
    StorageError,
    StreamlogError,
    StreamlogTimeoutError,
    TopicAlreadyExistsError,
    UnknownMemberIdError,
    UnknownTopicOrPartitionError,
    UnreleasedInstanceIdError,
    UnsupportedFormatError,
    WakeupError,
)
from streamlog.storage.recovery_report import (
    DamagedRange,
    PartitionRecovery,
    RecoveryOutcome,
    RecoveryReport,
)
from streamlog.structs import (
    NO_TIMESTAMP,
    ConsumerGroupMetadata,
    ConsumerRecord,
    Durability,
    Header,
    Isolation,
    OffsetAndMetadata,
    OffsetAndTimestamp,
    PartitionInfo,
    ProducerRecord,
    RecordMetadata,
    TimestampType,
    TopicDescription,
    TopicPartition,
)

__version__ = "0.1.0"

__all__ = [
    # broker
    "Broker",
    "DamagedRange",
    "PartitionRecovery",
    "RecoveryOutcome",
    "RecoveryReport",
    # producer
    "Producer",
    "RecordFuture",
    "RunFuture",
    # consumer
    "Consumer",
    "ConsumerMetrics",
    "ConsumerRecords",
    "RebalanceListener",
    "PartitionAssignor",
    "MemberSubscription",
    "RangeAssignor",
    "RoundRobinAssignor",
    "StickyAssignor",
    "CooperativeStickyAssignor",
    # admin
    "Admin",
    "AlterConfigOp",
    "ConfigEntry",
    "ConfigResource",
    "ConfigResourceType",
    "ConfigSource",
    "ConsumerGroupDescription",
    "ConsumerGroupListing",
    "GroupOffset",
    "GroupState",
    "ListedOffset",
    "MemberDescription",
    "MemberState",
    "NewTopic",
    "OffsetSpec",
    "OpType",
    "ResetTo",
    # configuration
    "BrokerConfig",
    "ConsumerConfig",
    "ProducerConfig",
    "TopicConfig",
    # plain values
    "NO_TIMESTAMP",
    "ConsumerGroupMetadata",
    "ConsumerRecord",
    "Durability",
    "Header",
    "Isolation",
    "OffsetAndMetadata",
    "OffsetAndTimestamp",
    "PartitionInfo",
    "ProducerRecord",
    "RecordMetadata",
    "TimestampType",
    "TopicDescription",
    "TopicPartition",
    # errors
    "StreamlogError",
    "RetriableError",
    "IllegalStateError",
    "ClosedError",
    "ForkedError",
    "ConcurrentModificationError",
    "WakeupError",
    "DeadlockError",
    "InvalidConfigurationError",
    "InvalidRequestError",
    "PolicyViolationError",
    "SerializationError",
    "RecordDecodeError",
    "InvalidRecordError",
    "InvalidTimestampError",
    "RecordTooLargeError",
    "MessageTooLargeError",
    "RecordBatchTooLargeError",
    "InvalidTopicError",
    "TopicAlreadyExistsError",
    "UnknownTopicOrPartitionError",
    "InvalidPartitionsError",
    "InvalidReplicationFactorError",
    "NotLeaderOrFollowerError",
    "OffsetOutOfRangeError",
    "LogTruncationError",
    "NoOffsetForPartitionError",
    "CorruptRecordError",
    "StorageError",
    "CorruptLogError",
    "DataLossError",
    "UnsupportedFormatError",
    "NotStreamlogDirectoryError",
    "AlreadyOpenError",
    "DiskFullError",
    "DurabilityError",
    "StreamlogTimeoutError",
    "BufferExhaustedError",
    "InvalidGroupIdError",
    "GroupIdNotFoundError",
    "GroupNotEmptyError",
    "GroupSubscribedToTopicError",
    "CoordinatorNotAvailableError",
    "CommitFailedError",
    "RetriableCommitFailedError",
    "RebalanceInProgressError",
    "IllegalGenerationError",
    "UnknownMemberIdError",
    "FencedInstanceIdError",
    "UnreleasedInstanceIdError",
    "FencedMemberEpochError",
    "GroupMaxSizeReachedError",
    "InconsistentGroupProtocolError",
    "InvalidSessionTimeoutError",
    "MemberIdRequiredError",
    "StaleMemberEpochError",
    "OffsetMetadataTooLargeError",
]
