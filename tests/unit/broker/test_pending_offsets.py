from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamlog.broker.group import Group
from streamlog.broker.group_records import (
    OffsetCommit,
    OffsetTombstone,
    PendingCommit,
    TransactionCompleted,
)
from streamlog.broker.pending_offsets import PendingOffsets
from streamlog.structs import TopicPartition

PLACES = [TopicPartition("t", number) for number in range(3)]
T0, T1, T2 = PLACES


def commit(offset: int, place: TopicPartition = T0) -> OffsetCommit:
    return OffsetCommit("g", place, offset, None, "", 0, "id")


def test_what_is_pending_is_kept_by_producer_and_partition_the_last_of_each() -> None:
    pending = PendingOffsets()
    assert not pending
    pending.add(7, commit(1))
    pending.add(7, commit(2))
    pending.add(8, commit(3, T1))
    assert (7 in pending, 9 in pending, bool(pending)) == (True, False, True)
    assert pending.of(7) == [commit(2)]
    assert pending.partitions() == {T0, T1}
    pending.forget(7, committed=False)
    assert pending.of(7) == []
    assert pending.partitions() == {T1}


def test_later_commit_of_another_transaction_stays_when_the_earlier_one_counts() -> None:
    pending = PendingOffsets()
    pending.add(7, commit(1))
    pending.add(8, commit(2))
    pending.forget(7, committed=True)
    assert pending.of(8) == [commit(2)]
    pending.add(7, commit(3))
    pending.forget(7, committed=True)
    assert not pending, "8 was earlier than what counts now"


steps = st.one_of(
    st.tuples(st.just("plain"), st.sampled_from(PLACES)),
    st.tuples(st.just("forget"), st.sampled_from(PLACES)),
    st.tuples(st.just("pending"), st.sampled_from(PLACES), st.integers(1, 3)),
    st.tuples(st.just("end"), st.integers(1, 3), st.booleans()),
)


@given(st.lists(steps, max_size=40))
def test_of_all_that_counts_for_a_partition_the_last_in_the_log_is_in_force(
    history: list[tuple[object, ...]],
) -> None:
    """TXN-7, against a model that keeps the whole log. Each step is told twice, as after Ctrl-C."""
    group = Group("g")
    log: list[list[object]] = []  # place, offset, producer, whether it counts
    for number, step in enumerate(history):
        kind = step[0]
        if kind == "plain":
            place: object = step[1]
            record: object = commit(number, place)  # type: ignore[arg-type]
            log.append([place, number, 0, True])
        elif kind == "forget":
            place = step[1]
            record = OffsetTombstone("g", place)  # type: ignore[arg-type]
            log.append([place, None, 0, True])
        elif kind == "pending":
            _, place, producer = step
            record = PendingCommit("g", producer, commit(number, place))  # type: ignore[arg-type]
            log.append([place, number, producer, None])
        else:
            _, producer, committed = step
            record = TransactionCompleted(producer, committed)  # type: ignore[arg-type]
            for entry in log:
                if entry[2:] == [producer, None]:
                    entry[3] = committed
        group.replay_all([record, record])  # type: ignore[list-item]
        for one in PLACES:
            counts = [entry[1] for entry in log if entry[0] == one and entry[3]]
            found = group.offsets.get(one)
            assert (None if found is None else found.offset) == (counts[-1] if counts else None)
    group._check()
