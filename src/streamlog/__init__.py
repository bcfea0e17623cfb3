"""streamlog: an embeddable, single-process Kafka."""

from streamlog.broker.broker import Broker
from streamlog.client.admin import Admin
from streamlog.client.config_entry import (
    AlterConfigOp,
    ConfigEntry,
    ConfigResource,
    ConfigResourceType,
    ConfigSource,
    OpType,
)
from streamlog.client.new_topic import NewTopic
from streamlog.client.offset_spec import ListedOffset, OffsetSpec

__all__ = [
    # broker
    "Broker",
    # admin
    "Admin",
    "AlterConfigOp",
    "ConfigEntry",
    "ConfigResource",
    "ConfigResourceType",
    "ConfigSource",
    "ListedOffset",
    "NewTopic",
    "OffsetSpec",
    "OpType",
]
