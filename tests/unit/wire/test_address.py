"""Addresses as people write them."""

from __future__ import annotations

import pytest

from streamlog.errors import InvalidConfigurationError
from streamlog.wire.address import is_loopback, is_unspecified, join_address, split_address


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:9092", ("127.0.0.1", 9092)),
        ("127.0.0.1", ("127.0.0.1", 0)),
        ("[::1]:9092", ("::1", 9092)),
        ("[::1]", ("::1", 0)),
        ("localhost:0", ("localhost", 0)),
        ("localhost", ("localhost", 0)),
        ("kafka-1.example.org:65535", ("kafka-1.example.org", 65535)),
    ],
)
def test_address_is_host_and_port(address: str, expected: tuple[str, int]) -> None:
    assert split_address(address) == expected
    assert split_address(join_address(*expected)) == expected


@pytest.mark.parametrize(
    "address",
    ["", ":", ":1", "localhost:", "localhost:x", "localhost:65536", "localhost:-1", "localhost:²"]
    + [
        "local host:1",
        "[]:1",
        "[::1",
        "::1]",
        "[::1]x",
        "[[::1]]:1",
        "[::1]:",
        "PLAINTEXT://localhost:1",
    ],
)
def test_other_address_is_refused(address: str) -> None:
    with pytest.raises(InvalidConfigurationError, match="expected host:port"):
        split_address(address)


@pytest.mark.parametrize("address", ["::1", "::1:9092", "[localhost]:1"])
def test_ipv6_address_is_in_brackets(address: str) -> None:
    """Without them nobody can tell where it ends and the port begins."""
    with pytest.raises(InvalidConfigurationError, match=r"advertised: .*brackets.*'\[::1\]:9092'"):
        split_address(address, "advertised")


def test_brackets_are_put_where_they_are_needed() -> None:
    assert join_address("::1", 9092) == "[::1]:9092"
    assert join_address("localhost", 9092) == "localhost:9092"


def test_loopback_addresses_and_one_name_are_nobody_elses() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "::1", "localhost", "LocalHost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "example.org", "")))


def test_address_of_all_is_none_to_connect_to() -> None:
    assert all(map(is_unspecified, ("0.0.0.0", "::", "0:0::0")))
    assert not any(map(is_unspecified, ("127.0.0.1", "localhost", "")))
