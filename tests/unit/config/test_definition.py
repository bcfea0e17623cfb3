"""What all configuration classes share: names, two sources, errors, description."""

from __future__ import annotations

import copy
import pickle
import runpy
from pathlib import Path

import attrs
import pytest

from streamlog.config import BrokerConfig, Config, ConsumerConfig, ProducerConfig, TopicConfig
from streamlog.config.definition import unsupported_keys
from streamlog.errors import InvalidConfigurationError

CLASSES: list[type[Config]] = [BrokerConfig, TopicConfig, ProducerConfig, ConsumerConfig]
DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize(
    ("config", "name", "nearest"),
    [
        (ProducerConfig, "lingr_ms", "linger_ms"),
        (ProducerConfig, "linger.msec", "linger_ms"),
        (ConsumerConfig, "auto.offset.rest", "auto_offset_reset"),
        (BrokerConfig, "log_segment_byte", "log_segment_bytes"),
        (TopicConfig, "retention", "retention_ms"),
        (ConsumerConfig, "groupid", "group_id"),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest(
    config: type[Config], name: str, nearest: str
) -> None:
    message = f"^{config.__name__}: unknown key {name}; did you mean {nearest}\\?$"
    with pytest.raises(InvalidConfigurationError, match=message):
        config.from_options({name: 1})
    with pytest.raises(InvalidConfigurationError, match=message):
        config.from_options(**{name: 1})


def test_a_key_like_no_other_gets_no_suggestion() -> None:
    with pytest.raises(InvalidConfigurationError, match=r"unknown key xyzzy$"):
        ProducerConfig.from_options(xyzzy=1)


@pytest.mark.parametrize(
    ("config", "key", "expected"),
    [
        (ProducerConfig, "retention_ms", "retention_ms, which is one of TopicConfig"),
        (ConsumerConfig, "linger.ms", "linger.ms, which is one of ProducerConfig"),
        (
            TopicConfig,
            "interceptors",
            "interceptors, which is one of ConsumerConfig and ProducerConfig",
        ),
        (
            BrokerConfig,
            "segment_bytes",
            r"segment_bytes, which is one of TopicConfig; did you mean log_segment_bytes\?",
        ),
    ],
)
def test_a_key_that_belongs_elsewhere_is_told_where(
    config: type[Config], key: str, expected: str
) -> None:
    with pytest.raises(
        InvalidConfigurationError, match=f"^{config.__name__}: unknown key {expected}$"
    ):
        config.from_options({key: 1})


def test_a_key_that_is_not_text_is_refused() -> None:
    with pytest.raises(InvalidConfigurationError, match=r"keys are str, found 5 \(int\)"):
        ProducerConfig.from_options({5: 1})  # type: ignore[dict-item]


def test_a_key_given_twice_with_one_value_is_accepted() -> None:
    made = ProducerConfig.from_options({"linger.ms": "5", "linger_ms": 5}, linger_ms=5)
    assert made.linger_ms == 5


def test_a_key_given_twice_with_two_values_is_refused() -> None:
    message = "linger_ms is given twice, as 5 and 6"
    with pytest.raises(InvalidConfigurationError, match=message):
        ProducerConfig.from_options({"linger.ms": "5"}, linger_ms=6)
    with pytest.raises(InvalidConfigurationError, match=message):
        ProducerConfig.from_options({"linger.ms": 5, "linger_ms": 6})
    with pytest.raises(InvalidConfigurationError, match=message):
        ProducerConfig.from_options(**{"linger.ms": 5, "linger_ms": 6})


def test_text_stands_for_numbers_and_booleans_in_a_mapping_only() -> None:
    assert BrokerConfig.from_options({"num.partitions": "3"}).num_partitions == 3
    off = BrokerConfig.from_options({"auto.create.topics.enable": "False"})
    assert off.auto_create_topics_enable is False
    for options in ({"num_partitions": "3"}, {"auto_create_topics_enable": "false"}):
        with pytest.raises(InvalidConfigurationError, match=r"\(str\)"):
            BrokerConfig.from_options(**options)


@pytest.mark.parametrize("config", CLASSES)
def test_nothing_given_means_defaults(config: type[Config]) -> None:
    defaults = {line.key: line.default for line in config.describe()}
    assert config().as_dict() == defaults
    assert config.from_options(None) == config.from_options({})


@pytest.mark.parametrize("config", CLASSES)
def test_a_configuration_cannot_be_changed(config: type[Config]) -> None:
    made = config()
    key = config.describe()[0].key
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(made, key, getattr(made, key))


@pytest.mark.parametrize("config", CLASSES)
def test_a_configuration_survives_copy_and_pickle(config: type[Config]) -> None:
    made = config()
    assert copy.deepcopy(made) == made
    assert pickle.loads(pickle.dumps(made)) == made


@pytest.mark.parametrize("config", CLASSES)
def test_parsing_what_was_parsed_changes_nothing(config: type[Config]) -> None:
    made = config()
    assert config(**made.as_dict()) == made


@pytest.mark.parametrize("config", CLASSES)
def test_each_key_is_described(config: type[Config]) -> None:
    for line in config.describe():
        assert line.type
        assert line.doc.endswith(".")
        assert "|" not in line.type + line.doc, "it would end the table cell"


def test_one_key_cannot_have_two_reasons() -> None:
    with pytest.raises(AssertionError, match="two places"):
        unsupported_keys({"no network": ("port",), "no users": ("port",)})


def test_the_committed_reference_is_what_the_generator_writes() -> None:
    written = runpy.run_path(str(DOCS / "generate_configuration.py"))["text"]()
    committed = (DOCS / "configuration.md").read_text(encoding="utf-8")
    assert written == committed, "run python docs/generate_configuration.py"
