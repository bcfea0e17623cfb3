"""Promise P12: bytes from anyone raise what is promised and nothing else. The corpus, and seeded changes to it."""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.make_corpus import corpus
from tests.fuzz.mutate import mutated
from tests.fuzz.targets import SLOW, TARGETS

CORPUS = Path(__file__).parent / "corpus"
RUNS = int(os.environ.get("STREAMLOG_FUZZ_RUNS", "2000"))

#: Of one input. Not the second that `make fuzz` allows: the machine may be doing other things.
TIMEOUT_S = 20


def inputs_of(name: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_each_target_has_a_corpus_of_a_few_kilobytes() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS) == set(corpus())
    assert sum(map(len, (data for name in TARGETS for data in inputs_of(name)))) < 20_000


@pytest.mark.parametrize("name", TARGETS)
def test_corpus_finds_nothing(name: str) -> None:
    for data in [*inputs_of(name), b"", b"r", b"\0"]:
        TARGETS[name](data)


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_changed_corpus_finds_nothing(name: str) -> None:
    seed = random.SystemRandom().randrange(1 << 31)
    rng, inputs = random.Random(seed), inputs_of(name)
    for number in range(RUNS // 25 if name in SLOW else RUNS):
        data = mutated(inputs, rng)
        started = time.monotonic()
        try:
            TARGETS[name](data)
        except Exception as error:
            raise AssertionError(f"seed {seed}, input {number}: {data!r}") from error
        assert time.monotonic() - started < TIMEOUT_S, f"seed {seed}, input {number}: {data!r}"
