"""Write docs/configuration.md from the configuration classes.

Run it after changing a key: ``python docs/generate_configuration.py``. A test compares the two.
"""

from __future__ import annotations

from pathlib import Path

from streamlog.config import BrokerConfig, Config, ConsumerConfig, ProducerConfig, TopicConfig
from streamlog.config.kinds import LONG_MAX

TARGET = Path(__file__).with_name("configuration.md")

INTRODUCTION = """\
# Configuration

<!-- Written by docs/generate_configuration.py; change the classes in src/streamlog/config instead. -->

Keys are Kafka's, with underscores; units are in the names. They are given as keyword arguments, or in a mapping
under `config=` with underscores or dots, where numbers and booleans may also be text:

```python
Producer(broker, linger_ms=5)
Producer(broker, config={"linger.ms": "5"})
```

Every value is checked. `InvalidConfigurationError` names the key, what is expected and what was found; for an
unknown key, the nearest known one. Editors complete the keyword arguments, and type checkers find a misspelt
one. Kafka's keys that are not supported are refused with the reason, never
ignored; they are listed under each table. Where a default differs from Kafka's, the text says so.
"""

SECTIONS: dict[type[Config], str] = {
    BrokerConfig: "Given to `Broker(path, ...)`. Most `log_` keys are the defaults of topics without their own.",
    TopicConfig: "Given to `create_topic(name, configs={...})`. A key not given has the broker's value.",
    ProducerConfig: "Given to `Producer(broker, ...)`.",
    ConsumerConfig: "Given to `Consumer(broker, ...)`.",
}


def shown(value: object) -> str:
    """Return *value* as the tables show it."""
    if value == LONG_MAX:
        return "no limit (2**63 - 1)"
    if isinstance(value, tuple):
        return f"`{list(value)}`"
    if isinstance(value, str):
        return f"`{str(value)!r}`"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}".replace(",", "_")
    return f"`{value}`"


def section(config: type[Config], how: str) -> str:
    """Return the chapter of one configuration class."""
    lines = [f"## {config.__name__}", "", str(config.__doc__).strip().splitlines()[0], "", how, ""]
    lines += ["| key | type | default | meaning |", "|---|---|---|---|"]
    lines += [
        f"| `{line.key}` | {line.type} | {shown(line.default)} | {line.doc} |"
        for line in config.describe()
    ]
    if config.aliases:
        names = ", ".join(f"`{alias}` is `{key}`" for alias, key in sorted(config.aliases.items()))
        lines += ["", f"Other names: {names}."]
    lines += ["", "Refused, with the reason (`*` stands for any ending):", ""]
    by_reason: dict[str, list[str]] = {}
    for key, reason in config.unsupported.items():
        by_reason.setdefault(reason, []).append(f"`{key}`")
    lines += [f"- {', '.join(keys)}: {reason}" for reason, keys in sorted(by_reason.items())]
    return "\n".join(lines) + "\n"


def text() -> str:
    """Return the whole document."""
    return "\n".join([INTRODUCTION, *(section(config, how) for config, how in SECTIONS.items())])


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
