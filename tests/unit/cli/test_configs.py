from __future__ import annotations

import pytest

from tests.support.cli import Terminal


@pytest.fixture(autouse=True)
def _topics(terminal: Terminal) -> None:
    with terminal.broker() as broker:
        broker.create_topic("orders", configs={"retention_ms": 5})
        broker.create_topic("prices")


def values(terminal: Terminal, *options: str) -> dict[str, object]:
    rows = terminal.json("configs", "describe", *options)
    return {row["name"]: row["value"] for row in rows}


def test_describe_shows_what_is_the_topics_own(terminal: Terminal) -> None:
    assert terminal.lines("configs", "describe", "--topic", "orders") == [
        ["ENTITY-TYPE", "ENTITY-NAME", "NAME", "VALUE", "SOURCE"],
        ["topic", "orders", "retention.ms", "5", "topic"],
    ]
    assert terminal.lines("configs", "describe", "--topic", "prices") == []


def test_describe_all_shows_defaults_with_their_source(terminal: Terminal) -> None:
    rows = terminal.json("configs", "describe", "--topic", "orders", "--all")
    sources = {row["name"]: row["source"] for row in rows}
    assert (sources["retention.ms"], sources["segment.bytes"]) == ("topic", "default")


def test_kafkas_pair_of_options_means_the_same(terminal: Terminal) -> None:
    pair = ("--entity-type", "topics", "--entity-name", "orders")
    assert values(terminal, *pair) == {"retention.ms": 5}
    assert values(terminal, "--entity-type", "topics") == {"retention.ms": 5}
    code, reason = terminal.failure("configs", "describe", "--entity-name", "orders")
    assert (code, reason) == (2, "expected --entity-type with --entity-name, found none")


def test_the_brokers_settings_can_be_read(terminal: Terminal) -> None:
    assert values(terminal, "--broker") == {}
    assert values(terminal, "--broker", "--all")["num.partitions"] == 1
    assert values(terminal, "--entity-type", "brokers", "--all")["num.partitions"] == 1


def test_describe_of_nothing_is_wrong_usage(terminal: Terminal) -> None:
    assert terminal.failure("configs", "describe")[0] == 2


def test_alter_sets_and_gives_back(terminal: Terminal) -> None:
    done = terminal.run(
        *("configs", "alter", "--topic", "orders", "--delete-config", "retention.ms"),
        *("--add-config", "cleanup.policy=[delete],segment.bytes=1048576"),
    )
    assert (done.exit_code, done.stderr) == (0, "Changed topic 'orders'.\n")
    assert values(terminal, "--topic", "orders") == {
        "cleanup.policy": ["delete"],
        "segment.bytes": 1_048_576,
    }


def test_alter_of_several_topics_changes_each(terminal: Terminal) -> None:
    changed = terminal.json(
        *("configs", "alter", "--topic", "orders", "--topic", "prices"),
        *("--add-config", "retention.ms=7"),
    )
    assert [row["entity_name"] for row in changed] == ["orders", "prices"]
    assert values(terminal, "--topic", "prices") == {"retention.ms": 7}


@pytest.mark.parametrize(
    ("options", "code", "reason"),
    [
        (["--topic", "orders"], 2, "expected --add-config or --delete-config, found none"),
        (["--add-config", "a=1"], 2, "expected --topic or --entity-type, found none"),
        (
            ["--entity-type", "topics", "--add-config", "retention.ms=1"],
            2,
            "expected --entity-name with --entity-type, found none",
        ),
        (
            ["--entity-type", "brokers", "--entity-name", "1", "--add-config", "a=1"],
            1,
            "broker '1': expected a topic; a broker's configuration is fixed when it opens",
        ),
        (["--topic", "none", "--add-config", "retention.ms=1"], 3, "topic 'none' does not exist"),
    ],
)
def test_a_change_that_cannot_be_is_refused(
    terminal: Terminal, options: list[str], code: int, reason: str
) -> None:
    assert terminal.failure("configs", "alter", *options) == (code, reason)


def test_a_wrong_value_changes_nothing(terminal: Terminal) -> None:
    code, reason = terminal.failure(
        *("configs", "alter", "--topic", "orders", "--add-config", "retention.ms=7,segment.bytes=x")
    )
    assert code == 1
    assert "segment_bytes" in reason
    assert values(terminal, "--topic", "orders") == {"retention.ms": 5}
