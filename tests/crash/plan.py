"""What one child does, and how it dies."""

from __future__ import annotations

import random
from typing import NamedTuple

WORKLOADS = (
    "direct",
    "script",
    "linger",
    "many",
    "writer",
    "script",
    "retention",
    "reopen",
    "script",
    "topics",
    "groups",
    "compacted",
)
"""In turn; the script, whose every call is a place to die at, more often."""

FLUSHES = ("none", "interval", "ack")
"""Never synced in the background; synced every few milliseconds; each acknowledgement waits for the disk."""

THREADS = (1, 8)

DEATHS = ("kill", "seam", "pause", "exit", "abort", "segv", "memory")
"""SIGKILL at any time; SIGKILL instead of the n-th call that changes a file; SIGSTOP, then SIGKILL, some after SIGCONT;
``os._exit`` with threads running; ``abort()`` and a wild pointer in C; no memory left, then ``os._exit``."""

_WEIGHTS = (30, 30, 12, 8, 6, 6, 8)

MEAN_LIFE_MS = 30
"""Exponential: many die within the first appends, some after many rolls."""

_LONGEST_MS = 150


class Plan(NamedTuple):
    """One run in a directory."""

    run: int
    seed: int
    workload: str
    flush: str
    threads: int
    death: str
    #: Which changing call not to survive; for the other deaths, of no meaning.
    kill_at: int
    #: How long to live, from the moment when the broker is open, or when *dies_early* from the start.
    life_ms: float
    dies_early: bool

    def __str__(self) -> str:
        place = f" at call {self.kill_at}" if self.death == "seam" else ""
        return (
            f"{self.workload} flush={self.flush} threads={self.threads} death={self.death}{place}"
        )

    def random(self, *of: object) -> random.Random:
        """Return the choices of one part of this run."""
        return random.Random("/".join(map(str, (self.seed, self.run, *of))))


def make_plan(
    run: int,
    seed: int,
    script_position: int,
    *,
    workload: str | None = None,
    flush: str | None = None,
    threads: int | None = None,
    death: str | None = None,
) -> Plan:
    """Return what to do in *run*; None leaves a choice to the seed. *script_position*: the script's next place to die at."""
    rng = random.Random(f"{seed}/{run}")
    workload = workload or WORKLOADS[run % len(WORKLOADS)]
    flush = flush or rng.choice(FLUSHES)
    threads = threads or rng.choice(THREADS)
    # Every place of the script in turn; of what others do, mostly the opening and otherwise anywhere.
    kill_at = rng.randrange(40) if rng.random() < 0.5 else int(40 * 50 ** rng.random())
    if workload == "script":
        death, threads = death or "seam", 1
        kill_at = script_position
    death = death or rng.choices(DEATHS, _WEIGHTS)[0]
    dies_early = death in ("kill", "pause") and rng.random() < 0.2
    life_ms = (
        rng.uniform(0, 25) if dies_early else min(rng.expovariate(1 / MEAN_LIFE_MS), _LONGEST_MS)
    )
    return Plan(run, seed, workload, flush, threads, death, kill_at, life_ms, dies_early)
