"""The keyword arguments that type checkers see are the keys that are accepted."""

from __future__ import annotations

from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import attrs
import pytest

from streamlog.config import BrokerConfig, Config, ConsumerConfig, ProducerConfig
from streamlog.config.options import (
    BrokerOptions,
    ConsumerOptions,
    PartitionerName,
    ProducerOptions,
    SerdeName,
)
from streamlog.config.plugin_names import PARTITIONER_NAMES, SERDE_NAMES
from streamlog.errors import InvalidConfigurationError

PAIRS: list[tuple[Any, type[Config]]] = [
    (BrokerOptions, BrokerConfig),
    (ProducerOptions, ProducerConfig),
    (ConsumerOptions, ConsumerConfig),
]


def parts(hint: Any) -> list[Any]:
    """The alternatives of a type, literals by value."""
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    if get_origin(hint) in (Union, UnionType):
        return [part for one in get_args(hint) for part in parts(one)]
    return [hint]


NEEDED: dict[str, dict[str, Any]] = {
    "partition_assignment_strategy": {"group_protocol": "classic"},
}
"""What a key has no meaning without."""


@pytest.mark.parametrize(("options", "config"), PAIRS)
def test_the_options_are_the_keys_in_their_order(options: Any, config: type[Config]) -> None:
    assert list(options.__annotations__) == [field.name for field in attrs.fields(config)]
    assert not options.__required_keys__


@pytest.mark.parametrize(("options", "config"), PAIRS)
def test_plain_types_and_defaults_agree(options: Any, config: type[Config]) -> None:
    declared = get_type_hints(config)
    for key, hint in get_type_hints(options).items():
        is_narrower = any(isinstance(part, (str, int)) for part in parts(hint))
        if declared[key] in (int, bool, float, str, int | None, str | None) and not is_narrower:
            assert hint == declared[key], key
        default = getattr(config(), key)
        if default is None or default is False:
            assert type(default) in parts(hint) or default in parts(hint), key


@pytest.mark.parametrize(("options", "config"), PAIRS)
def test_every_literal_is_accepted(options: Any, config: type[Config]) -> None:
    for key, hint in get_type_hints(options).items():
        for value in parts(hint):
            if isinstance(value, (str, int)) and key != "group_id":
                try:
                    config.from_options(**{key: value, **NEEDED.get(key, {})})
                except InvalidConfigurationError as error:
                    pytest.fail(f"{key}={value!r}: {error}")


def test_the_names_of_stock_parts_are_all_there() -> None:
    assert get_args(SerdeName) == SERDE_NAMES
    assert get_args(PartitionerName) == PARTITIONER_NAMES
