"""A group that grows and shrinks: what the listener is told, and commits by hand.

Both consumers live in this one thread: nothing in a group ever waits, so polling them in turn is enough. Each keeps a
running total per partition, saves it when the partition is taken away, and goes on with it when it gets one.
"""

from collections.abc import Collection

from streamlog import Broker, Consumer, Producer, RebalanceListener, TopicPartition

saved_totals: dict[TopicPartition, int] = {}
"""Where a real program would use a database."""


class Totals(RebalanceListener):
    """What one consumer counts, handed over with the partition."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.totals: dict[TopicPartition, int] = {}

    def on_partitions_assigned(self, partitions: Collection[TopicPartition]) -> None:
        """Go on where the last owner stopped."""
        if partitions:
            print(f"{self.name} gets   {', '.join(map(str, partitions))}")
        self.totals.update({tp: saved_totals.get(tp, 0) for tp in partitions})

    def on_partitions_revoked(self, partitions: Collection[TopicPartition]) -> None:
        """Save: after this the partition may be somebody else's."""
        print(f"{self.name} gives  {', '.join(map(str, partitions))}")
        saved_totals.update({tp: self.totals.pop(tp) for tp in partitions})


def work(consumer: Consumer, listener: Totals) -> None:
    """Process what there is, then commit it: after a crash it would come again, and never be skipped."""
    records = consumer.poll()
    for record in records:
        listener.totals[record.topic_partition] += record.value
    if records:
        consumer.commit()


def main() -> None:
    with Broker() as broker, Producer(broker, value_serializer="int") as producer:
        broker.create_topic("payments", partitions=4)

        def pay() -> None:
            for amount in range(1, 101):
                producer.send("payments", amount, key=b"customer-%d" % (amount % 10))

        def join(name: str) -> tuple[Consumer, Totals]:
            listener = Totals(name)
            consumer = Consumer(
                broker,
                group_id="accounting",
                group_protocol="classic",
                partition_assignment_strategy="cooperative-sticky",
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                value_deserializer="int",
            )
            consumer.subscribe(["payments"], listener=listener)
            return consumer, listener

        pay()
        members = [join("anna")]
        work(*members[0])
        members.append(join("ben"))
        for _ in range(4):
            for member in members:
                work(*member)
        pay()
        for member in members:
            work(*member)
        leaving, _ = members.pop(0)
        leaving.close()
        work(*members[0])
        members[0][0].close()
        print(f"total: {sum(saved_totals.values())}, expected: {2 * sum(range(1, 101))}")


if __name__ == "__main__":
    main()
