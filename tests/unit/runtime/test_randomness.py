from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.runtime import RandomSource

if TYPE_CHECKING:
    from collections.abc import Callable


def draws(source: RandomSource, name: str) -> list[float]:
    stream = source.stream(name)
    return [stream.random() for _ in range(5)]


def test_equal_seeds_give_equal_streams_whatever_was_asked_for_in_between() -> None:
    one, other = RandomSource(1), RandomSource(1)
    other.stream("noise")
    other.uuid("wanted")
    assert draws(one, "wanted") == draws(other, "wanted")


def test_names_requests_and_seeds_give_different_streams() -> None:
    source = RandomSource(1)
    streams = [draws(source, "a"), draws(source, "a"), draws(source, "b")]
    streams += [draws(RandomSource(2), "a"), draws(RandomSource(-1), "a")]
    assert len({tuple(stream) for stream in streams}) == 5


def test_stream_is_the_same_on_every_machine_and_release() -> None:
    """A noted seed must keep its meaning: these values are part of the contract."""
    assert RandomSource(42).stream("partitioner").getrandbits(32) == 1793270776
    assert str(RandomSource(42).uuid("topic")) == "682ad59f-21e2-49ea-b18a-500035cbd7a0"


def test_stream_does_not_depend_on_the_hash_seed(run_python: Callable[..., str]) -> None:
    code = "from streamlog.runtime import RandomSource; print(RandomSource(3).stream('x').random())"
    assert run_python(code) == run_python(code) == str(RandomSource(3).stream("x").random())


def test_uuids_are_version_4_and_differ_at_each_call() -> None:
    source = RandomSource(1)
    uuids = [source.uuid("topic") for _ in range(100)]
    assert len(set(uuids)) == 100
    assert {uuid.version for uuid in uuids} == {4}
    assert RandomSource(1).uuid("topic") == uuids[0]


def test_seed_that_was_chosen_can_be_used_again() -> None:
    source = RandomSource()
    assert draws(RandomSource(source.seed), "a") == draws(source, "a")
    assert RandomSource().seed != source.seed
