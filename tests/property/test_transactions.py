"""Transactions and idempotent producers against lists: any program of producers, zombies, resends, time, restarts, kills and power cuts.

After every step two consumers read everything: under read_committed exactly the records of committed transactions are there, all
of them and in order over all partitions, under read_uncommitted every record once; the group's offset moved if its transaction was
committed (I1 to I7, I9, I10, TXN-3, TXN-7, TXN-12 to TXN-14, IDM-2, IDM-3, IDM-7).

``make transactions EXAMPLES=20000`` tries harder. A failure prints the steps as a program, and a line that repeats it.
"""

from __future__ import annotations

import logging
import os
from typing import Literal

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from streamlog import Producer
from streamlog.testing import CrashLab
from tests.support.invariants import check_broker, check_producer
from tests.support.producer_walk import batches_of, check_producers
from tests.support.transaction_model import LogModel, TransactionModel
from tests.support.transaction_world import ACTORS, EXPIRY_MS, World

PARTITIONS = 2

names = st.sampled_from(ACTORS)
partitions = st.integers(0, PARTITIONS - 1)
counts = st.integers(1, 3)


class Machine(RuleBasedStateMachine):
    """`World` has the calls and what should come of them; here is who makes them and when."""

    world: World

    @initialize(
        seed=st.integers(0, 3),
        segment_bytes=st.sampled_from([300, 900, 1 << 20]),
        flush_messages=st.sampled_from([None, 1]),
        state_partitions=st.sampled_from([1, 3]),
        announcing=st.frozensets(st.sampled_from(ACTORS)),
    )
    def start(
        self,
        seed: int,
        segment_bytes: int,
        flush_messages: int | None,
        state_partitions: int,
        announcing: frozenset[str],
    ) -> None:
        self.lab = CrashLab(
            seed=seed,
            min_free_bytes=0,
            offsets_topic_num_partitions=1,
            transaction_state_log_num_partitions=state_partitions,
        )
        configs = {
            "segment_bytes": segment_bytes,
            "index_interval_bytes": 0,
            "flush_messages": flush_messages,
        }
        model = TransactionModel([LogModel() for _ in range(PARTITIONS)])
        self.world = World(model, configs, self.lab.clock, announcing=announcing)
        self.world.create(self.lab.open_broker())

    # ---- transactions

    @rule(name=names)
    def join(self, name: str) -> None:
        self.world.join(name)

    @rule(name=names)
    def begin(self, name: str) -> None:
        if name not in self.world.actors:
            self.world.join(name)
        if self.world.can_begin(name):
            self.world.begin(name)

    def somebody_is_in_a_transaction(self) -> bool:
        return any(self.world.in_transaction(name) for name in ACTORS)

    def one_of(self, pick: int) -> str:
        inside = [name for name in ACTORS if self.world.in_transaction(name)]
        return inside[pick % len(inside)]

    @precondition(somebody_is_in_a_transaction)
    @rule(pick=st.integers(0, 3), partition=partitions, count=counts)
    def send(self, pick: int, partition: int, count: int) -> None:
        self.world.send(self.one_of(pick), partition, count)

    @precondition(somebody_is_in_a_transaction)
    @rule(pick=st.integers(0, 3))
    def send_offset(self, pick: int) -> None:
        self.world.send_offset(self.one_of(pick))

    @precondition(somebody_is_in_a_transaction)
    @rule(pick=st.integers(0, 3))
    def commit(self, pick: int) -> None:
        self.world.commit(self.one_of(pick))

    @precondition(somebody_is_in_a_transaction)
    @rule(pick=st.integers(0, 3))
    def abort(self, pick: int) -> None:
        self.world.abort(self.one_of(pick))

    @rule(name=names, partition=partitions, count=counts)
    def abort_unsent(self, name: str, partition: int, count: int) -> None:
        self.world.abort_unsent(name, partition, count)

    @precondition(lambda self: self.world.actors)
    @rule(name=names)
    def leave(self, name: str) -> None:
        if name in self.world.actors:
            self.world.leave(name)

    @precondition(lambda self: self.world.actors)
    @rule(name=names)
    def forget(self, name: str) -> None:
        if name in self.world.actors:
            self.world.forget(name)

    # ---- without transactions

    @rule(partition=partitions, count=counts)
    def send_plain(self, partition: int, count: int) -> None:
        self.world.send_plain(partition, count)

    @rule()
    def commit_plain(self) -> None:
        self.world.commit_plain()

    @rule(partition=partitions, count=counts)
    def write(self, partition: int, count: int) -> None:
        self.world.write(partition, count)

    @rule(partition=partitions, pick=st.integers(0, 4))
    def rewrite(self, partition: int, pick: int) -> None:
        self.world.rewrite(partition, pick)

    @rule(partition=partitions)
    def write_with_gap(self, partition: int) -> None:
        self.world.write_with_gap(partition)

    @rule(partition=partitions)
    def roll(self, partition: int) -> None:
        self.world.roll(partition)

    # ---- time, and the end of it

    @rule(milliseconds=st.sampled_from([1, 300, EXPIRY_MS]))
    def advance(self, milliseconds: int) -> None:
        self.world.advance(milliseconds)

    @rule()
    def sync(self) -> None:
        self.world.sync()

    @rule()
    def close_and_open(self) -> None:
        self.world.close()
        broker = self.lab.open_broker()
        assert broker.recovery_report.clean
        assert broker.recovery_report.scanned_bytes == 0, "I18"
        self.world.crashed(broker, power_failed=False)

    @rule(keep=st.sampled_from([None, None, "nothing", "everything", "chance"]))
    def die_and_open(self, keep: Literal["nothing", "everything", "chance"] | None) -> None:
        """Kill the process, or cut the power and keep of what was not synced what *keep* says."""
        if keep is None:
            self.lab.kill()
        else:
            self.lab.cut_power(keep)
        self.world.crashed(self.lab.open_broker(), power_failed=keep is not None)

    # ---- what always holds

    @invariant()
    def shows_what_it_should(self) -> None:
        if not hasattr(self, "world"):
            return
        self.world.check()
        broker = self.world.broker
        check_broker(broker)
        for topic in broker.topics(include_internal=True):
            for partition in broker.topic(topic).partitions:
                check_producers(partition, batches_of(partition))
        for actor in self.world.actors.values():
            if isinstance(actor.producer, Producer):
                check_producer(actor.producer)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.broker.close()


@pytest.mark.slow
@pytest.mark.timeout(0)
class TestTransactions(Machine.TestCase):
    """What `unittest` calls; the programs are Hypothesis's."""

    settings = settings(
        max_examples=int(os.environ.get("MODEL_EXAMPLES", "0")) or settings().max_examples,
        stateful_step_count=40,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )

    def setUp(self) -> None:
        logging.disable()  # dying is the rule here, and each time is worth a warning

    def tearDown(self) -> None:
        logging.disable(logging.NOTSET)
