"""Clients that want TLS or SASL learn that there is none, and so does whoever reads the log."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from streamlog.broker.broker import Broker
from streamlog.wire.listener import Listener
from tests.support.eventually import eventually
from tests.support.sockets import connect, is_closed
from tests.support.wire import RawClient

UNSUPPORTED_SASL_MECHANISM = 33
NO_SECURITY = "there is no TLS and no SASL yet; clients connect with security.protocol=PLAINTEXT"


@pytest.mark.parametrize("version", [0, 1])
def test_sasl_mechanism_is_not_supported_and_the_log_says_who_asked(
    client: RawClient, version: int, caplog: pytest.LogCaptureFixture
) -> None:
    response = client.request("SaslHandshake", version, mechanism="PLAIN")
    assert (response.error_code, response.mechanisms) == (UNSUPPORTED_SASL_MECHANISM, [])
    assert f"asks for SASL mechanism 'PLAIN': {NO_SECURITY}" in caplog.text
    assert "127.0.0.1" in caplog.text
    assert client.request("ApiVersions", 3).error_code == 0  # who can do without is served


def test_name_of_a_mechanism_does_not_fill_the_log(
    client: RawClient, caplog: pytest.LogCaptureFixture
) -> None:
    client.request("SaslHandshake", 1, mechanism="x\n" * 15_000)
    (record,) = caplog.records
    assert len(record.getMessage()) < 500
    assert "\n" not in record.getMessage()


@pytest.mark.parametrize("max_frame_bytes", [1_000_000, 1 << 30])
def test_client_that_begins_with_tls_is_hung_up_on_and_the_log_says_why(
    broker: Broker, caplog: pytest.LogCaptureFixture, max_frame_bytes: int
) -> None:
    """Read as the size of a request, its first bytes are 369 MB, for which nobody waits whatever is allowed."""
    listener = broker.listen(max_frame_bytes=max_frame_bytes)
    context = ssl.create_default_context()
    with connect(listener.bootstrap_servers) as sock:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            context.wrap_socket(sock, server_hostname="localhost")
    eventually(lambda: f"it begins with TLS: {NO_SECURITY}" in caplog.text)


def test_bytes_of_tls_behind_a_request_are_nothing_but_a_wrong_size(
    client: RawClient, listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    client.request("ApiVersions", 3)
    client.socket.sendall(b"\x16\x03\x01\x02\x00\x01")
    assert is_closed(client.socket)
    assert "TLS" not in caplog.text


def test_client_of_others_with_sasl_shows_what_is_wrong(listener: Listener) -> None:
    confluent: Any = pytest.importorskip("confluent_kafka")
    told: list[str] = []
    consumer = confluent.Consumer(
        {
            "bootstrap.servers": listener.bootstrap_servers,
            "group.id": "g",
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "PLAIN",
            "sasl.username": "u",
            "sasl.password": "p",
            "error_cb": lambda error: told.append(error.str()),
            "log_level": 0,
        }
    )
    try:
        eventually(lambda: consumer.poll(0.05) is None and bool(told))
    finally:
        consumer.close()
    assert any("SASL" in text for text in told), told


def test_client_that_wants_tls_hinders_no_other(listener: Listener) -> None:
    with connect(listener.bootstrap_servers) as tls:
        tls.sendall(bytes.fromhex("160301020001"))
        with RawClient(listener.bootstrap_servers) as other:
            assert other.request("ApiVersions", 3).error_code == 0
        assert is_closed(tls)
