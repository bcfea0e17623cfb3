"""Transactions with threads: two live producers of one id, and many writers of one transaction."""

from __future__ import annotations

import gc
import threading
from collections import Counter
from pathlib import Path

import pytest

from streamlog import (
    Broker,
    Consumer,
    IllegalStateError,
    Producer,
    ProducerFencedError,
    TopicPartition,
    TransactionAbortableError,
)

PARTITIONS = 3


def read(broker: Broker, topic: str = "t") -> list[bytes]:
    with Consumer(
        broker, isolation_level="read_committed", auto_offset_reset="earliest"
    ) as consumer:
        consumer.assign(TopicPartition(topic, number) for number in range(PARTITIONS))
        values: list[bytes] = []
        while records := consumer.poll(100):
            values += records.values()
        return values


def in_threads(*targets: object) -> None:
    errors: list[BaseException] = []

    def run(target: object) -> None:
        try:
            target()  # type: ignore[operator]
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(target,)) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    if errors:
        raise errors[0]


def test_of_two_live_producers_with_one_id_each_transaction_is_of_one() -> None:
    """TXN-16: they take the id from each other all the time; what one says is committed is there once,
    and nothing else is.
    """
    rounds = 40
    said: list[bytes] = []

    with Broker() as broker:
        broker.create_topic("t", partitions=PARTITIONS)

        def contend(name: bytes) -> None:
            number = 0
            while number < rounds:
                with Producer(broker, transactional_id="one", linger_ms=number % 2) as producer:
                    try:
                        producer.init_transactions()
                        for _ in range(5):
                            values = [b"%s-%d-%d" % (name, number, index) for index in range(10)]
                            number += 1
                            producer.begin_transaction()
                            for index, value in enumerate(values):
                                producer.send("t", value, partition=index % PARTITIONS)
                            producer.commit_transaction()
                            said.extend(values)
                    except (ProducerFencedError, TransactionAbortableError):
                        continue  # the other one has it

        in_threads(lambda: contend(b"a"), lambda: contend(b"b"))
        found = Counter(read(broker))
    assert found == Counter(said)


def test_many_threads_write_one_transaction_after_the_other() -> None:
    """What was sent between begin and commit is in that transaction, whoever sent it; what comes between
    two transactions is refused, and what is aborted is not seen.
    """
    taken: list[list[bytes]] = [[] for _ in range(4)]
    is_over = threading.Event()

    with Broker() as broker:
        broker.create_topic("t", partitions=PARTITIONS)
        producer = Producer(broker, transactional_id="one", linger_ms=1)
        producer.init_transactions()

        def write(mine: list[bytes]) -> None:
            thread = threading.get_ident()
            number = 0
            while not is_over.is_set():
                value = b"%d-%d" % (thread, number)
                number += 1
                try:
                    producer.send("t", value, key=value).add_done_callback(
                        lambda future, value=value: (
                            mine.append(value) if future.exception(0) is None else None
                        )
                    )
                except IllegalStateError:
                    continue

        def control() -> None:
            try:
                for _ in range(50):
                    with producer.transaction():
                        for _ in range(5):
                            producer.flush()
            finally:
                is_over.set()

        in_threads(control, *[lambda mine=mine: write(mine) for mine in taken])
        producer.close()
        found = Counter(read(broker))
    assert found == Counter(value for mine in taken for value in mine)


def test_a_transactional_producer_that_was_dropped_does_not_keep_its_broker(tmp_path: Path) -> None:
    """Its timer is set, for the record that lingers, and must hold neither of them."""

    def use_and_forget() -> None:
        producer = Producer(Broker(tmp_path / "data"), transactional_id="one", linger_ms=60_000)
        producer.init_transactions()
        producer.begin_transaction()
        producer.send("t", b"lost")
        del producer
        gc.collect()

    with pytest.warns(ResourceWarning, match="unclosed broker"):
        use_and_forget()
    with Broker(tmp_path / "data") as broker:
        assert broker.partition("t", 0).log_end_offset == 0
