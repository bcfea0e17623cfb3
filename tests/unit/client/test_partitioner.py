"""Partitioners: the golden table, null and empty keys, and the caller's own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.client.partitioner import resolve_partitioner
from streamlog.config.plugin_names import PARTITIONER_NAMES
from streamlog.errors import InvalidConfigurationError

# key: Java partition of 10, of 15, librdkafka's consistent partition of 10, of 15 (appendix)
GOLDEN = {
    b"21": (0, 0, 2, 7),
    b"foobar": (6, 6, 9, 14),
    b"abc": (7, 12, 8, 3),
    b"kafka": (0, 10, 9, 14),
    b"TT0124": (0, 10, 9, 9),
}
BY_KEY = ("murmur2", "murmur2_random", "consistent", "consistent_random")
RANDOM = ("murmur2_random", "consistent_random", "random")


def choose(
    spec: Any, key: bytes | None, count: int, *, topic: str = "t", **options: Any
) -> int | None:
    return resolve_partitioner(spec, Random(7), **options).partition(topic, key, b"v", count)


def spread(spec: str, key: bytes | None, count: int = 4, times: int = 4000) -> Counter[int | None]:
    partitioner = resolve_partitioner(spec, Random(7))
    return Counter(partitioner.partition("t", key, b"v", count) for _ in range(times))


@pytest.mark.parametrize("key", GOLDEN)
def test_keys_go_where_kafka_and_librdkafka_put_them(key: bytes) -> None:
    """PAR-1, PAR-3."""
    java_10, java_15, crc_10, crc_15 = GOLDEN[key]
    for name in (None, "murmur2", "murmur2_random"):
        assert (choose(name, key, 10), choose(name, key, 15)) == (java_10, java_15)
    for name in ("consistent", "consistent_random"):
        assert (choose(name, key, 10), choose(name, key, 15)) == (crc_10, crc_15)


@pytest.mark.parametrize("name", [None, "murmur2", "murmur2_random"])
def test_an_empty_key_is_hashed_by_murmur2(name: str | None) -> None:
    """PAR-1, PAR-3."""
    assert (choose(name, b"", 10), choose(name, b"", 15)) == (1, 6)


def test_a_null_key_is_left_to_the_producer_by_default() -> None:
    """PAR-2."""
    assert choose(None, None, 10) is None
    assert choose("murmur2", None, 10) is None


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("murmur2_random", None),
        ("consistent_random", None),
        ("consistent_random", b""),
        ("random", None),
        ("random", b"kafka"),
    ],
)
def test_random_choices_reach_all_partitions_alike(name: str, key: bytes | None) -> None:
    """PAR-3."""
    found = spread(name, key)
    assert set(found) == {0, 1, 2, 3}
    assert all(800 < times < 1200 for times in found.values())


@pytest.mark.parametrize("name", RANDOM)
def test_random_choices_repeat_with_the_seed(name: str) -> None:
    first, second = (resolve_partitioner(name, Random(5)) for _ in range(2))
    for _ in range(50):
        assert first.partition("t", None, b"", 100) == second.partition("t", None, b"", 100)


def test_consistent_puts_null_and_empty_keys_on_one_partition() -> None:
    """PAR-3."""
    assert spread("consistent", None, times=10) == spread("consistent", b"", times=10) == {0: 10}


def test_round_robin_takes_partitions_in_turn_and_ignores_keys() -> None:
    """PAR-4."""
    partitioner = resolve_partitioner("round_robin", Random(7))
    keys = [None, b"kafka", b"", b"kafka", None, b"abc"]
    assert [partitioner.partition("a", key, None, 3) for key in keys] == [0, 1, 2, 0, 1, 2]
    assert [partitioner.partition("b", b"kafka", None, 2) for _ in range(3)] == [0, 1, 0]
    assert partitioner.partition("a", None, None, 3) == 0


def test_sticky_and_ignored_keys_leave_every_record_to_the_producer() -> None:
    """PRD-11."""
    for key in (None, b"", b"kafka"):
        assert choose("sticky", key, 10) is None
        assert choose(None, key, 10, ignore_keys=True) is None
        assert choose("murmur2", key, 10, ignore_keys=True) is None


def test_every_name_the_configuration_accepts_is_implemented() -> None:
    for name in PARTITIONER_NAMES:
        assert choose(name, b"kafka", 1) in (0, None)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(InvalidConfigurationError, match=r"'murmur3': expected one of 'murmur2', "):
        choose("murmur3", b"kafka", 10)


@given(st.sampled_from(PARTITIONER_NAMES), st.none() | st.binary(max_size=30), st.integers(1, 1000))
def test_every_choice_is_a_partition(name: str, key: bytes | None, count: int) -> None:
    chosen = choose(name, key, count)
    assert chosen is None or 0 <= chosen < count


@given(st.sampled_from(PARTITIONER_NAMES), st.binary(min_size=1, max_size=30), st.integers(1, 50))
def test_memoisable_means_that_key_and_count_decide(name: str, key: bytes, count: int) -> None:
    first, second = (resolve_partitioner(name, Random(seed)) for seed in (1, 2))
    if first.memoisable:
        assert name in BY_KEY
        chosen = {
            partitioner.partition(topic, key, value, count)
            for partitioner in (first, second)
            for topic in ("a", "b")
            for value in (None, b"x", b"y")
        }
        assert len(chosen) == 1


def test_partitions_do_not_depend_on_the_hash_seed_of_the_process() -> None:
    """Trap 1: Python's hash() differs from process to process."""
    program = (
        "from random import Random; from streamlog.client.partitioner import resolve_partitioner\n"
        "names = ['murmur2', 'murmur2_random', 'consistent', 'consistent_random', 'random']\n"
        "print([resolve_partitioner(n, Random(1)).partition('t', b'alice', b'v', 97) for n in names])"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(printed) == 1


def test_a_function_is_asked_with_topic_key_value_and_count() -> None:
    asked: list[tuple[Any, ...]] = []

    def own(*arguments: Any) -> int:
        asked.append(arguments)
        return 2

    assert choose(own, b"k", 3, topic="orders") == 2
    assert asked == [("orders", b"k", b"v", 3)]
    assert resolve_partitioner(own, Random(7)).memoisable is False


class Own:
    """A caller's own partitioner as an object."""

    memoisable = True

    def partition(self, topic: str, key: bytes | None, value: bytes | None, count: int) -> Any:
        return None if key is None else len(key)


def test_an_object_may_leave_the_choice_to_the_producer_and_be_memoised() -> None:
    assert choose(Own(), b"ab", 3) == 2
    assert choose(Own(), None, 3) is None
    assert resolve_partitioner(Own(), Random(7)).memoisable is True


@pytest.mark.parametrize("answer", [-1, 3, 2**40])
def test_an_answer_that_is_no_partition_is_refused(answer: int) -> None:
    """PRD-11."""
    with pytest.raises(ValueError, match=rf"topic 'orders': .* 0 to 2, found {answer}"):
        choose(lambda *arguments: answer, b"k", 3, topic="orders")
    with pytest.raises(ValueError, match=r"0 to 2, found 4"):
        choose(Own(), b"four", 3)


@pytest.mark.parametrize("answer", [None, "1", 1.0, True])
def test_an_answer_that_is_no_int_is_refused(answer: Any) -> None:
    """A function without a return must not pass for sticky."""
    with pytest.raises(TypeError, match="expected an int, found"):
        choose(lambda *arguments: answer, b"k", 3)
