"""What a transactional id and its timeout must be like."""

from __future__ import annotations

from streamlog.config.id_text import id_fault
from streamlog.errors import InvalidConfigurationError, InvalidTxnTimeoutError


def check_transactional_id(transactional_id: object) -> str:
    """Return *transactional_id*, text of 1 to 32,767 bytes as UTF-8. It is data, never part of a path.

    Raises TypeError, `InvalidConfigurationError`.
    """
    if not isinstance(transactional_id, str):
        raise TypeError(f"transactional_id: expected a str, found {transactional_id!r:.80}")
    fault = id_fault(transactional_id)
    if fault is not None:
        raise InvalidConfigurationError(f"transactional_id: {fault}")
    return transactional_id


def check_timeout(transactional_id: str, timeout_ms: int, max_timeout_ms: int) -> None:
    """Raise `InvalidTxnTimeoutError` unless *timeout_ms* is above 0 and not above the broker's limit
    (TXN-3).
    """
    if not 0 < timeout_ms <= max_timeout_ms:
        raise InvalidTxnTimeoutError(
            f"transactional id {transactional_id!r}: expected a transaction_timeout_ms from 1 to "
            f"transaction_max_timeout_ms={max_timeout_ms}, found {timeout_ms}"
        )
