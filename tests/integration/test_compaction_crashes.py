"""A kill or a power failure at every change of the disk while a broker compacts: the same value of each key, and no damage reported.

One topic of an application with tombstones and transactions, and the topic of group offsets. ``STREAMLOG_COMPACTION_STATES`` says how many
disks are looked at for each step, ``STREAMLOG_COMPACTION_SEED`` which (``make compaction-crashes STATES=20 SEED=2``).
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from streamlog import Broker, Consumer, Producer, TableView, TopicPartition
from streamlog.testing import CrashLab
from tests.reliability.results import print_figures

STATES = int(os.environ.get("STREAMLOG_COMPACTION_STATES", "1"))
"""So many of the disks that a power cut can leave are looked at for each step."""
SEED = int(os.environ.get("STREAMLOG_COMPACTION_SEED", "1"))

pytestmark = [pytest.mark.crash, pytest.mark.timeout(600 + 60 * STATES)]

DAY_MS = 86_400_000
PLACE = TopicPartition("t", 0)


def write(broker: Broker, expected: dict[bytes, bytes], round_number: int) -> None:
    """Write a few batches: plain, in a transaction that is committed, and in one that is aborted."""
    with Producer(broker) as producer:
        for number in range(6):
            key, value = b"%d" % (number % 4), b"%d:%d" % (round_number, number)
            is_removed = number == 5
            producer.send("t", None if is_removed else value, key=key)
            expected.pop(key, None)
            if not is_removed:
                expected[key] = value
    with Producer(broker, transactional_id="x") as producer:
        producer.init_transactions()
        with producer.transaction():
            producer.send("t", b"%d:committed" % round_number, key=b"in transaction")
        expected[b"in transaction"] = b"%d:committed" % round_number
        producer.begin_transaction()
        producer.send("t", b"aborted", key=b"0")
        producer.abort_transaction()


def commit(broker: Broker, offset: int) -> None:
    with Consumer(broker, group_id="g", enable_auto_commit=False) as consumer:
        consumer.assign([PLACE])
        for number in range(3):
            consumer.commit({PLACE: offset + number})


def test_crash_at_every_change_of_the_disk_during_compaction_loses_no_key() -> None:
    expected: dict[bytes, bytes] = {}
    lab = CrashLab(
        seed=SEED, offsets_topic_num_partitions=1, transaction_state_log_num_partitions=1
    )
    with lab.open_broker() as broker:
        configs: dict[str, Any] = {"cleanup_policy": "compact", "segment_bytes": 700}
        broker.create_topic("t", configs=configs)
        commit(broker, 0)
        broker.alter_topic_configs("__consumer_offsets", {"segment_bytes": 300})
        for round_number in range(2):
            write(broker, expected, round_number)
            commit(broker, 10 * round_number)
            if not round_number:
                broker.compact(roll=True)
    # Now the tombstones and markers of the first round may go as well.
    lab.clock.advance(DAY_MS + 1)

    def check(broker: Broker) -> None:
        assert broker.recovery_report.damaged_partitions == []
        with TableView(broker, "t") as view:
            assert dict(view) == expected
        with Consumer(broker, group_id="g") as consumer:
            committed = consumer.committed(PLACE)
        assert committed is not None
        assert committed.offset == 12
        for result in broker.compact():
            assert result.is_complete
        with TableView(broker, "t") as view:
            assert dict(view) == expected

    report = lab.explore(lambda broker: broker.compact(roll=True), check, states_per_step=STATES)
    print_figures(steps=report.steps, states=report.states, seed=str(SEED))
    assert report.steps > 60
