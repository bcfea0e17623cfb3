"""Threads that share one read-only broker, beside a process that writes, is killed and comes back."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamlog import Admin, Broker, OffsetSpec, TableView, TopicPartition
from streamlog.errors import UnknownTopicOrPartitionError
from tests.integration.test_read_only_process import Reader, Writer
from tests.support.read_only_writer import KEYS, TXN, numbered

pytestmark = [pytest.mark.crash, pytest.mark.slow, pytest.mark.stress]

LOOKS = 6


@pytest.fixture(autouse=True)
def many_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def look_at_everything(broker: Broker) -> None:
    admin = Admin(broker)
    for topic in broker.topics():
        for spec in (OffsetSpec.LATEST, OffsetSpec.MAX_TIMESTAMP, OffsetSpec.EARLIEST, 1):
            try:
                count = len(broker.describe_topic(topic).partitions)
                admin.list_offsets({TopicPartition(topic, n): spec for n in range(count)})
            except UnknownTopicOrPartitionError:
                break  # deleted since it was listed
    assert [one.transactional_id for one in admin.list_transactions()] == ["reader-test"]
    admin.describe_producers([TXN])
    admin.list_consumer_groups()


def test_all_threads_see_the_same_log_and_none_of_them_an_error(tmp_path: Path) -> None:
    path, stop, errors = tmp_path / "data", threading.Event(), []
    writer = Writer(path, 1)
    with Broker(path, read_only=True, read_only_refresh_ms=2) as broker:
        readers = [Reader(broker) for _ in range(3)]

        def read(reader: Reader) -> None:
            try:
                while not stop.is_set():
                    reader.look()
                while reader.look():
                    pass
            except BaseException:
                errors.append(traceback.format_exc())

        def administer() -> None:
            try:
                while not stop.is_set():
                    look_at_everything(broker)
            except BaseException:
                errors.append(traceback.format_exc())

        threads = [threading.Thread(target=read, args=(one,)) for one in readers[1:]]
        threads.append(threading.Thread(target=administer))
        for thread in threads:
            thread.start()
        try:
            with TableView(broker, "compacted") as view:
                for kill in range(2):
                    for _ in range(LOOKS):
                        readers[0].look()
                    writer.kill()
                    writer = Writer(path, kill + 2)
                    for value in dict(view).values():
                        assert value == numbered(int(value.split(b"|")[0]))
                writer.end()
                broker.refresh()  # it looks by itself, but nobody knows when it comes to its turn
                stop.set()
                read(readers[0])
                for thread in threads:
                    thread.join(60)
                assert errors == []
                end = broker.partition("compacted", 0).log_end_offset
                last_of = {b"%d" % (number % KEYS): numbered(number) for number in range(end)}
                assert dict(view) == last_of
        finally:
            stop.set()
        ends = {(one.kept_count, one.committed_count, one.compacted_end) for one in readers}
        assert len(ends) == 1
