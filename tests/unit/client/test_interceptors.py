from __future__ import annotations

from typing import Any

import pytest

from streamlog.client.interceptors import ProducerInterceptors
from streamlog.structs import ProducerRecord, RecordMetadata

RECORD = ProducerRecord("t", b"v")
METADATA = RecordMetadata("t", 0, 5, 7)


class Append:
    def __init__(self, tail: bytes) -> None:
        self.tail = tail

    def on_send(self, record: ProducerRecord) -> ProducerRecord:
        return ProducerRecord(record.topic, record.value + self.tail)


class Broken:
    def __init__(self, answer: Any = None) -> None:
        self.answer = answer

    def on_send(self, record: ProducerRecord) -> Any:
        if self.answer is not None:
            return self.answer
        raise RuntimeError("mine")

    def on_acknowledgement(self, metadata: RecordMetadata, error: BaseException | None) -> None:
        raise RuntimeError("mine")


class Listening:
    def __init__(self) -> None:
        self.heard: list[Any] = []

    def on_acknowledgement(self, metadata: RecordMetadata, error: BaseException | None) -> None:
        self.heard.append((metadata, error))


def test_prd_12_each_sees_what_the_one_before_returned() -> None:
    chain = ProducerInterceptors([Append(b"1"), Append(b"2"), Listening()])
    assert chain.on_send(RECORD).value == b"v12"
    assert RECORD.value == b"v"


@pytest.mark.parametrize("answer", [None, b"not a record", 5], ids=repr)
def test_prd_12_one_that_fails_is_logged_and_skipped(
    answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    listening = Listening()
    chain = ProducerInterceptors([Append(b"1"), Broken(answer), listening, Append(b"2")])
    assert chain.on_send(RECORD).value == b"v12"
    error = ValueError("x")
    chain.on_acknowledgement(METADATA, error)
    assert listening.heard == [(METADATA, error)]
    assert caplog.text.count("Interceptor") == 2


def test_no_interceptors_is_false() -> None:
    assert not ProducerInterceptors([])
    assert ProducerInterceptors([Listening()])
    assert ProducerInterceptors([Append(b"")])
