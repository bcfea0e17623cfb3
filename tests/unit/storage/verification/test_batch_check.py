"""What one batch may hold: everything is decoded, and what does not fit its header is named."""

from __future__ import annotations

import pytest

from streamlog.record import build_batch
from streamlog.record.batch_view import BatchView
from streamlog.record.control import ControlType, build_marker
from streamlog.record.layout import (
    HEADER_SIZE,
    LOG_APPEND_TIME_BIT,
    SPARSE_COLUMNS_ENCODING,
    TRANSACTIONAL_BIT,
    BatchHeader,
    pack_batch,
    read_header,
)
from streamlog.record.pending_batch import PendingBatch
from streamlog.record.sparse_columns import encode_sparse_columns
from streamlog.storage.verification import batch_check
from streamlog.storage.verification.batch_check import DecodeRecord, batch_problem, can_decompress


def view(batch: PendingBatch, **fields: int) -> BatchView:
    """Return *batch* as it is read at offset 10, with other *fields* in its header."""
    header = BatchHeader(
        *(0, 0, b"SLB\x01", 0, 10, 0, 0, batch.attributes, 0, 0),
        *(batch.record_count, batch.record_count - 1, -1, -1, -1, 0, 0),
        *(batch.first_timestamp_ms, batch.max_timestamp_ms),
    )
    return view_of(header._replace(**fields), batch.body)


def view_of(header: BatchHeader, body: bytes) -> BatchView:
    data = pack_batch(header, body)
    stored = read_header(data[:HEADER_SIZE])
    assert stored is not None
    return BatchView(stored, data[HEADER_SIZE:])


def sparse(deltas: list[int]) -> BatchView:
    """Return a batch of three offsets with records at 10 + each of *deltas*."""
    body = encode_sparse_columns(deltas, [b"v"] * len(deltas), None, None, None)
    header = view(build_batch([b"v"] * 3, 1)).header
    changed = header._replace(
        body_encoding=SPARSE_COLUMNS_ENCODING, record_count=len(deltas), last_offset_delta=2
    )
    return view_of(changed, body)


def refuse(key: bytes | None, value: bytes | None) -> None:
    raise ValueError(f"not wanted: {key!r} {value!r}")


@pytest.mark.parametrize(
    "batch",
    [
        build_batch([b"v"], 5),
        build_batch([b"v", None], 5),
        build_batch([b"v", b"w"], 5, [b"k", None]),
        build_batch([b"v", b"w"], [5, 9]),
        build_marker(ControlType.COMMIT, 7, 0, 0, 5),
    ],
)
def test_what_a_builder_makes_has_no_problem(batch: PendingBatch) -> None:
    assert batch_problem(view(batch), None) is None


def test_no_records_need_no_body() -> None:
    header = view(build_batch([b"v"], 5), record_count=0).header
    assert batch_problem(view_of(header, b""), refuse) is None
    problem = batch_problem(view_of(header, b"left"), refuse)
    assert problem == "expected no body without records, found 4 bytes"


def test_each_record_is_shown_to_the_decoder_also_without_keys() -> None:
    seen: list[tuple[bytes | None, bytes | None]] = []

    def decode(key: bytes | None, value: bytes | None) -> None:
        seen.append((key, value))

    assert batch_problem(view(build_batch([b"a", b"b"], 5)), decode) is None
    assert batch_problem(view(build_batch([b"c"], 5, [b"k"])), decode) is None
    assert seen == [(None, b"a"), (None, b"b"), (b"k", b"c")]


@pytest.mark.parametrize("value", [b"v", b"v" * 300])
def test_what_the_decoder_refuses_is_the_problem(value: bytes) -> None:
    problem = batch_problem(view(build_batch([value], 5)), refuse)
    assert problem == f"not wanted: None {value!r}"


def test_a_marker_is_held_against_markers_and_not_shown_to_the_decoder() -> None:
    assert batch_problem(view(build_marker(ControlType.ABORT, 7, 0, 0, 5)), refuse) is None
    problem = batch_problem(view(build_marker(ControlType.ABORT, 7, 0, 0, 5), record_count=1), None)
    assert problem is None
    no_marker = view(build_batch([b"v"], 5), attributes=TRANSACTIONAL_BIT | 0x20)
    problem = batch_problem(no_marker, None)
    assert problem is not None
    assert problem.startswith("control batch: expected a key")


@pytest.mark.parametrize("decode", [None, lambda key, value: None])
def test_a_timestamp_above_the_greatest_is_named(decode: DecodeRecord | None) -> None:
    for batch in (build_batch([b"v"], 7), build_batch([b"v", b"w"], [5, 7])):
        problem = batch_problem(view(batch, max_timestamp_ms=6), decode)
        assert problem == "expected timestamps up to 6, found 7"


def test_under_log_append_time_every_record_has_the_greatest() -> None:
    batch = view(build_batch([b"v"], 7), attributes=LOG_APPEND_TIME_BIT, max_timestamp_ms=6)
    assert batch_problem(batch, None) is None


def test_a_count_that_the_columns_do_not_have_is_named() -> None:
    problem = batch_problem(view(build_batch([b"a", b"b"], 5), record_count=1), None)
    assert problem is not None
    assert "values column" in problem


def test_offsets_that_are_left_rise_and_stay_inside_the_batch() -> None:
    assert batch_problem(sparse([0, 2]), None) is None
    for deltas in ([0, 3], [2, 1]):
        problem = batch_problem(sparse(deltas), None)
        assert problem is not None
        assert "expected rising numbers from 0 to 2" in problem


def test_whether_compressed_batches_can_be_read_depends_on_the_library(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert can_decompress()

    def load() -> None:
        raise ImportError("none here")

    monkeypatch.setattr(batch_check, "load_library", load)
    assert not can_decompress()
