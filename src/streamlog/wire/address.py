"""``host:port`` as people write it."""

from __future__ import annotations

import ipaddress

from streamlog.errors import InvalidConfigurationError


def split_address(address: str, option: str = "address") -> tuple[str, int]:
    """Return host and port of ``host:port``; a missing port is 0. An IPv6 address is in brackets, ``[::1]:9092``, and comes back without.

    Raises `InvalidConfigurationError` that names *option*.
    """
    if not isinstance(address, str):
        raise InvalidConfigurationError(
            f"listen: {option}: expected a string host:port, such as '127.0.0.1:9092', found {address!r}"
        )
    host, colon, port = address.rpartition(":")
    if not colon or port.endswith("]"):  # that colon is one of an IPv6 address
        host, port = address, "0"
    is_bracketed = host.startswith("[") and host.endswith("]")
    if is_bracketed:
        host = host[1:-1]
    is_port = port.isascii() and port.isdigit() and int(port) <= 65535
    if not host or not is_port or any(char.isspace() or char in "[]/" for char in host):
        raise InvalidConfigurationError(
            f"listen: {option}: expected host:port, such as '127.0.0.1:9092', found {address!r}"
        )
    if is_bracketed != (":" in host):
        raise InvalidConfigurationError(
            f"listen: {option}: expected brackets around an IPv6 address and nothing else, such as '[::1]:9092', found {address!r}"
        )
    return host, int(port)


def join_address(host: str, port: int) -> str:
    """Return what `split_address` takes apart."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether nobody outside this machine can reach *host*. Of names only ``localhost`` is believed."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_unspecified(host: str) -> bool:
    """Whether *host* stands for all addresses of this machine, and so is none that a client can connect to."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False
