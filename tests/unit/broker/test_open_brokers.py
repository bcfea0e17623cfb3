from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.broker import open_brokers
from streamlog.broker.broker import Broker

if TYPE_CHECKING:
    from collections.abc import Callable


def test_broker_is_listed_from_opening_to_closing() -> None:
    broker = Broker()
    assert broker in open_brokers._brokers.values()
    broker.close()
    assert broker not in open_brokers._brokers.values()


def test_brokers_left_open_are_closed_latest_first_and_a_failing_one_stops_no_other(
    run_python: Callable[..., str],
) -> None:
    answer = run_python(
        """
        import logging
        from streamlog import Broker
        logging.getLogger("streamlog").setLevel(logging.CRITICAL)

        class Client:
            def __init__(self, name, broker):
                self.name = name
                broker.register_client(self)
            def close(self):
                print(self.name)

        brokers = [Broker() for _ in range(3)]
        clients = [Client(str(number), broker) for number, broker in enumerate(brokers)]
        brokers[1]._resources.directory.close = lambda: 1 / 0
        """
    )
    assert answer.split() == ["2", "1", "0"]
