"""A broker whose opening is cut short, by an error or by Ctrl-C, gives back at once what it had taken: lock, descriptors, maps, thread."""

from __future__ import annotations

import errno
import gc
import logging
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streamlog import Broker, Consumer, Producer, TopicPartition
from streamlog.broker.transactions.coordinator import TransactionCoordinator
from streamlog.runtime import OsFileSystem
from tests.support.hooked_files import HookedFileSystem

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

T0 = TopicPartition("t", 0)


class Stop(BaseException):
    """What Ctrl-C is, without being taken for one by the test runner."""


FAILURES: dict[str, Callable[[], BaseException]] = {
    "EIO": lambda: OSError(errno.EIO, "no"),
    "stop": Stop,
}


def fill(path: str, *, close: bool) -> None:
    """Leave what makes opening do all that it can do: several segments, a transaction that is open, a compacted topic, offsets."""
    few = {"transaction_state_log_num_partitions": 2, "offsets_topic_num_partitions": 2}
    broker = Broker(path, seed=1, config=few)
    broker.create_topic(
        "t", partitions=2, configs={"segment_bytes": 2000, "index_interval_bytes": 0}
    )
    producer = Producer(broker)
    for number in range(60):
        producer.send("t", b"x" * 40, partition=number % 2).result()
    other = Producer(broker, transactional_id="i")
    other.init_transactions()
    other.begin_transaction()
    other.send("t", b"a", partition=0).result()
    other.send("t", b"b", partition=1).result()
    other.commit_transaction()
    other.begin_transaction()
    other.send("t", b"a", partition=0).result()
    consumer = Consumer(broker, group_id="g")
    consumer.assign([T0])
    consumer.commit({T0: 5})
    if close:
        broker.close()


def fill_in_a_child(path: str, *, close: bool) -> None:
    """Do that in a process that ends without closing anything else."""
    child = os.fork()
    if not child:
        try:
            fill(path, close=close)
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def held(path: str) -> set[str]:
    """What this process holds of the directory, and threads of brokers."""
    found = {one.name for one in threading.enumerate() if one.name.startswith("streamlog")}
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            continue  # the one that lists them
    maps = Path("/proc/self/maps").read_text().splitlines()
    found.update(line.split(maxsplit=5)[-1] for line in maps if path in line)
    return {one for one in found if path in one or one.startswith("streamlog")}


@pytest.fixture
def _nothing_is_collected(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.CRITICAL + 1, "streamlog")
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Sweep:
    """Lets one call after the other fail while a copy of a directory is opened."""

    def __init__(
        self,
        source: str | None,
        path: str,
        failure: Callable[[], BaseException],
        *,
        read_only: bool,
    ) -> None:
        self.source, self.path, self.read_only = source, path, read_only
        self.failure = failure
        self.number = 0
        self.calls = 0
        self.is_armed = False
        self.failed = ""

    def hook(self, call: str, path: str) -> None:
        if not self.is_armed or call == "close":
            return  # what cannot be closed is not closed
        self.calls += 1
        if self.calls == self.number:
            self.failed = f"{call} {path}"
            raise self.failure()

    def fail_next(self) -> bool:
        """Fail the next call; return False when there was none left."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self.source is not None:
            shutil.copytree(self.source, self.path)
        self.calls, self.failed, self.number = 0, "", self.number + 1
        files = HookedFileSystem(OsFileSystem(), self.hook)
        self.is_armed = True
        try:
            broker = Broker(self.path, filesystem=files, read_only=self.read_only)
        except BaseException:
            # At once: while the error, and with it whoever was at work, is still held.
            self.is_armed = False
            Broker(self.path).close()
        else:
            self.is_armed = False
            broker.close()
            del broker
        assert held(self.path) == set(), f"after {self.failed}"
        return self.failed != ""


CASES = [
    pytest.param(failure, left, read_only, id=f"{name}-{left}-{'read' if read_only else 'write'}")
    for name, failure in FAILURES.items()
    for left in ("new", "clean", "killed")
    for read_only in ((False,) if left == "new" else (False, True))
]


@pytest.mark.slow
@pytest.mark.usefixtures("_nothing_is_collected")
@pytest.mark.parametrize(("failure", "left", "read_only"), CASES)
def test_whatever_call_fails_everything_is_given_back_at_once(
    failure: Callable[[], BaseException], left: str, read_only: bool, tmp_path: Path
) -> None:
    """It stayed until somebody collected the broker that was never had: its lock, descriptors and maps, and its thread."""
    source = None
    if left != "new":
        source = str(tmp_path / "source")
        fill_in_a_child(source, close=left == "clean")
    sweep = Sweep(source, str(tmp_path / "data"), failure, read_only=read_only)
    while sweep.fail_next():
        pass
    assert sweep.number > 20


@pytest.mark.usefixtures("_nothing_is_collected")
def test_a_broker_that_cannot_begin_its_care_leaves_nothing_and_is_no_unclosed_one(
    data_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last of what opening does, when all is open already. Warnings are errors here."""
    fill_in_a_child(data_dir, close=False)
    with monkeypatch.context() as patch:

        def stop(*_: object) -> None:
            raise Stop

        patch.setattr(TransactionCoordinator, "finish_left_open", stop)
        with pytest.raises(Stop):
            Broker(data_dir)
        assert held(data_dir) == set()
    with Broker(data_dir) as broker:
        assert not broker.recovery_report.clean, "not everything was done that an opening has to do"
        assert (
            broker.partition("t", 0).last_stable_offset == broker.partition("t", 0).log_end_offset
        )
