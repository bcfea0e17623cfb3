"""Kafka's murmur2: its own test values, and two implementations that agree."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamlog.client.murmur2 import murmur2, murmur2_python

# The first six are Kafka's own (UtilsTest.testMurmur2), all are in the appendix of the rules.
GOLDEN = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
    b"": 275646681,
    b"kafka": -798503068,
}


@pytest.mark.parametrize("key", GOLDEN)
@pytest.mark.parametrize("function", [murmur2, murmur2_python])
def test_kafkas_own_values_come_out(function: object, key: bytes) -> None:
    """PAR-1."""
    assert function(key) == GOLDEN[key]  # type: ignore[operator]


@pytest.mark.skipif(find_spec("murmurhash2") is None, reason="the extra `fast` is not installed")
@given(st.binary(max_size=200))
@example(b"\x80\xff\x00\x01")
@example(b"\xff" * 7)
def test_the_wheel_and_the_python_code_agree(key: bytes) -> None:
    from murmurhash2 import murmurhash2

    h = murmurhash2(key, 0x9747B28C)
    assert murmur2(key) == murmur2_python(key)
    assert murmur2_python(key) & 0xFFFFFFFF == h & 0xFFFFFFFF


@given(st.binary(max_size=50))
def test_the_result_is_a_signed_32_bit_number(key: bytes) -> None:
    assert -(2**31) <= murmur2(key) < 2**31


def test_without_the_wheel_the_python_code_is_used() -> None:
    program = (
        "import sys; sys.modules['murmurhash2'] = None\n"
        "from streamlog.client.murmur2 import murmur2, murmur2_python\n"
        "assert murmur2 is murmur2_python\n"
        "print(murmur2(b'kafka'))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "-798503068"
