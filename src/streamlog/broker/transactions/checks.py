"""What a transactional id and its timeout must be like."""

from __future__ import annotations

from streamlog.errors import InvalidConfigurationError, InvalidTxnTimeoutError

MAX_ID_BYTES = 32_767
"""As UTF-8: what Kafka's requests have room for."""


def check_transactional_id(transactional_id: object) -> str:
    """Return *transactional_id*, text of 1 to 32,767 bytes as UTF-8. It is data, never part of a path.

    Raises TypeError, `InvalidConfigurationError`.
    """
    if not isinstance(transactional_id, str):
        raise TypeError(f"transactional_id: expected a str, found {transactional_id!r:.80}")
    try:
        size = len(transactional_id.encode())
    except UnicodeEncodeError as error:
        raise InvalidConfigurationError(
            f"transactional_id: expected text, found {transactional_id!r:.80}: {error}"
        ) from None
    if not 0 < size <= MAX_ID_BYTES:
        raise InvalidConfigurationError(
            f"transactional_id: expected 1 to {MAX_ID_BYTES} bytes as UTF-8, found {size}"
        )
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
