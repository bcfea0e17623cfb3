"""Rules of the model: how it begins, ends, dies and begins again."""

from __future__ import annotations

from itertools import chain
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from streamlog import (
    ClosedError,
)
from streamlog.testing import CrashLab
from tests.support.model import (
    Model,
    ModelConsumer,
)
from tests.support.model_rules.base import (
    Base,
    configs,
)


class LifeRules(Base):
    """Closing, kills, and power cuts."""

    @initialize(
        seed=st.integers(0, 3),
        max_open_segments=st.sampled_from([2, 100]),
        partitions=st.integers(1, 3),
        configs=configs,
    )
    def start(
        self, seed: int, max_open_segments: int, partitions: int, configs: dict[str, Any]
    ) -> None:
        self.lab = CrashLab(
            seed=seed,
            max_open_segments=max_open_segments,
            min_free_bytes=0,
            num_partitions=partitions,
            offsets_topic_num_partitions=1,
            log_retention_check_interval_ms=400,
            log_initial_task_delay_ms=100,
        )
        self.clock = self.lab.clock
        self.model = Model()
        self.sent_count = 0
        self.consumers: list[ModelConsumer] = []
        self.acting: ModelConsumer | None = None
        self.open()
        self.create_topic("a", partitions, configs)

    @rule()
    def close_and_open(self) -> None:
        dead, producers, pending = self.consumers, list(self.producers.values()), self.pending
        self.broker.close()
        for one in dead:
            with pytest.raises(ClosedError):
                one.consumer.poll()
        for producer in producers:
            with pytest.raises(ClosedError):
                producer.send("a", b"too late")
        last_number = self.last_number
        self.open()
        self.pending, self.last_number = pending, last_number
        report = self.broker.recovery_report
        assert report.clean
        assert report.scanned_bytes == 0
        self.take_in()
        for sent in chain.from_iterable(self.pending.values()):
            assert sent.future is None, "closing sends what waits"
            assert sent.may_fail, "closing sends what waits"
        self.pending = {number: [] for number in self.pending}

    @rule(keep=st.sampled_from([None, None, "nothing", "everything", "chance"]))
    def die_and_open(self, keep: Any) -> None:
        """Kill the process, or cut the power and keep of what was not synced what *keep* says."""
        durable = {
            tp: self.broker.partition(*tp).log.durable_end_offset for tp in self.model.partitions()
        }
        offsets_end = self.end_of_offsets()
        if keep is None:
            self.lab.kill()
        else:
            self.lab.cut_power(keep)
        self.open()
        assert not self.broker.recovery_report.clean
        for tp, log in self.model.partitions().items():
            found = self.broker.partition(*tp)
            end = found.log_end_offset
            assert found.log_start_offset == log.start
            if keep is None:
                assert end == log.end, "I1: a record that is appended survives the process"
            assert durable[tp] <= end <= log.end, "I1, I3"
            if end < log.end:
                assert all(found.leader_epoch > record.epoch for record in log.records[end:])
            del log.records[end:]  # I2: whether the rest is the same, `read_all_again` sees
            log.begin_epoch(found.leader_epoch)
        if keep is not None:
            self.model.roll_back_commits(self.end_of_offsets())
        assert self.end_of_offsets() <= offsets_end
        self.read_all_again()

    def read_all_again(self) -> None:
        for tp, log in self.model.partitions().items():
            found = [c for _, c, _ in self.records_of(tp, log.start)]
            assert found == [record.content for record in log.records[log.start :]]
