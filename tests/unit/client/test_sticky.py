"""The partition of records without a key: how long it stays, and where it goes (PAR-2)."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.client.sticky import StickyPartition

BATCH = 100


class Chance:
    """A random source that gives what it is told."""

    def __init__(self, *numbers: float) -> None:
        self.numbers = list(numbers)

    def random(self) -> float:
        return self.numbers.pop(0)


def sticky(*numbers: float) -> StickyPartition:
    made = StickyPartition(BATCH, Chance(*numbers))
    made.current(4)
    return made


def test_the_first_partition_is_chosen_when_first_asked_for() -> None:
    made = StickyPartition(BATCH, Chance(0.5, 0.0))
    assert made.partition == -1
    assert [made.current(4) for _ in range(3)] == [2, 2, 2]


def test_it_stays_below_batch_size_however_many_records() -> None:
    """PAR-2: bytes decide, never the number of records."""
    made = sticky(0.5)
    for _ in range(BATCH - 1):
        assert made.update(1, 4) == 2
    assert made.produced_bytes == BATCH - 1


def test_it_switches_at_batch_size_when_no_batch_is_unfinished() -> None:
    """PAR-2, KIP-794."""
    made = sticky(0.5, 0.25)
    made.update(BATCH - 1, 4)
    assert made.update(1, 4, queue_is_finished=True) == 1
    assert made.produced_bytes == 0


def test_it_waits_for_an_unfinished_batch_up_to_twice_batch_size() -> None:
    """PAR-2: leaving a batch with room would send it small."""
    made = sticky(0.5, 0.25)
    assert made.update(BATCH, 4, queue_is_finished=False) == 2
    assert made.update(BATCH - 1, 4, queue_is_finished=False) == 2
    assert made.update(1, 4, queue_is_finished=False) == 1


def test_it_switches_as_soon_as_the_unfinished_batch_is_finished() -> None:
    made = sticky(0.5, 0.25)
    assert made.update(BATCH + 5, 4, queue_is_finished=False) == 2
    assert made.update(0, 4, queue_is_finished=True) == 1


def test_one_record_larger_than_a_batch_counts_once() -> None:
    made = sticky(0.5, 0.25)
    assert made.update(50 * BATCH, 4) == 1
    assert made.produced_bytes == 0


def test_the_hot_path_may_count_by_itself() -> None:
    made = sticky(0.5, 0.25)
    made.produced_bytes += BATCH
    assert not made.switch_if_due(4, queue_is_finished=False)
    assert made.partition == 2
    assert made.switch_if_due(4)
    assert made.partition == 1


def test_the_same_partition_may_come_again() -> None:
    made = sticky(0.5, 0.5)
    assert made.switch_if_due(4) is False
    made.update(BATCH, 4)
    assert (made.partition, made.produced_bytes) == (2, 0)


def test_a_topic_that_grew_keeps_the_partition_and_one_that_shrank_does_not() -> None:
    made = sticky(0.99, 0.0)
    assert made.partition == 3
    assert made.current(8) == 3
    assert made.current(2) == 0


def test_choices_are_uniform_without_queue_sizes() -> None:
    """PAR-2."""
    made = StickyPartition(BATCH, Random(7))
    found = Counter(made.choose(4) for _ in range(4000))
    assert set(found) == {0, 1, 2, 3}
    assert all(800 < times < 1200 for times in found.values())


def test_long_queues_are_chosen_less_often() -> None:
    """PAR-2: the weight is the longest queue + 1 - the own one; Kafka's example 0, 3, 1."""
    made = StickyPartition(BATCH, Random(7))
    found = Counter(made.choose(3, [0, 3, 1]) for _ in range(8000))
    assert found[0] == pytest.approx(4000, rel=0.1)
    assert found[1] == pytest.approx(1000, rel=0.1)
    assert found[2] == pytest.approx(3000, rel=0.1)


@pytest.mark.parametrize(
    ("chance", "partition"), [(0.0, 0), (0.49, 0), (0.5, 1), (0.62, 1), (0.625, 2), (0.999, 2)]
)
def test_weights_have_sharp_borders(chance: float, partition: int) -> None:
    """Weights 4, 1, 3 of 8."""
    assert StickyPartition(BATCH, Chance(chance)).choose(3, [0, 3, 1]) == partition


def test_queues_of_equal_length_are_chosen_alike() -> None:
    made = StickyPartition(BATCH, Random(7))
    found = Counter(made.choose(3, [5, 5, 5]) for _ in range(3000))
    assert all(850 < times < 1150 for times in found.values())


def test_a_wrong_number_of_queues_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 3 queue sizes, found 2"):
        StickyPartition(BATCH, Random(7)).choose(3, [1, 2])


def test_a_batch_size_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_size must be 1 or greater, found 0"):
        StickyPartition(0, Random(7))


@given(
    st.integers(1, 50),
    st.integers(1, 8),
    st.lists(st.tuples(st.integers(0, 120), st.booleans()), max_size=60),
)
def test_no_partition_ever_gets_much_more_than_two_batches(
    batch_size: int, count: int, appends: list[tuple[int, bool]]
) -> None:
    made = StickyPartition(batch_size, Random(3))
    assert 0 <= made.current(count) < count
    for size, finished in appends:
        before = made.produced_bytes
        assert before < 2 * batch_size
        partition = made.partition
        assert 0 <= made.update(size, count, queue_is_finished=finished) < count
        switched = made.produced_bytes == 0 and before + size > 0
        assert switched == (before + size >= (batch_size if finished else 2 * batch_size))
        if not switched:
            assert made.partition == partition


def test_equal_bytes_go_to_each_partition_whatever_the_record_sizes() -> None:
    """PAR-2, KIP-794: the share of a partition is measured in bytes."""
    random = Random(11)
    made = StickyPartition(1000, random)
    shares: Counter[int] = Counter()
    made.current(3)
    for _ in range(60_000):
        size = random.choice((1, 10, 300))
        shares[made.partition] += size
        made.update(size, 3)
    mean = sum(shares.values()) / 3
    assert all(abs(share - mean) < 0.1 * mean for share in shares.values())
