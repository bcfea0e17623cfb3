from __future__ import annotations

import pytest

from streamlog.broker.refused_log import RefusedLog
from streamlog.errors import CorruptLogError
from streamlog.structs import TopicPartition


def test_whatever_is_asked_raises_the_error_with_its_data_and_a_fresh_copy_each_time() -> None:
    damage = CorruptLogError(
        "broken",
        topic_partition=TopicPartition("orders", 0),
        first_bad_offset=7,
        next_good_offset=9,
        file="x.log",
        position=100,
    )
    log = RefusedLog(damage)
    with pytest.raises(CorruptLogError, match="broken") as first:
        log.append(b"")
    with pytest.raises(CorruptLogError, match="broken") as second:
        _ = log.log_end_offset
    assert first.value is not second.value
    assert (second.value.first_bad_offset, second.value.next_good_offset) == (7, 9)
    assert damage.__traceback__ is None
