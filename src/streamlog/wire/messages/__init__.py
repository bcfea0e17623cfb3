"""Kafka's requests and responses: their tables, and the types that read and write them."""

from __future__ import annotations

from typing import NamedTuple

from streamlog.wire.codec.message_type import MessageType
from streamlog.wire.codec.schema import parse
from streamlog.wire.messages import cluster, groups, records, topics, transactions


class Api(NamedTuple):
    """One kind of request with its response."""

    key: int
    name: str
    request: MessageType
    response: MessageType


def _apis() -> dict[int, Api]:
    found = {}
    for module in (cluster, groups, records, topics, transactions):
        types = [MessageType(schema) for schema in parse(module.TABLE)]
        for request, response in zip(types[::2], types[1::2], strict=True):
            name = request.schema.name.removesuffix("Request")
            key = request.schema.api_key
            assert (key, f"{name}Response") == (response.schema.api_key, response.schema.name)
            found[key] = Api(key, name, request, response)
    return found


APIS: dict[int, Api] = _apis()
"""All that can be read and written, by key."""

BY_NAME: dict[str, Api] = {api.name: api for api in APIS.values()}
