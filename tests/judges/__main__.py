"""``python -m tests.judges [JUDGE ...]``: run the suites, print what they say, exit with 1 if anything is not as known."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.judges import debian, kafka_python, librdkafka
from tests.judges.broker_process import ROOT, may_leave_out
from tests.judges.known_failures import KAFKA_PYTHON, LIBRDKAFKA, LIBRDKAFKA_NEWEST
from tests.judges.verdicts import report


def judge_kafka_python(cache: Path) -> bool:
    """Run kafka-python's integration tests."""
    # As many as pass today: one that is skipped from now on would not be noticed otherwise.
    verdicts = kafka_python.run(cache, KAFKA_PYTHON)
    return report(f"kafka-python {kafka_python.VERSION}", verdicts, KAFKA_PYTHON, least=48)


def judge_librdkafka(cache: Path) -> bool:
    """Run librdkafka's tests on Debian's library, then on the newest."""
    if reason := debian.why_not("apt-get", "dpkg-deb", "gcc", "g++"):
        print(f"\nlibrdkafka left out: {reason}")
        return may_leave_out()
    suite = librdkafka.prepare(cache)
    newest = librdkafka.with_newest_library(suite, cache)
    on_debian, on_newest = librdkafka.run(
        [
            librdkafka.Run("debian", suite, LIBRDKAFKA),
            librdkafka.Run("newest", newest, LIBRDKAFKA_NEWEST),
        ]
    )
    title = f"librdkafka {librdkafka.VERSION} of Debian"
    is_good = report(title, on_debian, LIBRDKAFKA, least=75)
    title = f"librdkafka of {librdkafka.CONFLUENT_KAFKA}"
    return report(title, on_newest, LIBRDKAFKA_NEWEST, least=76) and is_good


JUDGES: dict[str, Callable[[Path], bool]] = {
    "kafka-python": judge_kafka_python,
    "librdkafka": judge_librdkafka,
}


def main() -> int:
    """Run the judges that are named, all without any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("judges", nargs="*", metavar="JUDGE", help=", ".join(JUDGES))
    parser.add_argument(
        "--cache", type=Path, default=ROOT / ".judges", help="where what is fetched is kept"
    )
    options = parser.parse_args()
    if unknown := set(options.judges) - set(JUDGES):
        parser.error(f"expected {', '.join(JUDGES)}, found {', '.join(sorted(unknown))}")
    options.cache.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    results = [JUDGES[name](options.cache.resolve()) for name in options.judges or JUDGES]
    print(
        f"\n{'as known' if all(results) else 'NOT as known'}, in {time.monotonic() - started:.0f} s"
    )
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
