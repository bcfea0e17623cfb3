from __future__ import annotations

import pytest

from streamlog.errors import RecordDecodeError
from streamlog.record import ControlType, build_batch, build_marker, read_marker
from streamlog.record.layout import NO_SEQUENCE
from streamlog.record.pending_batch import PendingBatch


@pytest.mark.parametrize("control_type", list(ControlType))
def test_txn_8_marker_has_kafkas_content_and_is_read_back(control_type: ControlType) -> None:
    batch = build_marker(control_type, 7, 3, 11, 1_700_000_000_000)
    assert batch.is_control
    assert batch.is_transactional
    assert (batch.producer_id, batch.producer_epoch, batch.base_sequence) == (7, 3, NO_SEQUENCE)
    assert batch.record_count == 1
    assert batch.max_timestamp_ms == 1_700_000_000_000
    key, value = bytes((0, 0, 0, control_type)), bytes((0, 0, 0, 0, 0, 11))
    assert batch.body == build_batch([value], 0, [key]).body
    assert read_marker(batch) == (control_type, 11)


def test_marker_of_a_newer_version_that_is_longer_is_read() -> None:
    batch = build_batch([bytes((0, 1, 0, 0, 0, 4, 99))], 0, [bytes((0, 1, 0, 1, 5))])
    assert read_marker(batch) == (ControlType.COMMIT, 4)


@pytest.mark.parametrize(
    "batch",
    [
        build_batch([b"value"], 0),
        build_batch([bytes(6)], 0, [bytes(3)]),
        build_batch([bytes(5)], 0, [bytes(4)]),
        build_batch([None], 0, [bytes(4)]),
        build_batch([bytes(6)], 0, [b"\0\0\0\2"]),
        PendingBatch(build_batch([7], 0, [bytes(4)]).body, 1, 0, 0),  # type: ignore[list-item]
        PendingBatch(build_batch([bytes(6)], 0, [7]).body, 1, 0, 0),  # type: ignore[list-item]
        PendingBatch(build_batch([bytes(6)], 0, [bytes(4)]).body, 0, 0, 0),
        PendingBatch(b"", 1, 0, 0),
    ],
)
def test_anything_else_is_refused(batch: PendingBatch) -> None:
    with pytest.raises(RecordDecodeError):
        read_marker(batch)
