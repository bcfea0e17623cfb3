from __future__ import annotations

import pytest

from streamlog.cli.bench.payloads import payloads_of, random_payloads
from streamlog.cli.failures import Failure
from streamlog.runtime import RandomSource


def test_random_values_have_the_size_asked_for_and_differ() -> None:
    values = random_payloads(100, RandomSource(1).stream("bench"))
    assert {len(value) for value in values} == {100}
    assert len(set(values)) == len(values) == 1000
    assert all(value.isupper() for value in values)
    assert values == random_payloads(100, RandomSource(1).stream("bench"))


def test_large_values_are_few() -> None:
    assert len(random_payloads(8 * 1024 * 1024, RandomSource(1).stream("bench"))) == 2
    assert random_payloads(0, RandomSource(1).stream("bench"))[0] == b""


def test_a_file_is_cut_at_the_delimiter() -> None:
    assert payloads_of("f", b"a\nb\n", b"\n") == [b"a", b"b"]
    assert payloads_of("f", b"a||b|", b"|") == [b"a", b"", b"b"]
    with pytest.raises(Failure, match="f: there is no payload in it"):
        payloads_of("f", b"", b"\n")
