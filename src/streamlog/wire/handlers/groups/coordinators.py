"""FindCoordinator: who looks after a group or a transaction, which is always this broker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamlog.wire.error_codes import INVALID_REQUEST, NONE

if TYPE_CHECKING:
    from streamlog.wire.call import Call

_GROUP, _TRANSACTION = 0, 1
#: The version from which one request names several.
_SEVERAL = 4


def handle(call: Call) -> Any:
    """Return this broker for each key, an error for keys of a type that there is none of."""
    request, settings, make = call.request, call.settings, call.response
    is_known = request.key_type in (_GROUP, _TRANSACTION)
    code = NONE if is_known else INVALID_REQUEST
    message = None if is_known else f"expected key type 0 or 1, found {request.key_type}"
    found = {
        "error_code": code,
        "error_message": message,
        "node_id": settings.node_id if is_known else -1,
        "host": settings.advertised_host if is_known else "",
        "port": settings.advertised_port if is_known else -1,
    }
    if call.version < _SEVERAL:
        return make(**found)
    return make(
        coordinators=[make.Coordinators(key=key, **found) for key in request.coordinator_keys]
    )
