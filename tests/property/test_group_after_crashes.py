"""A group whose broker dies again and again: no record that is in the log is passed over unread (durability 3.15, REP-6)."""

from __future__ import annotations

import random

from streamlog import Broker, Consumer, TopicPartition
from streamlog.broker.java_hash import partition_for_group
from streamlog.record import build_batch
from streamlog.testing import CrashLab

T0 = TopicPartition("t", 0)
NOW_MS = 1_700_000_000_000


class Life:
    """One topic, one group, and what both have seen; *seed* decides all of it."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.lab = CrashLab(seed=seed)
        self.broker = self.lab.open_broker()
        segment_bytes = self.chance.choice([512, 4096])
        self.broker.create_topic("t", configs={"segment_bytes": segment_bytes, "flush_ms": -1})
        self.sent = 0
        self.clamps = 0
        # What the group was given last at each offset, and what was ever stored under an offset and epoch.
        self.given: dict[int, bytes | None] = {}
        self.stored: dict[tuple[int, int], bytes | None] = {}

    def run(self) -> None:
        steps = [
            *(self.append,) * 4,
            self.sync,
            *(self.read,) * 3,
            self.cut_power,
            self.kill,
            self.close,
        ]
        for _ in range(self.chance.randrange(20, 50)):
            self.chance.choice(steps)()
            self.check_epochs()
            assert self.broker.recovery_report.damaged_partitions == []
        self.broker.close()

    # ---- steps

    def append(self) -> None:
        for _ in range(self.chance.randrange(1, 6)):
            values = [b"%d.%d" % (self.sent, n) for n in range(self.chance.randrange(1, 4))]
            self.broker.partition(*T0).append(build_batch(values, NOW_MS))
            self.sent += 1

    def sync(self) -> None:
        self.broker.partition(*T0).sync()

    def read(self) -> None:
        """Go on as the group does: check its position, read all there is, and commit, or not."""
        with Consumer(
            self.broker, group_id="g", auto_offset_reset="earliest", enable_auto_commit=False
        ) as consumer:
            consumer.assign([T0])
            position = consumer.position(T0)
            self.clamps += len(consumer.clamped_offsets)
            for offset, (value, _) in self.log().items():
                if offset < position:
                    assert self.given.get(offset) == value, f"offset {offset} was passed over"
            self.given.update({record.offset: record.value for record in consumer.poll(0)})
            if self.chance.random() < 0.7:
                consumer.commit()
        if self.chance.random() < 0.5:  # so that the commit survives what its records may not
            home = partition_for_group("g", 50)
            if "__consumer_offsets" in self.broker.topics(include_internal=True):
                self.broker.partition("__consumer_offsets", home).sync()

    def cut_power(self) -> None:
        keep = self.chance.choice(("nothing", "chance", "everything"))
        self.lab.cut_power(keep)  # type: ignore[arg-type]
        self.reopen()

    def kill(self) -> None:
        self.lab.kill()
        self.reopen()

    def close(self) -> None:
        self.broker.close()
        self.reopen()

    def reopen(self) -> None:
        self.broker = self.lab.open_broker()

    # ---- what holds

    def log(self) -> dict[int, tuple[bytes | None, int]]:
        """Return value and leader epoch at each offset."""
        return read_all(self.broker)

    def check_epochs(self) -> None:
        """I7: under one offset and epoch there is one value for all times."""
        partition = self.broker.partition(*T0)
        for offset, (value, epoch) in self.log().items():
            assert self.stored.setdefault((offset, epoch), value) == value
            end = partition.end_offset_for_epoch(epoch)
            assert end is not None
            assert end.end_offset > offset


def read_all(broker: Broker) -> dict[int, tuple[bytes | None, int]]:
    partition = broker.partition(*T0)
    found: dict[int, tuple[bytes | None, int]] = {}
    offset = partition.log_start_offset
    while batches := partition.read_batches(offset, 1 << 20, partition.log_end_offset):
        for batch in batches:
            batch.check()
            values = [(value, batch.leader_epoch) for value in batch.values()]
            found.update(zip(batch.offsets(), values, strict=True))
        offset = batches[-1].next_offset
    return found


def test_a_group_passes_over_no_record_however_its_broker_dies() -> None:
    clamps = 0
    for seed in range(20):
        life = Life(seed)
        try:
            life.run()
        except AssertionError as error:
            raise AssertionError(f"Life({seed}).run(): {error}") from error
        clamps += life.clamps
    assert clamps, "no power failure took what the group had committed: these lives show nothing"
