from __future__ import annotations

import pytest

from streamlog.wire.listener import Listener
from tests.support.wire import RawClient


@pytest.mark.parametrize("version", [0, 1, 2, 3])
@pytest.mark.parametrize("key_type", [0, 1])
def test_this_broker_coordinates_every_group_and_transaction(
    listener: Listener, client: RawClient, version: int, key_type: int
) -> None:
    found = client.request("FindCoordinator", version, key="g", key_type=key_type if version else 0)
    assert found.error_code == 0
    assert not found.error_message
    assert f"{found.host}:{found.port}" == listener.bootstrap_servers
    assert found.node_id == listener.endpoint.settings.node_id


def test_several_are_found_at_once(listener: Listener, client: RawClient) -> None:
    found = client.request("FindCoordinator", 4, key_type=0, coordinator_keys=["a", "b"])
    assert [(one.key, one.error_code, one.port) for one in found.coordinators] == [
        ("a", 0, listener.endpoint.settings.advertised_port),
        ("b", 0, listener.endpoint.settings.advertised_port),
    ]


@pytest.mark.parametrize("version", [1, 4])
def test_keys_of_an_unknown_type_are_an_invalid_request(client: RawClient, version: int) -> None:
    found = client.request("FindCoordinator", version, key="g", key_type=7, coordinator_keys=["g"])
    one = found.coordinators[0] if version >= 4 else found
    assert (one.error_code, one.node_id, one.host, one.port) == (42, -1, "", -1)
    assert one.error_message == "expected key type 0 or 1, found 7"
