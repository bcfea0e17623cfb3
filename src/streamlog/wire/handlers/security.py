"""What clients are told that ask for security: there is none."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamlog.wire.call import Call

_log = logging.getLogger("streamlog")

UNSUPPORTED_SASL_MECHANISM = 33

NO_SECURITY = "there is no TLS and no SASL yet; clients connect with security.protocol=PLAINTEXT"


def handle_sasl(call: Call) -> Any:
    """SaslHandshake: nobody has to say who he is, and nobody can. The error is the one that clients show with the mechanism."""
    _log.warning(
        "%s (%s) asks for SASL mechanism %.100r: %s",
        call.client_id or "a client",
        call.client_host,
        call.request.mechanism,
        NO_SECURITY,
    )
    return call.response(error_code=UNSUPPORTED_SASL_MECHANISM)
