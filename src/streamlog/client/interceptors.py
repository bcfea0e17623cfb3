"""The producer's interceptors: the caller's own objects that see every record go and arrive."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from streamlog.structs import ProducerRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamlog.structs import RecordMetadata

_logger = logging.getLogger("streamlog")


class ProducerInterceptors:
    """A chain of interceptors in the order configured (PRD-12).

    Each may have ``on_send(record) -> record`` and ``on_acknowledgement(metadata, error)``. What one
    raises is logged, and sending goes on as if it had done nothing: an interceptor never breaks a
    send. Called with no lock held, from any thread. Source: Kafka ``ProducerInterceptors``.
    """

    __slots__ = ("_acknowledging", "_sending")

    def __init__(self, interceptors: Sequence[Any]) -> None:
        self._sending = _methods(interceptors, "on_send")
        self._acknowledging = _methods(interceptors, "on_acknowledgement")

    def __bool__(self) -> bool:
        return bool(self._sending or self._acknowledging)

    def on_send(self, record: ProducerRecord) -> ProducerRecord:
        """Return the record to send in place of *record*, each interceptor seeing what the one before
        it returned.
        """
        for on_send in self._sending:
            try:
                replaced = on_send(record)
                if not isinstance(replaced, ProducerRecord):
                    raise TypeError(f"expected a ProducerRecord, found {type(replaced).__name__}")
                record = replaced
            except Exception:
                _logger.exception("Interceptor %r failed for a record to %s", on_send, record.topic)
        return record

    def on_acknowledgement(self, metadata: RecordMetadata, error: BaseException | None) -> None:
        """Tell every interceptor what became of a record, before its own callback hears of it.

        *metadata* has offset -1 when *error* is set.
        """
        for on_acknowledgement in self._acknowledging:
            try:
                on_acknowledgement(metadata, error)
            except Exception:
                _logger.exception(
                    "Interceptor %r failed for %s", on_acknowledgement, metadata.topic_partition
                )


def _methods(interceptors: Sequence[Any], name: str) -> list[Any]:
    methods = (getattr(interceptor, name, None) for interceptor in interceptors)
    return [method for method in methods if callable(method)]
