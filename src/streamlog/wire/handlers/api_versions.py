"""ApiVersions: what is served here, in which versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamlog.wire.error_codes import NONE, UNSUPPORTED_VERSION

if TYPE_CHECKING:
    from streamlog.wire.call import Call
    from streamlog.wire.messages import Api


def handle(call: Call) -> Any:
    """Return the table."""
    return _table(call.api, NONE)


def unsupported_version(api: Api) -> Any:
    """Return the answer to a version that is not served, in version 0: the table, so that the client can choose another (KIP-511)."""
    return _table(api, UNSUPPORTED_VERSION)


def _table(api: Api, error_code: int) -> Any:
    from streamlog.wire.dispatch import ROUTES  # it names us

    make = api.response.make
    return make(
        error_code=error_code,
        api_keys=[
            make.ApiKeys(api_key=key, min_version=route.first, max_version=route.last)
            for key, route in sorted(ROUTES.items())
        ],
    )
