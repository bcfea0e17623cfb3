from __future__ import annotations

import msgpack

from streamlog.broker.group_records import GroupEpoch, OffsetCommit
from streamlog.broker.offsets_topic import encode_record
from streamlog.broker.transactions.records import TransactionTombstone, encode_transaction
from streamlog.cli.dumping.payloads import (
    OFFSETS_DECODER,
    TRANSACTION_LOG_DECODER,
    decoded,
    decoder_for,
)
from streamlog.structs import TopicPartition


def test_a_committed_offset_does_not_take_the_name_of_the_records_offset() -> None:
    commit = OffsetCommit("g", TopicPartition("orders", 1), 42, None, "", 7, "id")
    found = decoded(OFFSETS_DECODER, *encode_record(commit))
    assert found["record"] == "OffsetCommit"
    assert found["committed_offset"] == 42
    assert found["topic_partition"] == "orders-1"
    assert "offset" not in found


def test_each_kind_of_record_says_what_it_is() -> None:
    assert decoded(OFFSETS_DECODER, *encode_record(GroupEpoch("g", 3)))["epoch"] == 3
    tombstone = decoded(TRANSACTION_LOG_DECODER, *encode_transaction(TransactionTombstone("t")))
    assert tombstone == {"record": "TransactionTombstone", "transactional_id": "t"}


def test_what_cannot_be_decoded_says_why() -> None:
    assert "undecodable" in decoded(OFFSETS_DECODER, b"nonsense", b"")
    newer = msgpack.packb([99, "x"])
    assert decoded(OFFSETS_DECODER, newer, b"") == {"record": "of a kind that is not known"}


def test_the_directory_says_which_decoder_also_in_quarantine() -> None:
    assert decoder_for("__consumer_offsets-3") is OFFSETS_DECODER
    assert decoder_for("1700000000000-__transaction_state-3-0") is TRANSACTION_LOG_DECODER
    assert decoder_for("orders-0") is None
