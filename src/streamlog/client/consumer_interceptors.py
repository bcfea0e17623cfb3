"""The consumer's interceptors: the caller's own objects that see records come and commits go."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from streamlog.client.consumer_records import ConsumerRecords
from streamlog.structs import OffsetAndMetadata, TopicPartition

_log = logging.getLogger("streamlog")


class ConsumerInterceptors:
    """A chain of interceptors in the order configured.

    Each may have ``on_consume(records) -> records`` and ``on_commit(offsets)``. What one raises is
    logged, and the consumer goes on as if it had done nothing. Threads: the consumer's. Source:
    Kafka ``ConsumerInterceptors``.
    """

    def __init__(self, interceptors: Sequence[Any]) -> None:
        self._consuming = _methods(interceptors, "on_consume")
        self._committing = _methods(interceptors, "on_commit")
        self.is_consuming = bool(self._consuming)
        """Whether `on_consume` would do anything."""

    def on_consume(self, records: ConsumerRecords) -> ConsumerRecords:
        """Return what poll returns in place of *records*, each seeing what the one before returned.

        Positions do not depend on it: what an interceptor leaves out counts as read.
        """
        for on_consume in self._consuming:
            try:
                replaced = on_consume(records)
                if not isinstance(replaced, ConsumerRecords):
                    raise TypeError(f"expected ConsumerRecords, found {type(replaced).__name__}")
                records = replaced
            except Exception:  # noqa: BLE001 - the caller's code may raise anything
                _log.exception("Interceptor %r failed", on_consume)
        return records

    def on_commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """Tell every interceptor what was committed."""
        for on_commit in self._committing:
            try:
                on_commit(dict(offsets))
            except Exception:  # noqa: BLE001 - the caller's code may raise anything
                _log.exception("Interceptor %r failed", on_commit)


def _methods(interceptors: Sequence[Any], name: str) -> list[Any]:
    methods = (getattr(interceptor, name, None) for interceptor in interceptors)
    return [method for method in methods if callable(method)]
