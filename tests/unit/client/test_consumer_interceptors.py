from __future__ import annotations

from typing import Any

import pytest

from streamlog.client.consumer_interceptors import ConsumerInterceptors
from streamlog.client.consumer_records import EMPTY, ConsumerRecords
from streamlog.structs import OffsetAndMetadata
from tests.support.consuming import T0


class Replacing:
    def __init__(self, replacement: Any) -> None:
        self.replacement = replacement

    def on_consume(self, records: Any) -> Any:
        return self.replacement


def test_each_interceptor_sees_what_the_one_before_returned() -> None:
    first, second = ConsumerRecords(), ConsumerRecords()
    seen: list[Any] = []

    class Seeing:
        def on_consume(self, records: Any) -> Any:
            seen.append(records)
            return second

    chain = ConsumerInterceptors([Replacing(first), Seeing()])
    assert chain.is_consuming
    assert chain.on_consume(EMPTY) is second
    assert seen == [first]


def test_interceptor_that_fails_or_returns_something_else_is_passed_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    replacement = ConsumerRecords()
    chain = ConsumerInterceptors([Replacing(None), Replacing(replacement), Replacing([])])
    assert chain.on_consume(EMPTY) is replacement
    assert len(caplog.records) == 2
    assert "expected ConsumerRecords, found list" in caplog.text


def test_commits_are_told_to_all_and_cannot_be_changed_by_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[Any] = []

    class Clearing:
        def on_commit(self, offsets: Any) -> None:
            offsets.clear()
            raise RuntimeError("no")

    class Seeing:
        def on_commit(self, offsets: Any) -> None:
            told.append(dict(offsets))

    chain = ConsumerInterceptors([Clearing(), Seeing()])
    assert not chain.is_consuming
    chain.on_commit({T0: OffsetAndMetadata(1)})
    assert told == [{T0: OffsetAndMetadata(1)}]
    assert "Clearing" in caplog.text
