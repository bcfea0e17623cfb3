from __future__ import annotations

import errno
import gc
import logging
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.broker.maintenance import Maintenance
from streamlog.broker.topic_registry import TopicRegistry
from streamlog.errors import (
    AlreadyOpenError,
    ClosedError,
    CorruptLogError,
    DurabilityError,
    InvalidConfigurationError,
    InvalidTopicError,
    NotStreamlogDirectoryError,
    StreamlogError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    UnsupportedFormatError,
)
from streamlog.runtime import MemoryFileSystem, OsFileSystem, Signal, VirtualClock
from streamlog.storage.checkpoint_file import write_checkpoint
from streamlog.structs import PartitionInfo
from streamlog.testing import FaultPlan, FaultyFileSystem
from tests.support.hooked_files import HookedFileSystem
from tests.support.system_faults import path_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from streamlog.runtime import FileSystem

NOW_MS = 1_700_000_000_000


# ---- open and close


def test_broker_without_path_lives_in_memory_and_is_gone_after_close(tmp_path: Path) -> None:
    before = os.listdir(tmp_path)
    with Broker() as broker:
        assert broker.path is None
        broker.create_topic("orders")
        assert broker.topics() == ["orders"]
        assert "memory" in repr(broker)
    with Broker() as broker:
        assert broker.topics() == []
    assert os.listdir(tmp_path) == before


def test_everything_is_there_after_reopening(data_dir: str) -> None:
    with Broker(data_dir) as broker:
        before = broker.create_topic("orders", partitions=3, configs={"retention_ms": 5_000_000})
        broker.create_topic("payments")
        for number in range(3):
            broker.partition("orders", number).append_value(b"v%d" % number, NOW_MS)
    with Broker(data_dir) as broker:
        assert broker.recovery_report.clean
        assert broker.recovery_report.scanned_bytes == 0
        assert broker.topics() == ["orders", "payments"]
        assert broker.describe_topic("orders") == before
        for number in range(3):
            assert broker.partition("orders", number).log_end_offset == 1
        assert broker.partition("orders", 0).append_value(b"w", NOW_MS) == 1


def test_path_may_be_path_like_and_is_made_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Broker("data") as broker:
        assert broker.path == str(tmp_path / "data")
    with Broker(tmp_path / "data") as broker:
        assert broker.path == str(tmp_path / "data")


def test_named_directory_in_a_memory_file_system_can_be_reopened() -> None:
    disk = MemoryFileSystem()
    with Broker("/data", filesystem=disk) as broker:
        broker.create_topic("orders")
    with Broker("/data", filesystem=disk) as broker:
        assert broker.topics() == ["orders"]


@pytest.mark.parametrize(
    "filesystem",
    [
        OsFileSystem(),
        FaultyFileSystem(OsFileSystem(), FaultPlan()),
        HookedFileSystem(MemoryFileSystem()),
    ],
)
def test_file_system_without_a_path_writes_no_directory_of_its_own_choice(
    filesystem: FileSystem,
) -> None:
    with pytest.raises(TypeError, match="a file system needs a path"):
        Broker(filesystem=filesystem)


def test_memory_file_system_without_a_path_is_used_under_memory() -> None:
    disk = MemoryFileSystem()
    with Broker(filesystem=disk) as broker:
        assert broker.path is None
    assert disk.list_dir("/memory")


def test_unknown_and_wrong_configuration_names_the_key_and_opens_nothing(data_dir: str) -> None:
    with pytest.raises(InvalidConfigurationError, match="num_partitions"):
        Broker(data_dir, num_partition=3)
    with pytest.raises(InvalidConfigurationError, match="num_partitions"):
        Broker(data_dir, config={"num.partitions": 0})
    with pytest.raises(InvalidConfigurationError, match="num_partitions is given twice"):
        Broker(data_dir, config={"num.partitions": 2}, num_partitions=3)
    assert not os.path.exists(data_dir)


def test_broker_defaults_are_the_topics_defaults() -> None:
    with Broker(config={"log.retention.ms": 7}, num_partitions=4) as broker:
        description = broker.create_topic("orders")
        assert len(description.partitions) == 4
        assert description.configs["retention_ms"] == 7


def test_closing_again_changes_nothing() -> None:
    broker = Broker()
    broker.close()
    broker.close()
    assert broker.closed
    assert "closed" in repr(broker)


def test_leaving_the_with_block_by_an_error_closes_and_lets_it_through(data_dir: str) -> None:
    with pytest.raises(ZeroDivisionError), Broker(data_dir):
        raise ZeroDivisionError
    with Broker(data_dir) as broker:
        assert broker.recovery_report.clean


@pytest.mark.parametrize(
    "call",
    [
        lambda broker: broker.create_topic("b"),
        lambda broker: broker.delete_topic("a"),
        lambda broker: broker.create_partitions("a", 2),
        lambda broker: broker.alter_topic_configs("a", {"retention_ms": 1}),
        lambda broker: broker.describe_topic("a"),
        lambda broker: broker.topics(),
        lambda broker: broker.sync(),
        lambda broker: broker.run_maintenance(),
        lambda broker: broker.topic("a"),
        lambda broker: broker.topic_or_create("b", True),
        lambda broker: broker.partition("a", 0),
        lambda broker: broker.topic_registry,
        lambda broker: broker.group_coordinator,
        lambda broker: broker.register_client(broker),
        lambda broker: broker.check_open(),
        lambda broker: broker.__enter__(),
    ],
)
def test_every_call_after_close_raises_closed_error_naming_the_broker(
    data_dir: str, call: Callable[[Broker], object]
) -> None:
    with Broker(data_dir) as broker:
        broker.create_topic("a")
    with pytest.raises(ClosedError, match=f"broker {data_dir} is closed"):
        call(broker)


def test_recovery_report_stays_readable_after_close() -> None:
    with Broker() as broker:
        pass
    assert broker.recovery_report.clean


def test_two_threads_closing_at_once_both_find_it_closed(data_dir: str) -> None:
    broker = Broker(data_dir)
    broker.create_topic("orders", partitions=50)
    states: list[bool] = []

    def close() -> None:
        broker.close()
        states.append(broker.closed)

    threads = [threading.Thread(target=close) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert states == [True] * 4
    with Broker(data_dir) as broker:
        assert broker.recovery_report.clean


# ---- whose directory it is


def test_second_opener_in_this_process_is_refused_by_name_and_pid(data_dir: str) -> None:
    with Broker(data_dir) as broker:
        broker.create_topic("orders")
        with pytest.raises(
            AlreadyOpenError, match=f"{data_dir} is in use by this process"
        ) as caught:
            Broker(data_dir)
        assert caught.value.pid == os.getpid()
        assert caught.value.since is not None
        broker.partition("orders", 0).append_value(b"v", NOW_MS)  # unharmed
    Broker(data_dir).close()


def test_second_opener_through_a_symbolic_link_is_refused(data_dir: str, tmp_path: Path) -> None:
    with Broker(data_dir):
        os.symlink(data_dir, tmp_path / "link")
        with pytest.raises(AlreadyOpenError):
            Broker(tmp_path / "link")


def test_second_opener_in_another_process_is_refused_by_its_pid(
    data_dir: str, run_python: Callable[..., str]
) -> None:
    program = """
        import sys
        from streamlog import Broker, AlreadyOpenError
        try:
            Broker(sys.argv[1])
        except AlreadyOpenError as error:
            print(error.pid, error)
    """
    with Broker(data_dir):
        answer = run_python(program, data_dir)
    assert answer.startswith(f"{os.getpid()} {data_dir} is in use by process {os.getpid()} since ")
    assert run_python(program, data_dir) == ""


def test_second_opener_in_memory_is_refused_as_well() -> None:
    disk = MemoryFileSystem()
    with Broker("/data", filesystem=disk), pytest.raises(AlreadyOpenError):
        Broker("/data", filesystem=disk)


def test_directory_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious.db").write_bytes(b"not yours")
    with pytest.raises(NotStreamlogDirectoryError, match=r"precious\.db"):
        Broker(tmp_path)
    assert os.listdir(tmp_path) == ["precious.db"]


def test_newer_format_is_refused_and_left_alone(data_dir: str) -> None:
    Broker(data_dir).close()
    form = {"format_version": 999, "directory_id": "x"}
    write_checkpoint(OsFileSystem(), f"{data_dir}/FORMAT", "FORMAT", form)
    before = {name: os.stat(f"{data_dir}/{name}").st_mtime_ns for name in ("META", "STATE")}
    with pytest.raises(UnsupportedFormatError, match="format version 999"):
        Broker(data_dir)
    assert before == {n: os.stat(f"{data_dir}/{n}").st_mtime_ns for n in ("META", "STATE")}


def test_manifest_of_another_version_is_refused(data_dir: str) -> None:
    Broker(data_dir).close()
    write_checkpoint(OsFileSystem(), f"{data_dir}/META", "META", {"broker_id": "one"})
    with pytest.raises(UnsupportedFormatError, match="broker_id"):
        Broker(data_dir)


def test_damaged_manifest_stops_the_broker_with_the_files_name(data_dir: str) -> None:
    with Broker(data_dir) as broker:
        broker.create_topic("orders")
    with open(f"{data_dir}/META", "r+b") as file:
        file.seek(30)
        byte = file.read(1)
        file.seek(30)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(CorruptLogError, match="META"):
        Broker(data_dir)


def test_directory_of_another_broker_is_refused(data_dir: str) -> None:
    with Broker(data_dir, broker_id=7) as broker:
        broker.create_topic("orders")
    with pytest.raises(InvalidConfigurationError, match=r"broker_id: expected 7.*found 1"):
        Broker(data_dir)
    with Broker(data_dir, broker_id=7) as broker:  # refusing it released it, cleanly
        assert broker.recovery_report.clean


def test_broker_that_could_not_open_leaves_an_unclean_directory_unclean(
    data_dir: str, run_python: Callable[..., str]
) -> None:
    run_python(
        """
        import os, sys
        from streamlog import Broker
        broker = Broker(sys.argv[1])
        broker.create_topic("orders")
        broker.partition("orders", 0).append_value(b"v", 1_700_000_000_000)
        os._exit(0)
        """,
        data_dir,
    )
    with pytest.raises(InvalidConfigurationError, match="broker_id"):
        Broker(data_dir, broker_id=7)
    with Broker(data_dir) as broker:
        assert not broker.recovery_report.clean
        assert broker.recovery_report.scanned_bytes > 0
        assert broker.partition("orders", 0).log_end_offset == 1


def test_path_to_a_file_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        Broker(tmp_path / "file")


class ReadOnlyFileSystem(OsFileSystem):
    """What a disk mounted read-only does; root may write where modes forbid it."""

    def make_dir(self, path: str) -> None:
        if not self.is_dir(path):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

    def write_atomically(self, path: str, data: bytes) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)


def test_read_only_directory_is_an_os_error_naming_the_file_and_is_released(data_dir: str) -> None:
    with pytest.raises(OSError, match=data_dir) as caught:
        Broker(data_dir, filesystem=ReadOnlyFileSystem())
    assert caught.value.errno == errno.EROFS
    with Broker(data_dir) as broker:
        broker.create_topic("orders")
    with pytest.raises(OSError, match=data_dir) as caught:
        Broker(data_dir, filesystem=ReadOnlyFileSystem())
    assert caught.value.errno == errno.EROFS
    with Broker(data_dir) as broker:
        assert broker.topics() == ["orders"]
        assert broker.recovery_report.clean


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_directory_without_write_permission_is_a_permission_error(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(PermissionError, match="locked"):
        Broker(tmp_path / "locked")


# ---- topics, through the public face (the rules: test_topic_registry.py)


def test_topic_is_described_with_this_broker_as_the_only_replica() -> None:
    with Broker(broker_id=5) as broker:
        description = broker.create_topic("orders", partitions=2)
        assert description.partitions == [
            PartitionInfo("orders", 0, 5, (5,), (5,)),
            PartitionInfo("orders", 1, 5, (5,), (5,)),
        ]
        assert description == broker.describe_topic("orders")
        assert not description.is_internal
        assert len(description.topic_id) == 32


def test_topics_are_sorted_and_internal_ones_shown_on_request(broker: Broker) -> None:
    for name in ("b", "a", "__consumer_offsets"):
        broker.create_topic(name)
    assert broker.topics() == ["a", "b"]
    assert broker.topics(include_internal=True) == ["__consumer_offsets", "a", "b"]
    assert broker.describe_topic("__consumer_offsets").is_internal


def test_rec_11_topic_is_created_on_first_use_if_both_sides_allow_it(broker: Broker) -> None:
    with pytest.raises(UnknownTopicOrPartitionError, match="'orders'"):
        broker.topic_or_create("orders", False)
    topic = broker.topic_or_create("orders", True)
    assert len(topic.partitions) == 1
    assert broker.topic_or_create("orders", False) is topic


def test_rec_11_auto_create_topics_enable_false_wins(clock: VirtualClock) -> None:
    with Broker(clock=clock, auto_create_topics_enable=False) as broker:
        with pytest.raises(UnknownTopicOrPartitionError, match="'orders'"):
            broker.topic_or_create("orders", True)
        broker.create_topic("orders")
        assert broker.topic_or_create("orders", True).name == "orders"


def test_rec_11_num_partitions_is_what_a_created_topic_gets(clock: VirtualClock) -> None:
    with Broker(clock=clock, num_partitions=3) as broker:
        assert len(broker.topic_or_create("orders", True).partitions) == 3


def test_topic_that_somebody_else_creates_first_is_used(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = broker.topic_or_create("orders", True)
    with monkeypatch.context() as patch:
        patch.setattr(broker.topic_registry, "find", lambda name: None)
        patch.setattr(broker.topic_registry, "topic", lambda name: topic)
        assert broker.topic_or_create("orders", True) is topic


def test_rec_5_illegal_name_is_told_apart_from_an_unknown_one(broker: Broker) -> None:
    for allowed in (False, True):
        with pytest.raises(InvalidTopicError):
            broker.topic_or_create("a/b", allowed)


def test_internal_topic_is_never_created_by_using_it(broker: Broker) -> None:
    with pytest.raises(UnknownTopicOrPartitionError, match="__consumer_offsets"):
        broker.topic_or_create("__consumer_offsets", True)


def test_unknown_partition_names_what_there_is(broker: Broker) -> None:
    broker.create_topic("orders", partitions=2)
    for number in (2, -1):
        with pytest.raises(UnknownTopicOrPartitionError, match=f"orders-{number} .* 0 to 1"):
            broker.partition("orders", number)
    with pytest.raises(UnknownTopicOrPartitionError, match="'payments' does not exist"):
        broker.partition("payments", 0)


# ---- seed and clock


def test_same_seed_gives_the_same_topic_ids_and_no_id_is_given_twice(data_dir: str) -> None:
    def create(directory: str | None, name: str) -> str:
        with Broker(directory, seed=3) as broker:
            return broker.create_topic(name).topic_id

    assert create(None, "a") == create(None, "a")
    ids = {create(data_dir, "a"), create(data_dir, "b")}
    with Broker(data_dir, seed=3) as broker:
        broker.delete_topic("a")
        ids.add(broker.create_topic("a").topic_id)
    assert len(ids) == 3


# ---- damage


def corrupt(path: str, position: int) -> None:
    with open(path, "r+b") as file:
        file.seek(position)
        byte = file.read(1)
        file.seek(position)
        file.write(bytes([byte[0] ^ 0xFF]))


def test_one_bad_partition_does_not_stop_the_others(
    data_dir: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Broker(data_dir) as broker:
        broker.create_topic("orders", partitions=3)
        for number in range(3):
            broker.partition("orders", number).append_value(b"v", NOW_MS)
    log_directory = f"{data_dir}/topics/orders-1"
    for name in os.listdir(log_directory):
        os.unlink(f"{log_directory}/{name}")
    os.rmdir(log_directory)
    caplog.set_level(logging.CRITICAL, "streamlog")
    with Broker(data_dir) as broker:
        (damaged,) = broker.recovery_report.damaged_partitions
        assert str(damaged.topic_partition) == "orders-1"
        with pytest.raises(CorruptLogError, match="orders-1") as caught:
            broker.partition("orders", 1).read(0, 100)
        assert caught.value.topic_partition == ("orders", 1)
        with pytest.raises(CorruptLogError, match="orders-1"):
            broker.partition("orders", 1).append_value(b"w", NOW_MS)
        for number in (0, 2):
            assert broker.partition("orders", number).append_value(b"w", NOW_MS) == 1
            assert broker.partition("orders", number).read(0, 100)
        broker.alter_topic_configs("orders", {"retention_ms": 1000})
        broker.create_partitions("orders", 4)
        broker.run_maintenance()
        broker.sync()
        broker.delete_topic("orders")
        assert broker.topics() == []


def test_directory_that_no_topic_names_is_reported_and_left_alone(data_dir: str) -> None:
    with Broker(data_dir) as broker:
        broker.create_topic("orders")
    os.mkdir(f"{data_dir}/topics/stranger-0")
    with open(f"{data_dir}/topics/stranger-0/precious", "wb") as file:
        file.write(b"data")
    for _ in range(2):
        with Broker(data_dir) as broker:
            assert broker.recovery_report.ignored_paths == [f"{data_dir}/topics/stranger-0"]
            assert broker.topics() == ["orders"]
    assert os.listdir(f"{data_dir}/topics/stranger-0") == ["precious"]


# ---- sync


def test_sync_makes_every_partition_durable(broker: Broker) -> None:
    broker.create_topic("orders", partitions=3)
    for number in range(3):
        broker.partition("orders", number).append_value(b"v", NOW_MS)
    broker.sync()
    assert [p.log.durable_end_offset for p in broker.topic("orders").partitions] == [1, 1, 1]


def test_failed_sync_raises_after_the_other_partitions_were_synced(
    clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    disk = HookedFileSystem(MemoryFileSystem())
    broker = Broker("/data", filesystem=disk, clock=clock)
    broker.create_topic("orders", partitions=3)
    partitions = broker.topic("orders").partitions
    for partition in partitions:
        partition.append_value(b"v", NOW_MS)

    def fail(call: str, path: str) -> None:
        if call in ("sync", "sync_data") and "/orders-1/" in path:
            raise OSError(errno.EIO, "Input/output error")

    caplog.set_level(logging.CRITICAL, "streamlog")
    disk.hook = fail
    with pytest.raises(DurabilityError, match="orders-1"):
        broker.sync()
    assert [p.log.durable_end_offset for p in partitions] == [1, 0, 1]
    with pytest.raises(DurabilityError):
        broker.close()  # raised, and everything released all the same
    assert broker.closed
    disk.hook = lambda call, path: None
    with Broker("/data", filesystem=disk, clock=clock) as again:
        assert not again.recovery_report.clean
        assert [p.log_end_offset for p in again.topic("orders").partitions] == [1, 1, 1]


# ---- clients


class Client:
    def __init__(self, broker: Broker, name: str, closed: list[str], error: bool = False) -> None:
        self._broker, self._name, self._closed, self._error = broker, name, closed, error
        broker.register_client(self)

    def close(self) -> None:
        assert self._broker.topics() == []  # the broker still works
        self._closed.append(self._name)
        self._broker.unregister_client(self)
        if self._error:
            raise RuntimeError(self._name)

    def __repr__(self) -> str:
        return self._name


def test_clients_are_closed_before_the_broker_latest_first() -> None:
    closed: list[str] = []
    with Broker() as broker:
        clients = [Client(broker, name, closed) for name in ("a", "b", "c")]
        clients[1].close()
        assert closed == ["b"]
    assert closed == ["b", "c", "a"]


def test_client_that_fails_to_close_is_logged_and_stops_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    closed: list[str] = []
    with Broker() as broker:
        for name in ("a", "b", "c"):
            Client(broker, name, closed, error=name == "b")
    assert closed == ["c", "b", "a"]
    assert [record.getMessage() for record in caplog.records] == ["Could not close b"]


def test_client_that_closes_the_broker_does_not_wait_for_itself() -> None:
    class Impatient:
        def close(self) -> None:
            broker.close()
            assert not broker.closed

    broker = Broker()
    broker.register_client(Impatient())
    broker.close()
    assert broker.closed


def test_group_coordinator_is_made_once_and_only_when_asked_for(broker: Broker) -> None:
    assert broker._group_coordinator is None
    assert broker.group_coordinator is broker.group_coordinator


def test_topic_listener_is_set_by_every_change_and_by_close() -> None:
    signal = Signal()
    broker = Broker()
    broker.add_topic_listener(signal)
    epochs = [broker.topic_epoch]
    for change in (
        lambda: broker.create_topic("orders"),
        lambda: broker.create_partitions("orders", 2),
        lambda: broker.alter_topic_configs("orders", {"retention_ms": 1}),
        lambda: broker.delete_topic("orders"),
    ):
        change()
        assert signal.is_set()
        signal.clear()
        epochs.append(broker.topic_epoch)
    assert epochs == sorted(set(epochs))
    broker.remove_topic_listener(signal)
    broker.create_topic("payments")
    assert not signal.is_set()
    broker.add_topic_listener(signal)
    broker.close()
    assert signal.is_set()


# ---- cost


def test_a_thousand_partitions_open_without_a_file_or_thread_each(data_dir: str) -> None:
    with Broker(data_dir) as broker:
        broker.create_topic("many", partitions=1000)
    threads = set(threading.enumerate())
    with Broker(data_dir) as broker:
        assert len(broker.topic("many").partitions) == 1000
        files = (path_of(int(fd)) for fd in os.listdir("/proc/self/fd"))
        assert sum(file.startswith(data_dir) for file in files) <= 2
        assert len(set(threading.enumerate()) - threads) <= 1


# ---- forgotten, forked, killed


def test_broker_dropped_without_close_warns_and_its_directory_can_be_opened(data_dir: str) -> None:
    def use_and_forget() -> None:
        broker = Broker(data_dir)
        broker.create_topic("orders")
        broker.partition("orders", 0).append_value(b"v", NOW_MS)
        del broker
        gc.collect()

    with pytest.warns(ResourceWarning, match=f"unclosed broker in {data_dir}"):
        use_and_forget()
    with Broker(data_dir) as broker:
        assert broker.recovery_report.clean
        assert broker.partition("orders", 0).log_end_offset == 1


def test_memory_broker_dropped_without_close_is_silent_and_leaves_no_thread() -> None:
    threads = set(threading.enumerate())
    broker: Any = Broker()
    broker.create_topic("orders")
    assert len(set(threading.enumerate()) - threads) == 1
    del broker
    gc.collect()
    Broker().close()
    assert not set(threading.enumerate()) - threads


def test_failed_constructor_leaves_nothing_behind() -> None:
    threads = set(threading.enumerate())
    with pytest.raises(InvalidConfigurationError):
        Broker(log_cleanup_policy="nonsense")
    gc.collect()
    assert not set(threading.enumerate()) - threads


def test_broker_open_at_the_end_of_the_process_is_closed_cleanly(
    data_dir: str, run_python: Callable[..., str]
) -> None:
    run_python(
        """
        import sys
        from streamlog import Broker
        broker = Broker(sys.argv[1])
        broker.create_topic("orders")
        broker.partition("orders", 0).append_value(b"v", 1_700_000_000_000)
        """,
        data_dir,
    )
    with Broker(data_dir) as broker:
        assert broker.recovery_report.clean
        assert broker.partition("orders", 0).log_end_offset == 1


def test_process_that_ends_at_once_loses_nothing_that_was_appended(
    data_dir: str, run_python: Callable[..., str]
) -> None:
    run_python(
        """
        import os, sys
        from streamlog import Broker
        broker = Broker(sys.argv[1])
        broker.create_topic("orders", partitions=2, configs={"retention.ms": 5})
        for number in range(1000):
            broker.partition("orders", 1).append_value(b"v%d" % number, 1_700_000_000_000)
        os._exit(0)
        """,
        data_dir,
    )
    with Broker(data_dir) as broker:
        assert not broker.recovery_report.clean
        assert broker.partition("orders", 1).log_end_offset == 1000
        assert broker.topic("orders").config.retention_ms == 5


def test_forked_childs_handles_raise_and_the_parent_is_unharmed(
    data_dir: str, run_python: Callable[..., str]
) -> None:
    answer = run_python(
        """
        import os, sys
        from streamlog import Broker, ForkedError, AlreadyOpenError
        from streamlog.runtime import Signal
        broker = Broker(sys.argv[1])
        broker.create_topic("orders")
        partition = broker.partition("orders", 0)
        partition.append_value(b"before", 1_700_000_000_000)
        partition.add_waiter(Signal())
        calls = [
            lambda: broker.topics(),
            lambda: broker.create_topic("x"),
            lambda: broker.partition("orders", 0),
            lambda: broker.sync(),
            lambda: partition.read(0, 100),
            lambda: partition.append_value(b"child", 1_700_000_000_000),
            lambda: partition.high_watermark,
            lambda: broker.bootstrap_servers,
        ]
        reader, writer = os.pipe()
        if (child := os.fork()) == 0:
            raised = []
            for call in calls:
                try:
                    call()
                except ForkedError as error:
                    raised.append(type(error).__name__)
            broker.close()  # nothing to give back: not an error
            with Broker() as other:  # a broker of its own works
                other.create_topic("own")
            try:
                Broker(sys.argv[1])
            except AlreadyOpenError as error:
                raised.append(error.pid == os.getppid())
            os.write(writer, repr(raised).encode())
            sys.exit(0)  # an orderly end, with everything that runs at exit
        assert os.waitpid(child, 0)[1] == 0
        print(os.read(reader, 1000).decode())
        assert partition.append_value(b"after", 1_700_000_000_000) == 1
        assert partition.high_watermark == 2
        broker.close()
        """,
        data_dir,
    )
    assert answer == repr(["ForkedError"] * 8 + [True])
    with Broker(data_dir) as broker:
        assert broker.recovery_report.clean
        assert broker.partition("orders", 0).log_end_offset == 2


def test_fork_while_another_thread_holds_the_locks_leaves_the_child_usable(
    run_python: Callable[..., str],
) -> None:
    answer = run_python(
        """
        import os, threading
        from streamlog import Broker, ForkedError
        broker = Broker()
        broker.create_topic("orders")
        partition = broker.partition("orders", 0)
        locks = [partition._waiters_lock, broker._lock, broker._close_lock, broker._topics._lock]
        for lock in locks:
            lock.acquire()
        if (child := os.fork()) == 0:
            def use():
                for call in (broker.topics, broker.check_open, lambda: broker.create_topic("a")):
                    try:
                        call()
                    except ForkedError:
                        print("refused", flush=True)
                partition.add_waiter(None)
                broker.unregister_client(None)
                broker.close()
            thread = threading.Thread(target=use, daemon=True)
            thread.start()
            thread.join(20)
            os._exit(1 if thread.is_alive() else 0)
        assert os.waitpid(child, 0)[1] == 0
        for lock in locks:
            lock.release()
        broker.close()
        """
    )
    assert answer.split() == ["refused"] * 3


def test_two_threads_creating_one_topic_one_wins(broker: Broker) -> None:
    """REC-11: the other gets TopicAlreadyExistsError, and using the topic does not care."""
    barrier = threading.Barrier(8)
    outcomes: list[str] = []

    def create() -> None:
        barrier.wait()
        try:
            broker.create_topic("orders", partitions=2)
        except TopicAlreadyExistsError:
            outcomes.append("exists")
        else:
            outcomes.append("created")
        assert broker.topic_or_create("orders", True).name == "orders"

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["created"] + ["exists"] * 7


def test_topic_whose_creation_ctrl_c_cut_short_can_be_created_and_loses_nothing(
    data_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log of the first attempt, still open, cut the files of the second one when the broker closed."""

    def interrupted(maintenance: Maintenance, log: object) -> None:
        raise KeyboardInterrupt

    with Broker(data_dir) as broker:
        with monkeypatch.context() as patch:
            patch.setattr(Maintenance, "watch", interrupted)
            with pytest.raises(KeyboardInterrupt):
                broker.create_topic("orders")
        broker.create_topic("orders")
        broker.partition("orders", 0).append_value(b"v", NOW_MS)
        broker.sync()
    with Broker(data_dir) as broker:
        assert not broker.recovery_report.damaged_partitions
        assert broker.partition("orders", 0).log_end_offset == 1


def test_close_that_ctrl_c_cut_short_is_ended_by_the_next_one(
    data_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory stayed locked for as long as the process lived."""

    def interrupted(topics: TopicRegistry, error: StreamlogError) -> None:
        raise KeyboardInterrupt

    broker = Broker(data_dir)
    broker.create_topic("orders")
    broker.partition("orders", 0).append_value(b"v", NOW_MS)
    with monkeypatch.context() as patch:
        patch.setattr(TopicRegistry, "refuse", interrupted)
        with pytest.raises(KeyboardInterrupt):
            broker.close()
    broker.close()
    with Broker(data_dir) as other:
        assert other.recovery_report.clean
        assert other.partition("orders", 0).log_end_offset == 1
