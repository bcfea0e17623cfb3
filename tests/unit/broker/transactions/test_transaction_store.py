"""Where transactional ids live: when the topic comes to be, what is replayed when, what a restart keeps."""

from __future__ import annotations

from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.broker.topic_name import TRANSACTION_STATE_TOPIC
from streamlog.broker.transactions import store as store_module
from streamlog.broker.transactions.state import TransactionState
from streamlog.broker.transactions.store import TransactionStore
from streamlog.errors import CorruptLogError, PolicyViolationError
from streamlog.record import build_batch
from tests.support.transaction_writer import TIMEOUT_MS, new_writer, state


def test_look_at_an_id_creates_neither_the_topic_nor_the_id(broker: Broker) -> None:
    assert TransactionStore(broker).find("t") is None
    assert broker.transaction_coordinator.list_transactions() == []
    assert TRANSACTION_STATE_TOPIC not in broker.topics(include_internal=True)
    broker.run_maintenance()
    assert TRANSACTION_STATE_TOPIC not in broker.topics(include_internal=True)


def test_first_id_creates_the_topic_compacted_with_its_partitions(broker: Broker) -> None:
    new_writer(broker)
    topic = broker.topic(TRANSACTION_STATE_TOPIC)
    assert len(topic.partitions) == broker.config.transaction_state_log_num_partitions == 50
    assert topic.config.cleanup_policy == ("compact",)
    with pytest.raises(PolicyViolationError, match="each group or transactional id"):
        broker.create_partitions(TRANSACTION_STATE_TOPIC, 51)


@pytest.mark.parametrize(("transactional_id", "partition"), [("my-group", 12), ("test", 48)])
def test_txn_2_id_lives_in_the_partition_of_its_java_hash(
    broker: Broker, transactional_id: str, partition: int
) -> None:
    broker.transaction_coordinator.init_producer_id(transactional_id, TIMEOUT_MS)
    topic = broker.topic(TRANSACTION_STATE_TOPIC)
    assert [one.number for one in topic.partitions if one.log_end_offset] == [partition]


def test_ids_are_loaded_one_partition_at_a_time_when_first_used(
    data_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Broker(data_dir) as broker:
        for name in ("my-group", "test"):
            broker.transaction_coordinator.init_producer_id(name, TIMEOUT_MS)
    read: list[int] = []

    def counted(partition: Any) -> Any:
        read.append(partition.number)
        return original(partition)

    original = store_module.read_transactions
    monkeypatch.setattr(store_module, "read_transactions", counted)
    with Broker(data_dir) as broker:
        coordinator = broker.transaction_coordinator
        assert read == []
        assert coordinator.init_producer_id("my-group", TIMEOUT_MS).producer_epoch == 1
        assert coordinator.init_producer_id("my-group", TIMEOUT_MS).producer_epoch == 2
        assert read == [12]
        assert coordinator.describe("test").producer_epoch == 0
        assert read == [12, 48]
        assert len(coordinator.list_transactions()) == 2
        assert sorted(read) == list(range(50))


def test_ids_epochs_and_ends_survive_a_restart(data_dir: str) -> None:
    with Broker(data_dir) as broker:
        broker.create_topic("a")
        for name, commit in (("committed", True), ("aborted", False)):
            writer = new_writer(broker, name)
            writer.write("a")
            producer = writer.end(commit=commit)
    with Broker(data_dir) as broker:
        assert state(broker, "committed") is TransactionState.COMPLETE_COMMIT
        assert state(broker, "aborted") is TransactionState.COMPLETE_ABORT
        assert new_writer(broker, "aborted").producer == (producer.producer_id, 2)
        new = new_writer(broker, "new")
        assert new.producer.producer_id > producer.producer_id + 1, "of another generation"
        broker.transaction_coordinator._check()


def test_id_that_expired_is_new_after_a_restart(data_dir: str) -> None:
    with Broker(data_dir, transactional_id_expiration_ms=1) as broker:
        old = new_writer(broker)
        transaction = broker.transaction_coordinator._store.transactions["t"]
        transaction.updated_ms -= 1
        assert broker.transaction_coordinator.expire_ids() == 1
    with Broker(data_dir) as broker:
        assert broker.transaction_coordinator.list_transactions() == []
        writer = new_writer(broker)
        assert writer.producer.producer_epoch == 0
        assert writer.producer.producer_id != old.producer.producer_id


def test_partition_that_cannot_be_read_is_not_half_loaded(broker: Broker) -> None:
    new_writer(broker, "test")
    home = broker.partition(TRANSACTION_STATE_TOPIC, 48)
    home.append(build_batch([b"junk"], 0, [b"junk"]))
    store = TransactionStore(broker)
    for _ in range(2):
        with pytest.raises(CorruptLogError, match="not a record of a transaction"):
            store.find("test")
    assert store.transactions == {}


def test_record_of_an_older_leader_epoch_may_have_been_the_last_but_one(broker: Broker) -> None:
    """After a power failure an epoch could be used twice: the next owner gets another producer id."""
    writer = new_writer(broker, "test")
    broker.partition(TRANSACTION_STATE_TOPIC, 48).log.leader_epoch = 1
    broker._transaction_coordinator = None  # as after a restart
    taken = broker.transaction_coordinator.init_producer_id("test", TIMEOUT_MS)
    assert taken.producer_id > writer.producer.producer_id
    assert taken.producer_epoch == 0
    again = broker.transaction_coordinator.init_producer_id("test", TIMEOUT_MS)
    assert again == (taken.producer_id, 1)
