"""What streamlog promises about its data, and by what each promise is shown."""

from __future__ import annotations

import attrs


@attrs.frozen
class Promise:
    """One promise to users, by its id in the design of the durability."""

    id: str
    text: str
    sweeps: tuple[str, ...] = ()
    """The sweeps whose figures stand behind it, by name."""
    tests: tuple[str, ...] = ()
    """Tests that are no sweeps, as paths from the root of the repository."""


PROMISES = (
    Promise(
        "P1",
        "A record that was acknowledged survives the death of the process at any instant.",
        ("kills", "crash"),
    ),
    Promise(
        "P2",
        "With `flush_messages=1` an acknowledged record survives loss of power, on a disk that honours a flush.",
        ("crash", "powercuts"),
    ),
    Promise(
        "P3",
        "Without it, loss of power costs at most what came within `flush_ms` and one sync; always the end of a partition,"
        " never something in its middle.",
        ("crash", "powercuts"),
    ),
    Promise(
        "P4",
        "Nothing is ever returned that was not produced: every batch is checked when it is read.",
        ("damage", "fuzz", "model"),
    ),
    Promise(
        "P5",
        "Damage to data that was durable is reported, never cut off in silence.",
        ("damage",),
    ),
    Promise("P6", "One damaged partition does not stop the others.", ("damage", "errors")),
    Promise(
        "P7",
        "A full disk is an exception and not a signal, and costs no offset.",
        ("errors",),
        ("tests/crash/test_full_disk.py",),
    ),
    Promise(
        "P8",
        "A transaction is all or nothing over its partitions and offsets, in every flush mode; once its commit returned it survives"
        " the death of the process and loss of power.",
        ("crash", "exactly-once", "transactions", "errors"),
        ("tests/integration/test_rival_producers.py",),
    ),
    Promise(
        "P9",
        "One directory has one writer; a second opener is refused by name and harms nothing.",
        (),
        ("tests/unit/runtime/test_os_directory_lock.py",),
    ),
    Promise(
        "P10",
        "Opening costs time in proportion to what was not synced, and a clean close leaves nothing to look at.",
        (),
        ("benchmarks/bench_storage.py",),
    ),
    Promise("P11", "After a sync that failed the log stops, rather than guess.", ("errors",)),
    Promise(
        "P12",
        "Bytes that are not to be trusted run no code and take no more memory than their limits.",
        ("fuzz", "wire-frames"),
    ),
    Promise(
        "P13",
        "Not promised: safety by replicas inside one process, network file systems, use after `fork`, and an I/O error of the"
        " disk under a mapped file, which ends the process and loses nothing.",
    ),
    Promise(
        "P14",
        "Of each key, compaction leaves what was acknowledged last or is newer, whatever ends the process meanwhile; what a tombstone"
        " removed stays away.",
        ("compaction-crashes", "kills", "crash"),
    ),
)
