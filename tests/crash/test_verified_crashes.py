"""After each change of the disk, on whatever a kill or a power cut leaves there: verification finds no damage before the directory is
opened nor after; at most an index that a crash tore is still to be made again, which repair does without touching the data.
"""

from __future__ import annotations

import pytest

from streamlog import Broker, Consumer, OffsetAndMetadata, Producer, TopicPartition
from streamlog.broker.verification import DirectoryVerification, repair_directory
from streamlog.runtime import FileSystem, VirtualClock
from streamlog.storage.verification import Finding, Severity
from streamlog.testing import CrashLab
from streamlog.testing.crash_filesystem import CrashFileSystem

PATH = "/data"
CONFIGS = {"segment_bytes": 900, "index_interval_bytes": 100, "retention_bytes": 3000}


def findings(filesystem: FileSystem) -> list[Finding]:
    if not filesystem.exists(f"{PATH}/FORMAT"):
        return []
    return list(DirectoryVerification(filesystem, PATH).run())


class VerifyingLab(CrashLab):
    """Verifies each disk before a broker gets it."""

    looks = 0

    def _open(self, filesystem: CrashFileSystem, clock: VirtualClock) -> Broker:
        self.looks += 1
        damage = [f for f in findings(filesystem) if f.severity is Severity.DAMAGE]
        assert damage == []
        return super()._open(filesystem, clock)


def program(broker: Broker) -> None:
    """Segments that roll and go, a transaction of each kind, offsets of a group, compaction."""
    broker.create_topic("orders", configs=CONFIGS)
    with Producer(broker) as producer:
        for number in range(12):
            producer.send("orders", b"x" * 150, key=b"%d" % number)
    broker.sync()
    with Producer(broker, transactional_id="t") as producer:
        producer.init_transactions()
        for commits in (True, False):
            producer.begin_transaction()
            producer.send("orders", b"y" * 200)
            if commits:
                producer.commit_transaction()
            else:
                producer.abort_transaction()
    with Consumer(broker, "orders", group_id="g", auto_offset_reset="earliest") as consumer:
        consumer.poll(100)
        consumer.commit()
        for offset in range(5):
            consumer.commit({TopicPartition("orders", 0): OffsetAndMetadata(offset)})
    broker.run_maintenance()
    for topic in ("__consumer_offsets", "__transaction_state"):
        log = broker.partition(topic, 0).log
        log.roll()
        before = log.size_bytes
        for _ in log.clean(broker.runtime.clock.time_ms(), 1 << 20):
            pass
        assert log.size_bytes < before


def check(broker: Broker) -> None:
    filesystem = broker.runtime.filesystem
    found = findings(filesystem)
    assert [f for f in found if f.severity is Severity.DAMAGE] == []
    broker.close()
    found = findings(filesystem)
    assert [f for f in found if f.severity is Severity.DAMAGE] == []
    before = data(filesystem)
    repair_directory(filesystem, PATH, broker.runtime.clock, found)
    assert data(filesystem) == before
    assert [f for f in findings(filesystem) if f.severity is not Severity.NOTE] == []


def data(filesystem: FileSystem) -> dict[str, bytes]:
    directories = [f"{PATH}/topics/{name}" for name in filesystem.list_dir(f"{PATH}/topics")]
    return {
        f"{directory}/{name}": filesystem.read_file(f"{directory}/{name}", 1 << 24)
        for directory in directories
        for name in filesystem.list_dir(directory)
        if name.endswith(".log")
    }


@pytest.mark.crash
@pytest.mark.slow
def test_what_a_crash_leaves_is_not_damage() -> None:
    config = {
        "offsets_topic_num_partitions": 1,
        "transaction_state_log_num_partitions": 1,
        "log_segment_delete_delay_ms": 0,
    }
    lab = VerifyingLab(seed=5, config=config)
    report = lab.explore(program, check, states_per_step=1)
    assert lab.looks == report.states + 1
    assert report.steps > 150
