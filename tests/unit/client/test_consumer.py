"""The consumer's calls: what each needs, what it refuses, what closing does."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import streamlog
from streamlog.broker.broker import Broker
from streamlog.broker.group import GroupState
from streamlog.client.consumer import Consumer
from streamlog.errors import (
    ClosedError,
    CommitFailedError,
    ConcurrentModificationError,
    ForkedError,
    IllegalStateError,
    InvalidConfigurationError,
    InvalidGroupIdError,
    InvalidTopicError,
    WakeupError,
)
from streamlog.runtime import Signal, VirtualClock, spawn
from streamlog.structs import ConsumerGroupMetadata, OffsetAndMetadata, TopicPartition
from tests.support.consuming import T0, T1, Recorder, append, drain, fill

EARLIEST = {"auto_offset_reset": "earliest"}


@pytest.fixture
def topic(broker: Broker) -> Broker:
    broker.create_topic("t", partitions=2)
    return broker


@pytest.fixture
def consumer(topic: Broker) -> Iterator[Consumer]:
    with Consumer(topic, "t", group_id="g", **EARLIEST) as consumer:
        yield consumer


def in_thread(call: Callable[[], Any]) -> Callable[[], Any]:
    """Start *call* in a thread; return a function that waits for it and returns or raises its outcome."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append((call(), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = spawn("test", run)

    def wait() -> Any:
        thread.join(20)
        assert not thread.is_alive()
        result, error = outcome[0]
        if error is not None:
            raise error
        return result

    return wait


def test_names_are_public() -> None:
    assert streamlog.Consumer is Consumer
    assert {"Consumer", "ConsumerRecords", "RebalanceListener"} <= set(streamlog.__all__)


# ---- construction


def test_unknown_option_names_the_nearest_one(topic: Broker) -> None:
    with pytest.raises(InvalidConfigurationError, match="auto_offset_reset"):
        Consumer(topic, auto_offset_rest="earliest")


def test_options_may_come_as_a_mapping_with_dots(topic: Broker) -> None:
    with Consumer(topic, config={"group.id": "g", "max.poll.records": "7"}) as consumer:
        assert (consumer.config.group_id, consumer.config.max_poll_records) == ("g", 7)


def test_con_1_defaults(consumer: Consumer) -> None:
    config = consumer.config
    assert (
        config.enable_auto_commit,
        config.auto_commit_interval_ms,
        config.max_poll_records,
        config.max_poll_interval_ms,
        config.default_api_timeout_ms,
        str(config.isolation_level),
    ) == (True, 5000, 500, 300_000, 60_000, "read_uncommitted")


def test_consumer_that_could_not_be_made_leaves_nothing_behind(topic: Broker) -> None:
    clients = list(topic._clients)
    with pytest.raises(InvalidGroupIdError):
        Consumer(topic, "t")
    assert topic._clients == clients


# ---- CON-3: which call needs what


def test_con_3_poll_without_subscription_or_assignment_is_refused(topic: Broker) -> None:
    with Consumer(topic, group_id="g") as consumer:
        for _ in range(2):
            with pytest.raises(IllegalStateError, match="not subscribed"):
                consumer.poll()
        consumer.subscribe(["t"])
        consumer.poll()
        consumer.unsubscribe()
        with pytest.raises(IllegalStateError, match="not subscribed"):
            consumer.poll()


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.subscribe(["t"]),
        lambda c: c.subscribe(pattern="t"),
        lambda c: c.commit(),
        lambda c: c.commit_async(),
        lambda c: c.committed(T0),
        lambda c: c.group_metadata(),
    ],
)
def test_con_3_group_calls_without_a_group_id_are_refused(
    topic: Broker, call: Callable[[Consumer], object]
) -> None:
    with Consumer(topic) as consumer, pytest.raises(InvalidGroupIdError, match="group_id"):
        call(consumer)


def test_con_3_topics_pattern_and_assign_exclude_each_other(topic: Broker) -> None:
    ways: list[Callable[[Consumer], object]] = [
        lambda c: c.subscribe(["t"]),
        lambda c: c.subscribe(pattern="t.*"),
        lambda c: c.assign([T0]),
    ]
    for first in ways:
        for second in ways:
            with Consumer(topic, group_id="g") as consumer:
                first(consumer)
                if first is second:
                    second(consumer)
                    continue
                with pytest.raises(IllegalStateError, match="exclude each other"):
                    second(consumer)
                consumer.unsubscribe()
                second(consumer)


def test_con_3_topics_together_with_a_pattern_are_refused(topic: Broker) -> None:
    with Consumer(topic, group_id="g") as consumer:
        for arguments in ({"topics": ["t"], "pattern": "t"}, {}):
            with pytest.raises(IllegalStateError, match="either topics or pattern"):
                consumer.subscribe(**arguments)  # type: ignore[arg-type]


def test_subscribing_or_assigning_nothing_unsubscribes(topic: Broker) -> None:
    with Consumer(topic, "t", group_id="g") as consumer:
        consumer.poll()
        consumer.subscribe([])
        assert (consumer.subscription(), consumer.assignment()) == (set(), set())
        consumer.assign([T0])
        consumer.assign([])
        assert consumer.assignment() == set()


@pytest.mark.parametrize("name", ["a/b", "..", "x" * 250])
def test_impossible_topic_name_is_refused_by_poll(topic: Broker, name: str) -> None:
    with Consumer(topic, name, group_id="g") as consumer, pytest.raises(InvalidTopicError):
        consumer.poll()


def test_subscription_and_assignment_say_what_is_read(consumer: Consumer) -> None:
    assert (consumer.subscription(), consumer.assignment()) == ({"t"}, set())
    consumer.poll()
    assert consumer.assignment() == {T0, T1}
    consumer.unsubscribe()
    assert (consumer.subscription(), consumer.assignment()) == (set(), set())


# ---- poll


def test_con_4_records_arrive_in_order_and_positions_move(
    topic: Broker, consumer: Consumer
) -> None:
    values = fill(topic, 5)
    records = consumer.poll()
    assert records.values() == values
    assert [record.offset for record in records] == [0, 1, 2, 3, 4]
    assert (consumer.position(T0), consumer.position(T1)) == (5, 0)
    assert not consumer.poll()


def test_con_4_at_most_max_poll_records_are_returned_and_the_rest_stays(topic: Broker) -> None:
    values = fill(topic, 10, per_batch=4)
    with Consumer(topic, "t", group_id="g", max_poll_records=3, **EARLIEST) as consumer:
        sizes, found = [], []
        while records := consumer.poll():
            sizes.append(len(records))
            found += records.values()
            assert consumer.position(T0) == len(found)
        assert (sizes, found) == ([3, 3, 3, 1], values)


def test_max_records_of_one_call_overrides_the_configuration(
    topic: Broker, consumer: Consumer
) -> None:
    values = fill(topic, 5, per_batch=5)
    assert consumer.poll(max_records=2).values() == values[:2]
    assert consumer.poll(max_records=10).values() == values[2:]


@pytest.mark.parametrize("arguments", [{"max_records": 0}, {"max_records": -1}, {"timeout_ms": -1}])
def test_impossible_arguments_of_poll_are_refused(
    consumer: Consumer, arguments: dict[str, int]
) -> None:
    with pytest.raises(ValueError, match=r"poll: (timeout_ms|max_records): expected"):
        consumer.poll(**arguments)


def test_values_are_deserialized_by_name_or_callable(topic: Broker) -> None:
    append(topic, [b'{"n": 1}'], keys=[b"k"])
    with Consumer(
        topic,
        "t",
        group_id="g",
        value_deserializer="json",
        key_deserializer=bytes.decode,
        **EARLIEST,
    ) as consumer:
        (record,) = consumer.poll()
        assert (record.key, record.value) == ("k", {"n": 1})


def test_interceptors_see_records_in_turn_and_their_failure_breaks_nothing(
    topic: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    fill(topic, 2)
    seen: list[Any] = []

    class Seeing:
        def on_consume(self, records: Any) -> Any:
            seen.append(records.values())
            return records

        def on_commit(self, offsets: Any) -> None:
            seen.append({str(tp): committed.offset for tp, committed in offsets.items()})

    class Failing:
        def on_consume(self, records: Any) -> Any:
            raise RuntimeError("consume")

        def on_commit(self, offsets: Any) -> None:
            raise RuntimeError("commit")

    chain = [Failing(), Seeing()]
    with Consumer(topic, "t", group_id="g", interceptors=chain, **EARLIEST) as consumer:
        with caplog.at_level(logging.ERROR, "streamlog"):
            assert len(consumer.poll()) == 2
            consumer.commit()
        assert seen == [[b"0@0", b"0@1"], {"t-0": 2, "t-1": 0}]
        assert caplog.text.count("failed") == 2


# ---- iteration


def test_iteration_yields_records_and_moves_the_position_one_by_one(
    topic: Broker, consumer: Consumer
) -> None:
    values = fill(topic, 4, per_batch=4)
    for expected, record in zip(values, consumer, strict=False):
        assert record.value == expected
        consumer.commit()
        committed = consumer.committed(T0)
        assert committed is not None
        assert committed.offset == consumer.position(T0) == record.offset + 1


def test_poll_after_leaving_an_iteration_goes_on_where_the_loop_stopped(
    topic: Broker, consumer: Consumer
) -> None:
    values = fill(topic, 6, per_batch=3)
    for record in consumer:
        if record.offset == 3:
            break
    assert consumer.poll().values() == values[4:]


def test_poll_after_an_iteration_that_read_to_the_end_returns_what_it_did_not_hand_out(
    broker: Broker,
) -> None:
    broker.create_topic("short")
    short = TopicPartition("short", 0)
    for values in ([b"0", b"1"], [b"2", b"3", b"4"]):
        append(broker, values, short)
    with Consumer(broker, auto_offset_reset="earliest", max_poll_records=3) as consumer:
        consumer.assign(short)
        assert consumer.poll().values() == [b"0", b"1", b"2"]
        assert next(consumer).value == b"3"
        # The iteration holds the last record; nothing is announced by an append any more.
        assert consumer.poll().values() == [b"4"]
        assert consumer.poll().values() == []


def test_seek_inside_an_iteration_takes_effect_at_once(topic: Broker, consumer: Consumer) -> None:
    fill(topic, 5, per_batch=5)
    found = []
    for record in consumer:
        found.append(record.offset)
        if record.offset == 1 and len(found) == 2:
            consumer.seek(T0, 0)
        if len(found) == 4:
            break
    assert found == [0, 1, 0, 1]


def test_con_7_pause_inside_an_iteration_takes_effect_at_once(
    topic: Broker, consumer: Consumer
) -> None:
    fill(topic, 3, T0, per_batch=3)
    fill(topic, 3, T1, per_batch=3)
    found = []
    for record in consumer:
        found.append((record.partition, record.offset))
        if len(found) == 1:
            consumer.pause(TopicPartition("t", record.partition))
        if len(found) == 4:
            break
    assert found == [(0, 0), (1, 0), (1, 1), (1, 2)]
    consumer.resume(T0)
    assert consumer.poll().values() == [b"0@1", b"0@2"]


def test_iteration_waits_for_records_and_wakeup_ends_it(
    topic: Broker, consumer: Consumer, clock: VirtualClock
) -> None:
    topic.scheduler.call_later(60_000, lambda: append(topic, [b"late"]))
    topic.scheduler.call_later(90_000, consumer.wakeup)
    found = []
    with pytest.raises(WakeupError):
        for record in consumer:
            found.append((record.value, clock.monotonic_ms()))  # noqa: PERF401 - it ends by an error
    assert [value for value, _ in found] == [b"late"]


# ---- CON-2: threads


def test_con_2_second_thread_is_refused_and_the_first_goes_on() -> None:
    with Broker() as broker:
        broker.create_topic("t")
        with Consumer(broker, "t", group_id="g", **EARLIEST) as consumer:
            consumer.poll()
            polled = in_thread(lambda: consumer.poll(20_000))
            while consumer._membership.session.last_poll_ms != float("inf"):  # type: ignore[union-attr]
                pass  # until it waits
            for call in (
                consumer.poll,
                consumer.commit,
                consumer.assignment,
                consumer.close,
                lambda: consumer.seek(T0, 0),
                lambda: next(consumer),
            ):
                with pytest.raises(ConcurrentModificationError, match="wakeup"):
                    call()
            append(broker, [b"x"])
            assert polled().values() == [b"x"]
            consumer.commit()


def test_con_2_wakeup_from_outside_ends_a_waiting_poll_once() -> None:
    with Broker() as broker:
        broker.create_topic("t")
        with Consumer(broker, "t", group_id="g", **EARLIEST) as consumer:
            consumer.poll()
            polled = in_thread(lambda: consumer.poll(20_000))
            consumer.wakeup()
            with pytest.raises(WakeupError):
                polled()
            append(broker, [b"x"])
            assert consumer.poll().values() == [b"x"]


def test_con_2_wakeup_before_a_poll_is_kept_for_it_and_loses_no_record(
    topic: Broker, consumer: Consumer
) -> None:
    values = fill(topic, 2)
    consumer.wakeup()
    consumer.wakeup()
    with pytest.raises(WakeupError):
        consumer.poll()
    assert consumer.poll().values() == values


def test_record_wakes_a_waiting_poll_in_another_thread() -> None:
    with Broker() as broker:
        broker.create_topic("t")
        with Consumer(broker, "t", group_id="g") as consumer:
            consumer.poll()
            for n in range(20):
                polled = in_thread(lambda: consumer.poll(20_000))
                append(broker, [b"%d" % n])
                assert polled().values() == [b"%d" % n]


# ---- the group


def test_group_metadata_names_the_member_while_it_is_one(consumer: Consumer) -> None:
    assert consumer.group_metadata() == ConsumerGroupMetadata("g", -1, "", None)
    consumer.poll()
    joined = consumer.group_metadata()
    assert (joined.group_id, joined.generation_id) == ("g", 1)
    assert joined.member_id.startswith("consumer-g-")
    consumer.unsubscribe()
    assert consumer.group_metadata() == ConsumerGroupMetadata("g", -1, "", None)


def test_trap_11_ngp_5_enforce_rebalance_is_refused_and_not_ignored(consumer: Consumer) -> None:
    with pytest.raises(IllegalStateError, match="group_protocol='consumer'"):
        consumer.enforce_rebalance("because")


# ---- closing


def test_con_15_close_commits_leaves_and_tells_the_listener(topic: Broker) -> None:
    fill(topic, 3)
    recorder = Recorder()
    consumer = Consumer(topic, group_id="g", **EARLIEST)
    consumer.subscribe(["t"], listener=recorder)
    consumer.poll()
    consumer.close()
    assert recorder.calls == [("assigned", [0, 1]), ("revoked", [0, 1])]
    with Consumer(topic, "t", group_id="g") as other:
        other.poll()
        assert other.assignment() == {T0, T1}, "without waiting for anything"
        assert other.position(T0) == 3


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
def test_closing_again_changes_nothing(
    topic: Broker, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    recorder = Recorder()
    consumer = Consumer(topic, group_id="g", group_protocol=protocol, **EARLIEST)
    consumer.subscribe(["t"], listener=recorder)
    drain(consumer)
    assert recorder.take() == [("assigned", [0, 1])]
    coordinator = topic.group_coordinator
    left: list[str] = []
    for name in ("leave", "classic_leave"):
        leave = getattr(coordinator, name)

        def leaving(*args: Any, leave: Callable[..., Any] = leave, name: str = name) -> None:
            left.append(name)
            leave(*args)

        monkeypatch.setattr(coordinator, name, leaving)
    consumer.close()
    after_once = coordinator.describe("g")
    assert (after_once.state, after_once.members) == (GroupState.EMPTY, ())
    consumer.close()
    assert left == ["leave" if protocol == "consumer" else "classic_leave"]
    assert recorder.take() == [("revoked", [0, 1])]
    assert coordinator.describe("g") == after_once
    with pytest.raises(ClosedError):
        consumer.poll()


def test_without_auto_commit_close_commits_nothing(topic: Broker) -> None:
    fill(topic, 3)
    with Consumer(topic, "t", group_id="g", enable_auto_commit=False, **EARLIEST) as consumer:
        consumer.poll()
    with Consumer(topic, group_id="g") as consumer:
        assert consumer.committed(T0) is None


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.poll(),
        lambda c: c.commit(),
        lambda c: c.commit_async(),
        lambda c: c.subscribe(["t"]),
        lambda c: c.subscribe(pattern="t"),
        lambda c: c.assign([T0]),
        lambda c: c.unsubscribe(),
        lambda c: c.assignment(),
        lambda c: c.subscription(),
        lambda c: c.committed(T0),
        lambda c: c.position(T0),
        lambda c: c.seek(T0, 0),
        lambda c: c.seek_to_beginning(),
        lambda c: c.seek_to_end(),
        lambda c: c.beginning_offsets([T0]),
        lambda c: c.end_offsets([T0]),
        lambda c: c.offsets_for_times({T0: 0}),
        lambda c: c.current_lag(T0),
        lambda c: c.pause(T0),
        lambda c: c.resume(T0),
        lambda c: c.paused(),
        lambda c: c.group_metadata(),
        lambda c: c.enforce_rebalance(),
        lambda c: next(c),
        lambda c: c.__enter__(),
    ],
)
def test_every_call_after_close_raises_closed_error(
    consumer: Consumer, call: Callable[[Consumer], object]
) -> None:
    consumer.close()
    with pytest.raises(ClosedError, match="closed"):
        call(consumer)
    consumer.wakeup()


def test_close_runs_pending_callbacks_and_closes_even_when_one_raises(topic: Broker) -> None:
    consumer = Consumer(topic, "t", group_id="g")
    consumer.poll()

    def fail(offsets: object, error: object) -> None:
        raise RuntimeError("callback")

    consumer.commit_async(callback=fail)
    with pytest.raises(RuntimeError, match="callback"):
        consumer.close()
    with pytest.raises(ClosedError):
        consumer.poll()
    with Consumer(topic, "t", group_id="g") as other:
        other.poll()
        assert len(other.assignment()) == 2


def test_broker_closes_its_consumers_first_with_their_last_commit(data_dir: str) -> None:
    with Broker(data_dir) as broker:
        broker.create_topic("t")
        fill(broker, 3)
        consumer = Consumer(broker, "t", group_id="g", **EARLIEST)
        consumer.poll()
    with pytest.raises(ClosedError):
        consumer.poll()
    consumer.close()
    with Broker(data_dir) as broker, Consumer(broker, group_id="g") as other:
        assert other.committed(T0) == OffsetAndMetadata(3, leader_epoch=0)


def test_broker_that_closes_sends_a_waiting_consumer_away(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broker = Broker()
    broker.create_topic("t")
    consumer = Consumer(broker, "t", group_id="g", **EARLIEST)
    consumer.poll()
    started = Signal()

    def poll() -> object:
        started.set()
        try:
            return consumer.poll(20_000)
        finally:
            consumer.close()

    polled = in_thread(poll)
    started.wait(10)
    broker.close()
    with pytest.raises(ClosedError):
        polled()
    assert "Could not close" not in caplog.text


def test_closed_consumer_is_woken_by_nothing_any_more(topic: Broker, consumer: Consumer) -> None:
    consumer.poll()
    assert all(p._waiters for p in topic.topic("t").partitions)
    consumer.close()
    assert not any(p._waiters for p in topic.topic("t").partitions)
    consumer._signal.clear()
    topic.create_topic("another")
    assert not consumer._signal.is_set()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_child_of_a_fork_is_refused_and_the_parent_unharmed(
    run_python: Callable[..., str],
) -> None:
    answer = run_python(
        """
        import os
        from streamlog import Broker, Consumer, ForkedError
        from streamlog.record import build_batch
        broker = Broker()
        broker.create_topic("t")
        consumer = Consumer(broker, "t", group_id="g", auto_offset_reset="earliest")
        consumer.poll()
        child = os.fork()
        if child == 0:
            try:
                consumer.poll()
            except ForkedError:
                consumer.close()
                os._exit(7)
            os._exit(1)
        _, status = os.waitpid(child, 0)
        broker.partition("t", 0).append(build_batch([b"x"], 0))
        print(os.waitstatus_to_exitcode(status), consumer.poll().values())
        broker.close()
        """
    )
    assert answer == "7 [b'x']"


def test_forked_error_is_raised_for_every_use(topic: Broker, consumer: Consumer) -> None:
    fresh = Consumer(topic, group_id="h")
    fresh._forked()
    for call in (fresh.poll, fresh.assignment, fresh.__enter__):
        with pytest.raises(ForkedError, match="before a fork"):
            call()
    fresh.close()
    topic.unregister_client(fresh._client)


def test_consumers_of_one_broker_do_not_share_anything_by_accident(topic: Broker) -> None:
    """Trap 8: no state outside the broker."""
    with Broker() as other:
        other.create_topic("t", partitions=2)
        fill(topic, 2)
        with (
            Consumer(topic, "t", group_id="g", **EARLIEST) as here,
            Consumer(other, "t", group_id="g", **EARLIEST) as there,
        ):
            assert len(drain(here)) == 2
            assert drain(there) == []
            assert here.assignment() == there.assignment() == {T0, T1}


def test_con_12_assigning_consumer_may_commit_while_nobody_is_a_member(topic: Broker) -> None:
    with Consumer(topic, group_id="g", enable_auto_commit=False) as alone:
        alone.assign([T0])
        alone.poll()
        alone.commit({T0: 5})
        assert alone.committed(T0) == OffsetAndMetadata(5)
        with Consumer(topic, "t", group_id="g") as member:
            member.poll()
            with pytest.raises(CommitFailedError):
                alone.commit({T0: 6})
        assert alone.committed(T0) is not None


def test_repr_says_what_it_is(consumer: Consumer) -> None:
    consumer.poll()
    assert repr(consumer) == "<Consumer of group 'g', 2 partition(s)>"


@pytest.mark.parametrize(
    ("by_client", "by_broker", "expected"),
    [(True, True, ["t"]), (False, True, []), (True, False, [])],
)
@pytest.mark.parametrize("assigns", [False, True])
def test_rec_11_a_deleted_topic_comes_back_by_the_next_poll_where_both_sides_allow_it(
    clock: VirtualClock, by_client: bool, by_broker: bool, expected: list[str], assigns: bool
) -> None:
    with Broker(clock=clock, auto_create_topics_enable=by_broker) as broker:
        broker.create_topic("t", partitions=2)
        consumer = Consumer(broker, group_id="g", allow_auto_create_topics=by_client)
        if assigns:
            consumer.assign([T0])
        else:
            consumer.subscribe(["t"])
        consumer.poll()
        broker.delete_topic("t")
        assert broker.topics() == []
        assert not consumer.poll()
        assert broker.topics() == expected
        if expected:
            assert len(consumer.partitions_for("t")) == 1, "num_partitions, not what it had"
