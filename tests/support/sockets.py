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


def own_address() -> str:
    """Where to listen at a port that is to be free again later: no other process is given ports there, and no client's end of a
    connection has one, so that nobody takes it meanwhile. Linux has all of 127.0.0.0/8.
    """
    pid = os.getpid()
    return f"127.{1 + (pid >> 16) % 250}.{pid >> 8 & 255}.{pid & 255}:0"


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
    return socket.create_connection((host.strip("[]"), int(port)), timeout=60)


def is_closed(sock: socket.socket) -> bool:
    """Whether the peer hung up; waits for that."""
    try:
        return sock.recv(1) == b""
    except ConnectionError:
        return True
