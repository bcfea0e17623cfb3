"""Errors as the numbers of the protocol."""

from __future__ import annotations

import logging

from streamlog.errors import (
    ClosedError,
    CorruptLogError,
    ReadOnlyError,
    RecordDecodeError,
    StreamlogError,
)

NONE = 0
UNKNOWN_SERVER_ERROR = -1
OFFSET_OUT_OF_RANGE = 1
CORRUPT_MESSAGE = 2
BROKER_NOT_AVAILABLE = 8
OFFSET_METADATA_TOO_LARGE = 12
INVALID_TOPIC = 17
NOT_ENOUGH_REPLICAS = 19
INVALID_REQUIRED_ACKS = 21
CLUSTER_AUTHORIZATION_FAILED = 31
UNSUPPORTED_VERSION = 35
INVALID_REQUEST = 42
UNSUPPORTED_FOR_MESSAGE_FORMAT = 43
STORAGE_ERROR = 56
FETCH_SESSION_ID_NOT_FOUND = 70
FENCED_LEADER_EPOCH = 74
UNKNOWN_LEADER_EPOCH = 75
INVALID_RECORD = 87
UNSUPPORTED_COMPRESSION_TYPE = 76
UNSUPPORTED_ASSIGNOR = 112
INVALID_REGULAR_EXPRESSION = 128

_log = logging.getLogger("streamlog")


def code_of(error: Exception) -> int:
    """Return Kafka's number for *error*. One that has none is logged, for the client learns nothing of it."""
    code = getattr(error, "code", None)
    if isinstance(error, StreamlogError) and isinstance(code, int):
        return code
    if isinstance(error, ReadOnlyError):
        # No client tries that again, and each tells its user.
        return CLUSTER_AUTHORIZATION_FAILED
    if isinstance(error, CorruptLogError | RecordDecodeError):
        # The one that consumers pass on to their user instead of trying for ever.
        return CORRUPT_MESSAGE
    if isinstance(error, ClosedError):
        return BROKER_NOT_AVAILABLE  # to nobody: connections end before the broker does
    if isinstance(error, OSError):
        _log.error("storage failed while a request was served", exc_info=error)
        return STORAGE_ERROR
    _log.error("a request could not be served", exc_info=error)
    return UNKNOWN_SERVER_ERROR


def message_of(error: Exception) -> str:
    """Return what is wrong, for the fields that carry text."""
    return str(error)
