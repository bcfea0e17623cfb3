"""Configuration of topics, brokers, producers and consumers: Kafka's keys, strictly checked."""

from __future__ import annotations

from streamlog.config.broker_config import BrokerConfig
from streamlog.config.consumer_config import ConsumerConfig
from streamlog.config.definition import Config, KeyDescription
from streamlog.config.producer_config import ProducerConfig
from streamlog.config.topic_config import TopicConfig

__all__ = [
    "BrokerConfig",
    "Config",
    "ConsumerConfig",
    "KeyDescription",
    "ProducerConfig",
    "TopicConfig",
]
