"""Sockets of this process, and what a peer did to one."""

from __future__ import annotations

import os
import socket


def open_sockets() -> set[str]:
    """Return the sockets that this process has open, by the system's names for them."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            name = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:
            continue  # the one that listed them
        if name.startswith("socket:"):
            found.add(name)
    return found


def has_ipv6() -> bool:
    """Whether this machine has ::1."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def connect(bootstrap_servers: str) -> socket.socket:
    """Return a connection to the first address of *bootstrap_servers*."""
    host, _, port = bootstrap_servers.partition(",")[0].rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), timeout=20)


def is_closed(sock: socket.socket) -> bool:
    """Whether the peer hung up; waits for that."""
    try:
        return sock.recv(1) == b""
    except ConnectionError:
        return True
