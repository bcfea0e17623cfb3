"""What `consume` reads while topics come, grow and are damaged."""

from __future__ import annotations

import re

import pytest

from streamlog import Broker, Consumer, CorruptLogError, Producer, TopicPartition
from streamlog.cli.reading import EARLIEST, Reading, Wanted
from streamlog.testing import VirtualClock


def read(reading: Reading) -> list[bytes]:
    """Return what there is now, as printed."""
    found: list[bytes] = []
    while records := reading.next_records():
        found += records.values()
        reading.printed(records, len(records))
    return found


def follow(broker: Broker, consumer: Consumer, **wanted: object) -> Reading:
    reading = Reading(broker, consumer, Wanted(follow=True, **wanted))  # type: ignore[arg-type]
    reading.begin()
    return reading


def test_topics_that_come_to_match_and_new_partitions_are_read_from_their_start() -> None:
    with (
        Broker(clock=VirtualClock()) as broker,
        Producer(broker) as producer,
        Consumer(broker) as consumer,
    ):
        reading = follow(broker, consumer, pattern=re.compile("t.*"), start=EARLIEST)
        producer.send("other", b"no").result()
        assert read(reading) == []
        producer.send("t1", b"a").result()
        assert read(reading) == [b"a"]
        broker.create_partitions("t1", 2)
        producer.send("t1", b"b", partition=1).result()
        producer.send("t2", b"c", partition=0).result()
        assert sorted(read(reading)) == [b"b", b"c"]
        producer.send("t1", b"d", partition=0).result()
        assert read(reading) == [b"d"]
        assert reading.count == 4


def test_a_topic_that_is_deleted_while_it_is_followed_is_left_out() -> None:
    with (
        Broker(clock=VirtualClock()) as broker,
        Producer(broker) as producer,
        Consumer(broker) as consumer,
    ):
        producer.send("t1", b"a").result()
        producer.send("t2", b"b").result()
        reading = follow(broker, consumer, pattern=re.compile("t.*"), start=EARLIEST)
        assert sorted(read(reading)) == [b"a", b"b"]
        broker.delete_topic("t2")
        producer.send("t1", b"c").result()
        assert read(reading) == [b"c"]
        assert consumer.assignment() == {TopicPartition("t1", 0)}


def test_it_ends_where_the_topic_ended_when_it_began() -> None:
    with (
        Broker(clock=VirtualClock()) as broker,
        Producer(broker) as producer,
        Consumer(broker) as consumer,
    ):
        producer.send("t", b"a").result()
        reading = Reading(broker, consumer, Wanted(topics=["t"], start=EARLIEST))
        reading.begin()
        producer.send("t", b"b").result()
        assert read(reading)[:1] == [b"a"]
        assert reading.next_records() is None


@pytest.mark.parametrize("skip", [True, False])
def test_damage_ends_it_or_is_skipped(
    skip: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    partition = TopicPartition("t", 0)
    with (
        Broker(clock=VirtualClock()) as broker,
        Producer(broker) as producer,
        Consumer(broker) as consumer,
    ):
        for value in (b"a", b"b", b"c"):
            producer.send("t", value).result()
        wanted = Wanted(topics=["t"], start=EARLIEST, skip_on_error=skip)
        reading = Reading(broker, consumer, wanted)
        reading.begin()

        def damaged(*_: object) -> object:
            monkeypatch.undo()
            raise CorruptLogError(
                "t-0 is damaged", topic_partition=partition, first_bad_offset=0, next_good_offset=2
            )

        monkeypatch.setattr(Consumer, "poll", damaged)
        if skip:
            assert reading.next_records() is not None  # nothing, and not the end
            assert reading.count == 0
            assert read(reading) == [b"c"]
            assert capsys.readouterr().err == "skipped: t-0 is damaged\n"
        else:
            with pytest.raises(CorruptLogError):
                reading.next_records()


def test_damage_without_an_end_cannot_be_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    with Broker(clock=VirtualClock()) as broker, Consumer(broker) as consumer:
        broker.create_topic("t")
        reading = Reading(broker, consumer, Wanted(topics=["t"], skip_on_error=True, follow=True))
        reading.begin()

        def damaged(*_: object) -> object:
            raise CorruptLogError("t-0", topic_partition=TopicPartition("t", 0))

        monkeypatch.setattr(Consumer, "poll", damaged)
        with pytest.raises(CorruptLogError):
            reading.next_records()
