"""What keys and values say: text, or the records of the broker's own topics."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from streamlog.broker.offsets_topic import OFFSETS_TOPIC, decode_record
from streamlog.broker.topic_name import TRANSACTION_STATE_TOPIC
from streamlog.broker.transactions.records import decode_transaction
from streamlog.errors import StreamlogError
from streamlog.structs import TopicPartition

Decode = Callable[[bytes | None, bytes | None], object]

OFFSETS_DECODER: Decode = decode_record
TRANSACTION_LOG_DECODER: Decode = decode_transaction

_NAMES = {"offset": "committed_offset"}


def decoder_for(directory_name: str) -> Decode | None:
    """Return the decoder of the logs in a directory of this name, also where it was moved to quarantine; None for other topics."""
    if OFFSETS_TOPIC in directory_name:
        return OFFSETS_DECODER
    return TRANSACTION_LOG_DECODER if TRANSACTION_STATE_TOPIC in directory_name else None


def decoded(decode: Decode, key: bytes | None, value: bytes | None) -> Mapping[str, object]:
    """Return the fields of the record, what it is about first; what is wrong with it when it is none."""
    try:
        record = decode(key, value)
    except (StreamlogError, ValueError) as error:
        return {"undecodable": str(error)}
    if not isinstance(record, tuple):
        return {"record": "of a kind that is not known"}
    fields: dict[str, object] = getattr(record, "_asdict", dict)()
    # A record has an offset of its own.
    named = {_NAMES.get(name, name): _plain(value) for name, value in fields.items()}
    return {"record": type(record).__name__, **named}


def _plain(value: object) -> object:
    if isinstance(value, TopicPartition):
        return str(value)
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return [_plain(one) for one in value]
    return [_plain(one) for one in value] if isinstance(value, tuple) else value
