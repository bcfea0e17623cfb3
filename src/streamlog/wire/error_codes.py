"""Errors as the numbers of the protocol."""

from __future__ import annotations

import logging

from streamlog.errors import StreamlogError

NONE = 0
UNKNOWN_SERVER_ERROR = -1
STORAGE_ERROR = 56

_log = logging.getLogger("streamlog")


def code_of(error: Exception) -> int:
    """Return Kafka's number for *error*. One that has none is logged, for the client learns nothing of it."""
    code = getattr(error, "code", None)
    if isinstance(error, StreamlogError) and isinstance(code, int):
        return code
    if isinstance(error, OSError):
        _log.error("storage failed while a request was served", exc_info=error)
        return STORAGE_ERROR
    _log.error("a request could not be served", exc_info=error)
    return UNKNOWN_SERVER_ERROR


def message_of(error: Exception) -> str:
    """Return what is wrong, for the fields that carry text."""
    return str(error)
