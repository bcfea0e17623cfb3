"""A topic as a table: what is on the shelf, kept in a log, looked up like a dict, and told to whoever cares.

The log is the truth and the table a view of it. Close the program and open it again: the table is as it was. Compaction keeps the last
record of each fruit, so that the topic does not grow with every delivery.
"""

import tempfile

from streamlog import Broker, Producer, TableView


def restock(broker: Broker, deliveries: dict[str, int | None]) -> None:
    """Write what there is of each fruit now; None takes it off the shelf."""
    with Producer(broker, key_serializer="str", value_serializer="json") as producer:
        for fruit, count in deliveries.items():
            producer.send("stock", count if count is None else {"count": count}, key=fruit)


def tell(fruit: str, old: dict[str, int] | None, new: dict[str, int] | None) -> None:
    """Called by the broker's own thread for each change, in the order of the records."""
    print(f"  {fruit}: {old} -> {new}")


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        with Broker(directory) as broker:
            broker.create_topic("stock", partitions=2, configs={"cleanup_policy": "compact"})
            with TableView(
                broker, "stock", key_deserializer="str", value_deserializer="json"
            ) as stock:
                restock(broker, {"apples": 3, "pears": 5, "plums": 2})
                # No waiting: a look-up sees whatever was sent before it.
                print(f"apples: {stock['apples']}, {len(stock)} kinds in all")
                stock.on_change(tell)
                print("changes:")
                restock(broker, {"apples": 2, "plums": None})
                stock.wait_until_caught_up()
                print(f"plums left: {stock.get('plums', 'none')}")
        with (
            Broker(directory) as broker,
            TableView(broker, "stock", key_deserializer="str", value_deserializer="json") as stock,
        ):
            print(f"the next day: {dict(sorted(stock.items()))}")


if __name__ == "__main__":
    main()
