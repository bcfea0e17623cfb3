"""Promises P4, P5 and P6: whatever is damaged, what is read was produced, what is gone is named, the rest goes on."""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path

import pytest

from streamlog import Broker
from streamlog.errors import StreamlogError
from streamlog.runtime import VirtualClock
from tests.crash.damage import damages_to, describe, sweep
from tests.crash.damage_cases import Case, can_be_told_apart, random_damages, single_damages
from tests.crash.damage_data import CLEAN, OFFSETS_TOPIC, ROOT, STATES, make_dataset
from tests.crash.damage_transactions import STATE_HOME

DAMAGES = int(os.environ.get("STREAMLOG_DAMAGES", "1200"))


@pytest.mark.parametrize("state", STATES)
def test_the_data_set_has_every_kind_of_file(state: str) -> None:
    dataset = make_dataset(state)
    assert dataset.size_bytes >= 64 * 1024
    names = {path.rpartition("/")[2] for path in dataset.files}
    assert {"FORMAT", "LOCK", "META", "STATE", "reason.json"} <= names
    assert {name.rpartition(".")[2] for name in names} >= {"log", "idx", "tix", "snap", "txn"}
    assert max(Counter(path.rpartition("/")[0] for path in dataset.files).values()) > 6
    assert any(OFFSETS_TOPIC in path for path in dataset.files)
    assert any(STATE_HOME.topic in path for path in dataset.files)


@pytest.mark.crash
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("state", STATES)
def test_damaged_anywhere_gives_what_was_produced_or_an_error_that_names_it(state: str) -> None:
    seed = random.SystemRandom().randrange(1 << 31)
    every = sum(1 for _ in single_damages(make_dataset(state))) * 4 // DAMAGES
    result = sweep(state, damages_to(state, every, DAMAGES // 12, seed))
    assert not result.failures, f"seed {seed}\n" + "\n".join(map(describe, result.failures))
    outcomes = Counter[str]()
    for (_, _, outcome), count in result.counts.items():
        outcomes[outcome] += count
    # It must have been possible to fail.
    assert min(outcomes[o] for o in ("whole", "error", "refused", "not opened")) > 0
    assert outcomes.total() > DAMAGES / 5


def test_a_case_can_be_made_again_from_its_name() -> None:
    cases = list(single_damages(make_dataset(CLEAN)))
    assert len(cases) > 2 * 64 * 1024
    for case in random.Random(1).sample(cases, 200):
        assert Case.parse(str(case)) == case


def test_logs_of_two_partitions_are_not_swapped_in_two_steps_either() -> None:
    """The format cannot tell such logs apart (docs/decisions/0002)."""
    one, two, state = (
        f"{ROOT}/{path}"
        for path in (f"topics/orders-0/{0:020d}.log", f"topics/orders-1/{0:020d}.log", "STATE")
    )
    there = Case("swap", one, (state,))
    assert can_be_told_apart((there,))
    assert can_be_told_apart((there, there, Case("flip", two, (1, 1))))
    assert not can_be_told_apart((there, Case("swap", state, (two,))))
    rng = random.Random(1)
    assert all(can_be_told_apart(random_damages(make_dataset(CLEAN), rng)) for _ in range(200))


@pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="the system has no O_NOFOLLOW")
@pytest.mark.parametrize("kind", ["symlink", "directory"])
@pytest.mark.parametrize(
    "name",
    [
        "FORMAT",
        "LOCK",
        "META",
        "STATE",
        "topics/orders-0/00000000000000000000.log",
        "topics/orders-0/00000000000000000000.idx",
        "topics/orders-0/00000000000000000000.tix",
        "topics/orders-0/00000000000000000357.log",
    ],
)
def test_a_link_or_a_directory_in_place_of_a_file_is_never_followed(
    tmp_path: Path, name: str, kind: str
) -> None:
    dataset = make_dataset(CLEAN)
    data = tmp_path / "data"
    for directory in dataset.directories:
        (tmp_path / directory[1:]).mkdir()
    for path, content in dataset.files.items():
        (tmp_path / path[1:]).write_bytes(content)
    elsewhere = tmp_path / "elsewhere"
    (data / name).rename(elsewhere)
    original = elsewhere.read_bytes()
    if kind == "symlink":
        (data / name).symlink_to(elsewhere)
    else:
        (data / name).mkdir()
    error: Exception | None = None
    try:
        with Broker(data, clock=VirtualClock(), min_free_bytes=0) as broker:
            error = _check_orders(broker, dataset.files[f"{ROOT}/topics/orders-0/{0:020d}.log"])
    except (StreamlogError, OSError) as found:
        error = found
    # Index files are rebuilt, LOCK and STATE have to be written.
    assert (error is None) == name.endswith((".idx", ".tix", ".txn", ".snap"))
    assert error is None or str(data) in str(error)
    assert elsewhere.read_bytes() == original


def _check_orders(broker: Broker, first_segment: bytes) -> StreamlogError | None:
    assert broker.partition("orders", 1).read(0, 1 << 20)
    partition = broker.partition("orders", 0)
    try:
        assert first_segment.startswith(partition.read(0, 1 << 20)[:1000])
        partition.append_value(b"after", broker.runtime.clock.time_ms())
    except StreamlogError as error:
        return error
    return None
