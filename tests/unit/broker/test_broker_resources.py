from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from streamlog.broker import broker_resources
from streamlog.broker.broker import Broker
from streamlog.broker.broker_resources import close_orphans, leave_to_be_closed
from streamlog.errors import ClosedError
from streamlog.runtime import MemoryFileSystem, VirtualClock

if TYPE_CHECKING:
    from streamlog.broker.broker_resources import BrokerResources
    from streamlog.broker.partition import Partition


def opened(disk: MemoryFileSystem) -> tuple[Broker, Partition]:
    broker = Broker("/data", filesystem=disk, clock=VirtualClock())
    broker.create_topic("orders")
    return broker, broker.partition("orders", 0)


def orphan(broker: Broker) -> BrokerResources:
    """Take the resources away from *broker*, as the collector does."""
    resources, broker._resources = broker._resources, None
    assert resources is not None
    leave_to_be_closed(resources)
    return resources


def test_orphans_are_closed_when_the_next_broker_opens() -> None:
    disk = MemoryFileSystem()
    broker, partition = opened(disk)
    orphan(broker)
    partition.append_value(b"v", 1_700_000_000_000)
    with Broker("/data", filesystem=disk, clock=VirtualClock()) as broker:
        assert broker.recovery_report.clean
        assert broker.partition("orders", 0).log_end_offset == 1
    with pytest.raises(ClosedError, match="nobody holds it any more"):
        partition.read(0, 100)


def test_orphan_that_fails_to_close_is_logged_and_the_next_one_is_closed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = MemoryFileSystem(), MemoryFileSystem()
    brokers = [opened(disk)[0] for disk in (first, second)]
    failing, _ = (orphan(broker).directory for broker in brokers)
    monkeypatch.setattr(failing, "close", lambda: 1 / 0)
    close_orphans()
    assert "Could not close a broker that was left open" in caplog.text
    Broker("/data", filesystem=second, clock=VirtualClock()).close()
    monkeypatch.undo()
    failing.close()


def test_resources_of_another_process_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker(clock=VirtualClock())
    resources = broker._resources
    assert resources is not None
    monkeypatch.setattr(broker_resources, "pid", lambda: -1)
    resources.close(ClosedError("closed"))
    broker.close()
    assert not broker.closed
    monkeypatch.undo()
    broker.close()
    assert broker.closed
