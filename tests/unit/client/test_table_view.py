"""A topic as a mapping: always current, whatever becomes of the topic."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

import streamlog
from streamlog.broker.broker import Broker
from streamlog.client.producer import Producer
from streamlog.client.table_view import TableView
from streamlog.errors import (
    ClosedError,
    CorruptLogError,
    IllegalStateError,
    InvalidConfigurationError,
    RecordDecodeError,
    StreamlogTimeoutError,
    UnknownTopicOrPartitionError,
)
from streamlog.runtime import VirtualClock
from streamlog.structs import Isolation
from tests.support.consuming import T0, T1, append
from tests.support.interrupts import interrupted_at, moments

Change = tuple[Any, Any, Any]


@pytest.fixture
def topic(broker: Broker) -> Broker:
    broker.create_topic("t", partitions=2)
    return broker


@pytest.fixture
def view(topic: Broker) -> Iterator[TableView]:
    with TableView(topic, "t") as view:
        yield view


def put(broker: Broker, partition: Any = T0, /, **records: bytes | None) -> None:
    """Append one batch with these keys and values."""
    append(broker, records.values(), partition, keys=[key.encode() for key in records])


def recorded(view: TableView) -> list[Change]:
    changes: list[Change] = []
    view.on_change(lambda *change: changes.append(change))
    return changes


def test_names_are_public() -> None:
    assert streamlog.TableView is TableView
    assert "ChangeListener" in streamlog.__all__


# ---- look up


def test_each_look_up_sees_what_was_appended_before_it(topic: Broker, view: TableView) -> None:
    assert b"a" not in view
    put(topic, a=b"1")
    assert view[b"a"] == b"1"
    put(topic, a=b"2")
    assert view.get(b"a") == b"2"
    put(topic, T1, b=b"3")
    assert b"b" in view
    put(topic, a=None)
    assert len(view) == 1
    assert list(view) == [b"b"]


def test_it_is_a_mapping(topic: Broker, view: TableView) -> None:
    put(topic, a=b"1", b=b"2")
    assert isinstance(view, Mapping)
    assert dict(view) == {b"a": b"1", b"b": b"2"}
    assert view == {b"a": b"1", b"b": b"2"}
    assert sorted(view.keys()) == [b"a", b"b"]
    assert sorted(view.values()) == [b"1", b"2"]
    assert sorted(view.items()) == [(b"a", b"1"), (b"b", b"2")]
    assert bool(view)


def test_key_that_is_not_there_is_a_key_error_or_the_default(view: TableView) -> None:
    with pytest.raises(KeyError, match="nowhere"):
        view[b"nowhere"]
    assert view.get(b"nowhere") is None
    assert view.get(b"nowhere", 5) == 5


def test_key_that_is_not_hashable_is_a_type_error_as_for_a_dict(view: TableView) -> None:
    with pytest.raises(TypeError, match="unhashable"):
        view[[]]


def test_iteration_goes_over_what_was_there_when_it_began(topic: Broker, view: TableView) -> None:
    put(topic, a=b"1", b=b"2")
    items, keys = view.items(), iter(view)
    put(topic, a=None, c=b"3")
    assert sorted(items) == [(b"a", b"1"), (b"b", b"2")]
    assert sorted(keys) == [b"a", b"b"]
    assert view.snapshot() == {b"b": b"2", b"c": b"3"}


def test_snapshot_belongs_to_the_caller(topic: Broker, view: TableView) -> None:
    put(topic, a=b"1")
    view.snapshot().clear()
    assert len(view) == 1


def test_view_cannot_be_written_to(view: TableView) -> None:
    with pytest.raises(TypeError, match="item assignment"):
        view[b"a"] = b"1"  # type: ignore[index]


def test_deserializers_make_keys_and_values(topic: Broker) -> None:
    put(topic, a=b'{"n": 1}')
    with TableView(topic, "t", key_deserializer="str", value_deserializer="json") as view:
        value = view["a"]
        assert dict(view) == {"a": {"n": 1}}
        value["n"] = 2  # the caller's own
        assert view["a"] == {"n": 1}


def test_value_that_cannot_be_deserialized_concerns_its_key_alone(topic: Broker) -> None:
    put(topic, a=b"1", b=b"")
    with TableView(topic, "t", value_deserializer="json") as view:
        assert view[b"a"] == 1
        assert b"b" in view
        with pytest.raises(RecordDecodeError, match=r"key b'b': topic 't': cannot deserialize"):
            view[b"b"]
        put(topic, b=b"2")
        assert view[b"b"] == 2


def test_records_without_a_key_are_counted(topic: Broker, view: TableView) -> None:
    append(topic, [b"1", b"2"])
    assert len(view) == 0
    assert view.skipped_records == 2


def test_look_up_without_news_reads_nothing(
    topic: Broker, view: TableView, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(topic, a=b"1")
    assert view[b"a"] == b"1"
    monkeypatch.setattr(view._contents, "apply", None)  # calling it would raise
    assert view[b"a"] == b"1"
    assert len(view) == 1


# ---- transactions


@pytest.mark.parametrize(
    ("level", "during", "after"),
    [("read_committed", b"1", b"1"), ("read_uncommitted", b"2", b"2")],
)
def test_txn_14_aborted_value_counts_for_readers_of_uncommitted_records_alone(
    topic: Broker, level: Any, during: bytes, after: bytes
) -> None:
    with (
        Producer(topic, transactional_id="x") as producer,
        TableView(topic, "t", isolation_level=level) as view,
    ):
        assert view.isolation_level is Isolation(level)
        producer.init_transactions()
        with producer.transaction():
            producer.send("t", b"1", key=b"a")
        producer.begin_transaction()
        producer.send("t", b"2", key=b"a")
        producer.flush()
        assert view[b"a"] == during
        producer.abort_transaction()
        assert view[b"a"] == after


def test_waiting_to_be_caught_up_waits_for_open_transactions(
    topic: Broker, clock: VirtualClock, view: TableView
) -> None:
    with Producer(topic, transactional_id="x") as producer:
        producer.init_transactions()
        producer.begin_transaction()
        producer.send("t", b"1", key=b"a")
        producer.flush()
        with pytest.raises(StreamlogTimeoutError, match="topic 't': not caught up after 5 ms"):
            view.wait_until_caught_up(timeout_ms=5)
        topic.scheduler.call_later(100, producer.commit_transaction)
        before = clock.monotonic_ms()
        view.wait_until_caught_up(timeout_ms=1000)
        assert clock.monotonic_ms() == before + 100
        assert view[b"a"] == b"1"
    assert view._feed.waiting == ()


def test_caught_up_at_once_where_nothing_is_open(topic: Broker, view: TableView) -> None:
    put(topic, a=b"1")
    view.wait_until_caught_up(timeout_ms=0)
    view.wait_until_caught_up()
    with pytest.raises(ValueError, match="wait_until_caught_up: timeout_ms"):
        view.wait_until_caught_up(timeout_ms=-1)


def test_being_caught_up_includes_the_callbacks(
    topic: Broker, clock: VirtualClock, view: TableView
) -> None:
    changes = recorded(view)
    view.on_change(lambda *_: view.wait_until_caught_up(timeout_ms=0))  # it cannot wait for itself
    for number in range(1200):
        put(topic, a=b"%d" % number)
    view.wait_until_caught_up(timeout_ms=0)
    assert [new for _, _, new in changes] == [b"%d" % number for number in range(1200)]


def test_callback_that_is_busy_is_waited_for(topic: Broker, view: TableView) -> None:
    changes = recorded(view)
    put(topic, a=b"1")
    view._feed._telling.acquire()  # as by another thread that is in it
    with pytest.raises(StreamlogTimeoutError, match="a callback is still busy"):
        view.wait_until_caught_up(timeout_ms=10)
    view._feed._telling.release()
    view._feed.arm()
    view.wait_until_caught_up()
    assert changes == [(b"a", None, b"1")]


def test_closing_ends_the_wait_of_another_caller(topic: Broker, view: TableView) -> None:
    with Producer(topic, transactional_id="x") as producer:
        producer.init_transactions()
        producer.begin_transaction()
        producer.send("t", b"1", key=b"a")
        producer.flush()
        topic.scheduler.call_later(100, view.close)
        with pytest.raises(ClosedError):
            view.wait_until_caught_up()
        producer.abort_transaction()


# ---- changes


def test_changes_are_told_without_any_look_up(
    topic: Broker, clock: VirtualClock, view: TableView
) -> None:
    put(topic, a=b"0")
    changes = recorded(view)
    put(topic, a=b"1", b=b"2")
    put(topic, T1, c=b"3")
    put(topic, a=None)
    assert changes == []
    clock.run_due()
    assert changes == [
        (b"a", b"0", b"1"),
        (b"b", None, b"2"),
        (b"a", b"1", None),
        (b"c", None, b"3"),
    ]


def test_look_up_before_the_timer_neither_tells_nor_loses_a_change(
    topic: Broker, clock: VirtualClock, view: TableView
) -> None:
    changes = recorded(view)
    put(topic, a=b"1")
    assert view[b"a"] == b"1"
    assert changes == []
    clock.run_due()
    assert changes == [(b"a", None, b"1")]
    clock.advance(1000)
    assert len(changes) == 1


def test_callback_may_use_the_view_and_the_broker(
    topic: Broker, clock: VirtualClock, view: TableView
) -> None:
    seen: list[Any] = []

    def copy_to_b(key: Any, old: Any, new: Any) -> None:
        if key == b"a":
            put(topic, T1, b=new)
        seen.append((key, dict(view)))

    view.on_change(copy_to_b)
    put(topic, a=b"1")
    clock.run_due()
    both = {b"a": b"1", b"b": b"1"}
    assert seen == [(b"a", both), (b"b", both)]


def test_changes_come_by_themselves_under_a_system_clock() -> None:
    with Broker() as broker, TableView(topic_in(broker), "t") as view:
        told = streamlog.runtime.Signal()  # type: ignore[attr-defined]
        changes: list[Change] = []

        def tell(*change: Any) -> None:
            changes.append(change)
            told.set()

        view.on_change(tell)
        put(broker, a=b"1")
        assert told.wait(20)
        assert changes == [(b"a", None, b"1")]


def topic_in(broker: Broker) -> Broker:
    broker.create_topic("t")
    return broker


def test_on_change_refuses_what_cannot_be_called(view: TableView) -> None:
    for wrong in (None, 5):
        with pytest.raises(TypeError, match="on_change: callback: expected a callable"):
            view.on_change(wrong)  # type: ignore[arg-type]


# ---- what becomes of the topic


def test_partition_that_is_added_is_followed(
    topic: Broker, clock: VirtualClock, view: TableView
) -> None:
    changes = recorded(view)
    topic.create_partitions("t", 3)
    put(topic, T0._replace(partition=2), c=b"1")
    assert view[b"c"] == b"1"
    put(topic, T0._replace(partition=2), c=b"2")
    clock.run_due()
    assert view[b"c"] == b"2"
    assert [new for _, _, new in changes] == [b"1", b"2"]


def test_deleted_topic_is_an_error_and_one_of_its_name_starts_empty(
    topic: Broker, clock: VirtualClock, view: TableView, caplog: pytest.LogCaptureFixture
) -> None:
    put(topic, a=b"1", b=b"2")
    changes = recorded(view)
    topic.delete_topic("t")
    clock.run_due()
    assert sorted(changes) == [(b"a", b"1", None), (b"b", b"2", None)]
    for _ in range(2):
        with pytest.raises(UnknownTopicOrPartitionError):
            view.get(b"a")
    topic.create_topic("t")
    assert dict(view) == {}
    put(topic, a=b"3")
    assert view[b"a"] == b"3"
    clock.run_due()
    assert changes[2:] == [(b"a", None, b"3")]
    assert caplog.messages == []


def test_topic_deleted_and_created_between_two_look_ups_starts_empty(
    topic: Broker, view: TableView
) -> None:
    put(topic, a=b"1")
    assert len(view) == 1
    topic.delete_topic("t")
    topic.create_topic("t")
    put(topic, b=b"2")
    assert dict(view) == {b"b": b"2"}


def test_view_left_behind_by_the_log_start_reads_the_topic_anew(
    topic: Broker, clock: VirtualClock, view: TableView
) -> None:
    """What was cut off may have removed a key, and nobody knows which."""
    put(topic, a=b"1", b=b"2")
    assert len(view) == 2
    changes = recorded(view)
    put(topic, a=None)
    put(topic, c=b"3")
    topic.partition("t", 0).delete_records(3)
    assert dict(view) == {b"c": b"3"}
    clock.run_due()
    assert sorted(changes) == [
        (b"a", b"1", None),
        (b"b", b"2", None),
        (b"c", None, b"3"),
    ]


def test_values_stay_when_retention_deletes_records_that_were_applied(
    topic: Broker, view: TableView
) -> None:
    put(topic, a=b"1")
    assert view[b"a"] == b"1"
    topic.partition("t", 0).delete_records(-1)
    put(topic, b=b"2")
    assert dict(view) == {b"a": b"1", b"b": b"2"}
    with TableView(topic, "t") as later:
        assert dict(later) == {b"b": b"2"}


# ---- compaction

COMPACT = {
    "cleanup_policy": "compact",
    "delete_retention_ms": 60_000,
    "min_cleanable_dirty_ratio": 1,
}


def test_cmp_9_view_that_kept_up_has_what_a_new_one_has(
    broker: Broker, clock: VirtualClock
) -> None:
    broker.create_topic("t", configs=COMPACT)
    put(broker, a=b"1", b=b"2", c=b"3")
    with TableView(broker, "t") as view:
        assert len(view) == 3
        put(broker, a=None, b=b"4")
        broker.compact("t", roll=True)
        assert dict(view) == {b"b": b"4", b"c": b"3"}
        clock.advance(60_000)
        put(broker, d=b"5")
        broker.compact("t", roll=True)
        assert dict(view) == {b"b": b"4", b"c": b"3", b"d": b"5"}
        with TableView(broker, "t") as later:
            assert dict(later) == dict(view)


def test_cmp_9_view_that_slept_longer_than_tombstones_last_reads_the_topic_anew(
    broker: Broker, clock: VirtualClock
) -> None:
    broker.create_topic("t", configs=COMPACT)
    put(broker, a=b"1", b=b"2")
    with TableView(broker, "t") as view:
        assert len(view) == 2
        put(broker, a=None)
        broker.compact("t", roll=True)
        clock.advance(60_000)
        put(broker, c=b"3")
        broker.compact("t", roll=True)  # the tombstone of a is gone
        assert dict(view) == {b"b": b"2", b"c": b"3"}


def test_view_that_slept_goes_on_where_it_was_when_nothing_was_compacted(
    broker: Broker, clock: VirtualClock
) -> None:
    broker.create_topic("t", configs=COMPACT)
    put(broker, a=b"1")
    with TableView(broker, "t") as view:
        assert len(view) == 1
        before = view._contents
        put(broker, a=None)
        clock.advance(120_000)
        assert len(view) == 0
        assert view._contents is before


def test_damage_met_while_reading_anew_can_be_skipped(topic: Broker) -> None:
    with TableView(topic, "t", key_deserializer="str") as view:
        assert len(view) == 0
        append(topic, [b"1"], keys=[b"a"])
        append(topic, [b"2", b"3"], keys=[b"\xff", b"c"])
        topic.partition("t", 0).delete_records(1)
        with pytest.raises(RecordDecodeError, match="t-0 at offset 1") as caught:
            len(view)
        view.skip(caught.value)
        assert dict(view) == {"c": b"3"}


def test_cmp_9_view_of_a_topic_that_keeps_tombstones_for_no_time_can_be_opened_and_follows_it(
    broker: Broker,
) -> None:
    """It read the topic anew for ever: nothing is as old as tombstones may be there."""
    broker.create_topic("t", configs={"cleanup_policy": "compact", "delete_retention_ms": 0})
    put(broker, a=b"1", b=b"2")
    broker.compact("t", roll=True)
    with TableView(broker, "t") as view:
        assert dict(view) == {b"a": b"1", b"b": b"2"}
        put(broker, a=None)
        broker.compact("t", roll=True)
        broker.compact("t", roll=True)  # the tombstone of a is gone
        put(broker, c=b"3")
        assert dict(view) == {b"b": b"2", b"c": b"3"}


def test_what_cannot_be_read_is_skipped_where_tombstones_are_kept_for_no_time(
    broker: Broker,
) -> None:
    broker.create_topic("t", configs={"cleanup_policy": "compact", "delete_retention_ms": 0})
    append(broker, [b"1", b"2", b"3"], keys=[b"a", b"\xff", b"c"])
    broker.compact("t", roll=True)
    with TableView(broker, "t", key_deserializer="str") as view:
        for _ in range(2):
            with pytest.raises(RecordDecodeError, match="t-0 at offset 1") as caught:
                len(view)
        view.skip(caught.value)
        assert dict(view) == {"a": b"1", "c": b"3"}


# ---- what cannot be read


def test_key_that_cannot_be_deserialized_is_raised_until_it_is_skipped(topic: Broker) -> None:
    append(topic, [b"1", b"2", b"3"], keys=[b"a", b"\xff", b"c"])
    with TableView(topic, "t", key_deserializer="str") as view:
        for _ in range(2):
            with pytest.raises(RecordDecodeError, match="t-0 at offset 1") as caught:
                view.get("a")
        view.skip(caught.value)
        assert dict(view) == {"a": b"1", "c": b"3"}


def test_damage_is_raised_until_it_is_skipped(data_dir: str) -> None:
    with Broker(data_dir) as broker:
        broker.create_topic("t")
        for key in (b"a", b"b", b"c"):
            append(broker, [b"value"], keys=[key])
    path = os.path.join(data_dir, "topics", "t-0", f"{0:020}.log")
    with open(path, "r+b") as file:
        data = file.read()
        place = data.index(b"value", data.index(b"value") + 1)
        file.seek(place)
        file.write(b"VALUE")
    with Broker(data_dir) as broker, TableView(broker, "t") as view:
        for _ in range(2):
            with pytest.raises(CorruptLogError) as caught:
                len(view)
        assert caught.value.first_bad_offset == 1
        view.skip(caught.value)
        assert sorted(view) == [b"a", b"c"]


def test_skip_refuses_what_is_not_about_this_topic(topic: Broker, view: TableView) -> None:
    with pytest.raises(IllegalStateError, match="skip: expected an error about a partition"):
        view.skip(RecordDecodeError("no", topic_partition=T0._replace(topic="other"), offset=3))
    with pytest.raises(IllegalStateError, match="skip: nothing can be read behind it"):
        view.skip(CorruptLogError("no end", topic_partition=T0))


def test_damage_is_logged_once_where_changes_are_told(
    topic: Broker, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    with TableView(topic, "t", key_deserializer="str") as view:
        changes = recorded(view)
        append(topic, [b"1", b"2"], keys=[b"a", b"\xff"])
        with caplog.at_level(logging.ERROR, "streamlog"):
            clock.run_due()
            put(topic, c=b"3")
            clock.run_due()
        assert changes == [("a", None, b"1")]
        assert caplog.messages == ["on_change: could not read what is new"]


# ---- arguments and end


def test_there_has_to_be_such_a_topic(broker: Broker) -> None:
    with pytest.raises(UnknownTopicOrPartitionError, match="'typo'"):
        TableView(broker, "typo")
    assert broker.topics() == []


def test_wrong_arguments_are_named(topic: Broker) -> None:
    with pytest.raises(TypeError, match="TableView: expected a Broker"):
        TableView("t", topic)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="TableView: topic: expected a str"):
        TableView(topic, 5)  # type: ignore[arg-type]
    with pytest.raises(InvalidConfigurationError, match="isolation_level"):
        TableView(topic, "t", isolation_level="serializable")  # type: ignore[arg-type]
    with pytest.raises(InvalidConfigurationError, match="key_deserializer"):
        TableView(topic, "t", key_deserializer="pickle")  # type: ignore[arg-type]


def test_closed_view_refuses_every_call_and_leaves_nothing_behind(
    topic: Broker, clock: VirtualClock, view: TableView
) -> None:
    changes = recorded(view)
    put(topic, a=b"1")
    assert repr(view) == "<TableView of 't', 0 keys>"
    view.close()
    view.close()
    assert view.closed
    assert "closed" in repr(view)
    clock.run_due()
    assert changes == []
    calls: list[Callable[[], Any]] = [
        lambda: view[b"a"],
        lambda: view.get(b"a"),
        lambda: b"a" in view,
        lambda: len(view),
        lambda: iter(view),
        view.keys,
        view.snapshot,
        view.wait_until_caught_up,
        lambda: view.on_change(print),
        lambda: view.skip(CorruptLogError()),
        view.__enter__,
    ]
    for call in calls:
        with pytest.raises(ClosedError, match="TableView of 't' is closed"):
            call()
    for partition in topic.topic("t").partitions:
        assert partition._waiters == ()
    assert topic._clients == []


def test_closing_the_broker_closes_the_view(clock: VirtualClock) -> None:
    broker = topic_in(Broker(clock=clock))
    view = TableView(broker, "t")
    broker.close()
    with pytest.raises(ClosedError):
        view.get(b"a")
    with pytest.raises(ClosedError):
        TableView(broker, "t")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_child_of_a_fork_is_refused_and_the_parent_unharmed(
    run_python: Callable[..., str],
) -> None:
    answer = run_python(
        """
        import os
        from streamlog import Broker, ForkedError, Producer, TableView
        broker = Broker()
        broker.create_topic("t")
        producer = Producer(broker)
        producer.send("t", b"1", key=b"a")
        view = TableView(broker, "t")
        assert len(view) == 1
        view._lock.acquire()  # as by a thread that is not in the child
        child = os.fork()
        if child == 0:
            try:
                view.get(b"a")
            except ForkedError:
                view.close()
                os._exit(7)
            os._exit(1)
        view._lock.release()
        _, status = os.waitpid(child, 0)
        producer.send("t", b"2", key=b"a")
        print(os.waitstatus_to_exitcode(status), view[b"a"])
        broker.close()
        """
    )
    assert answer == "7 b'2'"


def test_ctrl_c_at_any_moment_of_a_look_up_loses_nothing() -> None:
    expected = {b"%d" % n: b"new" for n in range(0, 9, 2)}

    def prepared() -> tuple[Broker, TableView, list[Change]]:
        broker = topic_in(Broker(clock=VirtualClock(), seed=1))
        view = TableView(broker, "t")
        append(broker, [b"old"] * 9, keys=[b"%d" % n for n in range(9)])
        assert len(view) == 9
        changes = recorded(view)
        new = [b"new" if n % 2 == 0 else None for n in range(9)]
        for n in range(0, 9, 3):
            append(broker, new[n : n + 3], keys=[b"%d" % n for n in range(n, n + 3)])
        return broker, view, changes

    def look_up(view: TableView) -> None:
        view.get(b"0")

    broker, view, _ = prepared()
    places = moments(lambda: look_up(view), of_each=1)
    broker.close()
    assert len(places) > 20
    for moment in places:
        broker, view, changes = prepared()
        interrupted_at(moment, lambda view=view: look_up(view))  # type: ignore[misc]
        assert dict(view) == expected, moment
        broker.runtime.clock.advance(0)  # type: ignore[attr-defined]
        final: dict[Any, Any] = {b"%d" % n: b"old" for n in range(9)}
        final |= {key: value for key, _, value in changes}
        assert {k: v for k, v in final.items() if v is not None} == expected, moment
        broker.close()
