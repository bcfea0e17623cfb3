"""DescribeConfigs, AlterConfigs and IncrementalAlterConfigs."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from streamlog.broker.config_entry import AlterConfigOp, ConfigEntry, ConfigSource, OpType
from streamlog.broker.config_operations import (
    altered_topic_configs,
    broker_entries,
    replaced_topic_configs,
    topic_entries,
)
from streamlog.broker.topic_name import validate_topic_name
from streamlog.config import BrokerConfig, TopicConfig
from streamlog.errors import InvalidRequestError, StreamlogError
from streamlog.wire.config_text import SOURCES, key_text, type_number, value_text
from streamlog.wire.error_codes import code_of

if TYPE_CHECKING:
    from streamlog.config.definition import Config
    from streamlog.wire.call import Call

_TOPIC, _BROKER = 2, 4
_OPERATIONS = (OpType.SET, OpType.DELETE, OpType.APPEND, OpType.SUBTRACT)


def handle_describe(call: Call) -> Any:
    """Return the keys of each resource that were asked for, all of them where none are named.

    A broker without a name is what all of them have in common and can be changed: nothing here.
    """
    make = call.response
    # Each once: an answer may be a thousand times as long as the name.
    wanted = {(one.resource_type, one.resource_name): one for one in call.request.resources}
    return make(results=[_describe(call, resource) for resource in wanted.values()])


def _describe(call: Call, resource: Any) -> Any:
    make = call.response.Results
    answer = make(resource_type=resource.resource_type, resource_name=resource.resource_name)
    kind: type[Config]
    try:
        if resource.resource_type == _TOPIC:
            validate_topic_name(resource.resource_name)
            topic = call.broker.topic(resource.resource_name)
            entries, kind = topic_entries(topic, call.broker.config), TopicConfig
        else:
            _require_broker(call, resource)
            if not resource.resource_name:
                return answer
            entries, kind = broker_entries(call.broker.config), BrokerConfig
    except (StreamlogError, OSError) as error:
        answer.error_code, answer.error_message = code_of(error), str(error)
        return answer
    wanted = resource.configuration_keys or None
    texts = {description.key: description.doc for description in kind.describe()}
    layers = _layers(call, kind) if call.request.include_synonyms else []
    answer.configs = [
        _entry(call, entry, texts[entry.name], kind, layers)
        for entry in entries.values()
        if wanted is None or key_text(entry.name) in wanted
    ]
    if kind is BrokerConfig:
        answer.configs += _of_listener(call, wanted)
    return answer


def _of_listener(call: Call, wanted: Any) -> list[Any]:
    """Return what Kafka has in a broker's configuration, and we in a listener's arguments."""
    make, settings = call.response.Results.Configs, call.settings
    address = f"PLAINTEXT://{settings.advertised_host}:{settings.advertised_port}"
    return [
        make(
            name=name,
            value=address,
            read_only=False,  # Kafka may change it while it runs, and its clients expect that
            is_default=True,  # it follows from where the listener was bound
            config_source=SOURCES[ConfigSource.DEFAULT_CONFIG],
            config_type=type_number(name, address),
        )
        for name in ("advertised.listeners", "listeners")
        if wanted is None or name in wanted
    ]


def _layers(call: Call, kind: type[Config]) -> list[tuple[ConfigSource, dict[str, Any]]]:
    """Return what holds where nothing was set for the resource itself, the nearest first."""
    config, defaults = call.broker.config, kind().as_dict()
    values = config.as_dict() if kind is BrokerConfig else config.topic_defaults().as_dict()
    changed = {key: value for key, value in values.items() if value != defaults[key]}
    return [
        (ConfigSource.STATIC_BROKER_CONFIG, changed),
        (ConfigSource.DEFAULT_CONFIG, defaults),
    ]


def _entry(
    call: Call,
    entry: ConfigEntry,
    text: str,
    kind: type[Config],
    layers: list[tuple[ConfigSource, dict[str, Any]]],
) -> Any:
    make, request = call.response.Results.Configs, call.request
    name, value = key_text(entry.name), value_text(entry.value)
    answer = make(
        name=name,
        value=value,
        # A broker's configuration is fixed when it opens; a topic's is not.
        read_only=kind is BrokerConfig,
        is_default=entry.is_default,
        config_source=SOURCES[entry.source],
        config_type=type_number(name, entry.value),
    )
    if request.include_documentation:
        answer.documentation = text
    if request.include_synonyms:
        found = [] if entry.source in dict(layers) else [(entry.source, entry.value)]
        found += [(source, values[entry.name]) for source, values in layers if entry.name in values]
        answer.synonyms = [
            make.Synonyms(name=name, value=value_text(value), source=SOURCES[source])
            for source, value in found
        ]
    return answer


def handle_alter(call: Call) -> Any:
    """Give topics exactly the configuration that is sent: what is not in it goes back to the default."""
    return _alter_all(call, _replace)


def handle_incremental_alter(call: Call) -> Any:
    """Change single keys of topics (KIP-339)."""
    return _alter_all(call, _change)


def _alter_all(call: Call, alter: Any) -> Any:
    resources = call.request.resources
    times = Counter((one.resource_type, one.resource_name) for one in resources)
    return call.response(
        responses=[
            _alter(call, one, alter, times[one.resource_type, one.resource_name])
            for one in resources
        ]
    )


def _alter(call: Call, resource: Any, alter: Any, times: int) -> Any:
    answer = call.response.Responses(
        resource_type=resource.resource_type, resource_name=resource.resource_name
    )
    try:
        if times > 1:
            raise InvalidRequestError(
                f"{resource.resource_name!r}: expected each resource once, found it {times} times"
            )
        keys = Counter(key_text(config.name) for config in resource.configs)
        if twice := [name for name, count in keys.items() if count > 1]:
            raise InvalidRequestError(f"{twice[0]}: expected each key once, found it again")
        if resource.resource_type != _TOPIC:
            _require_broker(call, resource)
            raise InvalidRequestError(
                f"broker {resource.resource_name}: its configuration is fixed when it opens"
            )
        alter(call, resource)
    except (StreamlogError, OSError) as error:
        answer.error_code, answer.error_message = code_of(error), str(error)
    return answer


def _replace(call: Call, resource: Any) -> None:
    configs = {config.name: _required(config) for config in resource.configs}
    call.broker.topic_registry.change_configs(
        resource.resource_name,
        lambda topic: replaced_topic_configs(topic, configs),
        validate_only=call.request.validate_only,
    )


def _change(call: Call, resource: Any) -> None:
    operations = []
    for config in resource.configs:
        if not 0 <= config.config_operation < len(_OPERATIONS):
            raise InvalidRequestError(
                f"{config.name}: expected operation 0 to 3, found {config.config_operation}"
            )
        op = _OPERATIONS[config.config_operation]
        value = None if op is OpType.DELETE else _required(config)
        operations.append(AlterConfigOp(config.name, value, op))
    call.broker.topic_registry.change_configs(
        resource.resource_name,
        lambda topic: altered_topic_configs(topic, operations),
        validate_only=call.request.validate_only,
    )


def _required(config: Any) -> str:
    if config.value is None:
        raise InvalidRequestError(f"{config.name}: expected a value, found null")
    return str(config.value)


def _require_broker(call: Call, resource: Any) -> None:
    """Raise unless *resource* is this broker; an empty name means the defaults of all."""
    if resource.resource_type != _BROKER or resource.resource_name not in (
        "",
        str(call.settings.node_id),
    ):
        raise InvalidRequestError(
            f"expected a topic (type {_TOPIC}) or broker {call.settings.node_id} (type {_BROKER}), "
            f"found type {resource.resource_type}, {resource.resource_name!r}"
        )
