"""Damage to what compaction left: every record that is read is one that was left, and one that is not read is named by an error (I14, P4, P5)."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from functools import lru_cache

import pytest

from streamlog import Broker
from streamlog.errors import CorruptLogError, CorruptRecordError
from streamlog.record import build_batch
from streamlog.runtime import MemoryFileSystem, VirtualClock
from streamlog.storage.log_cleaning import CleanableLog
from tests.crash.damage_data import Disk, directories_of, kill, open_broker, read_files
from tests.support.patching import patched

TOPIC = "t"
CASES = 600

Rows = dict[int, tuple[bytes | None, bytes | None]]
Files = dict[str, bytes]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


class _Died(Exception):
    """The process ended here."""


@lru_cache
def left(*, in_a_swap: bool) -> tuple[Files, list[str], Rows]:
    """Return the files of a directory with a compacted log, its directories, and what can be read; *in_a_swap*: killed behind the
    STATE that announces one."""
    filesystem, clock = MemoryFileSystem(), VirtualClock()
    broker = open_broker(filesystem, clock)
    configs = {"cleanup_policy": "compact", "segment_bytes": 2048, "index_interval_bytes": 256}
    broker.create_topic(TOPIC, configs=configs)
    chance = random.Random(4)
    partition = broker.partition(TOPIC, 0)
    for _ in range(90):
        keys: list[bytes | None] = [b"key-%d" % chance.randrange(60) for _ in range(3)]
        values = [chance.choice((None, chance.randbytes(20), b"x" * 60)) for _ in keys]
        partition.append(build_batch(values, clock.time_ms(), keys))
    if not in_a_swap:
        broker.compact(TOPIC, roll=True)
        broker.compact(TOPIC)  # what became small is merged
        rows = rows_of(broker)
        broker.close()
        return read_files(filesystem), directories_of(filesystem), rows

    def die(self: CleanableLog, new: object) -> None:
        raise _Died

    rows = rows_of(broker)
    with patched(CleanableLog, "_put_in_place", die), pytest.raises(_Died):
        broker.compact(TOPIC, roll=True)
    files = read_files(filesystem)
    assert any(path.endswith(".cleaned") for path in files)
    directories = directories_of(filesystem)
    kill(broker)
    return files, directories, rows


def rows_of(broker: Broker) -> Rows:
    """Return key and value of every record by its offset. Raises CorruptLogError or CorruptRecordError."""
    partition = broker.partition(TOPIC, 0)
    offset, end = partition.log_start_offset, partition.log_end_offset
    rows: Rows = {}
    while offset < end:
        for batch in partition.read_batches(offset, 1 << 20, end):
            assert batch.base_offset == offset
            batch.check()
            keys = batch.keys() or [None] * batch.record_count
            rows.update(zip(batch.offsets(), zip(keys, batch.values(), strict=True), strict=True))
            offset = batch.next_offset
    return rows


def newest(rows: Rows) -> Rows:
    """Return the records of *rows* that are the newest of their keys."""
    offsets = {key: offset for offset, (key, _) in rows.items()}
    return {offset: rows[offset] for offset in offsets.values()}


def damaged(data: bytes, chance: random.Random) -> bytes:
    kind, at = chance.choice(("flip", "flip", "cut", "zero")), chance.randrange(len(data))
    if kind == "cut":
        return data[:at]
    if kind == "zero":
        return data[:at] + bytes(min(64, len(data) - at)) + data[at + 64 :]
    return data[:at] + bytes([data[at] ^ chance.randint(1, 255)]) + data[at + 1 :]


@pytest.mark.crash
@pytest.mark.parametrize("in_a_swap", [False, True])
def test_damage_to_what_compaction_wrote_is_named_or_makes_no_difference(in_a_swap: bool) -> None:
    files, directories, rows = left(in_a_swap=in_a_swap)
    suffixes = (".cleaned",) if in_a_swap else (".log", ".idx", ".tix")
    paths = [path for path in files if f"/{TOPIC}-0/" in path and path.endswith(suffixes)]
    paths = [path for path in paths if files[path]]
    seed = random.SystemRandom().randrange(1 << 31)
    disk, outcomes = Disk(files, directories), {"whole": 0, "named": 0}
    for number in range(CASES):
        chance = random.Random(f"{seed}-{number}")
        path = chance.choice(paths)
        data = damaged(files[path], chance)
        where = f"seed {seed}, case {number}: {path}"
        broker = open_broker(disk.load({path: data}), VirtualClock())
        try:
            is_known = bool(broker.recovery_report.damaged_partitions)
            try:
                found, said = rows_of(broker), None
            except (CorruptLogError, CorruptRecordError) as error:
                found, said = {}, str(error)
            if said is not None:
                assert f"{TOPIC}-0" in said or "at offset" in said, f"{where}: {said}"
                outcomes["named"] += 1
                continue
            assert found.items() <= rows.items(), where
            assert is_known or found.keys() >= newest(rows).keys() - tombstones(rows), where
            outcomes["named" if is_known else "whole"] += 1
        finally:
            kill(broker)
            disk.forget()
    assert min(outcomes.values()) > 0, outcomes


def tombstones(rows: Rows) -> set[int]:
    """Return the offsets of null values."""
    return {offset for offset, (_, value) in rows.items() if value is None}
