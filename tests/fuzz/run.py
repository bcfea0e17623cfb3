"""Fuzz with atheris: ``python tests/fuzz/run.py [--seconds N] [--runs N] [--target NAME ...] [--seed SEED]``.

Each target runs in a process of its own, from the corpus in ``tests/fuzz/corpus`` on, with at most 1 s and 256 MiB for an input.
``python tests/fuzz/run.py --target NAME --input FILE`` runs one input again, without atheris.
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:  # run as a script
    sys.path.insert(0, str(ROOT))

from tests.reliability.results import print_figures  # noqa: E402
from tests.support.patching import patched  # noqa: E402

CORPUS = ROOT / "tests" / "fuzz" / "corpus"

Function = Callable[..., Any]

#: Of one input.
TIMEOUT_S = 1
MAX_RSS_MIB = 256
MAX_INPUT_BYTES = 4096

_EXECUTED = re.compile(rb"stat::number_of_executed_units:\s*(\d+)")


def run_target(name: str, seconds: int, runs: int, seed: int, findings: Path) -> tuple[int, bytes]:
    """Fuzz one target in a child; return how many inputs it tried, and what it said if it found something."""
    with tempfile.TemporaryDirectory() as found:
        command = [
            sys.executable,
            __file__,
            "--child",
            name,
            f"-artifact_prefix={findings}/{name}-",
        ]
        command += [f"-max_total_time={seconds}", f"-seed={seed}", f"-timeout={TIMEOUT_S}"]
        command += [f"-rss_limit_mb={MAX_RSS_MIB}", f"-max_len={MAX_INPUT_BYTES}"]
        command += ["-print_final_stats=1", "-verbosity=0", "-close_fd_mask=1"]
        if runs:
            command.append(f"-runs={runs}")
        child = subprocess.run(
            [*command, found, str(CORPUS / name)], stderr=subprocess.PIPE, cwd=ROOT, check=False
        )
    executed = _EXECUTED.search(child.stderr)
    count = int(executed[1]) if executed else 0
    return count, child.stderr[-4000:] if child.returncode or not executed else b""


def run_child(name: str, arguments: list[str]) -> None:
    """Hand the process over to atheris."""
    import atheris

    # What reads bytes; instrumenting all of it takes longer than importing it.
    layers = [f"streamlog.{name}" for name in ("record", "storage", "broker", "config", "wire")]
    with atheris.instrument_imports(include=layers):
        from tests.fuzz.targets import TARGETS, quiet
    quiet()
    with generated_code_seen(atheris.instrument_func):
        atheris.Setup([sys.argv[0], *arguments], TARGETS[name])
        atheris.Fuzz()


@contextmanager
def generated_code_seen(instrument: Callable[[Function], Function]) -> Iterator[None]:
    """Pass what is compiled meanwhile through *instrument*: the coders of Kafka's messages are no imports."""
    from streamlog.wire.codec.source import Source

    compile_plain = Source.compile

    def compile_seen(self: Source, function: str, what: str) -> Function:
        return instrument(compile_plain(self, function, what))

    with patched(Source, "compile", compile_seen):
        yield


def run_input(name: str, path: str) -> None:
    """Run one input, for a debugger or a traceback."""
    from tests.fuzz.targets import TARGETS

    TARGETS[name](Path(path).read_bytes())
    print(f"{name}: {path}: nothing found")


def main() -> int:
    if sys.argv[1:2] == ["--child"]:
        run_child(sys.argv[2], sys.argv[3:])
        return 0
    names = sorted(path.name for path in CORPUS.iterdir())
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--runs", type=int, default=0, help="inputs for each target, 0 = no limit")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1, 1 << 31))
    parser.add_argument("--target", action="append", choices=names)
    parser.add_argument("--input", help="run this file again")
    parser.add_argument(
        "--findings",
        default=str(ROOT / "fuzz-findings"),
        help="where inputs go that show something wrong",
    )
    options = parser.parse_args()
    if options.input:
        run_input(options.target[0], options.input)
        return 0
    findings = Path(options.findings)
    findings.mkdir(parents=True, exist_ok=True)
    print(f"seed {options.seed}", flush=True)
    total, wrong, started = 0, 0, time.monotonic()
    for name in options.target or names:
        before = time.monotonic()
        count, said = run_target(name, options.seconds, options.runs, options.seed, findings)
        elapsed = time.monotonic() - before
        print(
            f"{name:12} {count:>10} executions in {elapsed:.0f} s, {count / elapsed:.0f} a second",
            flush=True,
        )
        total += count
        if said:
            wrong += 1
            print(said.decode(errors="replace"))
            print(f"again: python tests/fuzz/run.py --target {name} --input {findings}/{name}-...")
    print(
        f"{'all':12} {total:>10} executions in {time.monotonic() - started:.0f} s, {wrong} targets with findings"
    )
    print_figures(
        executions=total,
        targets=len(options.target or names),
        findings=wrong,
        seed=str(options.seed),
    )
    if not any(findings.iterdir()):
        findings.rmdir()
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
