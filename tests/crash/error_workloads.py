"""What brokers do while a call to the disk fails. Each workload: prepare (healthy), then run (one call fails, or all from one on)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from streamlog import Consumer, TopicPartition
from tests.crash.error_session import Broken

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.crash.error_session import Session

T0, T1 = TopicPartition("t", 0), TopicPartition("t", 1)
X0, X1, X2 = (TopicPartition("x", number) for number in range(3))
SMALL = {"segment_bytes": 512}
DEEP = {"segment_bytes": 1 << 20}


class Workload(NamedTuple):
    """A name, what comes before, and what happens while the disk fails."""

    name: str
    prepare: Callable[[Session], None]
    run: Callable[[Session], None]
    #: How large the disk is, where it is one in memory; None: as large as need be.
    capacity_bytes: int | None = None


def nothing(session: Session) -> None:
    """Start in a directory that does not exist."""


def opened(session: Session) -> None:
    session.open()
    session.create("t", 2, **SMALL)


def filled(session: Session) -> None:
    """Several segments in two partitions, closed."""
    opened(session)
    producer = session.producer()
    for _ in range(8):
        for tp in (T0, T1):
            session.exchange(producer, tp, size=60)
    session.close()


def killed(session: Session) -> None:
    """As `filled`, killed in the middle of an append."""
    opened(session)
    producer = session.producer()
    for number in range(8):
        for tp in (T0, T1):
            session.exchange(producer, tp, size=60)
        if number == 4:
            session.sync()
    assert session.broker is not None
    segment = session.broker.partition("t", 0).log.segments[-1]
    path, position = segment.path, segment.position
    session.kill()
    file = session.filesystem.open(path)
    # A header without its commit word, and half a body: where the process died.
    file.write_at(position + 4, b"torn" * 12)
    file.close()


def go_on(session: Session) -> None:
    """Whatever happened to one partition: the other one goes on, and so does this one unless it said that it cannot."""
    if session.broker is None or session.is_sticky or session.is_small:
        return
    producer = session.producer()
    for name, count in session.topics.items():
        for number in range(count):
            tp = TopicPartition(name, number)
            # The first failure may be the planned one, just now; the second one would be ours.
            for _ in range(2):
                is_done = tp in session.refused or session.exchange(producer, tp)
                if is_done or tp in session.refused:
                    break
            else:
                raise Broken(f"{tp} does not go on after one failed call: {session.errors}")


def produce(session: Session) -> None:
    if session.open() is None or not session.create("t", 2, **DEEP):
        return
    producer = session.producer()
    for number in range(6):
        session.exchange(producer, T0)
        session.exchange(producer, T1, size=30_000)  # has the file grow
        session.exchange(producer, T0, count=3)
        if number == 3:
            session.sync()


def produce_with_linger(session: Session) -> None:
    if session.open() is None or not session.create("t", 2, **DEEP):
        return
    producer = session.producer(linger_ms=5)
    for _ in range(4):
        pending = [session.send(producer, tp, size=9000) for tp in (T0, T1, T0, T1)]
        session.clock.advance(400)  # linger, then background sync every 1,000 ms
        for one in pending:
            session.settle(one)
    session.attempt("flush", producer.flush)


def produce_to_disk(session: Session) -> None:
    if session.open() is None or not session.create("t", 2, flush_messages=1, **DEEP):
        return
    producer = session.producer()
    for _ in range(5):
        session.exchange(producer, T0)
        session.exchange(producer, T1, count=2)
        session.exchange(producer, T0, size=30_000)


def roll(session: Session) -> None:
    producer = session.producer()
    for number in range(8):
        session.exchange(producer, T0, size=150)
        session.exchange(producer, T1, size=40)
        if number % 3 == 2:
            session.sync()


def roll_to_disk(session: Session) -> None:
    if not session.create("d", 1, flush_messages=1, **SMALL):
        return
    producer = session.producer()
    for _ in range(8):
        session.exchange(producer, TopicPartition("d", 0), size=150)


def retention(session: Session) -> None:
    if session.open() is None:
        return
    broker = session.broker
    assert broker is not None
    producer = session.producer()
    session.deleted_below[T0] = session.deleted_below[T1] = 1 << 30  # from now on, for all we know
    if session.attempt("alter", broker.alter_topic_configs, "t", {"retention_bytes": 600}) is None:
        return
    session.attempt("maintenance", broker.run_maintenance)
    session.exchange(producer, T0, size=150)
    session.clock.advance(70_000)
    session.attempt("maintenance", broker.run_maintenance)
    for tp in (T0, T1):
        session.exchange(producer, tp, size=150)
        # What retention keeps is known where it could be asked.
        start = session.attempt("log start", lambda tp=tp: broker.partition(*tp).log_start_offset)
        if start is None:
            continue
        session.deleted_below[tp] = start if not session.is_sticky else 1 << 30


def delete_records(session: Session) -> None:
    if session.open() is None:
        return
    broker = session.broker
    assert broker is not None
    for tp, offset in ((T0, 5), (T1, 3), (T0, 7)):
        session.deleted_below[tp] = max(session.deleted_below[tp], offset)
        session.attempt(
            "delete records", lambda tp=tp, o=offset: broker.partition(*tp).delete_records(o)
        )
        session.attempt("maintenance", broker.run_maintenance)
    session.clock.advance(70_000)
    session.exchange(session.producer(), T0, size=60)


def change_topics(session: Session) -> None:
    if session.open() is None:
        return
    broker = session.broker
    assert broker is not None
    session.create("new", 2, **SMALL)
    session.create("other", 1)
    if "new" in session.topics:
        session.topics.pop("new")
        session.in_doubt["new"] = 3
        if session.attempt("grow", broker.create_partitions, "new", 3) is not None:
            session.topics["new"] = session.in_doubt.pop("new")
    session.attempt("alter", broker.alter_topic_configs, "t", {"retention_ms": 10**9})
    producer = session.producer()
    for name in ("new", "other"):
        if name in session.topics:
            session.exchange(producer, TopicPartition(name, 0), size=300)
            session.exchange(producer, TopicPartition(name, 0), size=300)


def delete_topic(session: Session) -> None:
    if session.open() is None:
        return
    if session.delete("t") and session.create("t", 2, **SMALL):
        session.exchange(session.producer(), T0, size=60)


def commit(session: Session) -> None:
    if session.open() is None:
        return
    consumer = session.attempt(
        "join", Consumer, session.broker, group_id="g", default_api_timeout_ms=1_000
    )
    if consumer is None:
        return
    session.consumers.append(consumer)
    consumer.assign([T0, T1])
    for offset in range(1, 7):
        session.commit(consumer, T0, offset)
        session.commit(consumer, T1, offset)
        if offset == 3:
            session.clock.advance(2_000)


def consume(session: Session) -> None:
    if session.open() is None:
        return
    consumer = session.consumer(T0, T1, max_poll_records=3)
    found = session.read_on(consumer)
    for tp in (T0, T1):
        if session.is_sticky or session.broker.partition(*tp).is_refused:  # type: ignore[union-attr]
            continue
        # What passes may delay a record and may not hide one.
        if [offset for offset, _ in found[tp]] != list(session.acknowledged[tp]):
            raise Broken(f"{tp}: expected every record, found {found[tp]}")


def fill_and_free(session: Session) -> None:
    """Send until the disk is full, free it by deleting records, and go on; where it is too large for that, just send."""
    if session.open() is None or not session.create(
        "t", 2, segment_bytes=40_000, file_delete_delay_ms=0
    ):
        return
    broker = session.broker
    assert broker is not None
    producer = session.producer(retries=0)
    for _ in range(2):
        for _ in range(14):
            session.exchange(producer, T0, size=15_000)
        session.read_on(session.consumer(T0))
        end = len(session.acknowledged[T0])
        session.deleted_below[T0] = end
        partition = broker.partition(*T0)
        session.attempt("delete records", partition.delete_records, max(end - 1, 0))
        for _ in range(2):
            session.attempt("maintenance", broker.run_maintenance)
        session.exchange(producer, T1, size=15_000)


def reopen(session: Session) -> None:
    if session.open() is None:
        return
    session.exchange(session.producer(), T0)
    session.close()
    if session.open() is None:
        return
    session.exchange(session.producer(), T1)


def recover(session: Session) -> None:
    if session.open() is None:
        return
    session.read_on(session.consumer(T0, T1))
    producer = session.producer()
    for _ in range(3):
        session.exchange(producer, T0, size=60)
        session.exchange(producer, T1, size=60)


def close(session: Session) -> None:
    producer = session.producer()
    session.exchange(producer, T0, size=60)
    session.exchange(producer, T1, size=60)
    session.close()


def transactions(session: Session) -> None:
    """Commit and abort transactions over two partitions and a group's offset; after a failure a new producer takes over."""
    if session.open() is None or not session.create("x", 3, **SMALL):
        return
    session.transactional.add("x")
    done = 0
    for _ in range(4):
        producer = session.producer(transactional_id="x", max_block_ms=400)
        if session.attempt("init", producer.init_transactions) is None:
            continue
        while done < 6:
            done += 1
            if not session.transact(producer, X0, X1, commit=done != 3):
                break
    go_on_elsewhere(session)


def go_on_elsewhere(session: Session) -> None:
    """Use the id in a third partition: where nothing but the first two failed, that has to go well."""
    producer = session.producer(transactional_id="x", max_block_ms=400)
    is_well = session.attempt("init", producer.init_transactions) is not None
    if is_well and session.transact(producer, X2, commit=True, with_offset=False):
        return
    if all("/x-0/" in one.path or "/x-1/" in one.path for one in session.plan.injections):
        raise Broken(f"an id cannot be used in a healthy partition: {session.errors}")


def reopen_transactions(session: Session) -> None:
    """As `transactions`, in a directory where some were before and one is open."""
    transactions(session)
    if session.broker is None or "x" not in session.topics:
        return
    producer = session.producer(transactional_id="left open", max_block_ms=400)
    if session.attempt("init", producer.init_transactions) is not None:
        session.attempt("begin", producer.begin_transaction)
        session.attempt("send", producer.send, "x", session.new_value(), partition=0)
    session.producers.remove(producer)
    session.close()
    transactions_again(session)


def transactions_again(session: Session) -> None:
    if session.open() is None:
        return
    producer = session.producer(transactional_id="x", max_block_ms=400)
    if session.attempt("init", producer.init_transactions) is not None:
        session.transact(producer, X0, X1, commit=True)


K0 = TopicPartition("k", 0)


def overwritten(session: Session) -> None:
    """Several segments of a compacted topic in which a few keys come again and again, and commits of a group; then closed."""
    session.open()
    session.create("t", 2, **SMALL)
    session.compacted.add("k")
    session.create("k", 1, cleanup_policy="compact", **SMALL)
    producer = session.producer()
    consumer = session.consumer(T0, group_id="g")
    for number in range(1, 16):
        session.exchange(producer, K0, size=60)
        session.commit(consumer, T0, number)
    session.close()


def compact(session: Session) -> None:
    """Compact what is there, the broker's own topics too; what failed is tried again, and goes on being used in between."""
    if session.open() is None:
        return
    broker = session.broker
    assert broker is not None
    producer = session.producer()
    for _ in range(3):
        session.attempt("compact", broker.compact, roll=True)
        session.exchange(producer, K0, count=2)
    if session.is_sticky or session.number is None or K0 in session.refused:
        return
    # One call failed at most: by now a pass has been through.
    results = session.attempt("compact", broker.compact, "k", roll=True)
    if results is not None and results[-1].records_after > 5:
        raise Broken(f"compaction left more than a record a key: {results}")


WORKLOADS = [
    Workload("compact", overwritten, compact),
    Workload("produce", nothing, produce),
    Workload("produce-with-linger", nothing, produce_with_linger),
    Workload("produce-to-disk", nothing, produce_to_disk),
    Workload("roll", opened, roll),
    Workload("roll-to-disk", opened, roll_to_disk),
    Workload("retention", filled, retention),
    Workload("delete-records", filled, delete_records),
    Workload("fill-and-free", nothing, fill_and_free, capacity_bytes=250_000),
    Workload("change-topics", filled, change_topics),
    Workload("delete-topic", filled, delete_topic),
    Workload("commit", filled, commit),
    Workload("consume", filled, consume),
    Workload("transactions", nothing, transactions),
    Workload("reopen-transactions", nothing, reopen_transactions),
    Workload("reopen", filled, reopen),
    Workload("recover", killed, recover),
    Workload("close", opened, close),
]
