"""What every test shares: how hard the property tests try, and a fresh directory."""

from __future__ import annotations

import gc
import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# HYPOTHESIS_PROFILE chooses: `ci` is short and the same on every run, so that a red run is a change's own doing;
# `default` looks a little further and elsewhere each time; `long` is for a night.
settings.register_profile("ci", max_examples=25, deadline=None, derandomize=True, print_blob=True)
settings.register_profile("default", max_examples=100, deadline=None, print_blob=True)
settings.register_profile(
    "long",
    max_examples=5_000,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE", "ci" if "CI" in os.environ else "default")
)


# Who starts us in the background, or with nohup, has these ignored, and so would the programs be that we start and interrupt.
for number, usual in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Leave the 340,000 objects that loading 12,000 tests makes out of every later garbage collection.

    Benchmarks, and tests that look for what was left, ask for hundreds of them, each 0.2 s otherwise.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def data_dir(tmp_path: Path) -> str:
    """The path of a data directory that does not exist yet, as the `str` that the library takes."""
    return str(tmp_path / "data")


# Programs that are run against a listener, each with another client: looking for doctests would run them.
collect_ignore_glob = ["judges/smoke/*.py"]
