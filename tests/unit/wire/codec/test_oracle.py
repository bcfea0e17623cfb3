"""Each message in each version, held against the codec of another project (kio, generated from Kafka's own definitions)."""

from __future__ import annotations

import importlib
import io
import random
import re

import pytest

from streamlog.wire.messages import APIS
from tests.support.wire_messages import random_struct

serial = pytest.importorskip("kio.serial")

MESSAGES = 5
BY_NAME = {api.name: api for api in APIS.values()}


def kio_class(name: str, kind: str, version: int) -> type | None:
    module = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
    try:
        found = importlib.import_module(f"kio.schema.{module}.v{version}.{kind}")
    except ModuleNotFoundError:
        return None
    schema = getattr(BY_NAME[name], kind).schema
    made: type = getattr(found, schema.name)
    return made


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_bytes_are_those_of_another_codec(name: str) -> None:
    api, compared = BY_NAME[name], 0
    for kind, message in (("request", api.request), ("response", api.response)):
        for version in range(message.schema.versions.first, message.schema.versions.last + 1):
            peer = kio_class(name, kind, version)
            rng = random.Random(f"{name} {kind} {version}")
            for _ in range(MESSAGES):
                made = random_struct(rng, message.make, message.schema.fields, version)
                data = b"".join(message.encode(made, version))
                again = message.decode(data, version)
                assert b"".join(message.encode(again, version)) == data, (kind, version)
                if peer is None:
                    continue
                entity, size = serial.entity_reader(peer)(data, 0)
                assert size == len(data), (kind, version)
                output = io.BytesIO()
                serial.entity_writer(peer)(output, entity)
                assert output.getvalue() == data, (kind, version)
                compared += 1
    assert compared, "no version of it is in kio"
