"""What the crash explorer runs: every short program of an alphabet, and longer ones by chance."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.crash.compaction_session import CompactionSession
from tests.crash.oracle import Model
from tests.crash.session import Session
from tests.crash.transaction_session import (
    AnnouncedSession,
    CrashedTransactions,
    TransactionSession,
)

AnySession = Session | TransactionSession
AnyModel = Model | CrashedTransactions

SMALL: dict[str, Any] = {"segment_bytes": 6_000}

#: How a topic is synced: each acknowledgement waits, in the background, or when asked to.
FLUSHES: dict[str, dict[str, Any]] = {
    "ack": {"flush_messages": 1},
    "background": {"flush_ms": 1_000},
    "asked": {"flush_ms": None},
}


class Workload(NamedTuple):
    """Operations with their weights, and what they are done to."""

    weights: dict[str, int]
    partitions: int = 1
    configs: dict[str, Any] = {}
    capacity_bytes: int | None = None
    length: int = 14
    session: type[AnySession] = Session


WORKLOADS = {
    "W1": Workload(
        {
            "send": 8,
            "append": 3,
            "send_many": 1,
            "send_large": 2,
            "sync": 2,
            "advance": 2,
            "kill": 1,
        }
    ),
    "W2": Workload(
        {"send": 9, "append": 3, "send_many": 1, "sync": 2, "grow": 1, "advance": 2, "power": 1},
        partitions=3,
        configs={"compression_type": "zstd"},
    ),
    "W3": Workload(
        {"send": 7, "append": 3, "send_many": 1, "roll": 3, "sync": 1, "advance": 2, "power": 1},
        configs={"segment_bytes": 900, "index_interval_bytes": 0},
    ),
    "W4": Workload(
        {
            "send": 7,
            "append": 3,
            "roll": 2,
            "delete_records": 2,
            "retention": 3,
            "advance": 3,
            "delete": 1,
            "create": 3,
            "sync": 1,
        },
        configs={"segment_bytes": 900, "retention_bytes": 900, "file_delete_delay_ms": 400},
    ),
    "W5": Workload(
        {
            "fill": 3,
            "write": 2,
            "rewrite": 1,
            "send": 2,
            "send_offset": 1,
            "commit": 3,
            "abort": 1,
            "send_plain": 2,
            "roll": 1,
            "compact": 4,
            "compact_all": 1,
            "later": 3,
            "sync": 1,
            "reopen": 1,
            "kill": 1,
            "power": 1,
        },
        configs={"segment_bytes": 900, "index_interval_bytes": 0},
        length=10,
        session=CompactionSession,
    ),
    "W6": Workload(
        {
            "write": 8,
            "rewrite": 5,
            "write_with_gap": 2,
            "send_plain": 2,
            "roll": 2,
            "sync": 1,
            "reopen": 1,
            "kill": 1,
            "power": 1,
        },
        partitions=2,
        configs={"segment_bytes": 900, "index_interval_bytes": 0},
        session=TransactionSession,
    ),
    "W7": Workload(
        {
            "send": 8,
            "send_offset": 3,
            "commit": 5,
            "abort": 2,
            "join": 1,
            "leave": 1,
            "send_plain": 2,
            "commit_plain": 1,
            "write": 1,
            "rewrite": 1,
            "roll": 1,
            "sync": 1,
            "advance": 1,
            "reopen": 1,
            "kill": 1,
            "power": 1,
        },
        partitions=2,
        configs={"segment_bytes": 900, "index_interval_bytes": 0},
        length=18,
        session=TransactionSession,
    ),
    "W8": Workload({"commit": 8, "send": 3, "sync": 2, "advance": 1, "reopen": 1, "power": 1}),
    "W9": Workload(
        {
            "send_large": 9,
            "append": 1,
            "roll": 1,
            "delete_records": 1,
            "retention": 1,
            "commit": 1,
        },
        capacity_bytes=27_000,
        configs={"segment_bytes": 9_000, "retention_bytes": 5_000, "file_delete_delay_ms": 0},
        length=12,
    ),
    "W10": Workload({"send": 6, "reopen": 4, "sync": 1, "advance": 1, "roll": 1, "power": 1}),
    "W11": Workload(
        {
            "send": 8,
            "append": 2,
            "send_many": 1,
            "roll": 2,
            "truncate": 4,
            "sync": 1,
            "kill": 1,
            "power": 1,
        },
        configs={"segment_bytes": 900, "index_interval_bytes": 0},
    ),
    "W12": Workload(
        {
            "commit": 3,
            "join_consumer": 2,
            "join_classic": 1,
            "commit_as_member": 3,
            "leave": 3,
            "expire": 4,
            "retention": 1,
            "sync": 1,
            "reopen": 1,
            "kill": 1,
            "power": 1,
        },
        length=18,
    ),
    "W13": Workload(
        {
            "join_classic": 4,
            "join_consumer": 4,
            "leave": 4,
            "commit_as_member": 4,
            "send": 1,
            "sync": 1,
            "kill": 1,
            "power": 1,
        },
        partitions=2,
    ),
    "W14": Workload(
        {
            "send": 8,
            "send_offset": 3,
            "commit": 5,
            "abort": 2,
            "join": 1,
            "leave": 1,
            "send_plain": 1,
            "roll": 1,
            "sync": 1,
            "advance": 1,
            "reopen": 1,
            "kill": 1,
            "power": 1,
        },
        partitions=2,
        configs={"segment_bytes": 900, "index_interval_bytes": 0},
        length=18,
        session=AnnouncedSession,
    ),
}

#: The calls of which every program of up to three is run.
ALPHABET = (
    "create",
    "send",
    "append",
    "sync",
    "roll",
    "delete_records",
    "delete",
    "commit",
    "grow",
    "alter",
    "retention",
    "truncate",
    "advance",
    "reopen",
    "kill",
    "power",
)

#: The same for programs of transactions.
TRANSACTION_ALPHABET = (
    "begin",
    "send",
    "send_offset",
    "commit",
    "abort",
    "join",
    "leave",
    "send_plain",
    "commit_plain",
    "write",
    "rewrite",
    "roll",
    "sync",
    "advance",
    "reopen",
    "kill",
    "power",
)

#: The same for programs that compact.
COMPACTION_ALPHABET = (
    "compact",
    "compact_all",
    "fill",
    "later",
    "write",
    "rewrite",
    "send",
    "commit",
    "abort",
    "roll",
    "reopen",
    "kill",
    "power",
)

#: What is there before a short program starts. It crashes too, in the program of no calls; and as every program of fewer calls is run as
#: well, one of three need crash in its last call only.
_PREFIX = ("create", "send", "sync", "send")
_TRANSACTION_PREFIX = ("create", "write", "send", "send_offset", "send")

_COMPACTION_PREFIX = ("create", "fill", "write")

#: Name of a kind of short programs -> calls, what comes before, partitions, and who runs them.
KINDS: dict[str, tuple[tuple[str, ...], tuple[str, ...], int, type[AnySession]]] = {
    "calls": (ALPHABET, _PREFIX, 1, Session),
    "transactions": (TRANSACTION_ALPHABET, _TRANSACTION_PREFIX, 2, TransactionSession),
    "compaction": (COMPACTION_ALPHABET, _COMPACTION_PREFIX, 1, CompactionSession),
}


class Program(NamedTuple):
    """One program, named so that it can be run again."""

    name: str
    operations: tuple[str, ...]
    partitions: int
    configs: dict[str, Any]
    capacity_bytes: int | None = None
    #: How many of the operations come before the first crash.
    quiet: int = 0
    session: type[AnySession] = Session
    #: What decides the arguments; the same for all short programs, so that equal beginnings are equal.
    seed: str = ""

    def start(self) -> AnySession:
        """Return a session in which nothing has happened yet."""
        return self.session(
            self.seed or self.name,
            self.configs,
            partitions=self.partitions,
            capacity_bytes=self.capacity_bytes,
        )


def program(name: str) -> Program:
    """Return the program of this name: ``W3/ack/17`` or ``calls/ack/send,roll,kill``."""
    kind, flush, rest = name.split("/")
    configs = {**SMALL, **FLUSHES[flush]}
    if kind in KINDS:
        alphabet, prefix, partitions, session = KINDS[kind]
        calls = tuple(call for call in rest.split(",") if call)
        unknown = set(calls) - set(alphabet)
        if unknown:
            raise ValueError(f"{name}: expected calls of {alphabet}, found {sorted(unknown)}")
        operations = (*prefix, *calls)
        # Of a world of transactions the topic is there from the beginning.
        quiet = len(operations) - 1 if calls else int(issubclass(session, TransactionSession))
        return Program(
            name, operations, partitions, configs, None, quiet, session, f"{kind}/{flush}"
        )
    workload = WORKLOADS[kind]
    chance = random.Random(name)
    operations = chance.choices(
        list(workload.weights), list(workload.weights.values()), k=workload.length
    )
    return Program(
        name,
        ("create", *operations, "reopen", "send"),
        workload.partitions,
        {**configs, **workload.configs},
        workload.capacity_bytes,
        quiet=int(issubclass(workload.session, TransactionSession)),
        session=workload.session,
    )


def short_programs(calls: int, flush: str, kind: str = "calls") -> list[str]:
    """Return the names of all programs of exactly so many calls."""
    alphabet = KINDS[kind][0]
    return [f"{kind}/{flush}/{','.join(c)}" for c in itertools.product(alphabet, repeat=calls)]


def long_programs(seed: int) -> Iterator[str]:
    """Yield names of random programs, each workload in its turn, without end."""
    for number in itertools.count(seed * 1_000_000):
        for workload, flush in zip(WORKLOADS, itertools.cycle(FLUSHES), strict=False):
            shifted = list(FLUSHES)[(list(FLUSHES).index(flush) + number) % len(FLUSHES)]
            yield f"{workload}/{shifted}/{number}"
