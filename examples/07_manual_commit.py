"""Commits by hand: what was not processed comes again, and what was processed is not lost.

A consumer that commits by itself would commit all that its last poll returned, also when an exception ends the work half-way.
Here the exception comes in the middle of a poll, and the next consumer goes on with the very record that failed.
"""

from streamlog import (
    Broker,
    CommitFailedError,
    Consumer,
    OffsetAndMetadata,
    Producer,
    TopicPartition,
)

sent: list[int] = []
"""The letters that are out: what cannot be taken back is why the commits are done by hand."""


class PrinterJamError(Exception):
    """What can go wrong in the middle of the work."""


def send_letter(number: int, *, jams_at: int | None) -> None:
    if number == jams_at:
        raise PrinterJamError(f"letter {number} is stuck")
    sent.append(number)


def work(broker: Broker, *, jams_at: int | None = None) -> None:
    """Send all letters that there are. What is sent is committed, whatever happens to the others."""
    with Consumer(
        broker,
        "letters",
        group_id="post",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_poll_records=20,
        value_deserializer="int",
    ) as consumer:
        while records := consumer.poll():
            done = {}
            try:
                for record in records:
                    send_letter(record.value, jams_at=jams_at)
                    # The offset to commit is the next one to read.
                    done[record.topic_partition] = OffsetAndMetadata(
                        record.offset + 1, metadata=f"letter {record.value}"
                    )
            finally:
                try:
                    consumer.commit(done)
                except CommitFailedError as error:
                    # Too slow: another consumer has the partitions by now, and will send these letters again.
                    print(f"not committed: {error}")


def main() -> None:
    with Broker() as broker, Producer(broker, value_serializer="int") as producer:
        for number in range(50):
            producer.send("letters", number)
        try:
            work(broker, jams_at=33)
        except PrinterJamError as error:
            print(f"stopped: {error}")
        with Consumer(broker, group_id="post") as consumer:
            position = consumer.committed(TopicPartition("letters", 0))
            if position is not None:
                print(f"committed: offset {position.offset}, for {position.metadata} is sent")
        work(broker)
        print(f"sent {len(sent)} letters, each once: {sorted(sent) == list(range(50))}")


if __name__ == "__main__":
    main()
