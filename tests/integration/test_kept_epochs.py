"""Transactions of one epoch behind each other: what is made from the log is the same as what was noted while it was written."""

from __future__ import annotations

from pathlib import Path

from streamlog import Broker
from streamlog.broker.verification import DirectoryVerification
from streamlog.client.consumer import Consumer
from streamlog.runtime import OsFileSystem, VirtualClock
from streamlog.structs import TopicPartition
from tests.support.announcing_writer import new_announcer
from tests.support.transaction_writer import new_writer

PLACE = TopicPartition("a", 0)


def committed(broker: Broker) -> list[bytes | None]:
    with Consumer(broker, isolation_level="read_committed") as consumer:
        consumer.assign([PLACE])
        consumer.seek_to_beginning(PLACE)
        found: list[bytes | None] = []
        while records := consumer.poll(0):
            found += [record.value for record in records]
    return found


def test_indexes_made_again_tell_what_those_written_on_the_way_told(
    tmp_path: Path,
) -> None:
    """TXN-14, TXN-15"""
    clock = VirtualClock()
    expected = []
    with Broker(tmp_path / "data", clock=clock) as broker:
        broker.create_topic("a", configs={"segment_bytes": 1_000, "index_interval_bytes": 0})
        writers = [new_announcer(broker, "x"), new_writer(broker, "y")]
        for number in range(60):
            commit = number % 3 != 1
            for writer in writers:
                value = b"%d of %s" % (number, writer.transactional_id.encode())
                writer.write("a", value=value)
                if commit:
                    expected.append(value)
            for writer in writers[:: 1 if number % 2 else -1]:
                writer.end(commit=commit)
        assert committed(broker) == expected
    verification = DirectoryVerification(OsFileSystem(), str(tmp_path / "data"))
    assert list(verification.run()) == []
    log = tmp_path / "data/topics/a-0"
    for path in [*log.glob("*.txn"), *log.glob("*.snap")]:
        path.unlink()
    with Broker(tmp_path / "data", clock=clock) as broker:
        assert committed(broker) == expected
        writers[0].broker = broker
        writers[0].write("a", value=b"more")
        writers[0].end(commit=True)
        assert committed(broker) == [*expected, b"more"]
