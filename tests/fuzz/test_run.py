"""What the fuzzer is shown of the library; the fuzzing itself is `make fuzz`."""

from __future__ import annotations

from streamlog.wire.codec.message_type import MessageType
from streamlog.wire.messages import BY_NAME
from tests.fuzz.run import Function, generated_code_seen


def test_coders_of_messages_are_instrumented_although_they_are_no_imports() -> None:
    seen: list[str] = []

    def instrument(function: Function) -> Function:
        seen.append(function.__code__.co_filename)
        return function

    schema = BY_NAME["Heartbeat"].request.schema
    with generated_code_seen(instrument):
        message = MessageType(schema)
        written = b"".join(message.encode(message.make(group_id="g"), 3))
        assert message.decode(written, 3).group_id == "g"
    coders = seen.count("<HeartbeatRequest v3>")
    assert coders == 2, f"expected a reader and a writer, found {seen}"

    seen.clear()
    MessageType(schema).decode(written, 3)
    assert seen == []
