"""The integration tests of kafka-python, from its source distribution, with the client from its wheel."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ET
from collections.abc import Collection
from pathlib import Path

from tests.judges.broker_process import BrokerProcess
from tests.judges.verdicts import FAILED, PASSED, SKIPPED, Verdict

VERSION = "3.0.12"
REQUIREMENTS = [
    f"kafka-python=={VERSION}",
    "crc32c==2.9.post0",
    "lz4==4.4.5",
    "py==1.11.0",
    "pytest==9.2.0",
    "pytest-timeout==2.4.0",
    "python-snappy==0.7.3",
    "zstandard==0.25.0",
]
#: What the client takes our table of versions for; `test_kafka_version_infer` compares.
INFERRED_KAFKA_VERSION = "3.3"
TIMEOUT_S = 60
#: Some count on times.
TRIES = 3

#: Two files that the distribution leaves out: how the project starts Kafka itself.
_SERVICE = """
class ExternalService:
    def __init__(self, host, port):
        self.host, self.port = host, port

    def open(self): ...

    close = stop = open


class SpawnedService: ...
"""


def prepare(cache: Path) -> Path:
    """Fetch what is not there yet; return the Python that has the client."""
    home = cache / f"kafka-python-{VERSION}"
    python = home / "venv" / "bin" / "python"
    if (home / "ready").exists():
        return python
    home.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, "-m", "venv", home / "venv"], check=True)
    pip = [python, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "install", *REQUIREMENTS], check=True)
    subprocess.run(
        [*pip, "download", "--no-deps", "--no-binary", ":all:", "--dest", home, REQUIREMENTS[0]],
        check=True,
    )
    (archive,) = home.glob("kafka_python-*.tar.gz")
    with tarfile.open(archive) as tar:
        tests = [one for one in tar.getmembers() if one.name.split("/")[1:2] == ["test"]]
        tar.extractall(home, tests, filter="data")
    folder = suite_folder(cache)
    (folder / "test" / "__init__.py").touch()
    (folder / "test" / "service.py").write_text(_SERVICE)
    # Or pytest takes the settings of the project in whose folder it is.
    (folder / "pytest.ini").write_text("[pytest]\n")
    (home / "ready").touch()
    return python


def suite_folder(cache: Path) -> Path:
    """Return where the tests are."""
    return cache / f"kafka-python-{VERSION}" / f"kafka_python-{VERSION}"


def run(cache: Path, known: Collection[str]) -> list[Verdict]:
    """Return what each test said; *known* are those that fail. The tests of TLS and SASL are left out."""
    python = prepare(cache)
    with BrokerProcess(cache / "kafka-python-broker.log") as broker:
        verdicts = _run(python, cache, broker)
        for tries in range(2, TRIES + 1):
            failed = {one.test for one in verdicts if one.outcome == FAILED} - set(known)
            if not failed:
                break
            print(f"  failed, and have try {tries}: {', '.join(sorted(failed))}", flush=True)
            again = {
                one.test: one._replace(tries=tries)
                for one in _run(python, cache, broker, "--last-failed")
            }
            verdicts = [again.get(one.test, one) if one.test in failed else one for one in verdicts]
    return verdicts


def _run(python: Path, cache: Path, broker: BrokerProcess, *options: str) -> list[Verdict]:
    results = cache / "kafka-python.xml"
    results.unlink(missing_ok=True)
    environment = {
        **{name: text for name, text in os.environ.items() if name != "PYTHONPATH"},
        "KAFKA_ROOT": ".",
        "KAFKA_VERSION": INFERRED_KAFKA_VERSION,
        "KAFKA_URI": f"tcp://{broker.address}",
    }
    done = subprocess.run(
        [python, "-m", "pytest", "test/integration", "-o", "addopts=", "-p", "no:asyncio", "-q"]
        + ["--timeout", str(TIMEOUT_S), "-k", "not ssl and not sasl", f"--junit-xml={results}"]
        + [*options],
        cwd=suite_folder(cache),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if not results.exists():
        raise RuntimeError(done.stdout.decode(errors="replace"))
    return [_verdict(case) for case in ET.parse(results).iter("testcase")]


def _verdict(case: ET.Element) -> Verdict:
    outcome, said = PASSED, ""
    for inner in case:
        if inner.tag == "skipped":
            outcome = SKIPPED
        elif inner.tag in ("failure", "error"):
            outcome = FAILED
            said += "\n".join((inner.text or "").splitlines()[-25:])
    file = case.get("classname", "").rpartition(".")[2]
    return Verdict(f"{file}::{case.get('name')}", outcome, float(case.get("time", 0)), said)
