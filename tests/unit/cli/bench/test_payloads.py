from __future__ import annotations

import pytest

from streamlog.cli.bench import payloads
from streamlog.cli.bench.payloads import payloads_of, random_payloads
from streamlog.cli.failures import Failure
from streamlog.runtime import RandomSource


def test_random_values_have_the_size_asked_for_and_differ() -> None:
    values = random_payloads(100, RandomSource(1).stream("bench"))
    assert {len(value) for value in values} == {100}
    assert len(set(values)) == len(values) == 1000
    assert all(value.isupper() for value in values)
    assert values == random_payloads(100, RandomSource(1).stream("bench"))


def test_large_values_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payloads, "_POOL_BYTES", 16_000)
    for size_bytes, count in ((8_000, 2), (8_001, 1), (16_001, 1)):
        assert len(random_payloads(size_bytes, RandomSource(1).stream("bench"))) == count
    assert random_payloads(0, RandomSource(1).stream("bench"))[0] == b""


def test_a_file_is_cut_at_the_delimiter() -> None:
    assert payloads_of("f", b"a\nb\n", b"\n") == [b"a", b"b"]
    assert payloads_of("f", b"a||b|", b"|") == [b"a", b"", b"b"]
    with pytest.raises(Failure, match="f: there is no payload in it"):
        payloads_of("f", b"", b"\n")
