"""The broker that is judged, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).resolve().parents[2]

#: What the suites take for granted about their broker.
PARTITIONS = 4
MIN_SESSION_MS = 100


def may_leave_out() -> bool:
    """Return whether something that this machine lacks may be left out: it may, but not in CI, where nobody would notice."""
    return os.environ.get("CI") != "true"


class BrokerProcess:
    """``with BrokerProcess() as broker: ... broker.address``. What it logs goes to *log*."""

    def __init__(self, log: Path, *, auto_create: bool = True) -> None:
        self.address = ""
        self._log = log
        self._arguments = [] if auto_create else ["--no-auto-create"]

    def __enter__(self) -> BrokerProcess:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.judges.broker_process", *self._arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
            )
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().decode().strip()
        if not self.address:
            raise RuntimeError(f"the broker did not start: {self._log.read_text()}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise


def main() -> None:
    """Serve until standard input ends."""
    import logging

    from streamlog import Broker

    # Some tests produce records of 1970, which retention would delete while they are read.
    logging.basicConfig(level=logging.INFO)
    with Broker(group_min_session_timeout_ms=MIN_SESSION_MS, log_retention_ms=-1) as broker:
        auto_create = "--no-auto-create" not in sys.argv
        broker.listen(node_id=1, default_partitions=PARTITIONS, auto_create=auto_create)
        print(broker.bootstrap_servers, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
