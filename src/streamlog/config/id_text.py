"""What a group id or a transactional id must be like, wherever one is given."""

from __future__ import annotations

from typing import Final

MAX_ID_BYTES: Final = 32_767
"""As UTF-8: what Kafka's requests have room for."""


def id_fault(text: str) -> str | None:
    """Return what is wrong with *text* as an id, None when it is 1 to 32,767 bytes as UTF-8.

    The words follow the name of the id and a colon. An id is data, never part of a path.
    """
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        return f"expected text, found {text!r:.80}: {error}"
    if not 0 < size <= MAX_ID_BYTES:
        return f"expected 1 to {MAX_ID_BYTES} bytes as UTF-8, found {size}"
    return None
