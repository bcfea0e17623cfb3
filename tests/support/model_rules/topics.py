"""Rules of the model: topics come, grow, change and go."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from streamlog import (
    InvalidPartitionsError,
    InvalidTopicError,
    NewTopic,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
)
from tests.support.model import (
    ModelPartition,
)
from tests.support.model_rules.base import (
    BAD_TOPICS,
    TOPICS,
    Base,
    configs,
    picks,
)


class TopicRules(Base):
    """What happens to topics."""

    @rule(name=st.sampled_from(TOPICS), partitions=st.integers(0, 3), configs=configs)
    def create_topic(self, name: str, partitions: int, configs: dict[str, Any]) -> None:
        new = NewTopic(name, partitions=partitions, configs=configs)
        expected = [
            (name in self.model.topics, TopicAlreadyExistsError),
            (not self.model.is_free(name), InvalidTopicError),
            (partitions == 0, InvalidPartitionsError),
        ]
        if self.refused(expected, lambda: self.admin.create_topics([new])):
            return
        self.note_topic(name)
        assert len(self.model.topics[name].partitions) == partitions
        assert (
            configs.items() <= self.model.topics[name].configs.items()
            or "cleanup_policy" in configs
        )

    @rule(name=st.sampled_from((*TOPICS, "absent")))
    def delete_topic(self, name: str) -> None:
        missing = (name not in self.model.topics, UnknownTopicOrPartitionError)
        self.take_in()
        if self.refused([missing], lambda: self.admin.delete_topics([name])):
            return
        del self.model.topics[name]
        for waiting in self.pending.values():
            for sent in waiting:
                sent.may_fail |= sent.topic == name

    @rule(name=st.sampled_from(BAD_TOPICS))
    def use_a_bad_name(self, name: str) -> None:
        with pytest.raises(InvalidTopicError):
            self.broker.create_topic(name)
        assert isinstance(self.producer(0).send(name, b"").exception(0), InvalidTopicError)

    @precondition(lambda self: self.model.topics)
    @rule(pick=picks, total=st.integers(1, 4))
    def grow_topic(self, pick: int, total: int) -> None:
        name, topic = self.pick_topic(pick)
        too_few = (total <= len(topic.partitions), InvalidPartitionsError)
        if not self.refused([too_few], lambda: self.admin.create_partitions({name: total})):
            topic.partitions += [ModelPartition() for _ in range(total - len(topic.partitions))]

    @precondition(lambda self: self.model.topics)
    @rule(pick=picks, configs=configs, remove=st.booleans())
    def alter_configs(self, pick: int, configs: dict[str, Any], remove: bool) -> None:
        name, topic = self.pick_topic(pick)
        self.flush_all()  # what waits was measured against the limits as they were
        removed = [] if not remove else sorted({"retention_ms", "flush_ms"} - configs.keys())
        self.broker.alter_topic_configs(name, configs, remove=removed)
        topic.configs = self.broker.describe_topic(name).configs
