"""The net holds water: broken builds are caught. ``make mutants`` tries all of them."""

from __future__ import annotations

import sys

import pytest

from streamlog.broker.partition import Partition
from streamlog.runtime import system_calls
from tests.crash.process_mutants import MUTANTS, attempt


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_still_fits_what_it_breaks_and_leaves_nothing_broken(name: str) -> None:
    before = dict(vars(Partition)), system_calls.lock_exclusively
    with MUTANTS[name].patch():
        pass
    assert (dict(vars(Partition)), system_calls.lock_exclusively) == before
    assert MUTANTS[name].why


@pytest.mark.crash
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="forks and signals as Linux has them")
def test_acknowledging_before_appending_is_caught_by_killing() -> None:
    result = attempt("ack before append")
    assert result.caught
    assert "lost: " in result.found
