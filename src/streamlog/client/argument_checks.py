"""Checks of arguments that several calls of producers and consumers share."""

from __future__ import annotations

from typing import Any

from streamlog.broker.broker import Broker
from streamlog.config.id_text import id_fault
from streamlog.errors import InvalidGroupIdError


def check_broker(client: str, broker: object) -> None:
    """Raise TypeError unless *broker* is a Broker, ClosedError or ForkedError when it is of no use."""
    if not isinstance(broker, Broker):
        raise TypeError(
            f"{client}: expected a Broker as the first argument, found"
            f" {type(broker).__name__}: there is no server to connect to; open one by"
            f" Broker('directory')"
        )
    broker.check_open()


def check_may_commit(broker: Broker) -> None:
    """Raise `ReadOnlyError` for a consumer that would commit by itself where nothing may be written."""
    broker.check_writable(
        "Consumer with enable_auto_commit (its default; give enable_auto_commit=False)"
    )


def check_timeout(call: str, timeout_ms: Any, name: str = "timeout_ms") -> None:
    """Raise TypeError unless *timeout_ms* is a number, ValueError when it is negative or not a number.

    None, for calls that take it, is looked at by the caller.
    """
    if isinstance(timeout_ms, bool) or not isinstance(timeout_ms, (int, float)):
        raise TypeError(
            f"{call}: {name}: expected a number of milliseconds, found {timeout_ms!r:.80}"
        )
    if not timeout_ms >= 0:
        raise ValueError(f"{call}: {name}: expected 0 or more, found {timeout_ms}")


def check_group_id(group_id: object) -> str:
    """Return *group_id*, text of 1 to 32,767 bytes as UTF-8. Raises TypeError, `InvalidGroupIdError`."""
    if not isinstance(group_id, str):
        raise TypeError(f"expected a group id (a str), found {group_id!r:.80}")
    if not group_id:
        raise InvalidGroupIdError("expected a group id, found an empty one")
    fault = id_fault(group_id)
    if fault is not None:
        raise InvalidGroupIdError(f"group id: {fault}")
    return group_id


def check_callback(call: str, name: str, callback: Any) -> None:
    """Raise TypeError unless *callback* can be called, or is None."""
    if callback is not None and not callable(callback):
        raise TypeError(
            f"{call}: {name}: expected a callable or None, found {type(callback).__name__}"
        )
