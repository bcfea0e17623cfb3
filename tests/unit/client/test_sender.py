"""Outcomes of an attempt that only show from inside; the rest is tested with the producer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from streamlog.broker.broker import Broker
from streamlog.client.producer import Producer
from streamlog.client.producer_batch import ProducerBatch
from streamlog.errors import (
    DiskFullError,
    MessageTooLargeError,
    RecordBatchTooLargeError,
    StreamlogError,
    StreamlogTimeoutError,
)
from streamlog.runtime import VirtualClock
from tests.support.producing import Deliveries, Failures, failing_partitions, values


@pytest.fixture
def failures() -> Iterator[Failures]:
    with failing_partitions() as failures:
        yield failures


@pytest.fixture
def producer(broker: Broker) -> Producer:
    broker.create_topic("t")
    return Producer(broker, linger_ms=5)


def test_ctrl_c_in_an_append_without_idempotence_fails_the_batch_and_goes_on_up(
    broker: Broker, failures: Failures
) -> None:
    """Whether it was appended is not known, so it is not tried again; the queue goes on."""
    broker.create_topic("t")
    producer = Producer(broker, linger_ms=5, enable_idempotence=False)
    future = producer.send("t", b"1")
    failures.next = [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        producer.flush()
    error = future.exception(timeout=0)
    assert type(error) is StreamlogError, "a thread that asks for the result was not interrupted"
    assert str(error) == (
        "t-0: interrupted while 1 record(s) were being appended: whether they were is not known"
    )
    assert isinstance(error.__cause__, KeyboardInterrupt)
    assert producer.send("t", b"2").result().offset == 0
    assert producer.metrics()["buffer_available_bytes"] == 33_554_432


def test_ctrl_c_in_a_callback_ends_the_call_and_no_other_callback(producer: Producer) -> None:
    """PRD-9."""
    deliveries = Deliveries()

    def interrupted(metadata: object, error: object) -> None:
        raise KeyboardInterrupt

    producer.send("t", b"1", on_delivery=interrupted)
    with pytest.raises(KeyboardInterrupt):
        producer.flush()
    producer.send("t", b"2", on_delivery=deliveries)
    producer.flush()
    assert deliveries.offsets == [1]
    assert not producer._sender.is_calling_back()


@pytest.mark.parametrize("error", [MessageTooLargeError, RecordBatchTooLargeError])
def test_rec_6_a_batch_is_split_until_it_fits(
    broker: Broker,
    clock: VirtualClock,
    producer: Producer,
    failures: Failures,
    error: type[Exception],
) -> None:
    futures = [producer.send("t", b"%d" % n) for n in range(5)]
    failures.next = [error("all"), error("0 1"), error("0"), None, DiskFullError("full")]
    producer.flush()
    assert isinstance(futures[0].exception(), error)
    assert [future.result().offset for future in futures[1:]] == [0, 1, 2, 3]
    assert values(broker) == [b"1", b"2", b"3", b"4"]
    metrics = producer.metrics()
    assert metrics["batch_split_total"] == 2
    assert metrics["record_retry_total"] == 3
    assert metrics["record_error_total"] == 1


def test_an_error_while_packing_fails_the_batch(producer: Producer) -> None:
    """No future waits for ever, whatever happens."""
    future = producer.send("t", b"v")
    future._slot = object()  # what no send lets in
    producer.flush()
    assert isinstance(future.exception(timeout=0), TypeError)


def test_prd_7_the_last_error_is_named_when_time_is_up(
    clock: VirtualClock, broker: Broker, failures: Failures
) -> None:
    broker.create_topic("t")
    producer = Producer(broker, linger_ms=5, delivery_timeout_ms=30_010, retry_backoff_ms=20_000)
    failures.forever = lambda: DiskFullError("no space on vda")
    future = producer.send("t", b"v")
    with pytest.raises(StreamlogTimeoutError) as caught:
        future.result()
    assert "t-0: 1 record(s) not appended" in str(caught.value)
    assert "no space on vda" in str(caught.value)


def test_call_backs_nest_over_queues(broker: Broker, producer: Producer) -> None:
    """PRD-9: a callback that fills another partition's batch sees that one's callbacks run."""
    broker.create_topic("other")
    order: list[str] = []

    def outer(*_: object) -> None:
        order.append("outer begins")
        for _n in range(200):
            producer.send("other", bytes(100), on_delivery=lambda *_: order.append("inner"))
        order.append("outer ends")

    producer.send("t", b"v", on_delivery=outer)
    producer.flush()
    assert order[0] == "outer begins"
    assert order.index("inner") < order.index("outer ends")
    producer.flush()
    assert order.count("inner") == 200


def test_ctrl_c_after_an_append_does_not_append_the_batch_again(
    broker: Broker, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch counted as not done, and was tried again."""
    future = producer.send("t", b"1")
    finish = ProducerBatch.finish

    def interrupted(batch: ProducerBatch, offset: int, error: BaseException | None) -> None:
        monkeypatch.setattr(ProducerBatch, "finish", finish)
        raise KeyboardInterrupt

    monkeypatch.setattr(ProducerBatch, "finish", interrupted)
    with pytest.raises(KeyboardInterrupt):
        producer.flush()
    assert future.result(timeout=0).offset == 0
    producer.close()
    assert values(broker) == [b"1"]


def test_ctrl_c_between_two_callbacks_leaves_the_second_one_to_the_next_flush(
    producer: Producer,
) -> None:
    """PRD-9."""
    deliveries = Deliveries()

    def interrupted(metadata: object, error: object) -> None:
        raise KeyboardInterrupt

    producer.send("t", b"1", on_delivery=interrupted)
    producer.send("t", b"2", on_delivery=deliveries)
    with pytest.raises(KeyboardInterrupt):
        producer.flush()
    assert deliveries.offsets == []
    producer.flush()
    assert deliveries.offsets == [1]
