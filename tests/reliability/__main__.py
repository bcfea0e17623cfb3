"""Run the sweeps and write RELIABILITY.md.

``python -m tests.reliability [SWEEP ...] [--scale 1.0] [--jobs 2]``

Without names all sweeps run. Results are kept in ``reliability-results.json``, so that one sweep can be run again without
the others; a sweep that fails is reported as failed, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import platform
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.reliability.report import render
from tests.reliability.results import (
    SKIPPED_STATUS,
    Figure,
    NoResultError,
    SweepResult,
    figures_of,
    load,
    save,
)
from tests.reliability.sweeps import SWEEPS, Sweep

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "reliability-results.json"
TARGET = ROOT / "RELIABILITY.md"
FINDINGS = Path(__file__).with_name("findings.md")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.reliability", description=__doc__)
    parser.add_argument("sweeps", nargs="*", metavar="SWEEP", help=f"of {', '.join(SWEEPS)}")
    parser.add_argument("--scale", type=float, default=1.0, help="part of the full size to run")
    parser.add_argument("--jobs", type=int, default=1, help="sweeps at a time")
    parser.add_argument(
        "--render-only", action="store_true", help="write the report from what is kept"
    )
    options = parser.parse_args()
    unknown = sorted(set(options.sweeps) - SWEEPS.keys())
    if unknown:
        parser.error(f"unknown sweep {unknown[0]!r}: expected one of {', '.join(SWEEPS)}")
    results = load(KEPT)
    chosen = [] if options.render_only else [SWEEPS[name] for name in options.sweeps or SWEEPS]
    with ThreadPoolExecutor(options.jobs) as pool:
        for result in pool.map(lambda sweep: run(sweep, options.scale), chosen):
            results[result.name] = result
            save(KEPT, results)
    TARGET.write_text(render(results, FINDINGS.read_text()))
    print(f"wrote {TARGET.name}")
    return max(
        (result.exit_status not in (0, SKIPPED_STATUS) for result in results.values()), default=0
    )


def run(sweep: Sweep, scale: float) -> SweepResult:
    """Run one sweep, pass on what it says, and return what it counted."""
    size = max(1, round(sweep.size * scale))
    print(f"{sweep.name}: {size:,} ...", flush=True)
    started = time.monotonic()
    process = subprocess.run(
        [sys.executable, *sweep.arguments(size)],
        cwd=ROOT,
        env={**os.environ, **sweep.environment(size)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - started
    status = process.returncode
    figures: dict[str, Figure] = {sweep.counted: size}
    rows: list[list[str]] = []
    if sweep.prints_figures:
        try:
            figures, rows = figures_of(process.stdout)
        except NoResultError as error:
            last = (process.stdout.strip().splitlines() or [str(error)])[-1]
            figures, status = {"said": last}, status or 1
    print(f"{sweep.name}: status {status} in {seconds:.0f} s: {figures}", flush=True)
    if status not in (0, SKIPPED_STATUS):
        print(process.stdout[-8000:])
    return SweepResult(
        sweep.name,
        figures,
        scale,
        rows,
        seconds,
        status,
        _commit(),
        platform.python_version(),
        dt.datetime.now(dt.timezone.utc).date().isoformat(),
    )


def _commit() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()

    return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain") else "")


if __name__ == "__main__":
    sys.exit(main())
