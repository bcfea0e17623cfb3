from __future__ import annotations

import pytest

from streamlog.broker.broker import Broker


@pytest.fixture
def broker(broker: Broker) -> Broker:
    broker.create_topic("a", partitions=2)
    return broker
