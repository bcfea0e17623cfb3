"""Measure streamlog against floors and peers: ``make bench``, or ``python -m benchmarks.run``.

Each figure is a ratio of two things measured in turns in this run; its target stands beside it. A topic is a file
``bench_<topic>.py``; see ``harness.py`` for how to write one.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.harness import Bench, Size
from benchmarks.report import noise_line, plain_line, print_table, summary, write_json

_HERE = Path(__file__).parent


def topics() -> list[str]:
    """Return the names of all topics, sorted."""
    return sorted(path.stem.removeprefix("bench_") for path in _HERE.glob("bench_*.py"))


def cases(topic: str) -> dict[str, Callable[[Bench], None]]:
    """Return the cases of *topic* by name, in the order in which they run."""
    found: dict[str, Callable[[Bench], None]] = importlib.import_module(
        f"benchmarks.bench_{topic}"
    ).CASES
    return found


def default_directory() -> Path:
    """Return a directory that is most likely on a disk: ``/tmp`` often is not, and syncing memory is fast."""
    path = Path("/var/tmp")
    return path if path.is_dir() and os.access(path, os.W_OK) else Path(tempfile.gettempdir())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what *arguments* ask for. Returns 0 when every case ran, whether or not it reached its target."""
    options = _parser().parse_args(arguments)
    chosen = _choose(options.only)
    if options.list:
        for topic, case in chosen:
            print(f"{topic}.{case}")
        return 0
    bench = Bench(
        size=Size.TINY if options.tiny else Size.QUICK if options.quick else Size.FULL,
        directory=options.dir,
        with_peers=not options.no_peers,
        rounds=options.rounds,
        on_row=lambda row: print(plain_line(row), file=sys.stderr),
    )
    failed = [f"{topic}.{case}" for topic, case in chosen if not _run(bench, topic, case)]
    print_table(bench.rows)
    print(summary(bench.rows))
    print(noise_line(bench.noise))
    if options.json:
        noise = noise_line(bench.noise)
        write_json(options.json, bench.rows, size=bench.size.value, failed=failed, noise=noise)
    if failed:
        print(f"raised an error: {', '.join(failed)}")
    return 1 if failed else 0


def _run(bench: Bench, topic: str, case: str) -> bool:
    bench.topic = f"{topic}.{case}"
    try:
        cases(topic)[case](bench)
    except Exception:
        traceback.print_exc()
        return False
    return True


def _choose(only: Sequence[str]) -> list[tuple[str, str]]:
    everything = [(topic, case) for topic in topics() for case in cases(topic)]
    if not only:
        return everything
    wanted = [name for item in only for name in item.split(",") if name]
    chosen = [
        (topic, case)
        for topic, case in everything
        if any(name in (topic, f"{topic}.{case}") for name in wanted)
    ]
    known = {topic for topic, _ in everything} | {f"{topic}.{case}" for topic, case in everything}
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise SystemExit(
            f"--only: expected topics or cases out of {', '.join(sorted(known))}; found {', '.join(unknown)}"
        )
    return chosen


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run",
        description="Measure streamlog against floors and peers in the same run, as ratios with their targets.",
        epilog="A ratio is the median over many short rounds in which everybody takes turns; in brackets the middle half of "
        "the rounds, beside it the ratio of the two smallest times.",
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="TOPIC[.CASE]",
        help="run these topics or cases only; may be repeated or separated by commas",
    )
    parser.add_argument(
        "--list", action="store_true", help="print the names of the cases and run none"
    )
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument(
        "--quick", action="store_true", help="a tenth of the work, a third of the rounds"
    )
    sizes.add_argument(
        "--tiny",
        action="store_true",
        help="next to no work: shows that everything runs; the figures mean nothing",
    )
    parser.add_argument(
        "--rounds", type=int, metavar="N", help="rounds of each comparison (default: by case)"
    )
    parser.add_argument(
        "--no-peers", action="store_true", help="leave other people's libraries out"
    )
    parser.add_argument(
        "--dir",
        type=Path,
        default=default_directory(),
        metavar="PATH",
        help="where to put data; should be on the disk to measure (default: %(default)s)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures to FILE")
    return parser


if __name__ == "__main__":
    sys.exit(main())
