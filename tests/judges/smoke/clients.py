"""Where each client comes from, and how it is started. Nothing is installed: what is fetched stays in a folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.judges import debian

HERE = Path(__file__).parent
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
ALL = "rebalance transactions admin"
#: A package of Python in which Kafka's own client is, version 3.9.1: no registry of Java is needed.
JAVA = "shigawire-apache-flink-libraries==2.0.0.post1"
KAFKAJS = ("kafkajs@2.2.4", "kafkajs-snappy@1.1.0", "lz4js@0.2.0", "zstd-codec@0.1.5")


class UnavailableError(Exception):
    """The client is not to be had on this machine."""


class Command(NamedTuple):
    """How to start a client; an address, a topic and a codec complete it."""

    arguments: list[str]
    environment: dict[str, str] = {}
    codecs: tuple[str, ...] = CODECS
    """Those that it has."""


class Client(NamedTuple):
    """One client of Kafka."""

    prepare: Callable[[Path], Command]
    """Fetch it into a folder."""
    shows: str = ALL
    """What its script says that it did, besides writing and reading."""
    is_framework: bool = False
    """Whether it is what applications are built on, and its script is one, which checks by itself what it did."""


def _fetched(folder: Path) -> bool:
    return (folder / "ready").exists()


def _pip(*arguments: object) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    done = subprocess.run([*pip, *arguments], stderr=subprocess.PIPE, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.decode(errors="replace")[-2000:])


def _python(
    script: str, *requirements: str, version: str = "", codecs: tuple[str, ...] = CODECS
) -> Callable[[Path], Command]:
    def prepare(folder: Path) -> Command:
        python = folder / "venv" / "bin" / "python"
        if not _fetched(folder):
            base = find_python(version) if version else sys.executable
            subprocess.run([base, "-m", "venv", "--without-pip", folder / "venv"], check=True)
            # Most of what is installed is never imported.
            options = ("--no-compile", "--only-binary", ":all:")
            _pip("--python", python, "install", *options, *requirements)
            (folder / "ready").touch()
        return Command([str(python), str(HERE / script)], codecs=codecs)

    return prepare


def _framework(script: str, *requirements: str) -> Callable[[Path], Command]:
    return _python(script, *requirements, codecs=("none",))


def find_python(version: str) -> str:
    """Return the interpreter of that version, from PATH or from pyenv."""
    homes = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin"))
    for path in (shutil.which(f"python{version}"), *(home / f"python{version}" for home in homes)):
        # What pyenv puts into PATH may be there and do nothing.
        if (
            path
            and not subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode
        ):
            return str(path)
    raise UnavailableError(f"needs python{version}")


def _node(
    script: str, *packages: str, codecs: tuple[str, ...] = CODECS
) -> Callable[[Path], Command]:
    def prepare(folder: Path) -> Command:
        _npm(folder, packages)
        # Node looks for packages beside the script.
        shutil.copy(HERE / script, folder)
        return Command(["node", str(folder / script)], codecs=codecs)

    return prepare


def _npm(folder: Path, packages: tuple[str, ...]) -> None:
    if not shutil.which("npm"):
        raise UnavailableError("needs npm")
    if not _fetched(folder):
        options = ["--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
        # By default it waits for five minutes for an answer that got lost.
        options += ["--fetch-timeout=20000", "--fetch-retries=5", "--fetch-retry-mintimeout=1000"]
        # Node knows the authorities that it came with, and not those of the machine.
        known = "/etc/ssl/certs/ca-certificates.crt"
        more = {"NODE_EXTRA_CA_CERTS": known} if Path(known).exists() else {}
        command = ["npm", "install", *options, "--prefix", str(folder), *packages]
        subprocess.run(command, env={**more, **os.environ}, timeout=300, check=True)
        (folder / "ready").touch()


def _kcat(folder: Path) -> Command:
    packages = debian.DebianFolder(folder / "debian")
    if not _fetched(folder):
        if reason := debian.why_not("apt-get", "dpkg-deb"):
            raise UnavailableError(reason)
        packages.update()
        packages.unpack(
            "kcat", "librdkafka1", "libyajl2", "liblz4-1", "libsasl2-2", "libssl3", "libzstd1"
        )
        (folder / "ready").touch()
    libraries = packages.root / "usr" / "lib" / f"{os.uname().machine}-linux-gnu"
    environment = {"KCAT": str(packages.root / "usr/bin/kcat"), "LD_LIBRARY_PATH": str(libraries)}
    return Command([sys.executable, str(HERE / "with_kcat.py")], environment)


def _java(folder: Path) -> Command:
    if not shutil.which("javac"):
        raise UnavailableError("needs a JDK")
    jars, classes = folder / "jars", folder / "classes"
    if not _fetched(folder):
        jars.mkdir(exist_ok=True)
        _pip("install", "--no-deps", "--upgrade", "--target", folder / "package", JAVA)
        for jar in (folder / "package").rglob("*.jar"):
            if jar.name.startswith(("kafka-clients", "lz4", "snappy", "zstd", "slf4j-api")):
                shutil.copy(jar, jars)
        (folder / "ready").touch()
    source = HERE / "WithJava.java"
    subprocess.run(["javac", "-cp", f"{jars}/*", "-d", classes, source], check=True)
    # Short runs are over before the second compiler has paid off.
    return Command(
        [
            "java",
            "-XX:TieredStopAtLevel=1",
            "-Xshare:auto",
            "-cp",
            f"{classes}:{jars}/*",
            "WithJava",
        ]
    )


_KAFKA_PYTHON_CODECS = ("python-snappy==0.7.3", "lz4==4.4.5", "zstandard==0.25.0")

#: Those that take longest come first.
CLIENTS: dict[str, Client] = {
    "java": Client(_java),
    "quixstreams": Client(
        _framework("with_quixstreams.py", "quixstreams==3.28.1", "confluent-kafka==2.12.2"),
        "exactly-once changelog restart",
        is_framework=True,
    ),
    "kafkajs": Client(_node("with_kafkajs.js", *KAFKAJS)),
    "platformatic": Client(
        # Its zstd needs Node 22, and so does its version 2.
        _node("with_platformatic.mjs", "@platformatic/kafka@1.35.0", codecs=CODECS[:4])
    ),
    "faust": Client(
        _framework("with_faust.py", "faust-streaming==0.15.3", "aiokafka==0.14.0"),
        "exactly-once tables restart",
        is_framework=True,
    ),
    "faststream": Client(
        _framework(
            "with_faststream.py",
            "faststream[confluent,kafka]==0.7.8",
            "aiokafka==0.14.0",
            "confluent-kafka==2.16.1",
        ),
        "handlers batches restart",
        is_framework=True,
    ),
    "kcat": Client(_kcat, "rebalance"),
    "kafka-python 2.0": Client(
        _python("with_kafka_python.py", "kafka-python==2.0.2", *_KAFKA_PYTHON_CODECS),
        "rebalance admin",
    ),
    "kafka-python 2.3": Client(
        _python("with_kafka_python.py", "kafka-python==2.3.3", *_KAFKA_PYTHON_CODECS)
    ),
    "kafka-python 3.0": Client(
        _python("with_kafka_python.py", "kafka-python==3.0.12", *_KAFKA_PYTHON_CODECS)
    ),
    "aiokafka": Client(_python("with_aiokafka.py", "aiokafka==0.14.0", "cramjam==2.11.0")),
    "confluent-kafka 1.9": Client(
        # It has wheels for 3.10 and older.
        _python("with_confluent.py", "confluent-kafka==1.9.2", version="3.10")
    ),
    "confluent-kafka 2.16": Client(_python("with_confluent.py", "confluent-kafka==2.16.1")),
}
