"""Closing a broker while its clients are at work in other threads."""

from __future__ import annotations

import gc
import threading
from typing import Any

import pytest

from streamlog import Broker, ClosedError, Consumer, DiskFullError, Producer, TopicPartition
from streamlog.runtime import OsFileSystem
from tests.support.eventually import eventually
from tests.support.hooked_files import HookedFileSystem
from tests.support.producing import failing_partitions


def in_thread(target: Any) -> threading.Thread:
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    return thread


def committed(broker: Broker) -> int | None:
    with Consumer(broker, group_id="g") as consumer:
        found = consumer.committed(TopicPartition("t", 0))
        return None if found is None else found.offset


def filled(path: str, count: int = 3) -> Broker:
    broker = Broker(path)
    with Producer(broker) as producer:
        for n in range(count):
            producer.send("t", b"%d" % n)
    return broker


def test_con_8_records_being_processed_are_not_committed_when_the_broker_closes(
    data_dir: str,
) -> None:
    """They would be skipped by whoever reads next if their processing came to nothing."""
    broker = filled(data_dir)
    polled, closed = threading.Event(), threading.Event()
    errors: list[BaseException] = []

    def read() -> None:
        consumer = Consumer(broker, "t", group_id="g", auto_offset_reset="earliest")
        assert (
            len(consumer.poll(1000, max_records=1)) == 1
        )  # done with by the time of the next poll
        assert len(consumer.poll(1000, max_records=1)) == 1
        polled.set()
        closed.wait(30)
        for call in (consumer.poll, consumer.commit, consumer.assignment):
            with pytest.raises(ClosedError) as caught:
                call()
            errors.append(caught.value)
        consumer.close()

    thread = in_thread(read)
    assert polled.wait(30)
    broker.close()
    closed.set()
    thread.join(30)
    assert len(errors) == 3
    with Broker(data_dir) as broker:
        assert committed(broker) is None


def test_con_8_a_consumer_that_waits_in_poll_commits_when_the_broker_closes(data_dir: str) -> None:
    broker = filled(data_dir)
    polled = threading.Event()
    errors: list[BaseException] = []

    def read() -> None:
        consumer = Consumer(broker, "t", group_id="g", auto_offset_reset="earliest")
        assert len(consumer.poll(1000)) == 3
        polled.set()
        with pytest.raises(ClosedError) as caught:
            consumer.poll(30_000)
        errors.append(caught.value)

    thread = in_thread(read)
    assert polled.wait(30)
    eventually(lambda: broker.partition("t", 0)._waiters)  # it is in the second one
    broker.close()
    thread.join(30)
    assert len(errors) == 1
    with Broker(data_dir) as broker:
        assert committed(broker) == 3


def test_con_8_what_a_finished_thread_polled_is_committed_when_the_broker_closes(
    data_dir: str,
) -> None:
    broker = filled(data_dir)
    consumer = Consumer(broker, "t", group_id="g", auto_offset_reset="earliest")
    thread = in_thread(lambda: consumer.poll(1000))
    thread.join(30)
    broker.close()
    with Broker(data_dir) as broker:
        assert committed(broker) == 3


def test_a_call_during_the_close_of_the_broker_raises_closed_error(data_dir: str) -> None:
    """Not ConcurrentModificationError: the broker's thread is none that the user could keep away."""
    broker = filled(data_dir)
    consumer = Consumer(broker, "t", group_id="g", auto_offset_reset="earliest")
    errors: list[BaseException] = []

    class Late:
        def on_partitions_revoked(self, partitions: object) -> None:
            def call() -> None:
                with pytest.raises(ClosedError) as caught:
                    consumer.commit()
                errors.append(caught.value)

            in_thread(call).join(30)

    consumer.subscribe("t", listener=Late())
    assert len(consumer.poll(1000)) == 3
    broker.close()
    assert len(errors) == 1


def test_a_producer_that_is_appending_a_told_record_can_be_closed() -> None:
    """Another thread was between taking its turn and giving it back, with nothing queued."""
    with Broker() as broker:
        producer = Producer(broker)
        producer.send("t", b"first")
        partition = broker.partition("t", 0)
        append = partition.log.append

        def close_meanwhile(batch: Any) -> int:
            partition.log.append = append  # type: ignore[method-assign]
            in_thread(producer.close).join(30)
            return append(batch)

        partition.log.append = close_meanwhile  # type: ignore[method-assign]
        told: list[int] = []
        producer.send("t", b"v", on_delivery=lambda metadata, _: told.append(metadata.offset))
        assert told == [1]
        assert producer not in broker._clients


def test_a_record_whose_append_fails_while_the_producer_closes_is_not_left_pending() -> None:
    """It was about to wait for its retry, for which nobody would have come back."""
    with Broker() as broker, failing_partitions() as failures:
        producer = Producer(broker)
        sender = producer._sender
        monotonic_ms = sender._monotonic_ms
        broker.create_topic("t")

        def close_before_it_waits() -> float:
            if failures.attempts == 2 and failures.next == []:
                failures.next.append(None)
                in_thread(lambda: producer.close(0)).join(30)
            return monotonic_ms()

        failures.next = [DiskFullError("full"), DiskFullError("full")]
        sender._monotonic_ms = close_before_it_waits
        future = producer.send("t", b"v")
        with pytest.raises(DiskFullError):
            future.result(0)


def test_a_sync_that_the_close_of_the_broker_overtakes_is_no_error(
    data_dir: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Closing syncs as well: there is nothing left to do, and nothing to complain about."""
    filesystem = HookedFileSystem(OsFileSystem())
    broker = Broker(data_dir, filesystem=filesystem)
    with Producer(broker) as producer:
        producer.send("t", b"v")
    closing: list[threading.Thread] = []

    def close_meanwhile(call: str, path: str) -> None:
        if call == "sync" and not closing:
            closing.append(in_thread(broker.close))
            while not broker.closed:
                pass
            wait_until_closed()

    def wait_until_closed() -> None:
        with pytest.raises(ClosedError):
            while True:
                directory._check_open()

    directory = broker._require_resources().directory
    filesystem.hook = close_meanwhile
    broker.sync()
    closing[0].join(30)
    assert caplog.text == ""
    with Broker(data_dir) as broker:
        assert broker.recovery_report.clean


def test_a_sync_meets_a_topic_that_was_just_deleted_without_an_error(
    data_dir: str, caplog: pytest.LogCaptureFixture
) -> None:
    filesystem = HookedFileSystem(OsFileSystem())
    with Broker(data_dir, filesystem=filesystem) as broker, Producer(broker) as producer:
        for topic in ("first", "second"):
            producer.send(topic, b"v").result()

        def delete_second(call: str, path: str) -> None:
            if call == "sync" and "first" in path:
                filesystem.hook = lambda call, path: None
                in_thread(lambda: broker.delete_topic("second")).join(30)

        filesystem.hook = delete_second
        broker.sync()
        assert broker.topics() == ["first"]
    assert caplog.text == ""


@pytest.mark.parametrize("linger_ms", [0, 5, 60_000])
def test_a_broker_dropped_with_its_clients_lets_go_of_its_directory(
    data_dir: str, linger_ms: float
) -> None:
    """The producer heard of new topics by a reference from the maintenance thread."""

    def use_and_forget() -> None:
        broker = Broker(data_dir)
        producer = Producer(broker, linger_ms=linger_ms)
        producer.writer("t")(b"v")
        producer.send("t", b"v")
        consumer = Consumer(broker, "t", group_id="g")
        consumer.poll()
        broker.create_topic("another")

    use_and_forget()
    with pytest.warns(ResourceWarning, match=f"unclosed broker in {data_dir}"):
        gc.collect()
    with Broker(data_dir) as again:
        assert again.topics() == ["another", "t"]
