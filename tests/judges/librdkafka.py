"""The C and C++ tests of librdkafka, from Debian's source, linked with Debian's library or run on the newest one."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.judges.broker_process import ROOT, BrokerProcess
from tests.judges.debian import DebianFolder
from tests.judges.verdicts import FAILED, PASSED, SKIPPED, Verdict

VERSION = "2.0.2-1"
#: The newest library is the one inside this wheel.
CONFLUENT_KAFKA = "confluent-kafka==2.16.1"

#: What the tests may use of a broker, one release after which nothing more is asked of us.
KAFKA_VERSION = "2.8.0"
TIMEOUT_S = 120
#: One that is known to fail may wait for ever.
KNOWN_TIMEOUT_S = 45
#: They wait most of the time.
AT_ONCE = 12
#: Many count on times, which a machine that runs others beside them does not keep: what fails is run again, alone.
TRIES = 3

#: Tests that talk to a broker, in the order of their files. Left out are those that talk to none or to librdkafka's mock of one,
#: those of TLS and SASL (0097 0115 0119 0128 0133 0135), those that break sockets on purpose and so need a hook in their build
#: (0049 0068 0075 0076 0088 0094), 0101 (racks: several brokers), 0098 (a program in Java), and 0028 0047 0079, which librdkafka
#: itself leaves out.
_TESTS = """
    0001 0002 0003 0005 0007 0008 0011 0012 0013 0014 0015 0017 0018 0019 0020 0021 0022 0026 0029 0030 0031 0033 0034 0035
    0036 0038 0039 0040 0041 0042 0044 0045 0048 0050 0051 0052 0053 0054 0055 0056 0057 0059 0060 0061 0063 0064 0065 0067
    0069 0070 0073 0077 0081 0082 0083 0084 0085 0086 0089 0090 0091 0092 0093 0099 0102 0103 0109 0110 0112 0113 0114 0118
    0122 0129 0130 0137
"""
#: Tests for a broker that creates no topics by itself.
NO_AUTO_CREATE_TESTS = ["0045", "0107", "0111"]
#: These take longest, in this order: whoever begins with them is done first.
LONGEST_TESTS = [
    "0091",
    "0107",
    "0033",
    "0093",
    "0103",
    "0077",
    "0114",
    "0015",
    "0111",
    "0089",
    "0084",
    "0129",
]
#: Takes its time, and is left out of quick runs.
SLOW_TESTS = {"0082"}
#: From the next release on it wants kafka-acls.sh as well.
BEFORE_ACLS = {"0109": "2.0.0"}

_CONFIGURATION = "test.topic.random=true\ntest.timeout.multiplier=3\n"
_SUMMARY = re.compile(r"^\|(?:\x1b\[\d+m)? (\d{4}_\w+) +\| +(PASSED|SKIPPED|FAILED)", re.MULTILINE)
_FAILURE = re.compile(
    r"^.*(?:Test assertion failed|### Test \"\d|TEST FAILURE|Terminated).*$", re.MULTILINE
)


class Suite(NamedTuple):
    """The program with the tests in it, and the folder of the library to run it on."""

    runner: Path
    library: Path
    home: Path


def prepare(cache: Path) -> Suite:
    """Fetch and build what is not there yet: about a minute."""
    home = (cache / f"librdkafka-{VERSION}").resolve()
    debian = DebianFolder(home / "debian")
    libraries = debian.root / "usr" / "lib" / f"{os.uname().machine}-linux-gnu"
    tests = home / "source" / "tests"
    suite = Suite(tests / "test-runner", libraries, home)
    if suite.runner.exists():
        return suite
    home.mkdir(parents=True, exist_ok=True)
    debian.update()
    debian.unpack(
        *(f"{name}={VERSION}" for name in ("librdkafka1", "librdkafka++1", "librdkafka-dev"))
    )
    debian.unpack(
        "liblz4-1", "libsasl2-2", "libssl3", "libzstd1", "rapidjson-dev", "zlib1g", "zlib1g-dev"
    )
    archive = debian.source(f"librdkafka={VERSION}")
    shutil.rmtree(home / "source", ignore_errors=True)
    (home / "source").mkdir()
    command = ["tar", "--extract", "--file", archive, "--strip-components=1"]
    subprocess.run(command, cwd=home / "source", check=True)
    harness = home / "source" / "tests" / "test.c"
    text = harness.read_text()
    assert text.count(_REPLICAS) == 1
    harness.write_text(text.replace(_REPLICAS, _ONE_REPLICA))
    include = debian.root / "usr" / "include"
    environment = {**os.environ, "CPATH": str(include), "LIBRARY_PATH": str(libraries)}
    configure = ["./configure", "--disable-ssl", "--disable-gssapi"]  # for the headers
    for command in (configure, ["bash", "-c", _BUILD]):
        subprocess.run(
            command, cwd=home / "source", env=environment, stdout=subprocess.DEVNULL, check=True
        )
    return suite


#: Some tests want three replicas of their topics, none of them needs them.
_REPLICAS = "test_admin_create_topic(use_rk, topicname, partition_cnt,\n                                        replication_factor, NULL);"
_ONE_REPLICA = "test_admin_create_topic(use_rk, topicname, partition_cnt, 1, NULL);"

_BUILD = """
set -e
cd tests
flags="-O0 -w -DWITH_RAPIDJSON=1 -I../src -I../src-cpp -I.."
for file in [0]*-*.c test.c rusage.c sockem.c sockem_ctrl.c ../src/tinycthread.c ../src/tinycthread_extra.c ../src/rdlist.c; do
    echo "gcc $flags -c $file -o built_$(basename $file).o"
done > commands
for file in [08]*-*.cpp testcpp.cpp; do echo "g++ $flags -c $file -o built_$file.o"; done >> commands
for file in 8*-*.c; do [ -e "$file" ] && echo "gcc $flags -c $file -o built_$file.o" >> commands; done
xargs -P 2 -I{} sh -c '{}' < commands
g++ built_*.o -o linked -lrdkafka++ -lrdkafka -lpthread -lz -ldl -lm -lrt -rdynamic
mv linked test-runner
"""


def with_newest_library(suite: Suite, cache: Path) -> Suite:
    """Return the same tests on the library inside confluent-kafka's wheel."""
    folder = cache.resolve() / CONFLUENT_KAFKA.replace("==", "-")
    link = folder / "library" / "librdkafka.so.1"
    if not link.exists():
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
        subprocess.run(
            [*pip, "install", "--no-deps", "--target", folder, CONFLUENT_KAFKA], check=True
        )
        (library,) = (folder / "confluent_kafka.libs").glob("librdkafka-*.so*")
        link.parent.mkdir()
        link.symlink_to(library)
        # Its bindings for C++ are Debian's.
        for other in suite.library.glob("librdkafka++.so*"):
            (link.parent / other.name).symlink_to(other)
    return suite._replace(library=link.parent)


class Run(NamedTuple):
    """The tests on one library; *known* are those that fail."""

    name: str
    suite: Suite
    known: Collection[str]


class _Task(NamedTuple):
    """One test in one run."""

    run: Run
    test: str
    scenario: str
    broker: BrokerProcess
    logs: Path

    @property
    def name(self) -> str:
        return self.test if self.scenario == "default" else f"{self.test} ({self.scenario})"


def run(runs: Sequence[Run]) -> list[list[Verdict]]:
    """Return what each test of each run said; all of them take place side by side."""
    with contextlib.ExitStack() as brokers:
        tasks: list[_Task] = []
        for one in runs:
            logs = one.suite.home / f"logs-{one.name}"
            shutil.rmtree(logs, ignore_errors=True)
            logs.mkdir()
            usual = brokers.enter_context(BrokerProcess(logs / "broker.log"))
            strict = brokers.enter_context(BrokerProcess(logs / "strict.log", auto_create=False))
            # Each test reads its file whenever it makes a client, so nobody may write it meanwhile.
            for scenario, broker in (("default", usual), ("noautocreate", strict)):
                text = f"{_CONFIGURATION}metadata.broker.list={broker.address}\n"
                (logs / f"{scenario}.conf").write_text(text)
            tasks += [_Task(one, test, "default", usual, logs) for test in _TESTS.split()]
            tasks += [
                _Task(one, test, "noautocreate", strict, logs) for test in NO_AUTO_CREATE_TESTS
            ]
        places = {test: place for place, test in enumerate(LONGEST_TESTS)}
        tasks.sort(key=lambda task: places.get(task.test, len(places)))
        with ThreadPoolExecutor(AT_ONCE) as pool:
            verdicts = list(pool.map(_try, tasks))
        verdicts = [_try_again(*pair) for pair in zip(tasks, verdicts, strict=True)]
    return [
        [verdict for task, verdict in zip(tasks, verdicts, strict=True) if task.run is one]
        for one in runs
    ]


def _try_again(task: _Task, verdict: Verdict) -> Verdict:
    """Return what a test that failed beside others says alone, and any other *verdict* as it is."""
    if task.name in task.run.known:
        return verdict
    for tries in range(2, TRIES + 1):
        if verdict.outcome != FAILED:
            break
        print(
            f"  {task.run.name}: {task.name} failed and has try {tries}\n{verdict.said}", flush=True
        )
        verdict = _try(task, tries)
    return verdict


def _try(task: _Task, tries: int = 1) -> Verdict:
    (_, suite, known), test, scenario, broker, logs = task
    name = task.name
    timeout_s = KNOWN_TIMEOUT_S if name in known else TIMEOUT_S
    environment = {
        # Where they see CI, some leave themselves out.
        **{variable: text for variable, text in os.environ.items() if variable != "CI"},
        "LD_LIBRARY_PATH": str(suite.library),
        "TESTS": test,
        "TEST_KAFKA_VERSION": BEFORE_ACLS.get(test, KAFKA_VERSION),
        "TEST_SCENARIO": scenario,
        "RDKAFKA_TEST_CONF": str(logs / f"{scenario}.conf"),
        # Some call Kafka's script to change a topic: ours does the same.
        "KAFKA_PATH": str(ROOT / "tests" / "judges" / "kafka"),
        "ZK_ADDRESS": broker.address,
        "PYTHON": sys.executable,
        "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
    }
    command = [suite.runner, "-p1", "-L", "-E", *([] if test in SLOW_TESTS else ["-Q"])]
    started = time.monotonic()
    with (logs / f"{test}-{scenario}-{tries}.log").open("w+b") as log:
        try:
            code = subprocess.run(
                command,
                cwd=suite.runner.parent,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=timeout_s,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            code = -1
        log.seek(0)
        said = log.read().decode(errors="replace")
    seconds = time.monotonic() - started
    outcomes = {outcome for found, outcome in _SUMMARY.findall(said) if found.startswith(test)}
    if code or "FAILED" in outcomes:
        reasons = _FAILURE.findall(said)[:6] or said.splitlines()[-10:]
        if code == -1:
            reasons.append(f"did not end within {timeout_s} s")
        return Verdict(name, FAILED, seconds, "\n".join(reasons), tries)
    return Verdict(name, PASSED if "PASSED" in outcomes else SKIPPED, seconds, tries=tries)
