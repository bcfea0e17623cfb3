"""The net holds water: streamlogs broken on purpose are caught by damaging their files."""

from __future__ import annotations

import pytest

from tests.crash.damage_data import STATES, make_dataset
from tests.crash.damage_mutants import MUTANTS, attempt
from tests.crash.damage_oracle import Oracle


@pytest.mark.crash
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_is_caught_by_damage(name: str) -> None:
    assert MUTANTS[name].why
    assert attempt(name, most=1500).found is not None


@pytest.mark.parametrize("state", STATES)
def test_with_nothing_broken_and_nothing_damaged_all_is_whole(state: str) -> None:
    for mutant in MUTANTS.values():
        with mutant.patch():
            pass
    dataset = make_dataset(state)
    assert Oracle(dataset).check({}) == "whole"
